import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as packet from 'dns-packet';
import fc from 'fast-check';
import { addressText, parseAddress } from '../../formats/address.ts';
import { parseEntry } from '../../formats/exceptions.ts';
import { Domains } from './domains.ts';
import { Learner, MAX_QUERIES, QUERY_MS } from './learn.ts';
import { MAX_HELD, MAX_STREAMS } from './streams.ts';

const CLIENT = '10.0.0.1';
const SERVER = '10.0.0.2';

const u16 = (...values: number[]) => values.flatMap((v) => [v >> 8, v & 255]);

interface Way {
  from?: string;
  to?: string;
  ports?: [from: number, to: number];
}

function ip(protocol: number, payload: number[], { from = CLIENT, to = SERVER }: Way): Uint8Array {
  const [a, b] = [parseAddress(from)!, parseAddress(to)!];
  const head =
    a.length === 4
      ? [0x45, 0, ...u16(20 + payload.length, 0, 0), 64, protocol, 0, 0, ...a, ...b]
      : [0x60, 0, 0, 0, ...u16(payload.length), protocol, 64, ...a, ...b];
  return Uint8Array.from([...head, ...payload]);
}
const udp = (message: Uint8Array, way: Way = {}) =>
  ip(17, [...u16(...(way.ports ?? [4000, 53]), 8 + message.length, 0), ...message], way);
function tcp(sequence: number, flags: number, bytes: Uint8Array, way: Way = {}): Uint8Array {
  const numbers = [...u16(sequence >>> 16, sequence & 0xffff), 0, 0, 0, 0];
  return ip(6, [...u16(...(way.ports ?? [4000, 53])), ...numbers, 0x50, flags, ...u16(0, 0, 0), ...bytes], way);
}
const BACK: Way = { from: SERVER, to: CLIENT, ports: [53, 4000] };

const query = (name: string, id = 1, type: 'A' | 'AAAA' = 'A') =>
  new Uint8Array(packet.encode({ id, type: 'query', questions: [{ type, name, class: 'IN' }] }));
const answer = (name: string, answers: packet.Answer[], id = 1, type: 'A' | 'AAAA' = 'A') =>
  new Uint8Array(packet.encode({ id, type: 'response', questions: [{ type, name, class: 'IN' }], answers }));
const is = (name: string, data: string, ttl = 60): packet.Answer => ({ type: 'A', class: 'IN', name, ttl, data });
const alias = (name: string, data: string, ttl = 60): packet.Answer => ({
  type: 'CNAME',
  class: 'IN',
  name,
  ttl,
  data,
});

function stage(...entries: string[]) {
  const domains = new Domains(entries.map(parseEntry).filter((e) => e.kind === 'domain'));
  const learned: string[] = [];
  const time = { now: 0 };
  const learner = new Learner({
    now: () => time.now,
    entryOf: (name) => domains.entryOf(name),
    heeds: (client, server) => !addressText(client).startsWith('172.') && !addressText(server).startsWith('172.'),
    learned: (entry, address, ttl) => learned.push(`${entry} ${addressText(address)} ${ttl}`),
  });
  return { learner, learned, time, give: (...packets: Uint8Array[]) => packets.forEach((p) => learner.packet(p)) };
}

test('an answer to a query that was seen', () => {
  const { give, learned } = stage('a.example', '*.b.example');
  give(udp(query('a.example')), udp(answer('a.example', [is('a.example', '192.0.2.1'), is('a.example', '192.0.2.2', 9)]), BACK)); // prettier-ignore
  give(udp(query('x.y.b.example')), udp(answer('x.y.b.example', [is('x.y.b.example', '192.0.2.3')]), BACK));
  give(udp(query('b.example')), udp(answer('b.example', [is('b.example', '192.0.2.4')]), BACK));
  give(udp(query('aa.example')), udp(answer('aa.example', [is('aa.example', '192.0.2.5')]), BACK));
  assert.deepEqual(learned, ['a.example 192.0.2.1 60', 'a.example 192.0.2.2 9', '*.b.example 192.0.2.3 60']);
});

