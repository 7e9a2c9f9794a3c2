import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pieces } from '../formats/image.ts';
import { stamp } from '../formats/stamp.ts';
import { temporaryFolder } from '../test/support.ts';
import { copyUnpacked } from './own-stamp.ts';

/** Longer than what is copied at once. */
function elf(): Buffer {
  const file = Buffer.alloc((5 << 20) + 3, 'program');
  file.write('\x7fELF', 'latin1');
  return file;
}

function stamped(bytes: Buffer, payload: Buffer): Buffer {
  const read = (at: number, length: number) => bytes.subarray(at, at + length);
  const made = stamp({ size: bytes.length, read }, payload);
  return Buffer.concat(pieces(made).map((p) => (p instanceof Uint8Array ? p : bytes.subarray(p.from, p.to))));
}

test('a copy without settings is what it was before, and nobody else reads it while it is made', (t) => {
  const folder = temporaryFolder(t);
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  for (const payload of [undefined, Buffer.from('secret')]) {
    const file = `${to}-${payload?.length}`;
    writeFileSync(from, payload ? stamped(elf(), payload) : elf(), { mode: 0o755 });
    copyUnpacked(from, file);
    assert.ok(readFileSync(file).equals(elf()));
    assert.equal(statSync(file).mode & 0o777, 0o600);
  }
});

test('it takes the place of no file', (t) => {
  const folder = temporaryFolder(t);
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  writeFileSync(from, elf());
  writeFileSync(to, 'of somebody else');
  assert.throws(() => copyUnpacked(from, to), { code: 'EEXIST' });
  assert.equal(readFileSync(to, 'utf8'), 'of somebody else');
});
