import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RcapError, usageError } from '../errors.ts';
import { emptyLedger } from '../ledger.ts';
import { exitCode } from './run.ts';

const code = (captured: number, lost: number, ...errors: RcapError[]) =>
  exitCode({ ledger: { ...emptyLedger(), captured }, errors, lost, imbalance: undefined });

test('the exit code: 0 for all, 3 for less, 1 for a failure', () => {
  const gaveUp = new RcapError('GIVEN_UP', 'gave up');
  const failed = new RcapError('CONNECTION', 'failed');
  assert.deepEqual([code(5, 0), code(5, 1), code(5, 1, failed), code(5, 0, failed)], [0, 3, 1, 1]);
  // It was connected, and some of it may have arrived.
  assert.deepEqual([code(5, 1, gaveUp), code(5, 0, gaveUp)], [3, 3]);
  assert.deepEqual([code(0, 0, gaveUp), code(5, 1, gaveUp, failed), code(5, 1, usageError('no'))], [1, 1, 2]);
  assert.equal(exitCode({ ledger: emptyLedger(), errors: [], lost: 0, imbalance: 'x' }), 3);
});
