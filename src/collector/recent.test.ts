import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Recent } from './recent.ts';

test('the oldest go first, and the last one is kept whatever its size', () => {
  const made: string[] = [];
  const recent = new Recent<string>(5, (text) => text.length);
  const get = (text: string) => recent.get(text, () => (made.push(text), text));
  for (const text of ['aa', 'bb', 'aa', 'c', 'dd', 'bb', 'aa', 'longer', 'c']) assert.equal(get(text), text);
  assert.deepEqual(made, ['aa', 'bb', 'c', 'dd', 'aa', 'longer', 'c']);
  assert.deepEqual([...recent.keys()], ['c']);
  recent.delete('c');
  recent.delete('c');
  get('eeeee');
  assert.deepEqual([...recent.keys()], ['eeeee']);
});