test('IPv6, as transport and as address', () => {
  const { give, learned } = stage('a.example');
  const way = { from: 'fd00::1', to: 'fd00::2' };
  const data: packet.Answer = { type: 'AAAA', class: 'IN', name: 'a.example', ttl: 5, data: '2001:db8::1' };
  give(udp(query('a.example', 1, 'AAAA'), way));
  give(udp(answer('a.example', [data, is('a.example', '192.0.2.1')], 1, 'AAAA'), { from: 'fd00::2', to: 'fd00::1', ports: [53, 4000] })); // prettier-ignore
  assert.deepEqual(learned, ['a.example 2001:db8::1 5']);
});

test('chains: each name in them may be the exception, the shortest TTL counts, other records do not', () => {
  const { give, learned } = stage('a.example', '*.cdn.example');
  const chain = [alias('a.example', 'm.other', 50), alias('m.other', 'e.other', 7), is('e.other', '192.0.2.1'), is('a.example', '192.0.2.9'), is('stray.cdn.example', '192.0.2.8')]; // prettier-ignore
  give(udp(query('a.example')), udp(answer('a.example', chain), BACK));
  give(udp(query('www.other')), udp(answer('www.other', [alias('www.other', 'x.cdn.example'), is('x.cdn.example', '192.0.2.2')]), BACK)); // prettier-ignore
  assert.deepEqual(learned, ['a.example 192.0.2.1 7', '*.cdn.example 192.0.2.2 60']);
  const circle = [alias('a.example', 'b.other'), alias('b.other', 'a.example'), is('a.example', '192.0.2.3')];
  give(udp(query('a.example')), udp(answer('a.example', circle), BACK));
  const long = Array.from({ length: 20 }, (_, i) => alias(i === 0 ? 'a.example' : `n${i}.other`, `n${i + 1}.other`));
  give(udp(query('a.example')), udp(answer('a.example', [...long, is('n20.other', '192.0.2.4')]), BACK));
  assert.ok(!learned.some((line) => line.includes('192.0.2.4')));
});

test('an answer that nobody asked for teaches nothing', () => {
  const { give, learned, time } = stage('a.example');
  const reply = (id = 1) => answer('a.example', [is('a.example', '192.0.2.1')], id);
  give(udp(reply(), BACK));
  give(udp(query('a.example')));
  const wrong: [what: string, packet: Uint8Array][] = [
    ['number', udp(reply(2), BACK)],
    ['port', udp(reply(), { ...BACK, ports: [53, 4001] })],
    ['server', udp(reply(), { ...BACK, from: '10.0.0.3' })],
    ['client', udp(reply(), { ...BACK, to: '10.0.0.3' })],
    ['question', udp(answer('b.example', [is('b.example', '192.0.2.1')]), BACK)],
    ['type', udp(answer('a.example', [is('a.example', '192.0.2.1')], 1, 'AAAA'), BACK)],
    ['way', udp(reply())],
    ['transport', tcp(0, 2, Uint8Array.of(...u16(reply().length), ...reply()), BACK)],
  ];
  for (const [what, bytes] of wrong) {
    give(bytes);
    assert.deepEqual(learned, [], what);
  }
  give(udp(reply(), BACK), udp(reply(), BACK));
  assert.equal(learned.length, 1, 'once');
  give(udp(query('a.example')));
  time.now += QUERY_MS + 1;
  give(udp(reply(), BACK));
  assert.equal(learned.length, 1, 'too late');
  const other = { from: '172.16.0.1', to: SERVER };
  give(udp(query('a.example'), other), udp(reply(), { from: SERVER, to: '172.16.0.1', ports: [53, 4000] }));
  assert.equal(learned.length, 1, "another host's");
});

