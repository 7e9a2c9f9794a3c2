import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileHeader } from '../formats/pcap.ts';
import { records } from '../test/wire.ts';
import { OwnTraffic, ownTraffic } from './filter.ts';

const folder = mkdtempSync(join(tmpdir(), 'rcap-filter-'));
after(() => rmSync(folder, { recursive: true }));

const tcpdump = (...words: string[]) => spawnSync('tcpdump', words, { encoding: 'utf8' });
const missing = tcpdump('--version').error ? 'needs tcpdump' : false;

interface Flow {
  from: string;
  to: string;
  ports: [source: number, destination: number];
  /** 6 TCP, 17 UDP. */
  protocol?: number;
}

const addressBytes = (address: string): Buffer => {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string) => (text ? text.split(':').map((g) => parseInt(g, 16)) : []);
  const [a, b] = [groups(head), groups(tail)];
  const all = [...a, ...Array<number>(8 - a.length - b.length).fill(0), ...b];
  return Buffer.from(all.flatMap((g) => [g >> 8, g & 255]));
};

/** An Ethernet frame of this flow. */
function frameOf({ from, to, ports, protocol = 6 }: Flow): Buffer {
  const six = isIPv6(from);
  const transport = Buffer.alloc(20);
  transport.writeUInt16BE(ports[0], 0);
  transport.writeUInt16BE(ports[1], 2);
  transport[12] = 0x50;
  const ip = six
    ? Buffer.from([0x60, 0, 0, 0, 0, 20, protocol, 64])
    : Buffer.from([0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
  const ethernet = Buffer.concat([Buffer.alloc(12, 2), Buffer.from(six ? [0x86, 0xdd] : [8, 0])]);
  return Buffer.concat([ethernet, ip, addressBytes(from), addressBytes(to), transport]);
}

/** Which of these flows the filter matches, as tcpdump sees it. */
function matched(filter: string, flows: Record<string, Flow>): string[] {
  const names = Object.keys(flows);
  const file = join(folder, 'flows.pcap');
  // Each flow is told apart by its time.
  const packets = Object.values(flows).map((flow, i) => ({
    timestampNs: BigInt(i) * 1_000_000_000n,
    data: frameOf(flow),
  }));
  writeFileSync(file, Buffer.concat([fileHeader(1, 262_144, 'nano'), records(packets)]));
  const { status, stdout, stderr } = tcpdump('-r', file, '-tt', '-n', filter);
  assert.equal(status, 0, stderr);
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => names[parseInt(line, 10)]!);
}

const at = (address: string, port = 1) => ({ address, port });

for (const [family, server, agent, stranger] of [
  ['IPv4', '192.0.2.9', '198.51.100.7', '203.0.113.5'],
  ['IPv6', '2001:db8::9', '2001:db8::7', '2001:db8:1::5'],
] as const) {
  test(
    `over ${family} the filter matches both directions of the connection and nothing else`,
    { skip: missing },
    () => {
      const flows: Record<string, Flow> = {
        there: { from: agent, to: server, ports: [40_000, 9000] },
        back: { from: server, to: agent, ports: [9000, 40_000] },
        'another agent here': { from: agent, to: server, ports: [40_001, 9000] },
        'another port there': { from: agent, to: server, ports: [40_000, 443] },
        'another port back': { from: server, to: agent, ports: [443, 40_000] },
        'the same port of ours': { from: server, to: agent, ports: [40_000, 9000] },
        'the same port of theirs': { from: agent, to: server, ports: [9000, 40_000] },
        'another host there': { from: agent, to: stranger, ports: [40_000, 9000] },
        'another host back': { from: stranger, to: agent, ports: [9000, 40_000] },
        'UDP there': { from: agent, to: server, ports: [40_000, 9000], protocol: 17 },
        'UDP back': { from: server, to: agent, ports: [9000, 40_000], protocol: 17 },
      };
      assert.deepEqual(matched(ownTraffic([at(server, 9000)]), flows), ['there', 'back', 'another agent here']);
      const rest = Object.keys(flows).filter((f) => !['there', 'back', 'another agent here'].includes(f));
      assert.deepEqual(matched(`not (${ownTraffic([at(server, 9000)])})`, flows), rest);
    },
  );
}

for (const [family, proxy, agent, source, stranger] of [
  ['IPv4', '192.0.2.9', '198.51.100.7', '198.51.100.8', '203.0.113.5'],
  ['IPv6', '2001:db8::9', '2001:db8::7', '2001:db8::8', '2001:db8:1::5'],
] as const) {
  test(
    `through a proxy over ${family} exactly our connection matches, not others' to the proxy`,
    { skip: missing },
    () => {
      const flows: Record<string, Flow> = {
        there: { from: agent, to: proxy, ports: [50_000, 3128] },
        back: { from: proxy, to: agent, ports: [3128, 50_000] },
        'another port of ours': { from: agent, to: proxy, ports: [50_001, 3128] },
        'another port of ours back': { from: proxy, to: agent, ports: [3128, 50_001] },
        'another address of ours': { from: source, to: proxy, ports: [50_000, 3128] },
        'another host': { from: stranger, to: proxy, ports: [50_000, 3128] },
        'another port there': { from: agent, to: proxy, ports: [50_000, 443] },
        'ports exchanged': { from: agent, to: proxy, ports: [3128, 50_000] },
        UDP: { from: agent, to: proxy, ports: [50_000, 3128], protocol: 17 },
      };
      const ours = { ...at(proxy, 3128), from: { address: agent, port: 50_000 } };
      assert.deepEqual(matched(ownTraffic([ours]), flows), ['there', 'back']);
      // Before there is a connection, our address may not be known.
      const early = ownTraffic([{ ...ours, from: { port: 50_000 } }]);
      assert.deepEqual(matched(early, flows), ['there', 'back', 'another address of ours', 'another host']);
    },
  );
}

test('an address as the system shows it compiles: with a zone, or IPv4 mapped into IPv6', { skip: missing }, () => {
  assert.equal(ownTraffic([at('::ffff:192.0.2.9', 443)]), ownTraffic([at('192.0.2.9', 443)]));
  for (const address of ['fe80::1%eth0', '::1', '127.0.0.1', '::ffff:192.0.2.9', '2001:db8::ffff:1']) {
    const { status, stderr } = tcpdump(
      '-y',
      'EN10MB',
      '-d',
      `(tcp or arp) and not (${ownTraffic([at(address, 65_535)])})`,
    );
    assert.equal(status, 0, `${address}: ${stderr}`);
  }
});

test('connections to several servers are left out together', { skip: missing }, () => {
  const flow = (to: string, port: number): Flow => ({ from: '198.51.100.7', to, ports: [40_000, port] });
  const flows = {
    a: flow('192.0.2.9', 9000),
    b: flow('192.0.2.10', 443),
    c: flow('192.0.2.10', 9000),
    d: flow('192.0.2.9', 443),
  };
  const both = ownTraffic([at('192.0.2.9', 9000), at('192.0.2.10', 443)]);
  assert.deepEqual(matched(both, flows), ['a', 'b']);
  assert.deepEqual(matched(`tcp and not (${both})`, flows), ['c', 'd']);
  assert.equal(ownTraffic([]), '');
});

test('what is tried is left out until that is settled; where a collector was verified, from then on', () => {
  const own = new OwnTraffic();
  assert.equal(own.filter, '');
  assert.equal(own.attempt([at('192.0.2.2'), at('::1')]), true);
  assert.equal(own.filter, ownTraffic([at('192.0.2.2'), at('::1')]));
  assert.equal(own.settle([]), true);
  assert.equal(own.filter, '');
  own.attempt([at('192.0.2.2'), at('::1')]);
  assert.equal(own.settle([at('::1')]), true);
  const one = own.filter;
  assert.equal(one, ownTraffic([at('::1', 1)]));
  assert.deepEqual([own.attempt([at('::1')]), own.settle([]), own.filter], [false, false, one]);
  assert.equal(own.attempt([at('::1', 2)]), true);
  assert.deepEqual([own.settle([]), own.filter], [true, one]);
});

test('the port of ours that a proxy was tried from stays left out until the next try', () => {
  const own = new OwnTraffic();
  const ours = { ...at('192.0.2.2'), from: { port: 50_000 } };
  assert.equal(own.attempt([ours, at('::1')]), true);
  assert.deepEqual([own.settle([]), own.filter], [true, ownTraffic([ours])]);
  assert.deepEqual([own.attempt([ours]), own.settle([])], [false, false]);
  assert.deepEqual([own.attempt([at('::1')]), own.filter], [true, ownTraffic([at('::1')])]);
});

test('the filter is the same whatever came first, and however an address is written', () => {
  const places = [at('192.0.2.1', 443), at('192.0.2.1', 9000), at('2001:db8::1')];
  const filters = [places, places.toReversed()].map((list) => {
    const own = new OwnTraffic();
    for (const place of list) own.settle([place]);
    return own;
  });
  assert.equal(filters[0]!.filter, ownTraffic(places));
  assert.equal(filters[1]!.filter, ownTraffic(places));
  for (const address of ['2001:DB8::1', '2001:db8:0:0::1', '2001:db8::1%eth0']) {
    assert.equal(filters[0]!.attempt([at(address)]), false, address);
  }
});

test('the last 64 are left out, and of a long answer no more', () => {
  const own = new OwnTraffic();
  own.settle([at('::1')]);
  own.settle([at('192.0.2.2')]);
  for (let i = 0; i < 63; i++) assert.equal(own.settle([at(`10.0.0.${i}`)]), true);
  assert.ok(!own.filter.includes('::1') && own.filter.includes('192.0.2.2'));
  own.settle([at('192.0.2.2')]);
  own.settle([at('10.0.1.0')]);
  assert.ok(own.filter.includes('192.0.2.2'), 'what was used last stays');
  const count = () => own.filter.match(/tcp dst port/g)!.length;
  assert.equal(count(), 64);
  const before = own.filter;
  own.attempt(Array.from({ length: 1000 }, (_, i) => at(`172.16.${i >> 8}.${i & 255}`)));
  assert.equal(count(), 64);
  own.settle([]);
  assert.equal(own.filter, before);
});
