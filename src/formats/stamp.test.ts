import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RcapError } from '../errors.ts';
import { fuzz } from '../test/fuzz.ts';
import { type Image, pieces } from './image.ts';
import { setChecksum } from './stamp-pe.ts';
import { MAX_STAMP_BYTES, readStamp, stamp, TAIL_BYTES } from './stamp.ts';

const imageOf = (bytes: Uint8Array): Image => ({
  size: bytes.length,
  read(offset, length) {
    assert.ok(offset >= 0 && length >= 0 && offset + length <= bytes.length, `read ${length} at ${offset}`);
    return bytes.slice(offset, offset + length);
  },
});

function stamped(bytes: Uint8Array, payload: Uint8Array): Buffer {
  const made = stamp(imageOf(bytes), payload);
  const whole = Buffer.concat(pieces(made).map((p) => (p instanceof Uint8Array ? p : bytes.subarray(p.from, p.to))));
  assert.equal(whole.length, made.size);
  return whole;
}
const tailOf = (bytes: Uint8Array) => bytes.subarray(Math.max(0, bytes.length - TAIL_BYTES));
const isStampError = (e: unknown) => e instanceof RcapError && e.code === 'STAMP';

function elf(bytes = 500): Buffer {
  const file = Buffer.alloc(bytes, 0xaa);
  file.write('\x7fELF', 'latin1');
  return file;
}

const PE_AT = 0x80;
const CHECKSUM_AT = PE_AT + 24 + 64;
const CERTIFICATES_AT = PE_AT + 24 + 112 + 32;
/** As the format's specification says: 16-bit words with carries, without the field itself, and the size. */
function checksumOf(file: Buffer): number {
  let sum = 0;
  for (let at = 0; at < file.length; at += 2) {
    if (at === CHECKSUM_AT || at === CHECKSUM_AT + 2) continue;
    sum += at + 1 < file.length ? file.readUInt16LE(at) : file[at]!;
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return sum + file.length;
}
/** `certificates`: the lengths that each says of itself. */
function pe(certificates: number[] = [], bytes = 1024): Buffer {
  const blobs = certificates.map((length) => {
    const blob = Buffer.alloc(Math.ceil(length / 8) * 8, 0);
    blob.fill(0x5c, 8, length);
    blob.writeUInt32LE(length);
    return blob;
  });
  const file = Buffer.concat([Buffer.alloc(bytes, 0x31), ...blobs]);
  file.write('MZ');
  file.writeUInt32LE(PE_AT, 0x3c);
  file.write('PE\0\0', PE_AT);
  file.writeUInt16LE(0x20b, PE_AT + 24);
  file.writeUInt32LE(16, PE_AT + 24 + 108);
  const table = file.length - bytes;
  file.writeUInt32LE(table ? bytes : 0, CERTIFICATES_AT);
  file.writeUInt32LE(table, CERTIFICATES_AT + 4);
  file.writeUInt32LE(checksumOf(file), CHECKSUM_AT);
  return file;
}

/** A signature of 100 bytes, with so many zeros behind it. */
function macho(room: number): Buffer {
  const signature = Buffer.alloc(100 + room);
  signature.writeUInt32BE(0xfade0cc0);
  signature.writeUInt32BE(100, 4);
  const file = Buffer.concat([Buffer.alloc(512, 0x77), signature]);
  file.writeUInt32LE(0xfeedfacf);
  file.writeUInt32LE(2, 16);
  file.writeUInt32LE(40, 20);
  file.writeUInt32LE(0x2, 32);
  file.writeUInt32LE(24, 36);
  file.writeUInt32LE(0x1d, 56);
  file.writeUInt32LE(16, 60);
  file.writeUInt32LE(512, 64);
  file.writeUInt32LE(signature.length, 68);
  return file;
}

const FILES: Record<string, Buffer> = {
  ELF: elf(),
  'ELF of odd size': elf(333),
  PE: pe(),
  'PE of odd size': pe([], 1023),
  'signed PE': pe([100]),
  'PE with two signatures': pe([64, 101]),
  'Mach-O': macho(16_384),
};

for (const [name, file] of Object.entries(FILES)) {
  test(`${name}: what is put in is read, and takes the place of what was there`, async () => {
    await fuzz(
      fc.property(fc.uint8Array({ maxLength: 5000 }), fc.uint8Array({ maxLength: 5000 }), (a, b) => {
        const first = stamped(file, a);
        assert.deepEqual(Buffer.from(readStamp(tailOf(first))!), Buffer.from(a));
        const second = stamped(first, b);
        assert.deepEqual(second, stamped(file, b));
        assert.deepEqual(Buffer.from(readStamp(tailOf(second))!), Buffer.from(b));
      }),
      200,
    );
  });
}

test('a file without a stamp has none', () => {
  for (const file of [...Object.values(FILES), Buffer.alloc(0), Buffer.alloc(15)]) {
    assert.equal(readStamp(tailOf(file)), undefined);
  }
});

test('only the ends change: the original is sent as it is', () => {
  const list = pieces(stamp(imageOf(elf()), Buffer.from('x')));
  assert.deepEqual(list[0], { from: 0, to: 500 });
  assert.equal(list.length, 2);
});

test('one byte changed anywhere in a stamp is an error', () => {
  for (const payload of [Buffer.from('{"a":1}'), Buffer.alloc(0), Buffer.alloc(8, 1)]) {
    const file = stamped(elf(), payload);
    for (let at = 500; at < file.length; at++) {
      // The payload's own bytes are for its signature to check.
      if (at >= 516 && at < 516 + payload.length) continue;
      for (const flip of [1, 0x80, 0xff]) {
        const changed = Buffer.from(file);
        changed[at]! ^= flip;
        assert.throws(() => readStamp(tailOf(changed)), isStampError, `byte ${at - 500}`);
        assert.throws(() => stamp(imageOf(changed), payload), isStampError);
      }
    }
  }
});

test('a stamp that is cut short, or that something follows, is an error', () => {
  const file = stamped(elf(), Buffer.alloc(300, 7));
  for (let at = 516; at < file.length; at++) assert.throws(() => readStamp(tailOf(file.subarray(0, at))), isStampError);
  for (const more of [1, 8, 40_000, 1_000_000])
    assert.throws(() => readStamp(tailOf(Buffer.concat([file, Buffer.alloc(more)]))), isStampError);
});

test('any bytes at the end of a file: a payload, none or an error', async () => {
  const end = stamped(elf(), Buffer.alloc(0)).subarray(-24);
  const length = fc.oneof(fc.nat(2 ** 32 - 1), fc.constantFrom(0, 1, 65_496, 65_497, 65_536, 2 ** 31, 2 ** 32 - 1));
  await fuzz(
    fc.property(fc.uint8Array({ maxLength: 300 }), length, (noise, claimed) => {
      const tail = Buffer.concat([noise, end]);
      tail.writeUInt32LE(claimed, tail.length - 24);
      assert.throws(() => readStamp(tail), isStampError);
      assert.equal(readStamp(noise), undefined);
    }),
    2000,
  );
});

test('damaged executables are refused, never read beyond their ends', async () => {
  const files = fc.constantFrom(pe(), pe([100]), pe([64, 101]), macho(5000), macho(10));
  const change = fc.record({ at: fc.nat(700), to: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 8, 0xff)) });
  await fuzz(
    fc.property(files, fc.array(change, { maxLength: 6 }), fc.nat(1500), (original, changes, cut) => {
      const file = Buffer.from(original);
      for (const { at, to } of changes) if (at < file.length) file[at] = to;
      try {
        const whole = stamped(cut > 1200 ? file : file.subarray(0, cut), Buffer.from('settings'));
        assert.equal(Buffer.from(readStamp(tailOf(whole))!).toString(), 'settings');
      } catch (e) {
        if (!isStampError(e)) throw e;
      }
    }),
    2000,
  );
});

