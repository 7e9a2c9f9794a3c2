/** `--footprint` against what strace sees the packaged agent do: nothing is missing, and nothing is made up. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Footprint } from '../agent/footprint.ts';
import { MAX_KINDS, touch, type Touch, touched } from '../footprint.ts';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { cleaner, Collector, lacks, lacksRoot, run, temporaryFolder } from './support.ts';

const EXECUTABLE = fileURLToPath(new URL('../../dist/rcap-agent-linux-x64', import.meta.url));
const skip =
  lacksRoot ||
  (!existsSync(EXECUTABLE) && 'needs the executables: npm run package') ||
  lacks('ip', 'strace', 'unshare');

/** What a call that succeeded did, in the footprint's words; and its line. */
type Act = Pick<Touch, 'how' | 'target'> & { line?: string };

/** Calls that open or change something on the host, and calls that make sockets do something. */
const TRACED =
  'open,openat,openat2,creat,execve,execveat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,' +
  'symlink,symlinkat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,truncate,mknod,mknodat,mount,utimensat,' +
  'socket,connect,bind,listen,sendto,kill';

const place = (path: string): string => {
  if (path.startsWith('/proc/')) return path.replace(/^\/proc\/self\/(task|fd)\/\d+/, '/proc/self/$1/*');
  try {
    return realpathSync(path);
  } catch {
    return existsSync(dirname(path)) ? join(realpathSync(dirname(path)), path.slice(dirname(path).length + 1)) : path;
  }
};

/** What was opened to be changed. */
const byDescriptor = new Map<string, string>();

