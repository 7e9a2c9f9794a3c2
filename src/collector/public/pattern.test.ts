import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/fuzz.ts';
import { bySpecificity, patternOf } from './pattern.ts';

const matching = (pattern: string, ...hosts: string[]) => hosts.filter((h) => patternOf(pattern).matches(h));

test('whole names and patterns, in any case', () => {
  assert.deepEqual(matching('web-1', 'web-1', 'WEB-1', 'web-11', 'xweb-1'), ['web-1', 'WEB-1']);
  assert.deepEqual(matching('WEB-*', 'web-', 'Web-7', 'web', 'my-web-7'), ['web-', 'Web-7']);
  assert.deepEqual(matching('*.corp', 'a.corp', '.corp', 'corp', 'a.corp.x'), ['a.corp', '.corp']);
  assert.deepEqual(matching('a*b*c', 'abc', 'axbxc', 'ac', 'acb', 'abcb', 'abcbc'), ['abc', 'axbxc', 'abcbc']);
  // What one part took another can't have.
  assert.deepEqual(matching('ab*ba', 'aba', 'abba'), ['abba']);
  assert.deepEqual(matching('*', '_', 'x'), ['_', 'x']);
});

test('a pattern matches as a regular expression would', async () => {
  const text = (unit: string) => fc.string({ unit: fc.constantFrom(...unit.split('')), minLength: 1, maxLength: 12 });
  await fuzz(
    fc.property(text('aab.*'), text('aab.'), (pattern, host) => {
      fc.pre(pattern.includes('*'));
      const expected = new RegExp(`^${pattern.replace(/\./g, '\\.').replace(/\*/g, '.*')}$`).test(host);
      assert.equal(patternOf(pattern).matches(host), expected);
    }),
    5000,
  );
});

test('many stars cost nothing', () => {
  const slow = patternOf('*a'.repeat(63));
  assert.equal(slow.matches('a'.repeat(64).replace(/a$/, 'b')), false);
  assert.equal(slow.matches('a'.repeat(64)), true);
});

test('what no host can be called is refused', () => {
  assert.throws(() => patternOf('we b'), /no host's name has ' ' in it/);
  assert.throws(() => patternOf('web-?'), /has '\?' in it/);
  assert.throws(() => patternOf('.web'), /did you mean _web\?/);
  assert.throws(() => patternOf('x'.repeat(65)), /no host has this name/);
  assert.throws(() => patternOf('*'.repeat(129)), /at most 128/);
  assert.throws(() => patternOf(''), /empty/);
});

test('the more specific one comes first', () => {
  const sorted = ['*', 'web-*', 'web-1', 'w*', '*b-1'].map(patternOf).toSorted(bySpecificity);
  assert.deepEqual(sorted.map((p) => p.text), ['web-1', 'web-*', '*b-1', 'w*', '*']); // prettier-ignore
});
