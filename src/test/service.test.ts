/** The agent as a service of a machine that systemd starts, from its installation to its removal. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, writeFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { selfSigned } from './certificates.ts';
import { lacksMachine, Machine } from './machine.ts';
import {
  cleaner,
  Collector,
  lacks,
  lacksRoot,
  namespacePair,
  packetsIn,
  PATIENCE_MS,
  runAgent,
  runCollector,
  temporaryFolder,
  until,
} from './support.ts';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
const EXECUTABLE = join(DIST, 'rcap-agent-linux-x64');
const SENDER = fileURLToPath(new URL('send_frames.py', import.meta.url));
const skip =
  lacksMachine ||
  lacks('capinfos', 'python3', 'ip') ||
  (!existsSync(EXECUTABLE) && 'needs the executables: npm run package');

test(
  'without systemd nothing is changed, and a unit is still shown',
  { skip: lacksRoot || lacks('unshare') },
  async (t) => {
    const prefix = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$@"', 'sh'];
    const service = (...words: string[]) =>
      runAgent(t, ['service', ...words], { prefix, env: { RCAP_TOKEN: 'rcap_secret' } });
    const status = await service('status');
    assert.equal(status.code, 1);
    assert.match(status.stderr, /not started by systemd\n.*hint: rcap-agent service install --print/);
    const shown = await service('install', '--server', 'ir.corp', '--print');
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(
      shown.stdout,
      /^# \/etc\/systemd\/system\/rcap-agent\.service\n[^]*\n\[Install\]\n[^]*"token": "\(hidden\)"/,
    );
    assert.ok(!shown.stdout.includes('rcap_secret'));
    assert.match((await service('install', '--server', 'ir.corp')).stderr, /this agent runs from its source/);
  },
);

describe('the agent as a service of systemd', { skip }, () => {
  const suite = cleaner();
  const [here, there] = skip ? ([] as never) : namespacePair(suite);
  const given = skip ? '' : temporaryFolder(suite);
  let collector: Collector;
  let machine: Machine;
  let token: string;
  let before: string;
  const flags = ['--rotate-age', '1s', '--rotate-idle', '1s'];

  /** Everything that an installation may leave. */
  const traces = () =>
    machine.ok(
      'sh',
      '-c',
      'find /etc/rcap /etc/systemd/system /usr/local/bin /var/lib/private /var/lib/rcap-agent /tmp /var/tmp -xdev 2>&1 | grep -v systemd-private- | sort',
    );
  const agent = (...words: string[]) => machine.run('/given/rcap-agent', 'service', ...words);
  const send = (count: number) =>
    execFileSync('ip', ['netns', 'exec', there.name, 'python3', SENDER, there.interface, `${count}`, '100', '5000']);
  /** Whether systemd still knows it. */
  const listed = (name: string) =>
    machine.ok('systemctl', 'list-units', '--all', '--plain', '--no-legend', `${name}.service`);
  const packets = (from = collector) => from.published().reduce((sum, file) => sum + packetsIn(file), 0);
  const journal = (name = 'rcap-agent') => machine.ok('journalctl', '-u', name, '-o', 'cat', '--no-pager');
  const listening = (times: number) =>
    untilAsync(`${times} starts`, async () => ((await journal()).match(/listening on/g)?.length ?? 0) >= times);

  test.before(async () => {
    copyFileSync(EXECUTABLE, join(given, 'rcap-agent'));
    collector = await Collector.start(suite, { prefix: here.prefix, flags });
    token = await collector.token('--host', 'served');
    writeFileSync(join(given, 'token'), `${token}\n`, { mode: 0o600 });
    machine = await Machine.boot(suite, here, given);
    before = await traces();
  });

  const install = (...more: string[]) =>
    agent('install', ...collector.address, '--token-file', '/given/token', '--host-name', 'served', '-i', here.interface, ...more, 'ether proto 0x88b5'); // prettier-ignore

  test('what is wrong is refused before anything is written', async () => {
    for (const [words, said] of [
      [['install', '--server', 'x', '--pin', 'sha256/no'], /a pin is sha256/],
      [['install', '--server', 'x', '--token-file', '/none'], /could not read token file '\/none'/],
      [['install', '--server', 'x', '--spool-dir', '/data'], /may write to \/var\/lib\/rcap-agent only/],
      [['install', '--server', 'x', '--name', 'systemd-journald'], /another service has it/],
      [['uninstall', '--name', 'systemd-journald'], /another service has it/],
      [['start'], /it is not installed/],
      [['stop'], /it is not installed/],
      [['uninstall'], /it is not installed/],
    ] as [string[], RegExp][]) {
      const end = await agent(...words);
      assert.match(end.stderr, said, words.join(' '));
      assert.notEqual(end.code, 0);
    }
    assert.equal((await agent('status')).code, 4);
    assert.equal(await traces(), before);
  });

  test('it is installed, and its packets arrive', async () => {
    const end = await install('--spool-dir', '/var/lib/rcap-agent');
    assert.equal(end.code, 0, end.stderr);
    await listening(1);
    const status = await agent('status');
    assert.equal(status.code, 0, status.stdout + status.stderr);
    assert.match(status.stdout, /^rcap-agent: running\nsince .*, process \d+\nstarts with the system; .*\nlast line: /);
    const anybody = await machine.run('setpriv', '--reuid', '65534', '--clear-groups', '/given/rcap-agent', 'service', 'status'); // prettier-ignore
    assert.equal(anybody.code, 0, anybody.stderr);
    assert.match(anybody.stdout, /^rcap-agent: running\nsince .*, process \d+\nstarts with the system; /);
    send(2000);
    await until('2000 packets', () => packets() === 2000);
  });

  test('it has one capability, and nobody else can read its token', async () => {
    const pid = (await machine.ok('systemctl', 'show', '--value', '--property=MainPID', 'rcap-agent')).trim();
    const proc = await machine.ok('cat', `/proc/${pid}/status`);
    // None at all, once the agent has opened what it captures on and given up what it can.
    assert.match(proc, /CapEff:\t000000000000[02]000\nCapBnd:\t0000000000002000/);
    assert.match(proc, /NoNewPrivs:\t1\nSeccomp:\t2/);
    assert.doesNotMatch(proc, /^Uid:\t0/m);
    const open = await machine.ok(
      'sh',
      '-c',
      `ps -ef; cat /etc/systemd/system/rcap-agent.service /proc/${pid}/environ; journalctl`,
    );
    assert.ok(!open.includes(token));
    assert.match(await machine.ok('stat', '-c', '%a %u %n', '/etc/rcap/rcap-agent', '/etc/rcap/rcap-agent/settings.json'), /^700 0 .*\n600 0 /); // prettier-ignore
    const other = await machine.run('setpriv', '--reuid', '65534', '--clear-groups', 'cat', '/etc/rcap/rcap-agent/settings.json'); // prettier-ignore
    assert.match(other.stderr, /Permission denied/);
    assert.ok((await machine.ok('cat', '/etc/rcap/rcap-agent/settings.json')).includes(token));
  });

  test('killed, it is started again', async () => {
    await machine.ok('systemctl', 'kill', '--signal=KILL', 'rcap-agent');
    await untilAsync('its end', async () => (await agent('status')).code === 3);
    assert.match((await agent('status')).stdout, /\nfailed \(signal\), and will be started again\n/);
    await listening(2);
    send(1000);
    await until('3000 packets', () => packets() === 3000);
    assert.match((await agent('status')).stdout, /restarts after failures: 1/);
  });

  test('stop delivers what is captured, start goes on', async () => {
    send(500);
    const stop = await agent('stop');
    assert.equal(stop.code, 0, stop.stderr);
    const status = await agent('status');
    assert.equal(status.code, 3);
    assert.match(status.stdout, /^rcap-agent: not running\ninactive \(success\)\n[^]*last line: rcap-agent: /);
    assert.match(await journal(), /1500 packets sent, 1500 acknowledged/);
    await until('3500 packets', () => packets() === 3500);
    const manifests = collector.files().filter((f) => f.endsWith('.json'));
    assert.ok(
      manifests.some((f) => /"end": \{/.test(readFileSync(join(collector.captures, f), 'utf8'))),
      'no end mark',
    );
    assert.equal((await agent('start')).code, 0);
    await listening(3);
  });

  test('what an administrator keeps beside the settings stays there', async () => {
    const folder = '/etc/rcap/kept';
    await machine.ok('mkdir', folder);
    const { cert } = await selfSigned('CN=ca', true);
    writeFileSync(join(given, 'ca.pem'), cert);
    for (const file of ['token', 'ca.pem']) await machine.ok('cp', `/given/${file}`, folder);
    await machine.ok('cp', '/given/token', `${folder}/settings.json`);
    const kept = (...more: string[]) => agent('install', '--name', 'kept', '--server', '127.0.0.1:9', '--token-file', `${folder}/token`, '--stop-within', '1s', ...more); // prettier-ignore
    assert.match((await kept()).stderr, new RegExp(`'kept': ${folder}/settings.json is there, and not ours\\n`));
    await machine.ok('rm', `${folder}/settings.json`);
    const withCa = await kept('--ca', `${folder}/ca.pem`);
    assert.match(withCa.stderr, new RegExp(`'kept': ${folder}/ca.pem is there, and not ours\\n`));
    assert.equal((await agent('status', '--name', 'kept')).code, 4);
    for (const time of ['first', 'second']) {
      const end = await kept();
      assert.equal(end.code, 0, `${time}: ${end.stderr}`);
    }
    assert.equal((await agent('uninstall', '--name', 'kept')).code, 0);
    assert.equal(await machine.ok('ls', '-A', folder), 'ca.pem\ntoken\n');
    assert.equal(await machine.ok('cat', `${folder}/ca.pem`, `${folder}/token`), `${cert}${token}\n`);
    await machine.ok('rm', '-r', folder);
  });

  test('on a full disk nothing changes', async () => {
    const place = '/usr/local/bin';
    await machine.ok('mount', '-t', 'tmpfs', '-o', 'mode=755,size=150m', 'tmpfs', place);
    assert.equal((await install('--name', 'full')).code, 0);
    const full = () => machine.ok('sh', '-c', 'systemctl show --property=MainPID full; cat /etc/rcap/full/* /etc/systemd/system/full.service'); // prettier-ignore
    const [installed, running] = [await traces(), await full()];
    for (const name of ['full', 'fuller']) {
      const end = await install('--name', name, '--count', '5', '--stop-within', '9s');
      assert.match(end.stderr, new RegExp(`could not write '${place}/${name}': no space left`));
      assert.equal(await traces(), installed);
    }
    assert.equal(await full(), running);
    assert.equal((await agent('uninstall', '--name', 'full')).code, 0);
    await machine.ok('umount', place);
  });

  test('nobody else may write where it is installed', async () => {
    await machine.ok('chmod', 'o+w', '/usr/local/bin');
    const end = await install('--name', 'open');
    await machine.ok('chmod', 'o-w', '/usr/local/bin');
    assert.match(
      end.stderr,
      /could not install into '\/usr\/local\/bin': others than root may write there\n.*hint: chown/,
    );
  });

  test('it does not run as the account that has its name', async () => {
    const account = '4242';
    await machine.ok('sh', '-c', `echo rcap-named:x:${account}:${account}::/:/bin/false >>/etc/passwd`);
    assert.equal((await install('--name', 'rcap-named')).code, 0);
    await untilAsync('a capture', async () => /listening on/.test(await journal('rcap-named')));
    const pid = (await machine.ok('systemctl', 'show', '--value', '--property=MainPID', 'rcap-named')).trim();
    const uid = (await machine.ok('stat', '-c', '%u', `/proc/${pid}`)).trim();
    assert.ok(Number(uid) > 0 && uid !== account, uid);
    assert.equal((await agent('uninstall', '--name', 'rcap-named')).code, 0);
    await machine.ok('sed', '-i', '/^rcap-named:/d', '/etc/passwd');
  });

  test('one that fails again and again is removed as any other', async () => {
    const state = async () => (await agent('status', '--name', 'failing')).stdout;
    assert.equal((await install('--name', 'failing', '-i', 'none')).code, 0);
    await untilAsync('a failure', async () => /will be started again/.test(await state()));
    assert.equal((await agent('uninstall', '--name', 'failing')).code, 0);
    assert.equal(await listed('failing'), '');
  });

  test('what a killed installation left is removed', async () => {
    const clean = await traces();
    const files = ['/etc/systemd/system/half.service', '/usr/local/bin/half', '/etc/rcap/half/settings.json', '/etc/rcap/half/ca.pem']; // prettier-ignore
    const unfinished = files.map((file) => `${file}.rcap-new`).join(' ');
    const kill = () => machine.ok('sh', '-c', `mkdir -p /etc/rcap/half; touch ${unfinished}`);
    const uninstall = () => agent('uninstall', '--name', 'half');
    await kill();
    const left = await uninstall();
    assert.equal(left.code, 0, left.stderr);
    assert.match(left.stderr, /what was left of service 'half' is removed/);
    assert.equal(await traces(), clean);
    assert.match((await uninstall()).stderr, /it is not installed/);
    await kill();
    assert.equal((await install('--name', 'half')).code, 0);
    await kill();
    assert.equal((await uninstall()).code, 0);
    assert.equal(await traces(), clean);
  });

  test('it is there after the system starts again', async () => {
    await machine.reboot();
    await untilAsync('it to run', async () => (await agent('status')).code === 0);
    await untilAsync('a capture', async () => /listening on/.test(await journal()));
    send(100);
    await until('3600 packets', () => packets() === 3600);
  });

  test('installed again, also twice at once, it has the new settings', async () => {
    const ends = await Promise.all([install('--count', '700'), install('--count', '700')]);
    assert.ok(ends.some((end) => end.code === 0), ends.map((e) => e.stderr).join('')); // prettier-ignore
    for (const end of ends.filter((e) => e.code !== 0)) assert.match(end.stderr, /another rcap-agent service command/);
    await untilAsync('a capture', async () => /listening on[^]*listening on/.test(await journal()));
    send(700);
    await until('4300 packets', () => packets() === 4300);
    // Done is done: it isn't started again.
    await untilAsync('its end', async () => (await agent('status')).code === 3);
  });

  test('uninstall leaves nothing, and other services alone', async () => {
    assert.equal((await install('--name', 'second')).code, 0);
    const mine = await agent('uninstall');
    assert.equal(mine.code, 0, mine.stderr);
    assert.equal((await agent('status')).code, 4);
    assert.equal((await agent('status', '--name', 'second')).code, 0);
    assert.equal((await agent('uninstall', '--name', 'second')).code, 0);
    assert.equal(await traces(), before);
    assert.match((await agent('uninstall')).stderr, /it is not installed/);
  });

  test('an executable that was in its place before stays there', async () => {
    const own = ['service', 'install', '--name', 'mine', ...collector.address, '--token-file', '/given/token', '--host-name', 'served']; // prettier-ignore
    await machine.ok('cp', '/given/rcap-agent', '/usr/local/lib/another');
    for (const words of [['cp'], ['ln', '-s', '-f']]) {
      await machine.ok(...words, '/usr/local/lib/another', '/usr/local/bin/mine');
      const taken = await install('--name', 'mine');
      assert.match(taken.stderr, /'mine': \/usr\/local\/bin\/mine is there, and not ours/);
      await machine.ok('/usr/local/bin/mine', ...own);
      assert.equal((await agent('status', '--name', 'mine')).code, 0);
      await machine.ok('/usr/local/bin/mine', 'service', 'uninstall', '--name', 'mine');
    }
    await machine.ok('rm', '/usr/local/lib/another');
    await machine.ok('rm', '/usr/local/bin/mine');
    assert.equal(await traces(), before);
  });

  test('a packed agent needs no options', async () => {
    const packing = ['pack', '--target', 'linux-x64', '--agents', DIST, '--state', collector.state];
    const to = ['--server', `127.0.0.1:${collector.port}`, '-o', join(given, 'packed')];
    const made = await runCollector(suite, [...packing, ...to, '--', '-i', here.interface, 'ether proto 0x88b5']);
    assert.equal(made.code, 0, made.stderr);
    await machine.ok('/given/packed', 'service', 'install', '--name', 'packed');
    await untilAsync('a capture', async () => /listening on/.test(await journal('packed')));
    const before = packets();
    send(300);
    await until('300 packets', () => packets() === before + 300);
    // Everybody may read the copy: what was packed is in the settings alone.
    const settings = JSON.parse(await machine.ok('cat', '/etc/rcap/packed/settings.json')) as Record<string, string>;
    assert.match(settings['token'] ?? '', /^rcap_/);
    assert.equal(await machine.ok('stat', '-c', '%a', '/etc/rcap/packed/settings.json'), '600\n');
    const { size } = statSync(join(DIST, 'rcap-agent-linux-x64'));
    assert.equal(await machine.ok('stat', '-c', '%s', '/usr/local/bin/packed'), `${size}\n`);
    assert.equal((await agent('uninstall', '--name', 'packed')).code, 0);
  });

  test('it captures from its start, also while no collector is there', async (t) => {
    const gone = await Collector.start(t, { prefix: here.prefix, flags });
    writeFileSync(join(given, 'early'), await gone.token('--host', 'early'), { mode: 0o600 });
    await gone.stop();
    const end = await agent('install', '--name', 'early', ...gone.address, '--token-file', '/given/early', '--host-name', 'early', '-i', here.interface, 'ether proto 0x88b5'); // prettier-ignore
    assert.equal(end.code, 0, end.stderr);
    await untilAsync('a capture', async () => /listening on/.test(await journal('early')));
    send(200);
    const { folder, port } = gone;
    const there = await Collector.start(t, { prefix: here.prefix, flags, folder, listen: `127.0.0.1:${port}` });
    await until('200 packets', () => packets(there) === 200);
    assert.equal((await agent('uninstall', '--name', 'early')).code, 0);
    assert.match(await journal('early'), /200 packets sent, 200 acknowledged/);
  });

  test('a collector that is gone does not hold up the end of the service', async () => {
    assert.equal((await install('--name', 'brief', '--stop-within', '1s')).code, 0);
    await untilAsync('a capture', async () => /listening on/.test(await journal('brief')));
    collector.kill('SIGSTOP');
    send(100);
    assert.equal((await agent('stop', '--name', 'brief')).code, 0);
    assert.match(await journal('brief'), /giving up[^]*warning: 100 packets captured, but never acknowledged: lost/);
    const status = await agent('status', '--name', 'brief');
    assert.match(status.stdout, /^brief: not running\nfailed \(exit-code\)\n/);
    assert.equal((await agent('uninstall', '--name', 'brief')).code, 0);
    assert.equal(await listed('brief'), '');
    collector.kill('SIGCONT');
    assert.equal(await traces(), before);
  });

  test('it runs where nobody may run programs from folders that anybody writes to', async () => {
    for (const folder of ['/tmp', '/var/tmp', '/dev/shm'])
      await machine.ok('mount', '-t', 'tmpfs', '-o', 'noexec,mode=1777', 'tmpfs', folder);
    const end = await install('--name', 'noexec');
    assert.equal(end.code, 0, end.stderr);
    await untilAsync('a capture', async () => /listening on/.test(await journal('noexec')));
    assert.equal((await agent('uninstall', '--name', 'noexec')).code, 0);
    for (const folder of ['/tmp', '/var/tmp', '/dev/shm']) await machine.ok('umount', folder);
  });

  test('only root may; everybody may ask', async () => {
    const asked = await machine.run('setpriv', '--reuid', '65534', '--clear-groups', '/given/rcap-agent', 'service', 'status'); // prettier-ignore
    assert.equal(asked.code, 4, asked.stderr);
    const end = await machine.run('setpriv', '--reuid', '65534', '--clear-groups', '/given/rcap-agent', 'service', 'uninstall'); // prettier-ignore
    assert.equal(end.code, 1);
    assert.match(end.stderr, /only root may\n.*hint: sudo /);
  });
});

async function untilAsync(what: string, condition: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(200);
  }
}
