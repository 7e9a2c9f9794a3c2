import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rotationDue } from './rotation.ts';

const LIMITS = { rotateBytes: 1000, rotateAgeMs: 60_000, rotateIdleMs: 10_000 };
const SEGMENT = { bytes: 900, openedMs: 100_000, appendedMs: 120_000 };
const due = (nowMs: number, more = 0, segment = SEGMENT) => rotationDue(segment, LIMITS, nowMs, more);

test('a segment that is small, young and busy stays open', () => {
  assert.equal(due(120_000), undefined);
  assert.equal(due(129_999, 100), undefined);
});

test('what no longer fits closes it, what just fits does not', () => {
  assert.equal(due(120_000, 101), 'bytes');
  assert.equal(due(120_000, 100), undefined);
});

test('a full segment is not closed for its bytes before more comes', () => {
  assert.equal(due(120_000, 0, { ...SEGMENT, bytes: 5000 }), undefined);
});

test('age and idleness close it at their limit', () => {
  assert.equal(due(130_000), 'idle');
  assert.equal(due(159_999, 0, { ...SEGMENT, appendedMs: 159_999 }), undefined);
  assert.equal(due(160_000, 0, { ...SEGMENT, appendedMs: 160_000 }), 'age');
});

test('of several reasons bytes is said first, then age', () => {
  assert.equal(due(999_999, 101), 'bytes');
  assert.equal(due(999_999), 'age');
});
