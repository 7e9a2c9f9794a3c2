/** Live capture as a user runs it: real interfaces between two network namespaces, real TLS, files read back. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Report } from '../collector/report.ts';
import type { Tally } from '../collector/runs.ts';
import type { Ledger } from '../ledger.ts';
import {
  AGENT,
  cleaner,
  Collector,
  type Finished,
  lacks,
  lacksAddon,
  lacksRoot,
  namespacePair,
  Program,
  run,
  runAgent,
  tshark,
  until,
  temporaryFolder,
} from './support.ts';

/** Lines of a program with --json. */
const lines = ({ stderr }: Finished, which: RegExp): unknown[] =>
  stderr
    .split('\n')
    .filter((line) => which.test(line))
    .map((line) => JSON.parse(line) as unknown);

const SENDER = fileURLToPath(new URL('send_frames.py', import.meta.url));
const skip = lacksRoot || lacksAddon || lacks('ip', 'tshark', 'capinfos', 'python3');

describe('a live capture', { skip }, () => {
  const suite = cleaner();
  // Three cables between the same two namespaces: here are collector and agent, there is the traffic.
  const [here, there] = skip ? ([] as never) : namespacePair(suite);
  const cables = skip ? [] : [[here.interface, there.interface], cable('x'), cable('y')];
  let collector: Collector;
  let token: string;

  function cable(letter: string): [string, string] {
    const [a, b] = [`${letter}${process.pid}a`, `${letter}${process.pid}b`];
    execFileSync('ip', ['link', 'add', a, 'netns', here.name, 'type', 'veth', 'peer', 'name', b, 'netns', there.name]);
    for (const [n, dev] of [
      [here.name, a],
      [there.name, b],
    ] as const) {
      // No IPv6: its own chatter isn't what is counted here.
      execFileSync('ip', ['netns', 'exec', n, 'sysctl', '-qw', `net.ipv6.conf.${dev}.disable_ipv6=1`]);
      execFileSync('ip', ['-n', n, 'link', 'set', dev, 'up']);
    }
    return [a, b];
  }

  test.before(async () => {
    collector = await Collector.start(suite, { prefix: here.prefix });
    token = await collector.token('--host', '*');
  });

  const options = () => ({ env: { RCAP_TOKEN: token }, prefix: here.prefix });
  const agent = (t: Parameters<typeof runAgent>[0], ...args: string[]) =>
    new Program(t, process.execPath, [AGENT, ...collector.address, ...args], options());
  const send = (cable: number, ...args: string[]) =>
    Number(
      execFileSync('ip', ['netns', 'exec', there.name, 'python3', SENDER, cables[cable]![1]!, ...args], {
        encoding: 'utf8',
      }),
    );
  const filesOf = (host: string) => collector.published().filter((f) => f.includes(`/${host}/`));
  /** Numbers of our frames in a host's files, in order of the files. */
  const numbersOf = (host: string): number[] => filesOf(host).flatMap(numbersIn);

  test('every packet is in the files once, and the ledger balances', async (t) => {
    const a = agent(t, '-i', here.interface, '--host-name', 'once', 'ether proto 0x88b5');
    await a.says(/listening on/);
    send(0, '100000', '64', '50000');
    a.kill('SIGINT');
    const end = await a.end();
    assert.equal(end.code, 0, end.stderr);
    assert.match(
      end.stderr,
      /100000 packets captured\n.*100000 packets received by filter\n.*0 packets dropped by kernel/,
    );
    assert.match(end.stderr, /100000 packets sent, 100000 acknowledged/);
    assert.deepEqual(
      numbersOf('once').toSorted((x, y) => x - y),
      Array.from({ length: 100_000 }, (_, i) => i),
    );
  });

  test('--count of three interfaces together ends with exactly that many in the files', async (t) => {
    const a = agent(t, ...cables.flatMap(([dev]) => ['-i', dev!]), '--host-name', 'three', '--count', '20000');
    await a.says(/(listening on[\s\S]*){3}/);
    const senders = cables.map(([, dev]) =>
      run(t, 'python3', [SENDER, dev!, '30000', '64', '0'], { prefix: there.prefix }),
    );
    const end = await a.end();
    await Promise.all(senders);
    assert.equal(end.code, 0, end.stderr);
    assert.match(end.stderr, /20000 packets captured/);
    assert.equal(
      filesOf('three').reduce((n, f) => n + packets(f), 0),
      20_000,
    );
  });

  test('--bytes ends with the packet that reaches them', async (t) => {
    const a = agent(t, '-i', cables[1]![0]!, '--host-name', 'bytes', '--bytes', '1000');
    await a.says(/listening on/);
    send(1, '50', '300', '0');
    assert.equal((await a.end()).code, 0);
    assert.deepEqual(numbersOf('bytes'), [0, 1, 2, 3]);
  });

  test('--duration ends a capture on a silent interface, and SIGTERM does', async (t) => {
    const timed = await agent(t, '-i', cables[2]![0]!, '--host-name', 'silent', '--duration', '300ms').end();
    assert.equal(timed.code, 0, timed.stderr);
    assert.match(timed.stderr, /0 packets captured/);
    const a = agent(t, '-i', cables[2]![0]!, '--host-name', 'silent');
    await a.says(/listening on/);
    a.kill('SIGTERM');
    assert.equal((await a.end()).code, 0);
    assert.deepEqual(filesOf('silent'), []);
  });

  test('all kinds of frames are kept: ARP, LLDP, ICMP, a fragment, a frame without a known type', async (t) => {
    const frames = [
      'ffffffffffff020000000002080600010800060400010200000000020a4d00020000000000000a4d0909',
      '0180c200000e02000000000288cc020704020000000002040405657468300602007800000000',
      '02000000000102000000000208004500001c00010000400166c90a4d00020a4d00010800f7fd00010001',
      '02000000000102000000000208004500001c00020005401166b30a4d00020a4d0001aabbccddeeff0011',
      '020000000001020000000002fffe',
    ];
    const a = agent(t, '-i', cables[1]![0]!, '--host-name', 'kinds', '--count', String(frames.length));
    await a.says(/listening on/);
    send(1, 'hex', ...frames);
    const end = await a.end();
    assert.equal(end.code, 0, end.stderr);
    const got = filesOf('kinds')
      .flatMap(recordsIn)
      .map((r) => r.toString('hex'));
    assert.deepEqual(got, frames);
  });

  test('our own connection is left out in both directions, another connection to that host is not', async (t) => {
    const a = agent(t, '-i', 'lo', '--host-name', 'own');
    await a.says(/listening on lo.*filter: not \(\(dst host 127\.0\.0\.1/);
    const probe = `require('node:net').connect(1, '127.0.0.1').on('error', () => {})`;
    await run(t, process.execPath, ['-e', probe], { prefix: here.prefix });
    await sleep(1500); // our own packets, once a second
    a.kill('SIGINT');
    const end = await a.end();
    assert.equal(end.code, 0, end.stderr);
    const ports = filesOf('own')
      .flatMap((f) => tshark(f, 'tcp.port'))
      .flat();
    assert.ok(
      ports.some((p) => p.split(',').includes('1')),
      'the probe is there',
    );
    assert.ok(!ports.some((p) => p.split(',').includes(String(collector.port))), 'our own packets are not');
  });

  test('with --give-up it captures before there is a collector, and sends that when there is one', async (t) => {
    const folder = temporaryFolder(t);
    const first = await Collector.start(t, { prefix: here.prefix, folder });
    const env = { RCAP_TOKEN: await first.token('--host', '*') };
    await first.stop();
    const early = (...args: string[]) =>
      new Program(t, process.execPath, [AGENT, '--server', `localhost:${first.port}`, '--pin', first.pin, ...args], {
        env,
        prefix: here.prefix,
      });
    const words = ['--give-up', 'never', '--host-name', 'early', 'ether proto 0x88b5'];
    const [named, found] = [early('-i', here.interface, ...words), early('--give-up', '1m', '--host-name', 'found')];
    await named.says(/listening on/);
    // The interface is the one that leads there.
    await found.says(/listening on lo/);
    send(0, '20000', '64', '50000');
    const listen = `127.0.0.1:${first.port}`;
    const second = await Collector.start(t, { prefix: here.prefix, folder, listen });
    for (const a of [named, found]) {
      await a.says(/connected to/);
      a.kill('SIGINT');
    }
    const end = await named.end();
    assert.equal(end.code, 0, end.stderr);
    assert.match(end.stderr, /20000 packets captured\n[^]*20000 packets sent, 20000 acknowledged/);
    assert.match(
      end.stderr.match(/filter on .* is now: .*/g)!.at(-1)!,
      /and not \(\(dst host 127\.0\.0\.1 and tcp dst port/,
    );
    const files = second.published().filter((f) => f.includes('/early/'));
    assert.deepEqual(
      files.flatMap(numbersIn).toSorted((x, y) => x - y),
      Array.from({ length: 20_000 }, (_, i) => i),
    );
    assert.equal((await found.end()).code, 0, found.stderr);
  });

  test('what was captured while no collector could be trusted is lost, and counted', async (t) => {
    const other = await Collector.start(t, { prefix: here.prefix });
    // Not the one that is meant.
    const whom = ['--server', `127.0.0.1:${other.port}`, '--pin', collector.pin, '--token', token];
    const flags = ['--give-up', '4s', '-i', here.interface, 'ether proto 0x88b5'];
    const a = new Program(t, process.execPath, [AGENT, ...whom, ...flags], { prefix: here.prefix });
    await a.says(/listening on/);
    send(0, '1000', '64', '50000');
    const { code, stderr } = await a.end();
    assert.equal(code, 3, stderr);
    assert.match(stderr, /error: gave up after 4 s without a connection: could not trust[^]*1000 packets captured\n/);
    assert.match(stderr, /1000 packets sent, 0 acknowledged\n.*1000 packets captured, but never acknowledged: lost/);
    assert.equal(stderr.match(/error:/g)!.length, 1);
  });

  test('a capture whose interface is gone waits for a collector no longer than --stop-within', async (t) => {
    const [mine, theirs] = namespacePair(t);
    const whom = ['--server', '127.0.0.1:1', '--pin', collector.pin, '--token', token];
    const flags = ['--give-up', 'never', '--stop-within', '1s', '-i', mine.interface, 'ether proto 0x88b5'];
    const a = new Program(t, process.execPath, [AGENT, ...whom, ...flags], { prefix: mine.prefix });
    await a.says(/listening on/);
    execFileSync('ip', ['netns', 'exec', theirs.name, 'python3', SENDER, theirs.interface, '500', '64', '50000']);
    execFileSync('ip', ['-n', mine.name, 'link', 'del', mine.interface]);
    const { code, stderr } = await a.end();
    assert.equal(code, 1, stderr);
    assert.match(stderr, /interface disappeared[^]*giving up[^]*500 packets captured, but never acknowledged: lost/);
  });

  test('where the way to the collector turns out to be another one, this is said', async (t) => {
    const [mine] = namespacePair(t);
    const ip = (...args: string[]) => execFileSync('ip', ['-n', mine.name, ...args]);
    ip('address', 'add', '198.51.100.1/24', 'dev', mine.interface);
    ip('route', 'add', 'default', 'dev', mine.interface);
    const folder = temporaryFolder(t);
    const first = await Collector.start(t, { prefix: mine.prefix, folder });
    const env = { RCAP_TOKEN: await first.token('--host', '*') };
    await first.stop();
    const whom = ['--server', `203.0.113.1:${first.port}`, '--pin', first.pin, '--give-up', 'never'];
    const a = new Program(t, process.execPath, [AGENT, ...whom], { env, prefix: mine.prefix });
    await a.says(new RegExp(`listening on ${mine.interface}`));
    ip('address', 'add', '203.0.113.1/32', 'dev', 'lo');
    await Collector.start(t, { prefix: mine.prefix, folder, listen: `203.0.113.1:${first.port}` });
    await a.says(/warning: captures on '.*', but the collector is reached from 203\.0\.113\.1\n.*hint: .*-i/);
    a.kill('SIGINT');
    assert.equal((await a.end()).code, 0);
  });

  test("a user's filter stands in parentheses", async (t) => {
    const end = await agent(t, '-i', cables[1]![0]!, '--duration', '100ms', '-f', 'arp or udp').end();
    assert.match(end.stderr, /filter: \(arp or udp\) and not \(/);
    const escape = await agent(t, '-i', cables[1]![0]!, '-f', 'arp) or (udp').end();
    assert.equal(escape.code, 2);
    assert.match(escape.stderr, /error: .*filter.*\n.*hint: /);
  });

  test('an interface that disappears ends its capture; what was captured is delivered', async (t) => {
    const [dev, peer] = cable('z');
    const a = agent(t, '-i', dev, '--host-name', 'gone');
    await a.says(/listening on/);
    execFileSync('ip', ['netns', 'exec', there.name, 'python3', SENDER, peer, '1000', '64', '0']);
    await until('the packets', () => collector.files().some((f) => f.startsWith('gone/')));
    execFileSync('ip', ['-n', here.name, 'link', 'del', dev]);
    const end = await a.end();
    assert.equal(end.code, 1);
    assert.match(end.stderr, /error: .*(disappeared|went down|down|gone)/);
    assert.equal(numbersOf('gone').length, 1000);
  });

  test('a segment is published while the capture goes on, and it begins at the true snaplen', async (t) => {
    const quick = await Collector.start(t, { prefix: here.prefix, flags: ['--rotate-idle', '200ms'] });
    const env = { RCAP_TOKEN: await quick.token() };
    const args = [AGENT, ...quick.address, '-i', cables[1]![0]!, '-s', '100', '--host-name', 'idle'];
    const a = new Program(t, process.execPath, args, { env, prefix: here.prefix });
    await a.says(/warning: packets are cut to 100 bytes: Arkime stops/);
    await a.says(/listening on/);
    send(1, '10', '200', '0');
    const [file] = await until('a published file', () => quick.published().length > 0 && quick.published());
    assert.ok(a.running);
    assert.equal(readFileSync(file!).readUInt32LE(16), 100);
    assert.deepEqual(tshark(file!, 'frame.cap_len', 'frame.len')[0], ['100', '200']);
    a.kill('SIGTERM');
    assert.equal((await a.end()).code, 0);
    // The end mark came after the file was published: its manifest has it all the same.
    const manifest = JSON.parse(readFileSync(file!.replace(/pcap$/, 'json'), 'utf8'));
    assert.equal(manifest.end.reason, 'stopped');
    assert.equal(manifest.end.counters.captured, 10);
  });

  test('a second SIGINT gives up and says what was lost', async (t) => {
    const stuck = await Collector.start(t, { prefix: here.prefix });
    const env = { RCAP_TOKEN: await stuck.token() };
    const a = new Program(t, process.execPath, [AGENT, ...stuck.address, '-i', cables[1]![0]!], {
      env,
      prefix: here.prefix,
    });
    await a.says(/listening on/);
    stuck.kill('SIGSTOP');
    send(1, '500', '64', '0');
    a.kill('SIGINT');
    await until('the drained source', () => /500 packets/.test(a.stderr) || !a.running, 1000).catch(() => {});
    a.kill('SIGINT');
    const end = await a.end();
    stuck.kill('SIGCONT');
    assert.equal(end.code, 3, end.stderr);
    assert.match(end.stderr, /warning: 500 packets captured, but never acknowledged: lost/);
  });

  test('without permission it says which command gives it', async (t) => {
    const prefix = [...here.prefix, 'setpriv', '--bounding-set=-net_raw', '--inh-caps=-net_raw'];
    const end = await runAgent(t, [...collector.address, '-i', cables[1]![0]!], { ...options(), prefix });
    assert.equal(end.code, 1, end.stderr);
    assert.match(end.stderr, /hint: .*setcap cap_net_raw\+ep/);
  });

  test('-D lists interfaces, as text and as JSON; -i takes their number and says what is near a wrong name', async (t) => {
    const text = await runAgent(t, ['-D'], options());
    assert.equal(text.code, 0);
    assert.match(text.stdout, /^\d+\.lo 127\.0\.0\.1.*\[Up, Running, Loopback\]$/m);
    const list = JSON.parse((await runAgent(t, ['-D', '--json'], options())).stdout) as {
      number: number;
      name: string;
    }[];
    const number = list.find((i) => i.name === cables[1]![0])!.number;
    const end = await agent(t, '-i', String(number), '--duration', '100ms').end();
    assert.match(end.stderr, new RegExp(`listening on ${cables[1]![0]},`));
    const wrong = await agent(t, '-i', `${cables[1]![0]}x`).end();
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, new RegExp(`hint: did you mean .*${cables[1]![0]}`));
  });

  test(
    '--json gives one object a line; a terminal gets one line that updates',
    { skip: lacks('script') },
    async (t) => {
      const json = await agent(t, '-i', cables[1]![0]!, '--json', '--duration', '1200ms').end();
      const lines = json.stderr
        .trimEnd()
        .split('\n')
        .map((l) => JSON.parse(l) as { message: string });
      assert.deepEqual([lines[0]!.message.slice(0, 12), lines.at(-1)!.message], ['listening on', 'done']);
      assert.ok(lines.some((l) => l.message === 'progress'));
      const command = [
        process.execPath,
        AGENT,
        ...collector.address,
        '-i',
        cables[1]![0]!,
        '--duration',
        '1500ms',
      ].join(' ');
      const tty = await run(t, 'script', ['-qec', command, '/dev/null'], options());
      // eslint-disable-next-line no-control-regex
      assert.match(tty.stdout, /\r\x1b\[K\d+ packets, .*\/s, 0 dropped, spool .*, \d+ acknowledged/);
    },
  );

  test('the closing reports of both ends say what tshark counts, and the gaps', async (t) => {
    const c = await Collector.start(t, { prefix: here.prefix, flags: ['--json'] });
    const devices = cables.slice(0, 2).map(([dev]) => dev!);
    const where = [...c.address, '--host-name', 'gaps', ...devices.flatMap((dev) => ['-i', dev]), '--json'];
    const spool = ['--spool', '1M', '--spool-full', 'drop', 'ether proto 0x88b5'];
    const prefixed = { env: { RCAP_TOKEN: await c.token('--host', '*') }, prefix: here.prefix };
    const a = new Program(t, process.execPath, [AGENT, ...where, ...spool], prefixed);
    await a.says(/(listening on[\s\S]*){2}/);
    // While the collector stands still, the kernels' buffers and the spool fill, and the rest is dropped.
    c.kill('SIGSTOP');
    send(0, '30000', '1000', '40000');
    send(1, '20000', '400', '40000');
    c.kill('SIGCONT');
    send(0, '100', '700', '1000');
    a.kill('SIGINT');
    const end = await a.end();
    assert.equal(end.code, 3, end.stderr);
    const stopped = await c.stop();
    const [done] = lines(end, /"message":"done"/) as [Ledger];
    const reports = lines(stopped, /"message":"ended /) as Report[];
    const [total] = lines(stopped, /"message":"stopped: /) as [{ ended: number; files: Tally; gaps: Tally }];

    const sum = { files: { packets: 0, bytes: 0 }, gaps: { packets: 0, bytes: 0 } };
    for (const [i, dev] of devices.entries()) {
      const report = reports.find((r) => r.interface === dev)!;
      const { sent, sentBytes, capturedBytes, droppedBySpool, droppedByKernel } = report.counters as Ledger;
      const lengths = c
        .published()
        .filter((f) => f.includes(`_${dev}_`))
        .flatMap((f) => tshark(f, 'frame.cap_len'))
        .map(Number);
      const files = { packets: lengths.length, bytes: lengths.reduce((n, l) => n + l, 0) };
      assert.deepEqual([report.files, { packets: sent, bytes: sentBytes }], [files, files]);
      const lost = { packets: droppedBySpool, bytes: capturedBytes - sentBytes };
      assert.deepEqual(report.gaps, lost);
      assert.deepEqual([report.elsewhere, report.complete], [0, lost.packets + droppedByKernel === 0]);
      assert.doesNotMatch(report.message, /THE AGENT COUNTS/);
      assert.equal(files.packets + lost.packets + droppedByKernel, i === 0 ? 30_100 : 20_000);
      for (const [to, from] of [
        [sum.files, files],
        [sum.gaps, lost],
      ] as const) {
        to.packets += from.packets;
        to.bytes += from.bytes;
      }
    }
    assert.ok(sum.gaps.packets > 0, 'nothing was lost, so nothing was tried');
    assert.deepEqual([total.ended, total.files, total.gaps], [2, sum.files, sum.gaps]);
    const { sent, sentBytes, acknowledged, droppedBySpool } = done;
    const told = [sum.files.packets, sum.files.bytes, sum.files.packets, sum.gaps.packets];
    assert.deepEqual([sent, sentBytes, acknowledged, droppedBySpool], told);
  });

  test('at the end the collector ends in order', async () => {
    const end = await collector.stop();
    assert.equal(end.code, 0, end.stderr);
    assert.deepEqual(
      collector.files().filter((f) => f.endsWith('.part')),
      [],
    );
  });
});

function recordsIn(file: string): Buffer[] {
  const bytes = readFileSync(file);
  const records = [];
  for (let at = 24; at < bytes.length; at += 16 + bytes.readUInt32LE(at + 8)) {
    records.push(bytes.subarray(at + 16, at + 16 + bytes.readUInt32LE(at + 8)));
  }
  return records;
}
const packets = (file: string): number => recordsIn(file).length;
/** Numbers of the sender's frames. */
const numbersIn = (file: string): number[] =>
  recordsIn(file)
    .filter((r) => r.length >= 22 && r.readUInt16BE(12) === 0x88b5)
    .map((r) => Number(r.readBigUInt64BE(14)));
