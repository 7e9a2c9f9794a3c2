import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { lacks, temporaryFolder } from '../../test/support.ts';
import { filesOf, hasSpool, markedCopy, type UnitParts, unitText, userOf } from './unit.ts';

const PARTS: UnitParts = {
  name: 'rcap-agent',
  executable: process.execPath,
  copied: true,
  folder: '/etc/rcap/rcap-agent',
  hasCa: false,
  spools: false,
  stopWithinMs: undefined,
  finalCodes: [2, 3],
};
const EVERYTHING: UnitParts = {
  ...PARTS,
  name: 'web-1',
  hasCa: true,
  spools: true,
  stopWithinMs: 90_500,
  finalCodes: [2],
};

test('systemd finds nothing wrong with a unit, and little exposed', { skip: lacks('systemd-analyze') }, (t) => {
  const folder = temporaryFolder(t);
  for (const parts of [PARTS, EVERYTHING, { ...PARTS, copied: false }]) {
    const file = join(folder, `${parts.name}.service`);
    writeFileSync(file, unitText(parts));
    const verified = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
    // Of an unknown key it only warns.
    assert.deepEqual([verified.status, verified.stderr], [0, '']);
    // The threshold is in tenths.
    const words = ['security', '--offline=true', '--no-pager', '--threshold=20', file];
    const security = spawnSync('systemd-analyze', words, { encoding: 'utf8' });
    assert.equal(security.status, 0, security.stdout.split('\n').at(-2));
  }
});

test('a unit says what was asked for', () => {
  assert.match(unitText(PARTS), /^ExecStart=\S+ --settings \$\{CREDENTIALS_DIRECTORY\}\/settings\.json$/m);
  assert.match(unitText(PARTS), /^TimeoutStopSec=45s$/m);
  assert.match(unitText(PARTS), /^RestartPreventExitStatus=2 3$/m);
  const text = unitText(EVERYTHING);
  assert.match(text, /^ExecStart=.*settings\.json --ca \$\{CREDENTIALS_DIRECTORY\}\/ca\.pem$/m);
  assert.match(text, /^LoadCredential=ca\.pem:\/etc\/rcap\/rcap-agent\/ca\.pem$/m);
  assert.match(text, /^TimeoutStopSec=106s$/m);
  assert.match(text, /^RestartPreventExitStatus=2$/m);
});

test('a unit tells what goes with it', () => {
  assert.equal(markedCopy(unitText(PARTS)), process.execPath);
  assert.equal(markedCopy(unitText({ ...PARTS, copied: false })), undefined);
  assert.deepEqual(filesOf(unitText(PARTS)), ['settings.json']);
  assert.deepEqual(filesOf(unitText(EVERYTHING)), ['settings.json', 'ca.pem']);
  assert.equal(hasSpool(unitText(PARTS)), false);
  assert.equal(hasSpool(unitText(EVERYTHING)), true);
});

test('a user of a service has no name that an account may have', () => {
  for (const name of ['a', 'www-data', 'A'.repeat(64)]) assert.match(userOf(name), /^rcap-[0-9a-f]{16}$/);
  assert.notEqual(userOf('a'), userOf('A'));
  assert.ok(unitText(PARTS).includes(`\nUser=${userOf('rcap-agent')}\n`));
});
