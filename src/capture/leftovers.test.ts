import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { removeLeftovers } from './leftovers.ts';

const FILE = 'library.node';
const LONG_AGO = new Date(Date.now() - 3_600_000);

test('only old folders of ours, with nothing but our file, are deleted', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rcap-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const add = (name: string, files: string[], old = true) => {
    mkdirSync(join(folder, name));
    for (const file of files) writeFileSync(join(folder, name, file), 'x');
    if (old) utimesSync(join(folder, name), LONG_AGO, LONG_AGO);
  };
  add('rcap-addon-aB3dEf', [FILE]);
  add('rcap-addon-empty0', []);
  add('rcap-addon-abcde1', [FILE], false);
  add('rcap-addon-abcde2', [FILE, 'other']);
  add('rcap-addon-abcde3', ['other']);
  add('rcap-addon-abcd', [FILE]);
  add('xrcap-addon-abcde4', [FILE]);
  mkdirSync(join(folder, 'elsewhere'));
  writeFileSync(join(folder, 'elsewhere', FILE), 'x');
  symlinkSync(join(folder, 'elsewhere'), join(folder, 'rcap-addon-abcde5'));
  mkdirSync(join(folder, 'rcap-addon-abcde6', FILE), { recursive: true });
  utimesSync(join(folder, 'rcap-addon-abcde6'), LONG_AGO, LONG_AGO);
  removeLeftovers(folder, FILE);
  assert.deepEqual(readdirSync(folder).toSorted(), [
    'elsewhere',
    'rcap-addon-abcd',
    'rcap-addon-abcde1',
    'rcap-addon-abcde2',
    'rcap-addon-abcde3',
    'rcap-addon-abcde5',
    'rcap-addon-abcde6',
    'xrcap-addon-abcde4',
  ]);
  assert.deepEqual(readdirSync(join(folder, 'elsewhere')), [FILE]);
});

test('a folder that is missing has no leftovers', () => {
  assert.doesNotThrow(() => removeLeftovers(join(tmpdir(), 'rcap-test-is-missing'), FILE));
});
