import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../test/support.ts';
import { UNFINISHED } from './replace.ts';
import { commandOf, folderIn, foreignIn, isLeft, removeOurs } from './windows-place.ts';

test('a command is ours if install could have written it, for whatever folder', () => {
  const folder = 'E:\\Programs\\rcap\\web';
  assert.equal(folderIn('web', commandOf('web', folder)), folder);
  for (const command of [
    'C:\\Windows\\system32\\svchost.exe -k netsvcs',
    commandOf('other', folder),
    commandOf('web', folder).replace('E:', 'C:'),
    `${commandOf('web', folder)} "x"`,
    '',
  ])
    assert.equal(folderIn('web', command), undefined, command);
});

test('of a folder only what is ours goes', (t) => {
  const folder = join(temporaryFolder(t), 'rcap/web');
  const fill = (...names: string[]) => names.forEach((name) => writeFileSync(join(folder, name), ''));
  assert.equal(foreignIn(folder), undefined);
  mkdirSync(join(folder, 'rcap-addon-abcdef'), { recursive: true });
  fill('rcap-agent.exe', 'settings.json', 'agent.log', 'agent.log.1', 'rcap-addon-abcdef/x');
  fill(...['rcap-agent.exe', 'settings.json', 'ca.pem'].map((name) => name + UNFINISHED));
  assert.equal(foreignIn(folder), undefined);
  fill('theirs');
  assert.equal(foreignIn(folder), 'theirs');
  assert.equal(removeOurs(folder), false);
  assert.deepEqual(readdirSync(folder), ['theirs']);
});

test('whatever an installation had begun tells that there was one', (t) => {
  const folder = join(temporaryFolder(t), 'rcap/web');
  const file = (name: string) => join(folder, name);
  assert.equal(isLeft(folder), false);
  assert.equal(removeOurs(folder), true);
  mkdirSync(folder, { recursive: true });
  assert.equal(isLeft(folder), true);
  writeFileSync(file('theirs'), '');
  assert.equal(isLeft(folder), false);
  writeFileSync(file(`rcap-agent.exe${UNFINISHED}`), '');
  assert.equal(isLeft(folder), true);
  rmSync(file('theirs'));
  assert.equal(removeOurs(folder), true);
  assert.ok(!existsSync(join(folder, '..')));
});
