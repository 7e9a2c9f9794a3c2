import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { RcapError } from '../errors.ts';
import { checkSignature, signAdHoc } from './macho.ts';

const CODE_BYTES = 3 * 4096 + 100;

/** A thin 64-bit executable with __TEXT, __LINKEDIT, and `spare` bytes after its load commands. */
function executable(spare = 64): Buffer {
  const file = Buffer.alloc(CODE_BYTES, 0x5a);
  const commands = [segment('__TEXT', 0, 8192, 32 + 152 + 72 + spare), segment('__LINKEDIT', 8192, CODE_BYTES - 8192)];
  const bytes = Buffer.concat(commands);
  [0xfeedfacf, 0x0100000c, 0, 2, 2, bytes.length, 0, 0].forEach((word, i) => file.writeUInt32LE(word, 4 * i));
  bytes.copy(file, 32);
  file.fill(0, 32 + bytes.length, 32 + bytes.length + spare);
  return file;
}
/** `section`: where the content of its one section begins; 0: it has none. */
function segment(name: string, offset: number, size: number, section = 0): Buffer {
  const bytes = Buffer.alloc(section ? 152 : 72);
  bytes.writeUInt32LE(0x19, 0);
  bytes.writeUInt32LE(bytes.length, 4);
  bytes.write(name, 8);
  bytes.writeBigUInt64LE(BigInt(offset), 40);
  bytes.writeBigUInt64LE(BigInt(size), 48);
  if (section) {
    bytes.writeUInt32LE(1, 64);
    bytes.writeUInt32LE(section, 72 + 48);
  }
  return bytes;
}
const refused = (reason: RegExp) => (error: unknown) =>
  error instanceof RcapError && error.code === 'MACHO' && reason.test(error.message);

describe('a signature of a Mach-O file', () => {
  test('covers all before it, and is its end', () => {
    const signed = signAdHoc(executable(), 'some.program', { room: 5000 });
    const { end, ...rest } = checkSignature(signed);
    assert.deepEqual(rest, {
      identifier: 'some.program',
      adHoc: true,
      pages: 4,
      wrongPages: [],
      roomEnd: signed.length,
    });
    assert.ok(signed.length - end >= 5000 && signed.length - end < 5016);
    assert.ok(signed.subarray(end).every((byte) => byte === 0));
    // Every byte but those of the load commands, which name the signature now, is as it was.
    assert.ok(executable().subarray(1000).equals(signed.subarray(1000, CODE_BYTES)));
  });

  test('notices one changed byte in any page, and none in the room behind it', () => {
    const signed = signAdHoc(executable(), 'x', { room: 4096 });
    for (const [at, page] of [
      [900, 0],
      [4096, 1],
      [8191, 1],
      [CODE_BYTES - 1, 3],
    ] as const) {
      // prettier-ignore
      const changed = Buffer.from(signed);
      changed[at]! ^= 1;
      assert.deepEqual(checkSignature(changed).wrongPages, [page]);
    }
    const stamped = Buffer.from(signed).fill('stamp', signed.length - 4096);
    assert.deepEqual(checkSignature(stamped).wrongPages, []);
  });

  test('is replaced by the next one, and the same file is signed the same', () => {
    const once = signAdHoc(executable(), 'first', { room: 300 });
    assert.deepEqual(signAdHoc(once, 'second'), signAdHoc(executable(), 'second'));
    assert.deepEqual(signAdHoc(executable(), 'first', { room: 300 }), once);
  });

  test('is refused where it has no place, or the file is another', () => {
    assert.throws(() => signAdHoc(executable(15), 'x'), refused(/no room for another load command/));
    assert.throws(
      () => signAdHoc(Buffer.alloc(100), 'x'),
      refused(/could not sign 'x': not a thin 64-bit Mach-O file/),
    );
    assert.throws(() => signAdHoc(new Uint8Array(2), 'x'), refused(/could not sign/));
    assert.throws(() => checkSignature(executable()), refused(/there is none/));
    assert.throws(() => checkSignature(Buffer.concat([signAdHoc(executable(), 'x'), Buffer.from('more')])), refused(/not the end/)); // prettier-ignore
  });

  test('in a damaged file is wrong or refused, and never anything else', () => {
    const signed = signAdHoc(executable(), 'x', { room: 16 });
    const place = fc.oneof(
      fc.nat(300),
      fc.nat(signed.length - 1),
      fc.integer({ min: CODE_BYTES, max: signed.length - 1 }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(99),
        (changes, cut) => {
          const file = Buffer.from(signed.subarray(0, signed.length - (cut < 50 ? 0 : cut * 100)));
          for (const [at, byte] of changes) if (at < file.length) file[at] = byte;
          for (const act of [() => checkSignature(file), () => signAdHoc(file, 'y')]) {
            try {
              act();
            } catch (error) {
              assert.ok(error instanceof RcapError && error.code === 'MACHO', String(error));
            }
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
