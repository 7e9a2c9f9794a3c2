import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { distance, nearest } from './near.ts';

test('distance counts insertions, deletions, replacements and swaps', () => {
  assert.equal(distance('server', 'server'), 0);
  assert.equal(distance('sever', 'server'), 1);
  assert.equal(distance('sevrer', 'server'), 1);
  assert.equal(distance('serwar', 'server'), 2);
  assert.equal(distance('', 'ab'), 2);
  assert.equal(distance('kitten', 'sitting'), 3);
});

test('distance is symmetric, and 0 for equal texts only', () => {
  const text = fc.string({ maxLength: 8 });
  fc.assert(
    fc.property(text, text, (a, b) => {
      assert.equal(distance(a, b), distance(b, a));
      assert.equal(distance(a, b) === 0, a === b);
    }),
  );
});

test('the nearest name', () => {
  const names = ['interface', 'list-interfaces', 'pin', 'ca', 'server', 'spool', 'spool-full'];
  assert.equal(nearest('sever', names), 'server');
  assert.equal(nearest('inter', names), 'interface');
  assert.equal(nearest('intreface', names), 'interface');
  assert.equal(nearest('spol', names), 'spool');
  assert.equal(nearest('zzz', names), undefined);
  assert.equal(nearest('x', ['ca']), undefined);
});
