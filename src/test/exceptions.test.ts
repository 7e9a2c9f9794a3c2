/**
 * Exceptions as a user gives them, on a host of its own with a real name server (dnsmasq) whose answers change. Whether an
 * address is left out is tried by sending there; a second datagram to an address that never is says that the first one has
 * been captured by then, if it is at all.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as packet from 'dns-packet';
import { pcapBytes } from './pcap-bytes.ts';
import { AGENT, cleaner, cleanUp, lacks, lacksAddon, lacksRoot, namespacePair, PATIENCE_MS, Program, runAgent, temporaryFolder, until } from './support.ts'; // prettier-ignore

const PUPPET = fileURLToPath(new URL('dns_puppet.py', import.meta.url));
const skip = lacksRoot || lacksAddon || lacks('ip', 'python3', 'dnsmasq');
/** Never left out. */
const MARKER = '10.88.255.1';

describe('exceptions on a host with a name server', { skip }, () => {
  const suite = cleaner();
  const [host, server] = skip ? ([] as never) : namespacePair(suite);
  const folder = temporaryFolder(suite);
  const hosts = join(folder, 'hosts');
  const files = { learning: join(folder, 'learning.pcap'), strict: join(folder, 'strict.pcap') };
  let names: Program;
  let agents: Record<keyof typeof files, Program>;
  let port = 20_000;

  const puppet = (where: typeof host, ...words: string[]) =>
    execFileSync(where.prefix[0]!, [...where.prefix.slice(1), 'python3', PUPPET, ...words], { timeout: PATIENCE_MS });
  const ask = (way: 'udp' | 'tcp', name: string, kind = 'A') => puppet(host, 'ask', server.address, way, name, kind);

  /** The name server says this from now on. */
  function say(...lines: string[]): void {
    writeFileSync(hosts, lines.join('\n'));
    names.kill('SIGHUP');
  }

  /** By which of the two agents a datagram to there was captured. */
  async function probe(address: string): Promise<Record<keyof typeof files, boolean>> {
    port++;
    puppet(host, 'send', address, `${port}`);
    puppet(host, 'send', MARKER, `${port}`);
    const seen = (file: string) => datagrams(file).filter((d) => d.port === port).map((d) => d.to); // prettier-ignore
    await until('the marker', () => Object.values(files).every((file) => seen(file).includes(MARKER)));
    const by = (file: string) => seen(file).includes(address);
    return { learning: by(files.learning), strict: by(files.strict) };
  }

  async function untilProbe(address: string, what: { learning: boolean; strict: boolean }): Promise<void> {
    let last;
    for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(200)) {
      last = await probe(address);
      if (last.learning === what.learning && last.strict === what.strict) return;
    }
    assert.deepEqual(last, what, address);
  }

  test.before(async () => {
    for (const [n, own] of [
      [host, 'fd77::1'],
      [server, 'fd77::2'],
    ] as const)
      // prettier-ignore
      execFileSync('ip', ['-n', n.name, 'address', 'add', `${own}/64`, 'dev', n.interface, 'nodad']);
    execFileSync('ip', ['-n', host.name, 'route', 'add', '10.88.0.0/16', 'via', server.address]);
    execFileSync('ip', ['-n', host.name, 'route', 'add', 'fd88::/16', 'via', 'fd77::2']);
    const etc = `/etc/netns/${host.name}`;
    mkdirSync(etc, { recursive: true });
    cleanUp(suite, () => rmSync(etc, { recursive: true }));
    writeFileSync(join(etc, 'resolv.conf'), `nameserver ${server.address}\n`);
    writeFileSync(hosts, '');
    const chain = ['app.cdn.example,mid.example', 'mid.example,origin.example'].map((c) => `--cname=${c}`);
    const flags = ['--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--pid-file', '--log-facility=-', '--user=root', '--local-ttl=2']; // prettier-ignore
    names = new Program(suite, 'dnsmasq', [...flags, ...chain, `--addn-hosts=${hosts}`], { prefix: server.prefix });
    await names.says(/started/);
    say('10.88.1.1 www.site.example', 'fd88::1 www.site.example', '10.88.2.1 edge1.cdn.example', '10.88.2.2 origin.example', '10.88.2.3 edge2.cdn.example', '10.88.2.4 elsewhere.example', 'fd88::2 edge6.cdn.example'); // prettier-ignore
    const start = (file: string, ...more: string[]) =>
      new Program(suite, process.execPath, [AGENT, '-i', host.interface, '-w', file, '--except', 'www.site.example', '--except', '*.cdn.example', '--except', '10.88.3.0/24', '--json', ...more], { prefix: host.prefix }); // prettier-ignore
    agents = { learning: start(files.learning), strict: start(files.strict, '--exceptions-strict') };
    for (const agent of Object.values(agents)) await agent.says(/listening on/);
  });

  test('a network is left out from the start', async () => {
    assert.deepEqual(await probe('10.88.3.7'), { learning: false, strict: false });
    assert.deepEqual(await probe('10.88.4.7'), { learning: true, strict: true });
  });

  test('a name is looked up by the agent, without its privileges by now, and followed as its address changes', async () => {
    const out = { learning: false, strict: false };
    await untilProbe('10.88.1.1', out);
    await untilProbe('fd88::1', out);
    say('10.88.1.2 www.site.example', '10.88.2.1 edge1.cdn.example', '10.88.2.2 origin.example', '10.88.2.3 edge2.cdn.example', 'fd88::2 edge6.cdn.example'); // prettier-ignore
    await untilProbe('10.88.1.2', out);
    await untilProbe('10.88.1.1', { learning: true, strict: true });
    await untilProbe('fd88::1', { learning: true, strict: true });
    assert.deepEqual(await probe('10.88.1.2'), out);
  });

  test("names are learned from the host's own answers, unless it is strict", async () => {
    const learned = { learning: false, strict: true };
    assert.deepEqual(await probe('10.88.2.1'), { learning: true, strict: true });
    ask('udp', 'edge1.cdn.example');
    await untilProbe('10.88.2.1', learned);
    ask('udp', 'edge6.cdn.example', 'AAAA');
    await untilProbe('fd88::2', learned);
    // Over two other names.
    ask('udp', 'app.cdn.example');
    await untilProbe('10.88.2.2', learned);
    ask('tcp', 'edge2.cdn.example');
    await untilProbe('10.88.2.3', learned);
    // Not said again: captured again.
    await untilProbe('10.88.2.1', { learning: true, strict: true });
  });

  test('what is no exception, and an answer that nobody asked for, teach nothing', async () => {
    ask('udp', 'elsewhere.example');
    puppet(server, 'forge', host.address, '4000', 'evil.cdn.example', '10.88.2.9');
    // The host's own address is never left out, whatever a name server says.
    say('10.77.0.1 home.cdn.example', '10.88.2.5 last.cdn.example');
    ask('udp', 'home.cdn.example');
    ask('udp', 'last.cdn.example');
    await untilProbe('10.88.2.5', { learning: false, strict: true });
    assert.deepEqual(await probe('10.88.2.4'), { learning: true, strict: true });
    assert.deepEqual(await probe('10.88.2.9'), { learning: true, strict: true });
    await agents.learning.says(
      /'\*\.cdn\.example' has the address 10\.77\.0\.1, which is not left out: it is an address of this host/,
    );
  });

  test('at the end each entry has its packets, and all add up', async () => {
    for (const [name, agent] of Object.entries(agents)) {
      agent.kill('SIGINT');
      const { code, stderr } = await agent.end();
      assert.equal(code, 0, stderr);
      const done = JSON.parse(/^.*"message":"done".*$/m.exec(stderr)![0]) as Done;
      const counts = Object.values(done.excludedBy).map((c) => c.packets);
      assert.equal(
        counts.reduce((a, b) => a + b),
        done.excluded,
      );
      assert.equal(done.excludedBy['10.88.3.0/24']!.packets, 1);
      assert.ok(done.excludedBy['www.site.example']!.packets >= 3);
      assert.equal('*.cdn.example' in done.excludedBy, name === 'learning');
    }
  });
});

