/** What the packaged agent may still do while it captures, started as root and with `setcap`; and that it captures all the same. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import {
  cleaner,
  Collector,
  lacks,
  lacksRoot,
  namespacePair,
  packetsIn,
  Program,
  type StartOptions,
  temporaryFolder,
  tshark,
  until,
} from './support.ts';

const EXECUTABLE = fileURLToPath(new URL('../../dist/rcap-agent-linux-x64', import.meta.url));
const SENDER = fileURLToPath(new URL('send_frames.py', import.meta.url));
const skip =
  lacksRoot ||
  (!existsSync(EXECUTABLE) && 'needs the executables: npm run package') ||
  lacks('ip', 'tshark', 'capinfos', 'python3', 'setcap', 'setpriv');
/** From here on: whom root becomes. */
const FIRST_UID = 2_100_000_000;
/** Nobody on any machine. */
const USER = 54_321;
const AS_USER = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups'];

interface Status {
  uid: string;
  /** Effective, permitted, inheritable, ambient. */
  capabilities: string[];
  bounding: string;
  noNewPrivileges: string;
  seccomp: string;
}

/** Of every thread. */
function statuses(pid: number): Status[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const text = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
    const field = (name: string) => new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(text)![1]!;
    const capabilities = ['CapEff', 'CapPrm', 'CapInh', 'CapAmb'].map(field);
    const [uid, bounding] = [field('Uid'), field('CapBnd')];
    return { uid, capabilities, bounding, noNewPrivileges: field('NoNewPrivs'), seccomp: field('Seccomp') };
  });
}

const NONE = '0'.repeat(16);

function assertBare(pid: number, isUser: (uid: number) => boolean, bounding: string | undefined): void {
  const threads = statuses(pid);
  assert.ok(threads.length >= 6, 'Node has threads');
  for (const s of threads) {
    assert.ok(isUser(Number(s.uid)), `uid ${s.uid}`);
    assert.deepEqual(s.capabilities, [NONE, NONE, NONE, NONE]);
    if (bounding !== undefined) assert.equal(s.bounding, bounding);
    assert.deepEqual([s.noNewPrivileges, s.seccomp], ['1', '2']);
  }
  // Root's although another user's process: it may not be dumped, and that user may not look into it.
  assert.equal(statSync(`/proc/${pid}/mem`).uid, 0);
  assert.match(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m);
}

