/** The packaged agent where starting is hard: many at once, no environment, nobody's uid, file systems that refuse. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { assertHold, publishedFrom } from './published.ts';
import { cleaner, Collector, type Finished, lacks, lacksRoot, run, temporaryFolder } from './support.ts';

const BUILT = join(import.meta.dirname, '../../dist/rcap-agent-linux-x64');
const skip = !existsSync(BUILT) && 'needs the executables: npm run package';
const skipRoot = lacksRoot || lacks('unshare', 'setpriv', 'mount');

/** Nobody's: there is no account of this number. */
const STRANGER = ['setpriv', '--reuid', '54321', '--regid', '54321', '--clear-groups'];
const PACKETS = somePackets(500);
/** Where the agent may put its addon; the folder of the executable is one, too. */
const PLACES = ['/run', '/dev/shm', '/tmp', '/var/tmp'];

describe('the packaged agent starts', { skip, timeout: 300_000 }, () => {
  const suite = cleaner();
  let folder: string;
  let agent: string;
  let file: string;
  let collector: Collector;
  let token: string;

  before(async () => {
    // Whoever runs it must reach it, and a checkout may lie where nobody else may look.
    folder = temporaryFolder(suite);
    chmodSync(folder, 0o755);
    mkdirSync(join(folder, 'bin'));
    agent = join(folder, 'bin/rcap-agent');
    copyFileSync(BUILT, agent);
    chmodSync(agent, 0o755);
    file = join(folder, 'some.pcap');
    writeFileSync(file, pcapBytes(PACKETS));
    collector = await Collector.start(suite);
    token = await collector.token('--host', '*');
  });

  /** With `-r`, and no variable at all but the token. */
  const send = (host: string, prefix: string[] = []): Promise<Finished> =>
    run(suite, agent, ['-r', file, ...collector.address, '--host-name', host], {
      cwd: '/',
      prefix: [...prefix, 'env', '-i', `RCAP_TOKEN=${token}`],
    });
  function assertSent({ code, stderr }: Finished, host: string): void {
    assert.equal(code, 0, stderr);
    const expected = [{ interface: '', linkType: 1, snaplen: 262_144, packets: PACKETS }];
    assertHold(publishedFrom(collector, host), expected, host, 'some');
  }
  const list = (prefix: string[], env: string[] = []): Promise<Finished> =>
    run(suite, agent, ['-D', '--json'], { cwd: '/', prefix: [...prefix, 'env', '-i', ...env] });
  function assertListed({ code, stdout, stderr }: Finished): void {
    assert.equal(code, 0, stderr);
    assert.ok(
      (JSON.parse(stdout) as { name: string }[]).some((i) => i.name === 'lo'),
      stdout,
    );
  }

  it('20 copies at once', async () => {
    const hosts = Array.from({ length: 20 }, (_, i) => `copy${i}`);
    const ended = await Promise.all(hosts.map((host) => send(host)));
    for (const [i, host] of hosts.entries()) assertSent(ended[i]!, host);
  });

  it('without HOME, or with one that is not there', async () => {
    assertSent(await send('homeless'), 'homeless');
    assertListed(await list([], ['HOME=/nonexistent/home']));
  });

  describe('as an unknown uid', { skip: skipRoot }, () => {
    for (const mode of [0o755, 0o555]) {
      it(`with mode ${mode.toString(8)}`, async () => {
        chmodSync(agent, mode);
        const host = `stranger${mode.toString(8)}`;
        assertSent(await send(host, STRANGER), host);
      });
    }

    // It could not know whether it was packed, and with which settings.
    it('not readable: it says so', async () => {
      chmodSync(agent, 0o711);
      const { code, stderr } = await send('blind', STRANGER);
      chmodSync(agent, 0o755);
      assert.equal(code, 1);
      assert.match(stderr, /error: could not read '.*', itself: .*\n.*hint: chmod \+r /);
    });
  });

  describe('with file systems that refuse', { skip: skipRoot }, () => {
    /** All is read-only but `writable`; then what `mounts` says, words of `mount` each, comes on top. Runs `agent`, as /mnt. */
    const within = (mounts: string[], writable = ''): Promise<Finished> => {
      const script = [
        'set -e',
        'mount --make-rprivate /',
        `mount --bind ${join(folder, 'bin')} /mnt`,
        // What can't be mounted again isn't what anybody could write to.
        `while read -r _ at kind _; do
           [ "$kind" = proc ] || [ "$at" = "${writable}" ] || mount -o remount,bind,ro "$at" 2>/dev/null || :
         done </proc/self/mounts`,
        ...mounts.map((words) => `mount ${words}`),
        '! touch /refused 2>/dev/null',
        'exec env -i TMPDIR=$0 /mnt/rcap-agent -D --json',
      ].join('\n');
      return run(suite, 'unshare', ['-m', 'sh', '-c', script, tmpdir], { cwd: '/' });
    };
    let tmpdir = '';
    const over = (place: string, more = '') => `-t tmpfs -o size=4m${more} tmpfs ${place}`;
    const noexec = (place: string) => over(place, ',noexec');

    for (const place of PLACES) {
      it(`all read-only but ${place}`, async () => assertListed(await within([over(place)])));
      it(`${place} noexec`, async () =>
        assertListed(await within(PLACES.map((other) => (other === place ? noexec(other) : over(other))))));
      it(`all noexec but ${place}`, async () =>
        assertListed(await within(PLACES.map((other) => (other === place ? over(other) : noexec(other))))));
    }
    it("all read-only but the executable's own folder", async () => assertListed(await within([], '/mnt')));

    const refused: [string, () => string[]][] = [
      ['read-only', () => []],
      ['noexec', () => PLACES.map(noexec)],
    ];
    for (const [what, mounts] of refused) {
      it(`all ${what}: says what to do, and that helps`, async () => {
        const { code, stdout, stderr } = await within(mounts());
        assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
        const { message, hint } = JSON.parse(stderr) as { message: string; hint: string };
        assert.match(message, /^could not load 'node-pcap-native': none of \/run, \/dev\/shm, .* takes it \(\/run: /);
        assert.equal(hint, 'TMPDIR=DIR with a folder that is writable and not mounted noexec');
        tmpdir = '/media';
        assertListed(await within([...mounts(), over('/media')]));
        tmpdir = '';
      });
    }
  });
});