describe('exceptions and a file', { skip: lacksAddon }, () => {
  const suite = cleaner();
  const folder = temporaryFolder(suite);
  const u16 = (...values: number[]) => values.flatMap((v) => [v >> 8, v & 255]);
  const ipv4 = (text: string) => text.split('.').map(Number);
  function udp(from: string, fromPort: number, to: string, toPort: number, data: Uint8Array): Uint8Array {
    const payload = [...u16(fromPort, toPort, 8 + data.length, 0), ...data];
    const head = [0x45, 0, ...u16(20 + payload.length, 0, 0), 64, 17, 0, 0, ...ipv4(from), ...ipv4(to)];
    return Uint8Array.from([...Array<number>(12).fill(2), 8, 0, ...head, ...payload]);
  }
  const questions: packet.Question[] = [{ type: 'A', class: 'IN', name: 'x.cdn.example' }];
  const answers: packet.Answer[] = [{ type: 'A', class: 'IN', name: 'x.cdn.example', ttl: 1, data: '192.0.2.1' }];
  const query = udp('10.0.0.1', 999, '10.0.0.2', 53, packet.encode({ type: 'query', id: 1, questions }));
  const answer = udp('10.0.0.2', 53, '10.0.0.1', 999, packet.encode({ type: 'response', id: 1, questions, answers }));
  const traffic = (port: number) => udp('10.0.0.1', port, '192.0.2.1', 9, Uint8Array.of(1));

  function write(name: string, packets: Uint8Array[]): string {
    const file = join(folder, name);
    writeFileSync(file, pcapBytes(packets.map((data, i) => ({ seconds: 1e9 + i, nanoseconds: 0, data }))));
    return file;
  }

  test('what comes behind an answer is left out, what comes before it is not', async (t) => {
    // Many times, so that no packet slips through while the answer is on its way.
    const rounds = Array.from({ length: 200 }, (_, i) => [query, answer, traffic(i)]);
    const file = write('in.pcap', [traffic(1), traffic(2), ...rounds.flat()]);
    const out = join(folder, 'out.pcap');
    const { code, stderr } = await runAgent(t, ['-r', file, '-w', out, '--except', '*.cdn.example', '--json']);
    assert.equal(code, 0, stderr);
    assert.equal(datagrams(out).filter((d) => d.to === '192.0.2.1').length, 2);
    assert.equal(datagrams(out).length, 402);
    const done = JSON.parse(/^.*"message":"done".*$/m.exec(stderr)![0]) as Done;
    assert.equal(done.excluded, 200);
    assert.deepEqual(done.excludedBy, { '*.cdn.example': { packets: 200, bytes: 200 * traffic(0).length } });
    const strict = await runAgent(t, ['-r', file, '-w', out, '--except', '*.cdn.example', '--exceptions-strict']);
    assert.match(strict.stderr, /602 packets captured/);
  });

  test('lists and entries add up; the report says what was left out by which, and warns of very much', async (t) => {
    const list = join(folder, 'my.list');
    writeFileSync(list, '\ufeff# what we know\r\n192.0.2.0/28 # lab\r\n');
    const packets = Array.from({ length: 1500 }, (_, i) => traffic(i));
    const other = udp('10.9.9.9', 1, '10.9.9.8', 2, Uint8Array.of(1));
    const file = write('much.pcap', [...packets, other, query]);
    const args = ['-r', file, '-w', '/dev/null', '--exceptions', list, '--except', '10.9.9.9'];
    const { code, stderr } = await runAgent(t, args);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /\b1501 packets excluded\n/);
    assert.match(stderr, /exceptions left out 99\.9 % of what was received:\n.*1500 packets excluded by 192\.0\.2\.0\/28\n.*1 packet excluded by 10\.9\.9\.9\n/); // prettier-ignore
    assert.match(stderr, /warning: the exceptions leave out 99\.9 % of what is received/);
  });

  test('what can not be used is said with its place, and nothing starts', async (t) => {
    const out = join(folder, 'never.pcap');
    const list = join(folder, 'bad.list');
    writeFileSync(list, '192.0.2.1\n10.0.0.1/8\n');
    const WRONG: [args: string[], message: RegExp][] = [
      [['--exceptions', list], /could not read '.*bad\.list', line 2: '10\.0\.0\.1\/8': bits are set behind the prefix length; the network is '10\.0\.0\.0\/8'\n.*hint: one entry a line/], // prettier-ignore
      [['--exceptions', join(folder, 'none')], /could not read the exceptions '.*none': no such file/],
      [['--except', '10.0.0.1/8'], /the network is '10\.0\.0\.0\/8'/],
      [['--except', '0.0.0.0/0'], /covers 100 % of all IPv4 addresses; at most 6\.25 %/],
    ];
    for (const [args, message] of WRONG) {
      const { code, stderr } = await runAgent(t, ['-r', write('in.pcap', [query]), '-w', out, ...args]);
      assert.equal(code, 2);
      assert.match(stderr, message);
    }
    assert.throws(() => readFileSync(out), { code: 'ENOENT' });
  });
});

interface Done {
  excluded: number;
  excludedBy: Record<string, { packets: number }>;
}

/** UDP in a file that is still being written: where to. */
function datagrams(file: string): { to: string; port: number }[] {
  const bytes = readFileSync(file);
  const found = [];
  for (let at = 24; at + 16 <= bytes.length;) {
    const length = bytes.readUInt32LE(at + 8);
    const packet = bytes.subarray(at + 16, at + 16 + length);
    if (packet.length < length) break;
    at += 16 + length;
    const type = packet.readUInt16BE(12);
    if (type === 0x0800 && packet[23] === 17) found.push({ to: packet.subarray(30, 34).join('.'), port: packet.readUInt16BE(36) }); // prettier-ignore
    if (type === 0x86dd && packet[20] === 17) {
      const groups = Array.from({ length: 8 }, (_, i) => packet.readUInt16BE(38 + 2 * i).toString(16));
      found.push({ to: groups.join(':').replace(/:0(:0)+:/, '::'), port: packet.readUInt16BE(56) });
    }
  }
  return found;
}