/** One rule for each kind of call; what has none fails the test. */
const RULES: [call: RegExp, act: (match: RegExpExecArray) => Act | undefined][] = [
  [/^open(?:at)?\((?:AT_FDCWD, )?"([^"]*)", [^)]*O_TMPFILE/, (m) => ({ how: 'made without a name', target: place(m[1]!) })], // prettier-ignore
  [/^open(?:at)?\((?:AT_FDCWD, )?"([^"]*)", [^)]*O_CREAT[^)]*O_EXCL/, (m) => ({ how: 'made and removed', target: place(m[1]!) })], // prettier-ignore
  [/^open(?:at)?\((?:AT_FDCWD, )?"([^"]*)", [^)]*O_CREAT/, (m) => ({ how: 'written', target: place(m[1]!) })],
  [
    /^openat\(AT_FDCWD, "([^"]*)", O_RDONLY\|[^)]*O_NOFOLLOW[^)]*\) = (\d+)/,
    (m) => {
      byDescriptor.set(m[2]!, place(m[1]!));
      return { how: 'read', target: place(m[1]!) };
    },
  ],
  [/^fch(?:own|mod)\((\d+),/, (m) => ({ how: 'lent', target: byDescriptor.get(m[1]!) ?? '?' })],
  [/^open(?:at)?\((?:AT_FDCWD, )?"([^"]*)", O_RDONLY/, (m) => ({ how: 'read', target: place(m[1]!) })],
  [/^unlink\("([^"]*)"\)/, (m) => ({ how: 'made and removed', target: place(m[1]!) })],
  [/^mkdir\("([^"]*)"/, (m) => ({ how: 'made', target: place(m[1]!) })],
  [/^execve\("([^"]*)"/, (m) => ({ how: 'read', target: place(m[1]!) })],
  [/^bind\(\d+, \{sa_family=AF_PACKET.*if_nametoindex\("([^"]*)"\)/, (m) => ({ how: 'packet socket', target: m[1]! })],
  [/^(?:socket\(AF_NETLINK|bind\(\d+, \{sa_family=AF_NETLINK|sendto\(\d+, .*AF_NETLINK)/, () => ({ how: 'netlink socket', target: 'the kernel' })], // prettier-ignore
  // Port 9, by a datagram socket, which has no port of its own before.
  [/^bind\(\d+, \{sa_family=AF_INET, sin_port=htons\(0\)/, () => undefined],
  [/^connect\(\d+, \{sa_family=AF_INET, sin_port=htons\(9\), sin_addr=inet_addr\("([^"]*)"\)/, (m) => ({ how: 'route', target: m[1]! })], // prettier-ignore
  [/^connect\(\d+, \{sa_family=AF_INET, sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]*)"\)/, (m) => ({ how: 'tcp attempt', target: `${m[2]}:${m[1]}` })], // prettier-ignore
  [/^(?:socket|connect)\(.*AF_UNIX/, () => ({ how: 'looked up', target: 'localhost' })],
  // They count once they are bound or connected.
  [/^socket\(AF_(?:PACKET|INET)/, () => undefined],
];

/** The program at the end of strace's own first line, with the interpreter that the kernel opens along with it. */
function actsIn(folder: string): Act[] {
  const acts: Act[] = [{ how: 'read', target: realpathSync('/lib64/ld-linux-x86-64.so.2') }];
  for (const file of readdirSync(folder)) {
    for (const line of readFileSync(join(folder, file), 'utf8').split('\n')) {
      if (line === '' || /^(?:\+\+\+|---)/.test(line)) continue;
      // A connection that isn't made yet was tried, and a service of names that isn't there was asked for.
      if (/ = -1 E/.test(line) && !/ = -1 EINPROGRESS| = -1 ECONNREFUSED/.test(line)) continue;
      const rule = RULES.find(([call]) => call.test(line));
      assert.ok(rule, `no rule for: ${line}`);
      const act = rule[1](rule[0].exec(line)!);
      if (act) acts.push({ ...act, line });
    }
  }
  return acts;
}

const form = (target: string): RegExp =>
  new RegExp(`^${target.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*\*|\*/g, (m) => (m === '**' ? '.*' : '[^/]*'))}$`); // prettier-ignore
/** Links lead elsewhere: what was asked for counts, and what it is. */
const sames = (listed: Act, seen: Act) => {
  const asked = /"([^"]*)"/.exec(seen.line ?? '')?.[1] ?? '';
  return did(listed) === seen.how && [seen.target, asked].some((target) => form(listed.target).test(target));
};
const did = ({ how }: Act) => (how === 'may have read' ? 'read' : how);
const text = ({ how, target }: Act) => `${how} ${target}`;
const unique = (acts: Act[]) => [...new Set(acts.map(text))].toSorted();

function assertSame(seen: Act[], said: Footprint): void {
  const listed = [...said.touched, ...said.bySystem]
    .map((t) => ({ ...t, target: t.target.startsWith('/') ? place(t.target) : t.target }))
    // strace sees where it goes, not from where: that is checked by itself.
    .filter((t) => t.how !== 'tcp');
  assert.equal(said.beyond, 0);
  assert.deepEqual(unique(seen.filter((s) => !listed.some((l) => sames(l, s)))), [], 'seen by strace, but not listed');
  const certain = listed.filter((l) => l.how === did(l));
  assert.deepEqual(unique(certain.filter((l) => !seen.some((s) => sames(l, s)))), [], 'listed, but not seen by strace');
}

describe('the footprint', { skip }, () => {
  const suite = cleaner();
  let collector: Collector;
  let token: string;
  test.before(async () => {
    collector = await Collector.start(suite);
    token = await collector.token('--host', '*');
  });

  /** Runs the agent under strace, and tells what it said of itself. */
  async function traced(t: Parameters<typeof run>[0], folder: string, args: string[], prefix: string[] = []) {
    const traces = join(folder, 'traces');
    mkdirSync(traces);
    const strace = ['strace', '-ff', '-s', '4096', '-o', join(traces, 't'), '-e', `trace=${TRACED}`];
    const end = await run(t, EXECUTABLE, [...args, '--footprint', '--json'], { prefix: [...prefix, ...strace] });
    const line = end.stderr.split('\n').find((l) => l.includes('"message":"footprint"'));
    assert.ok(line, end.stderr);
    return { end, said: JSON.parse(line) as Footprint, seen: actsIn(traces) };
  }

  test('of a live capture: name, token file, settings, spool folder, packet socket', async (t) => {
    const folder = temporaryFolder(t);
    const file = (name: string, content: string) => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    const settings = file('settings', JSON.stringify({ server: `localhost:${collector.port}`, snaplen: 1000 }));
    const whom = ['--settings', settings, '--token-file', file('token', token), '--pin', collector.pin];
    const args = [...whom, '--spool-dir', join(folder, 'spool'), '-i', 'lo', '--duration', '500ms'];
    const { end, said, seen } = await traced(t, folder, args);
    assert.equal(end.code, 0, end.stderr);
    assertSame(seen, said);
    const connection = said.touched.filter((x) => x.how === 'tcp').map((x) => x.target);
    assert.equal(connection.length, 1);
    assert.match(connection[0]!, new RegExp(`^127\\.0\\.0\\.1:\\d+ -> 127\\.0\\.0\\.1:${collector.port}$`));
    const { before, after } = said.privileges;
    assert.notEqual(before!.effective, after!.effective);
    assert.deepEqual([after!.effective, after!.bounding, after!.seccomp], ['0'.repeat(16), '0'.repeat(16), 2]);
  });

  test('of a file that is read and written, without any network', async (t) => {
    const folder = temporaryFolder(t);
    const [input, output] = [join(folder, 'in.pcap'), join(folder, 'out.pcap')];
    writeFileSync(input, pcapBytes(somePackets(100)));
    const { end, said, seen } = await traced(t, folder, ['-r', input, '-w', output]);
    assert.equal(end.code, 0, end.stderr);
    assertSame(seen, said);
    assert.ok(said.touched.some((x) => x.how === 'written' && x.target === resolve(output)));
  });

  test("of a connection that the system's CAs are asked about", async (t) => {
    const args = ['--server', `127.0.0.1:${collector.port}`, '-i', 'lo'];
    const { end, said, seen } = await traced(t, temporaryFolder(t), args);
    assert.equal(end.code, 1);
    assert.match(end.stderr, /could not trust/);
    assertSame(seen, said);
  });

  test('of a capture that never had a collector, on the interface that would lead there', async (t) => {
    const whom = ['--server', '127.0.0.1:1', '--pin', collector.pin, '--token', 'rcap_no'];
    // Other tests' packets would be lost ones.
    const args = [...whom, '--give-up', '1s', 'ether proto 0x88b5'];
    const { end, said, seen } = await traced(t, temporaryFolder(t), args);
    assert.equal(end.code, 1);
    assertSame(seen, said);
    assert.deepEqual(said.touched.filter((x) => ['route', 'packet socket'].includes(x.how)).map(text), ['route 127.0.0.1', 'packet socket lo']); // prettier-ignore
  });

  const bundle = '/etc/ssl/certs/ca-certificates.crt';
  const noBundle = !existsSync(bundle) && `needs ${bundle}`;
  test("of a file of the system's CAs that has none", { skip: noBundle }, async (t) => {
    const folder = temporaryFolder(t);
    const empty = join(folder, 'empty.crt');
    writeFileSync(empty, '');
    const prefix = ['unshare', '-m', 'sh', '-c', `mount --bind ${empty} ${bundle} && exec "$@"`, 'sh'];
    const { end, said, seen } = await traced(
      t,
      folder,
      ['--server', `127.0.0.1:${collector.port}`, '-i', 'lo'],
      prefix,
    );
    assert.equal(end.code, 1);
    assertSame(seen, said);
    assert.ok(said.touched.some((x) => x.how === 'read' && x.target === bundle));
  });

  test('of a capture that failed to start', async (t) => {
    const folder = temporaryFolder(t);
    const { end, said, seen } = await traced(t, folder, ['-i', 'nonesuch', '-w', join(folder, 'out.pcap')]);
    assert.equal(end.code, 1);
    assertSame(seen, said);
  });
});

test('what goes beyond a bound is counted', () => {
  for (let i = 0; i < 2; i++) touch('read', '/a/file', 'this test');
  assert.deepEqual(
    touched().list.filter((x) => x.why === 'this test'),
    [{ how: 'read', target: '/a/file', why: 'this test', times: 2 }],
  );
  const before = touched().list.length;
  for (let i = 0; i < MAX_KINDS + 10 - before; i++) touch('read', `/${i}`, 'this test');
  assert.equal(touched().list.length, MAX_KINDS);
  assert.equal(touched().beyond, 10);
});