test('open queries are bounded: the oldest goes', () => {
  const { give, learned } = stage('a.example');
  const reply = (id: number) => udp(answer('a.example', [is('a.example', '192.0.2.1')], id), BACK);
  for (let id = 0; id <= MAX_QUERIES; id++) give(udp(query('a.example', id)));
  give(reply(0));
  assert.equal(learned.length, 0);
  give(reply(1));
  assert.equal(learned.length, 1);
});

/** With its length in front. */
const framed = (message: Uint8Array) => Uint8Array.of(...u16(message.length), ...message);

test('TCP: cut anywhere, in any order, with parts twice', () => {
  const asked = framed(query('a.example'));
  const said = framed(answer('a.example', [is('a.example', '192.0.2.1')]));
  const both = Uint8Array.of(...said, ...framed(answer('b.example', [])));
  fc.assert(
    fc.property(
      fc.array(fc.nat(both.length), { maxLength: 6 }),
      fc.array(fc.nat(9), { minLength: 12, maxLength: 12 }),
      fc.nat(0xffffffff),
      (cuts, order, first) => {
        const { give, learned } = stage('a.example');
        give(tcp(99, 2, new Uint8Array(0)), tcp(100, 0x18, asked));
        give(tcp(first, 0x12, new Uint8Array(0), BACK));
        const at = [0, ...cuts.toSorted((a, b) => a - b), both.length];
        const parts = at.slice(1).map((end, i) => [Math.max(0, at[i]! - (order[i]! % 3)), end] as const);
        const shuffled = parts.map((part, i) => [order[i]!, part] as const).toSorted((a, b) => a[0] - b[0]);
        for (const [, [from, to]] of shuffled) give(tcp((first + 1 + from) >>> 0, 0x10, both.subarray(from, to), BACK));
        assert.deepEqual(learned, ['a.example 192.0.2.1 60']);
      },
    ),
    { numRuns: 500 },
  );
});

test('TCP: streams without a beginning, too many, and too much that came early', () => {
  const asked = framed(query('a.example'));
  const said = framed(answer('a.example', [is('a.example', '192.0.2.1')]));
  const { give, learned } = stage('a.example');
  const open = (port: number) => {
    give(tcp(0, 2, asked, { ports: [port, 53] }), tcp(0, 0x12, new Uint8Array(0), { ...BACK, ports: [53, port] }));
    return (sequence = 1, bytes = said) => give(tcp(sequence, 0x10, bytes, { ...BACK, ports: [53, port] }));
  };
  give(tcp(100, 0x18, said, BACK));
  const first = open(1000);
  for (let i = 1; i <= MAX_STREAMS / 2; i++) open(1000 + i);
  first();
  assert.equal(learned.length, 0, 'the oldest is gone');
  const early = open(2000);
  for (let n = 0; n <= MAX_HELD; n += 1000) early(10_000 + n, new Uint8Array(1000));
  early();
  assert.equal(learned.length, 0, 'what held too much is gone');
  open(3000)();
  assert.equal(learned.length, 1);
});

test('fragments, and packets that are cut or damaged, teach nothing and harm nothing', () => {
  const whole = udp(answer('a.example', [is('a.example', '192.0.2.1')]), BACK);
  const { give, learned } = stage('a.example');
  give(udp(query('a.example')));
  const fragment = whole.slice();
  fragment[6] = 0x20;
  give(fragment);
  for (let end = 0; end < whole.length; end++) give(whole.subarray(0, end));
  assert.deepEqual(learned, []);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 4 }),
      fc.uint8Array({ maxLength: 80 }),
      (changes, any) => {
        // prettier-ignore
        const bytes = whole.slice();
        for (const [at, value] of changes) bytes[at] = value;
        give(bytes, any, tcp(1, 0x1a, any, BACK));
      },
    ),
    { numRuns: 5000 },
  );
});
