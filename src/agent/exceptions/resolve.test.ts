import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../clock.ts';
import { Addresses, LONGEST_MS, MAX_ADDRESSES, SHORTEST_MS } from './addresses.ts';
import { type Answers, Names } from './resolve.ts';

/** Time that passes when it is told to. */
function manualClock() {
  let now = 0;
  const timers = new Set<{ at: number; work: () => void }>();
  const clock: Clock = {
    now: () => now,
    date: () => now,
    after(ms, work) {
      const timer = { at: now + ms, work };
      timers.add(timer);
      return { cancel: () => void timers.delete(timer) };
    },
  };
  async function pass(ms: number): Promise<void> {
    const end = now + ms;
    for (;;) {
      await new Promise(setImmediate);
      const next = [...timers].filter((t) => t.at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (!next) break;
      timers.delete(next);
      now = Math.max(now, next.at);
      next.work();
    }
    now = end;
  }
  return { clock, pass };
}

function stage(answer: (name: string, time: number) => Answers | Promise<Answers>) {
  const { clock, pass } = manualClock();
  const asked: [name: string, at: number][] = [];
  const found: string[] = [];
  const names = new Names({
    clock,
    ask: async (name) => {
      asked.push([name, clock.now()]);
      return answer(name, clock.now());
    },
    found: (name, list) => found.push(`${name} ${list.map((a) => a.ttl).join()}`),
  });
  const times = (name: string) => asked.filter(([n]) => n === name).map(([, at]) => at);
  return { names, clock, pass, asked, found, times };
}
const ttl = (...ttls: number[]): Answers => ({
  list: ttls.map((t) => ({ address: Uint8Array.of(192, 0, 2, 1), ttl: t })),
  partial: false,
});

test('a name is asked for again within its TTL, bounded to 10 s and an hour', async () => {
  const { names, pass, times } = stage((name) => ttl(...{ short: [1], normal: [300, 100], long: [86_400] }[name]!));
  names.set(['short', 'normal', 'long']);
  await pass(7_200_000);
  const steps = (name: string) => times(name).map((at, i, all) => (i === 0 ? 0 : at - all[i - 1]!));
  const between = (name: string, least: number, most: number) =>
    assert.ok(steps(name).slice(1).every((ms) => ms >= least && ms <= most), `${name}: ${steps(name).slice(0, 5).join()}`); // prettier-ignore
  between('short', 5000, SHORTEST_MS);
  between('normal', 50_000, 100_000);
  between('long', 1_800_000, LONGEST_MS);
  assert.ok(times('long').length >= 2);
  names.close();
});

test('what fails is asked for again, what is no longer wanted is not', async () => {
  const { names, pass, times, found } = stage((name) => {
    if (name === 'broken') throw new Error('no server');
    return { list: name === 'none' ? [] : ttl(3600).list, partial: name === 'half' };
  });
  names.set(['broken', 'none', 'half', 'gone']);
  await pass(1000);
  assert.equal(times('gone').length, 1);
  names.set(['broken', 'none', 'half']);
  await pass(3_600_000);
  for (const name of ['broken', 'none', 'half']) assert.ok(times(name).length > 50, name);
  assert.equal(times('gone').length, 1);
  assert.ok(found.includes('broken '));
  names.close();
  const { length } = times('none');
  await pass(3_600_000);
  assert.equal(times('none').length, length);
});

test('at most 4 names at a time and 25 a second; who waits for all of them gets them', async () => {
  let running = 0;
  let most = 0;
  const { names, pass, asked, clock } = stage(async () => {
    most = Math.max(most, ++running);
    await new Promise<void>((resolve) => void clock.after(200, resolve));
    running--;
    return ttl(3600);
  });
  names.set(Array.from({ length: 100 }, (_, i) => `n${i}`));
  let done = false;
  void names.first().then(() => (done = true));
  await pass(1000);
  assert.equal(done, false);
  assert.ok(most === 4 && asked.length > 10 && asked.length <= 26, `${most} ${asked.length}`);
  await pass(10_000);
  assert.ok(done);
  assert.equal(new Set(asked.map(([name]) => name)).size, 100);
  names.close();
});

test('who waits for names is let go when nothing is wanted any more', async () => {
  const { names } = stage(() => new Promise(() => {}));
  await names.first();
  names.set(['a']);
  const first = names.first();
  names.close();
  await first;
});

test('a round of many names takes longer than a short TTL: their addresses count for as long', () => {
  const { names } = stage(() => new Promise(() => {}));
  names.set(Array.from({ length: 2000 }, (_, i) => `n${i}`));
  assert.equal(Addresses.boundMs(5, names.roundMs), 100_000);
  assert.equal(Addresses.boundMs(5), SHORTEST_MS);
  assert.equal(Addresses.boundMs(1e9), LONGEST_MS);
  names.close();
});

test('addresses count until they are said no more, and are bounded', () => {
  const known = new Addresses();
  const address = (i: number) => Uint8Array.of(10, 0, i >> 8, i & 255);
  assert.deepEqual([known.put('a', address(1), 10), known.put('a', address(1), 30), known.put('b', address(1), 20)], ['new', 'known', 'new']); // prettier-ignore
  known.put('a', address(1), 5);
  assert.deepEqual(known.expire(19), []);
  assert.deepEqual(known.expire(20), [{ address: address(1), name: 'b', until: 20 }]);
  assert.deepEqual(known.expire(30).map((n) => n.name), ['a']); // prettier-ignore
  for (let i = 0; i < MAX_ADDRESSES; i++) known.put('a', address(i), 1);
  assert.equal(known.put('a', Uint8Array.of(192, 0, 2, 1), 1), 'full');
  assert.equal(known.put('a', address(0), 1), 'known');
  assert.equal(known.list.length, MAX_ADDRESSES);
});
