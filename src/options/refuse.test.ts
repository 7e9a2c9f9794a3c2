import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { refuseHostName, refusePin } from './refuse.ts';

const pin = `sha256/${createHash('sha256').update('key').digest('base64')}`;

test('a pin is sha256/ and the one spelling of 32 bytes', () => {
  assert.equal(refusePin(pin), undefined);
  // The same bytes, but with bits set that are thrown away.
  const other = pin.replace(/.=$/, (end) => `${String.fromCharCode(end.charCodeAt(0) + 1)}=`);
  for (const text of [
    '',
    pin.slice(7),
    pin.toUpperCase(),
    pin.slice(0, -1),
    `${pin}=`,
    ` ${pin}`,
    `${pin}\n`,
    other,
    pin.replace('256', '512'),
  ]) {
    assert.match(refusePin(text) ?? '', /a pin is sha256/, text);
  }
});

test('a host name has at most 255 bytes and no NUL', () => {
  assert.equal(refuseHostName('web-1 Büro 🦀'), undefined);
  assert.equal(refuseHostName('a'.repeat(255)), undefined);
  assert.match(refuseHostName('a'.repeat(256)) ?? '', /255/);
  assert.match(refuseHostName('🦀'.repeat(64)) ?? '', /255/);
  assert.match(refuseHostName('a\0') ?? '', /NUL/);
});
