import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../clock.ts';
import { Doorkeeper, networkOf } from './doorkeeper.ts';

/** A clock that a test moves. */
function stage() {
  let now = 1000;
  let timers: { at: number; work: () => void }[] = [];
  const clock: Clock = {
    now: () => now,
    date: () => now,
    after: (ms, work) => {
      timers.push({ at: now + ms, work });
      return { cancel() {} };
    },
  };
  const lines: string[] = [];
  const doorkeeper = new Doorkeeper(clock, (line) => lines.push(line));
  return {
    lines,
    timers: () => timers.length,
    /** How many of so many tries are answered at once. */
    tries: (n: number, peer = '192.0.2.1:5555') =>
      Array.from({ length: n }, () => doorkeeper.turnAway(peer, `refused ${peer}`)).filter((ms) => ms === 0).length,
    wait(ms: number) {
      now += ms;
      const due = timers.filter((t) => t.at <= now);
      timers = timers.filter((t) => t.at > now);
      for (const t of due) t.work();
    },
  };
}

test('the first ten of an address are answered and logged at once, then one every six seconds', () => {
  const s = stage();
  assert.equal(s.tries(1000), 10);
  assert.equal(s.lines.length, 10);
  s.wait(5999);
  assert.equal(s.tries(10), 0);
  s.wait(1);
  assert.equal(s.tries(10), 1);
  s.wait(3_600_000);
  assert.equal(s.tries(1000), 10, 'not more for having been quiet');
});

test('others wait, and are summed up once a minute, as long as there are any', () => {
  const s = stage();
  s.tries(10);
  assert.equal(s.timers(), 0);
  s.tries(100);
  s.tries(13, '192.0.2.2:5555');
  assert.equal(s.timers(), 1);
  s.lines.length = 0;
  s.wait(60_000);
  assert.deepEqual(s.lines.splice(0), [
    'turned away 103 more times in the last 60 s, from 2 addresses, most often 192.0.2.1',
  ]);
  s.wait(60_000);
  assert.deepEqual([s.lines, s.timers()], [[], 0]);
});

test('one address takes nothing from another; its ports and the rest of its /64 are the same', () => {
  const s = stage();
  s.tries(100_000);
  assert.equal(s.tries(10, '192.0.2.1:1'), 0);
  assert.equal(s.tries(20, '192.0.2.2:1'), 10);
  assert.equal(s.tries(20, '2001:db8::1:5555'), 10);
  assert.equal(s.tries(20, '2001:db8::ffff:5555'), 0);
  assert.equal(s.tries(20, '2001:db8:0:1::1:5555'), 10);
  assert.equal(s.tries(20, '::ffff:192.0.2.1:5555'), 0);
});

test('from as many addresses as there are, the log gets two lines a second, and memory has its bound', () => {
  const s = stage();
  const all = () => {
    let answered = 0;
    for (let i = 0; i < 20_000; i++) answered += s.tries(1, `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}:1`);
    return answered;
  };
  assert.equal(all(), 200);
  s.wait(10_000);
  assert.equal(all(), 20);
  s.lines.length = 0;
  s.wait(60_000);
  assert.match(s.lines[0]!, /^turned away 39780 more times in the last 60 s, from at least 4096 addresses$/);
});

test('the address or /64 of a peer, however it is written', () => {
  for (const [address, network] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['2001:db8::', '2001:db8:0:0::/64'],
    ['2001:0DB8:0:0:1::1', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ] as const) {
    assert.equal(networkOf(address), network, address);
  }
});

test('what is not known any more is not said in a summary', () => {
  const s = stage();
  const all = (network: number) => {
    for (let i = 0; i < 4096; i++) s.tries(1, `10.${network}.${i >> 8}.${i & 255}:1`);
  };
  s.tries(11);
  s.lines.length = 0;
  all(0);
  for (let waited = 0; waited < 50_000; waited += 5000) s.wait(5000);
  assert.deepEqual(
    s.lines.filter((l) => l.startsWith('turned')),
    [],
  );
  s.wait(10_000);
  assert.match(s.lines.at(-1)!, /, from at least \d+ addresses$/);
  s.tries(20);
  s.wait(60_000);
  assert.match(
    s.lines.at(-1)!,
    /^turned away 10 more times in the last 60 s, from 1 address, most often 192\.0\.2\.1$/,
  );
});
