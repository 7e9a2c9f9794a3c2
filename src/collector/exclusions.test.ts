import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ExclusionEvent, ExclusionNotes, EXCLUSIONS_FORM, lastEvent, together } from './exclusions.ts';

const TIME = '2026-11-24T02:15:00.000000000Z';
const event = (number: number, more: Partial<ExclusionEvent> = {}): ExclusionEvent => ({
  number,
  time: TIME,
  kind: 'learned',
  name: 'example.com',
  address: '192.0.2.1',
  ...more,
});
const total = (packets: number) => ({ packets, bytes: 100 * packets });
const events = (from: number, n: number, more?: Partial<ExclusionEvent>) =>
  Array.from({ length: n }, (_, i) => event(from + i, more));

test('events follow one another, of a name the last total counts, and taking begins anew', () => {
  const notes = new ExclusionNotes();
  assert.equal(notes.all, undefined);
  notes.add({ events: [event(1)], names: { a: total(1), b: total(2) } });
  notes.add(undefined);
  notes.add({ events: [event(2)], names: { a: total(5) } });
  const all = { events: [event(1), event(2)], names: { a: total(5), b: total(2) } };
  assert.deepEqual(notes.all, all);
  assert.deepEqual(notes.take(), all);
  assert.equal(notes.take(), undefined);
  notes.add({ events: [], names: { c: total(1) } });
  assert.deepEqual(notes.take(), { events: [], names: { c: total(1) } });
});

test('an entry may be called anything', () => {
  const names = JSON.parse(
    '{"__proto__": {"packets": 1, "bytes": 2}, "constructor": {"packets": 3, "bytes": 4}}',
  ) as object;
  const whole = together([{ events: [], names: names as never }])!;
  const again = JSON.parse(JSON.stringify(whole)) as { names: object };
  assert.deepEqual(Object.entries(again.names), Object.entries(names));
  assert.ok(EXCLUSIONS_FORM(again));
});

test('beyond a thousand events, four thousand names and 256 KiB the rest is counted', () => {
  const many = together([
    { events: events(1, 999), names: {} },
    { events: events(1000, 5), names: {} },
  ])!;
  assert.deepEqual([many.events.length, many.omitted, lastEvent(many)], [1000, 4, 1000]);
  const names = Object.fromEntries(Array.from({ length: 4100 }, (_, i) => [`${i}`, total(i)]));
  const named = together([
    { events: [], names },
    { events: [], names: { 7: total(99), x: total(1) } },
  ])!;
  // One that is there goes on being counted.
  assert.deepEqual([Object.keys(named.names).length, named.names['7'], named.omitted], [4096, total(99), 5]);
  const long = together([{ events: events(1, 1000, { words: 'x'.repeat(1000) }), names: {} }])!;
  assert.ok(JSON.stringify(long).length < 300_000);
  assert.equal(long.events.length + long.omitted!, 1000);
  // What was omitted before stays counted.
  assert.equal(together([long, { events: [], names: {}, omitted: 1 }])!.omitted, long.omitted! + 1);
});

test('only what it can be is read back', () => {
  const good = { events: [event(1, { kind: 'list', digest: 'ab', entries: 3, words: 'w' })], names: { a: total(1) } };
  for (const it of [undefined, good, { ...good, omitted: 3 }]) assert.ok(EXCLUSIONS_FORM(it));
  const wrong = [
    null,
    {},
    [],
    { events: [], names: [] },
    { events: [{ ...event(1), kind: 'x' }], names: {} },
    { events: [{ ...event(1), number: '1' }], names: {} },
    { events: [{ ...event(1), words: 1 }], names: {} },
    { events: [], names: { a: { packets: -1, bytes: 0 } } },
    { ...good, omitted: -1 },
  ];
  for (const it of wrong) assert.ok(!EXCLUSIONS_FORM(it), JSON.stringify(it));
});

test('room is counted as JSON takes it, and the captures of one connection share theirs', () => {
  const names = (from: number, count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => ['\u0001'.repeat(200) + (from + i), total(1)]));
  const escaped = together([{ events: [], names: names(0, 1000) }])!;
  assert.ok(JSON.stringify(escaped).length < 400_000);
  assert.equal(Object.keys(escaped.names).length + escaped.omitted!, 1000);
  const budget = { room: 100_000 };
  const [first, second] = [new ExclusionNotes(budget), new ExclusionNotes(budget)];
  const taken = first.add({ events: events(1, 400), names: {} });
  assert.deepEqual(first.all!.events, taken);
  second.add({ events: events(1, 400), names: {} });
  assert.equal(first.all!.events.length + second.all!.events.length + second.all!.omitted!, 800);
  assert.ok(second.all!.events.length < 100);
  first.take();
  second.take();
  assert.equal(budget.room, 100_000);
});
