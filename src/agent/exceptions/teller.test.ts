import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counts, ranking } from './counts.ts';
import { Events, MAX_EVENTS } from './events.ts';
import { MAX_NAMES, OTHERS, Teller } from './teller.ts';
import type { Rules } from './rules.ts';

const rules = (...names: string[]): Rules => ({ bytes: new Uint8Array(0), names });

function stage() {
  const events = new Events(() => 5);
  const counts = new Counts();
  const teller = new Teller(3, events, counts);
  const all = () => {
    const messages = [];
    for (let m; (m = teller.next());) messages.push(m);
    return messages;
  };
  return { events, counts, teller, all };
}

test('counts of sets that come and go add up', () => {
  const counts = new Counts();
  const [a, b] = [rules('x', 'y'), rules('y', 'z')];
  counts.take(a, Float64Array.of(1, 10, 0, 0));
  counts.take(a, Float64Array.of(3, 30, 1, 5));
  counts.end(a, Float64Array.of(3, 30, 2, 9));
  counts.take(b, Float64Array.of(4, 40, 0, 0));
  counts.take(b, undefined);
  counts.end(b, Float64Array.of(5, 50, 0, 0));
  assert.deepEqual(Object.fromEntries(counts.totals), { x: { packets: 3, bytes: 30 }, y: { packets: 7, bytes: 59 } });
  assert.deepEqual(ranking([counts.totals, new Map([['x', { packets: 9, bytes: 1 }]])]), [
    ['x', { packets: 12, bytes: 31 }],
    ['y', { packets: 7, bytes: 59 }],
  ]);
});

test('events and totals are told once, and all again on another connection', () => {
  const { events, counts, teller, all } = stage();
  const digest = Uint8Array.of(1, 2);
  events.add({ kind: 'LIST', digest: () => digest, entries: 2, words: 'w' });
  events.add({ kind: 'LEARNED', name: 'a.example', address: '192.0.2.1' });
  counts.take(rules('a.example'), Float64Array.of(1, 60));
  const said = [
    {
      capture: 3,
      events: [
        { number: 1, timeNs: 5_000_000n, kind: 1, digest, entries: 2, words: 'w' },
        { number: 2, timeNs: 5_000_000n, kind: 4, name: 'a.example', address: '192.0.2.1' },
      ],
    },
    { capture: 3, names: [{ name: 'a.example', packets: 1, bytes: 60 }] },
  ];
  assert.deepEqual(all(), said);
  assert.deepEqual(all(), []);
  events.add({ kind: 'EXPIRED', name: 'a.example', address: '192.0.2.1' });
  assert.deepEqual(all().map((m) => m.events?.map((e) => e.number)), [[3]]); // prettier-ignore
  teller.restart();
  const [first, second] = all();
  assert.deepEqual([first!.events!.map((e) => e.number), second], [[1, 2, 3], said[1]]);
});

test('long words are cut, within no character', () => {
  const { events, all } = stage();
  events.add({ kind: 'REFUSED', words: '🦊'.repeat(400) });
  const { words } = all()[0]!.events![0]!;
  assert.ok(Buffer.byteLength(words!) <= 1000 && Buffer.byteLength(words!) > 800);
  assert.equal(words, words!.toWellFormed());
});

test('many events: in pieces, the last ones stay, and what was never told is said to be missing', () => {
  const { events, teller, all } = stage();
  const add = (n: number) => {
    for (let i = 0; i < n; i++) events.add({ kind: 'EXPIRED', name: 'a', address: 'b' });
  };
  const numbers = () => {
    const messages = all();
    assert.ok(messages.every((m) => m.events!.length <= 1000));
    return messages.flatMap((m) => m.events!.map((e) => e.number!));
  };
  add(MAX_EVENTS);
  assert.deepEqual(
    numbers(),
    Array.from({ length: MAX_EVENTS }, (_, i) => i + 1),
  );
  add(MAX_EVENTS);
  teller.restart();
  assert.deepEqual([numbers().length, events.last], [MAX_EVENTS, 2 * MAX_EVENTS]);
  add(MAX_EVENTS + 1);
  const late = numbers();
  assert.equal(late.at(-1), 3 * MAX_EVENTS + 2, 'one more says so');
  assert.equal(late.length, MAX_EVENTS);
});

test('many names: in pieces; those that are too many are summed up', () => {
  const { counts, all } = stage();
  const names = Array.from({ length: MAX_NAMES + 50 }, (_, i) => `n${i}`);
  const set = rules(...names);
  const numbers = (packets: number) => Float64Array.from(names.flatMap(() => [packets, 10 * packets]));
  counts.take(set, numbers(1));
  const first = all();
  assert.ok(first.every((m) => m.names!.length <= 1000));
  const told = first.flatMap((m) => m.names!);
  assert.equal(told.length, MAX_NAMES + 1);
  assert.deepEqual(told.at(-1), { name: OTHERS, packets: 50, bytes: 500 });
  counts.take(set, numbers(2));
  assert.deepEqual(all().at(-1)!.names!.at(-1), { name: OTHERS, packets: 100, bytes: 1000 });
});
