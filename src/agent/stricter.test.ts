import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { limitsFrom, limitWords, strictest } from './stricter.ts';

test("of each limit the smaller counts, and is the collector's only where the user has none as strict", () => {
  const { collectors, ...limits } = strictest(
    { count: 5, bytes: 100, rate: 4096 },
    { count: 7, bytes: 50, rate: 4096, snaplen: 64 },
  );
  assert.deepEqual(limits, { count: 5, bytes: 50, rate: 4096, snaplen: 64 });
  assert.deepEqual([...collectors], ['bytes', 'snaplen']);
  assert.deepEqual(strictest({}, {}), { collectors: new Set() });
});

test('whoever sets what: never laxer than either', () => {
  const some = fc.record({ count: fc.option(fc.integer({ min: 1 }), { nil: undefined }) });
  fc.assert(
    fc.property(some, some, (user, collector) => {
      const { count = Infinity } = strictest(user, collector);
      assert.equal(count, Math.min(user.count ?? Infinity, collector.count ?? Infinity));
    }),
  );
});

test('what a collector sends is held against what the options take; 0 is none', () => {
  assert.deepEqual(limitsFrom(null), {});
  assert.deepEqual(limitsFrom({ count: 0, bytes: 1, durationMs: 1000 }), { bytes: 1, durationMs: 1000 });
  for (const bad of [{ rate: 4095 }, { snaplen: 262_145 }, { durationMs: 2 ** 40 }, { count: -1 }, { bytes: 2 ** 60 }])
    assert.throws(() => limitsFrom(bad), /out of range/);
});

test("limits are said in the options' words", () => {
  assert.deepEqual(limitWords({ count: 3, bytes: 2 ** 30, durationMs: 60_000, rate: 2 ** 20, snaplen: 96 }), [
    'count 3',
    'bytes 1G',
    'duration 1m',
    'max-rate 1M/s',
    'snaplen 96',
  ]);
});
