import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { exitCodeOf, RcapError, reasonOf, usageError } from './errors.ts';

test('an error carries code, hint and cause', () => {
  const cause = new Error('inner');
  const error = new RcapError('X', "could not open 'a': no", { hint: 'try b', cause });
  assert.deepEqual(
    [error.code, error.message, error.hint, error.cause, error.name],
    ['X', "could not open 'a': no", 'try b', cause, 'RcapError'],
  );
  assert.ok(error instanceof Error);
  assert.ok(!('cause' in new RcapError('X', 'y')));
});

test('the reason of a system error is the system’s own words', () => {
  assert.equal(reasonOf(systemError()), 'no such file or directory');
  assert.equal(reasonOf(new Error('plain')), 'plain');
  assert.equal(reasonOf('text'), 'text');
});
function systemError(): unknown {
  try {
    readFileSync('/nonexistent/file');
  } catch (error) {
    return error;
  }
  throw new Error('that file exists');
}

test('wrong usage ends with 2, all else with 1', () => {
  assert.equal(exitCodeOf(usageError('x')), 2);
  assert.equal(exitCodeOf(new RcapError('X', 'x')), 1);
  assert.equal(exitCodeOf(new Error('x')), 1);
  assert.equal(exitCodeOf(undefined), 1);
});