test('PE: the checksum stays right, and one that is not set stays so', () => {
  for (const file of [pe(), pe([], 1023), pe([100]), pe([64, 101])]) {
    let now = file;
    for (const payload of ['short', 'x'.repeat(999), 'short']) {
      now = stamped(now, Buffer.from(payload));
      assert.equal(now.readUInt32LE(CHECKSUM_AT), checksumOf(now));
    }
    const unset = Buffer.from(file);
    unset.writeUInt32LE(0, CHECKSUM_AT);
    assert.equal(stamped(unset, Buffer.from('x')).readUInt32LE(CHECKSUM_AT), 0);
  }
});

test('PE: a checksum is made right whatever it was', () => {
  for (const file of [pe(), pe([], 1023), pe([100])]) {
    for (const wrong of [0, 1, 0xffffffff]) {
      file.writeUInt32LE(wrong, CHECKSUM_AT);
      setChecksum(file);
      assert.equal(file.readUInt32LE(CHECKSUM_AT), checksumOf(file));
    }
  }
});

test('signed PE: the table and its last certificate end with the file', () => {
  const file = stamped(pe([64, 101]), Buffer.alloc(100));
  assert.equal(file.readUInt32LE(CERTIFICATES_AT) + file.readUInt32LE(CERTIFICATES_AT + 4), file.length);
  assert.equal(file.readUInt32LE(1024), 64);
  assert.equal(1024 + 64 + file.readUInt32LE(1024 + 64), file.length);
  assert.equal(file.length % 8, 0);
});

test('signed PE: bytes behind the signature are refused', () => {
  assert.throws(() => stamped(Buffer.concat([pe([100]), Buffer.alloc(8)]), Buffer.from('x')), /not the last thing/);
});

test('Mach-O: size and everything before the room stay; without room it is refused', () => {
  const file = macho(16_384);
  const made = stamped(file, Buffer.alloc(16_344, 1));
  assert.equal(made.length, file.length);
  assert.deepEqual(made.subarray(0, 612), file.subarray(0, 612));
  assert.throws(() => stamped(file, Buffer.alloc(16_345)), /16384 bytes of room behind its signature/);
  assert.throws(() => stamped(macho(0), Buffer.from('x')), isStampError);
  const used = macho(16_384);
  used[700] = 1;
  assert.throws(() => stamped(used, Buffer.from('x')), /not empty/);
});

test('what is no executable, and settings that are too long, are refused', () => {
  assert.throws(() => stamped(Buffer.from('#!/bin/sh\n'), Buffer.from('x')), /no ELF, PE or 64-bit Mach-O/);
  assert.equal(stamped(elf(), Buffer.alloc(MAX_STAMP_BYTES - 40)).length, 500 + MAX_STAMP_BYTES);
  assert.throws(() => stamped(elf(), Buffer.alloc(MAX_STAMP_BYTES - 39)), /65496 fit/);
});
