import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { Random } from './random.ts';
import { EPOCH_MS, Scheduler } from './scheduler.ts';

const LIMITS = { steps: 1000, ms: 10_000 };

test('a seed decides every number', () => {
  const numbers = (seed: number) => {
    const r = new Random(seed);
    return [r.bits(), r.real(), r.below(10), r.between(3, 5), r.spread(1, 100), r.shuffled([1, 2, 3]).join('')];
  };
  assert.deepEqual(numbers(1), numbers(1));
  assert.notDeepEqual(numbers(1), numbers(2));
  assert.notDeepEqual(numbers(1), numbers(2 ** 40 + 1));
});

test('numbers lie where they should', () => {
  const r = new Random(7);
  const many = (f: () => number) => Array.from({ length: 5000 }, f);
  assert.deepEqual(new Set(many(() => r.between(3, 5))), new Set([3, 4, 5]));
  const half = many(() => Number(r.chance(0.5))).reduce((a, b) => a + b);
  assert.ok(half > 2300 && half < 2700);
  const spread = many(() => r.spread(1, 10_000));
  assert.ok(spread.every((x) => x >= 1 && x <= 10_000));
  assert.ok(Math.abs(spread.filter((x) => x < 100).length - 2500) < 200);
});

test('events come in the order of their time, those of one moment in any', async () => {
  const seen = new Set<string>();
  for (let seed = 1; seed < 50; seed++) {
    const s = new Scheduler(seed);
    let order = '';
    for (const [ms, name] of [
      [20, 'd'],
      [10, 'b'],
      [10, 'c'],
      [0, 'a'],
    ] as const)
      s.after(ms, () => void (order += name));
    s.after(15, () => assert.fail()).cancel();
    await s.run(() => order.length === 4, LIMITS);
    assert.equal(s.now, 20);
    seen.add(order);
  }
  assert.deepEqual(seen, new Set(['abcd', 'acbd']));
});

test('all that an event sets off in promises is done before the next', async () => {
  const s = new Scheduler(1);
  const order: string[] = [];
  const chain = async (name: string) => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
    order.push(name);
  };
  for (let i = 0; i < 40; i++) {
    s.after(i, () => {
      order.push(`event ${i}`);
      void chain(`chain ${i}`);
    });
  }
  await s.run(() => order.length === 80, LIMITS);
  assert.deepEqual(order, Array.from({ length: 40 }, (_, i) => [`event ${i}`, `chain ${i}`]).flat());
});

test('a process: its own clocks, and no timer after its end', async () => {
  const s = new Scheduler(1);
  const p = s.process('p');
  const start = p.now();
  const done: string[] = [];
  p.whenKilled(() => done.push('killed'));
  p.after(5, () => done.push('early'));
  p.after(50, () => done.push('late'));
  s.after(10, () => {
    assert.equal(p.now() - start, 10);
    assert.equal(p.date(), EPOCH_MS + 10);
    p.kill();
    p.kill();
  });
  s.after(100, () => done.push('end'));
  await s.run(() => done.includes('end'), LIMITS);
  assert.deepEqual(done, ['early', 'killed', 'end']);
  assert.equal(new Date(EPOCH_MS).toISOString(), '2026-11-24T02:15:00.000Z');
});

test('a process that is paused: all comes later, in its order', async () => {
  for (let seed = 1; seed < 20; seed++) {
    const s = new Scheduler(seed);
    const p = s.process('p');
    let order = '';
    for (const [ms, name] of [
      [20, 'b'],
      [10, 'a'],
      [70, 'd'],
      [30, 'c'],
    ] as const)
      p.after(ms, () => void (order += `${name}${s.now} `));
    p.stoppedTo = 50;
    s.after(40, () => void (order += '- '));
    await s.run(() => order.length === 18, LIMITS);
    assert.equal(order, '- a50 b50 c50 d70 ');
  }
});

test('a run that comes to no rest, or to rest too early, fails', async () => {
  const never = () => false;
  const again = (s: Scheduler, ms: number): void => void s.after(ms, () => again(s, ms));
  const s1 = new Scheduler(1);
  again(s1, 0);
  await assert.rejects(s1.run(never, LIMITS), /not done after 1000 steps/);
  const s2 = new Scheduler(1);
  again(s2, 100);
  await assert.rejects(s2.run(never, LIMITS), /not done after 10000 ms/);
  await assert.rejects(new Scheduler(1).run(never, LIMITS), /nothing is left/);
});

test('an error ends the run, and so does a rejection that nobody handles', async () => {
  const s = new Scheduler(1);
  s.after(1, () => assert.fail('in an event'));
  await assert.rejects(
    s.run(() => false, LIMITS),
    /in an event/,
  );
});

test('a rejection that nobody handles ends the run', () => {
  // In a program of its own: the test runner would take it for ours.
  const program = `
    import { Scheduler } from '${import.meta.resolve('./scheduler.ts')}';
    const s = new Scheduler(1);
    s.after(1, () => void Promise.reject(new Error('forgotten')));
    for (let i = 2; i < 100; i++) s.after(i, () => {});
    await s.run(() => s.now > 50, { steps: 1000, ms: 1000 }).catch((e) => console.log(e.message));`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  assert.match(stdout, /^nobody handled a rejection: Error: forgotten/);
});

test('the trace: the end, or all', async () => {
  for (const all of [false, true]) {
    const s = new Scheduler(1, all);
    for (let i = 0; i < 500; i++) s.note('somebody', 'did', i);
    const lines = s.trace();
    assert.equal(lines.length, all ? 500 : 100);
    assert.equal(lines.at(-1), '     0.000 somebody: did 499');
  }
});