describe('privileges', { skip }, () => {
  const suite = cleaner();
  const [here, there] = skip ? ([] as never) : namespacePair(suite);
  const folder = skip ? '' : temporaryFolder(suite);
  const withCapability = join(folder, 'rcap-agent');
  let collector: Collector;
  let token: string;

  test.before(async () => {
    for (const n of [here, there]) {
      const quiet = ['sysctl', '-qw', `net.ipv6.conf.${n.interface}.disable_ipv6=1`];
      execFileSync('ip', [...n.prefix.slice(1), ...quiet]);
    }
    chmodSync(folder, 0o755);
    copyFileSync(EXECUTABLE, withCapability);
    execFileSync('setcap', ['cap_net_raw+ep', withCapability]);
    collector = await Collector.start(suite, { prefix: here.prefix });
    token = await collector.token('--host', '*');
  });

  const options = (prefix: string[] = []): StartOptions => ({
    env: { RCAP_TOKEN: token },
    prefix: [...here.prefix, ...prefix],
  });
  const send = (count: number, rate: number) =>
    execFileSync('ip', [
      ...there.prefix.slice(1),
      'python3',
      SENDER,
      there.interface,
      String(count),
      '64',
      String(rate),
    ]);
  const numbersOf = (host: string): number[] =>
    collector
      .published()
      .filter((f) => f.includes(`/${host}/`))
      .flatMap((f) => tshark(f, 'data.data').map(([data]) => Number.parseInt(data!.slice(0, 16), 16)));

  const STARTS = {
    // Without CAP_SETPCAP nobody may change the bounding set; no_new_privs makes it void.
    setcap: { command: withCapability, prefix: AS_USER, isUser: (uid: number) => uid === USER, bounding: undefined },
    root: { command: EXECUTABLE, prefix: [], isUser: (uid: number) => uid >= FIRST_UID, bounding: NONE },
  };
  for (const [name, { command, prefix, isUser, bounding }] of Object.entries(STARTS)) {
    test(`started with ${name}: no thread has any, and nothing is lost through a collector that starts again`, async (t) => {
      const args = ['-i', here.interface, '--host-name', name, '-v', 'not arp'];
      const agent = new Program(t, command, [...collector.address, ...args], options(prefix));
      await agent.says(/goes on as .*capabilities none/);
      await agent.says(/listening on/);
      assertBare(agent.pid, isUser, bounding);
      send(10_000, 20_000);
      await collector.stop();
      const port = String(collector.port);
      collector = await Collector.start(suite, {
        prefix: here.prefix,
        folder: collector.folder,
        listen: `127.0.0.1:${port}`,
      });
      await agent.says(/connected again/);
      send(10_000, 20_000);
      assertBare(agent.pid, isUser, bounding);
      agent.kill('SIGINT');
      const end = await agent.end();
      assert.equal(end.code, 0, end.stderr);
      assert.match(end.stderr, /20000 packets captured\n.*20000 packets received.*\n.*0 packets dropped by kernel/);
      assert.match(end.stderr, /20000 packets sent, 20000 acknowledged/);
      const sent = Array.from({ length: 10_000 }, (_, i) => [i, i]).flat();
      assert.deepEqual(
        numbersOf(name).toSorted((x, y) => x - y),
        sent,
      );
    });
  }

  test('what is left out of the capture can still change', async (t) => {
    const own = await Collector.start(t, { prefix: here.prefix, listen: '127.0.0.1:0' });
    const second = ['--server', 'localhost:1'];
    const env = { RCAP_TOKEN: await own.token() };
    const agent = new Program(t, EXECUTABLE, [...own.address, ...second, '-i', 'lo', '-v'], { ...options(), env });
    await agent.says(/listening on lo/);
    own.kill('SIGKILL');
    await agent.says(/filter on lo is now: .*127\.0\.0\.1 and tcp dst port 1\)/);
    assert.doesNotMatch(agent.stderr, /could not change/);
  });

  test('with --spool-dir root goes, too, and files are still made there, below a folder that is for root alone', async (t) => {
    mkdirSync(join(folder, 'closed'), { mode: 0o700 });
    const spool = join(folder, 'closed', 'spool');
    const flags = ['-i', here.interface, '--host-name', 'spool', '--spool', '1M', '--spool-dir', spool, '-v'];
    const agent = new Program(t, EXECUTABLE, [...collector.address, ...flags], options());
    await agent.says(/listening on/);
    assertBare(agent.pid, (uid) => uid >= FIRST_UID, NONE);
    collector.kill('SIGSTOP');
    send(60_000, 60_000);
    const openSpool = () =>
      readdirSync(`/proc/${agent.pid}/fd`).some((fd) => linkOf(agent.pid, fd).startsWith(`${spool}/`));
    await until('a file of the spool', openSpool);
    assert.deepEqual(readdirSync(spool), []);
    collector.kill('SIGCONT');
    agent.kill('SIGINT');
    const end = await agent.end();
    assert.equal(end.code, 0, end.stderr);
    assert.match(end.stderr, /(\d+) packets sent, \1 acknowledged/);
    assert.doesNotMatch(end.stderr, /could not/);
    assert.ok(numbersOf('spool').length >= 60_000);
    assert.deepEqual(readdirSync(spool), []);
  });

  test('root stays for a spool folder that is not only that, and this is said', async (t) => {
    const spool = temporaryFolder(t);
    writeFileSync(join(spool, 'file'), '');
    const agent = new Program(t, EXECUTABLE, [...collector.address, '-i', 'lo', '--spool-dir', spool], options());
    await agent.says(/warning: could not give up all privileges: root stays the user: only root can make files in/);
    assertBare(agent.pid, (uid) => uid === 0, NONE);
    assert.equal(statSync(spool).mode & 0o7777, 0o700);
  });

  test('system calls are refused before the first byte of a stranger is read', async (t) => {
    const silent = createServer().listen(0, '127.0.0.1');
    t.after(() => silent.close());
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const words = ['--server', `127.0.0.1:${port}`, '--pin', collector.pin, '-i', 'lo'];
    const agent = new Program(t, EXECUTABLE, words, { env: { RCAP_TOKEN: token } });
    const [peer] = (await once(silent, 'connection')) as [Socket];
    for (const s of statuses(agent.pid)) assert.deepEqual([s.uid, s.noNewPrivileges, s.seccomp], ['0', '1', '2']);
    peer.destroy();
  });

  test('-w was opened before, and is written to the end', async (t) => {
    const file = join(folder, 'private', 'out.pcap');
    mkdirSync(join(folder, 'private'), { mode: 0o700 });
    const agent = new Program(t, EXECUTABLE, ['-w', file, '-i', here.interface, '-c', '1000'], options());
    await agent.says(/listening on/);
    await until('the end of root', () => statuses(agent.pid).every((s) => Number(s.uid) >= FIRST_UID));
    send(1000, 0);
    assert.equal((await agent.end()).code, 0);
    assert.equal(packetsIn(file), 1000);
  });

  test('a user without any privilege is told what to do', async (t) => {
    const agent = new Program(t, EXECUTABLE, [...collector.address, '-i', 'lo'], options(AS_USER));
    const end = await agent.end();
    assert.equal(end.code, 1);
    assert.match(end.stderr, /could not capture on 'lo': not permitted/);
    assert.match(end.stderr, /hint: run it as root, or once: sudo setcap cap_net_raw\+ep \/.*rcap-agent-linux-x64/);
  });

  test('-r needs none, and root gives up all for it', async (t) => {
    const input = pcapBytes(somePackets(2000));
    for (const prefix of [AS_USER, []]) {
      const host = `read${prefix.length}`;
      const args = [...collector.address, '-r', '-', '-v', '--host-name', host];
      const end = await new Program(t, EXECUTABLE, args, { ...options(prefix), input }).end();
      assert.equal(end.code, 0, end.stderr);
      assert.match(end.stderr, /goes on as uid (54321|21\d{8}), .*capabilities none/);
      assert.match(end.stderr, /2000 packets sent, 2000 acknowledged/);
    }
  });
});

function linkOf(pid: number, fd: string): string {
  try {
    return execFileSync('readlink', [`/proc/${pid}/fd/${fd}`], { encoding: 'utf8' });
  } catch {
    return ''; // closed meanwhile
  }
}
