import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { records, type TestPacket } from '../test/wire.ts';
import { fileHeader, readFileHeader, recordTime, timeText, walkRecords } from './pcap.ts';

const SNAPLEN = 100;
const PACKETS: TestPacket[] = [
  { timestampNs: 1_700_000_000_123_456_789n, data: Buffer.alloc(60, 1) },
  { timestampNs: 1n, data: Buffer.alloc(0), original: 1 },
  { timestampNs: 4_294_967_295_999_999_999n, data: Buffer.alloc(SNAPLEN, 2), original: 0xffff_ffff },
  { timestampNs: 0n, data: Buffer.alloc(1, 3) },
];
const FILE = records(PACKETS);
/** Where each record ends. */
const ENDS = PACKETS.map((_, i) => records(PACKETS.slice(0, i + 1)).length);

test('a file header is read as it was written', () => {
  for (const timestamps of ['nano', 'micro'] as const) {
    const header = fileHeader(65_535, 262_144, timestamps);
    assert.equal(header.length, 24);
    assert.deepEqual(readFileHeader(header), { timestamps, snaplen: 262_144, linkType: 65_535 });
  }
});

test('a file header has the bytes that the format wants', () => {
  const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');
  assert.equal(hex(fileHeader(1, 0x0102_0304, 'nano')), '4d3cb2a1020004000000000000000000' + '0403020101000000');
  assert.equal(hex(fileHeader(113, 96, 'micro')), 'd4c3b2a1020004000000000000000000' + '6000000071000000');
});

test('what is no header of ours is none: too short, big endian, pcapng, another version', () => {
  const good = Buffer.from(fileHeader(1, 96, 'nano'));
  for (let n = 0; n < good.length; n++) assert.equal(readFileHeader(good.subarray(0, n)), undefined);
  assert.equal(readFileHeader(Buffer.from(good).swap32()), undefined);
  assert.equal(readFileHeader(Buffer.from('0a0d0d0a'.padEnd(48, '0'), 'hex')), undefined);
  good[4] = 3;
  assert.equal(readFileHeader(good), undefined);
});

test('records are walked up to the last whole one, cut at every byte', () => {
  for (let cut = 0; cut <= FILE.length; cut++) {
    const whole = ENDS.filter((end) => end <= cut).length;
    assert.deepEqual(
      walkRecords(FILE.subarray(0, cut), SNAPLEN),
      {
        bytes: ENDS[whole - 1] ?? 0,
        packets: whole,
        packetBytes: PACKETS.slice(0, whole).reduce((n, p) => n + p.data.length, 0),
        first: whole ? 0 : -1,
        last: whole ? (ENDS[whole - 2] ?? 0) : -1,
        damaged: false,
      },
      `cut at ${cut}`,
    );
  }
});

test('a walk ends before a record that can be none', () => {
  const damage: Record<string, (b: Buffer, at: number) => void> = {
    'longer than the snaplen': (b, at) => b.writeUInt32LE(SNAPLEN + 1, at + 8),
    'of 4 GiB': (b, at) => b.writeUInt32LE(0xffff_ffff, at + 8),
    'captured more than there was': (b, at) => b.writeUInt32LE(b.readUInt32LE(at + 8) - 1, at + 12),
    'with a fraction of a second and more': (b, at) => b.writeUInt32LE(1_000_000_000, at + 4),
    'of zeros': (b, at) => b.fill(0, at, at + 16),
  };
  for (const [what, harm] of Object.entries(damage)) {
    for (const [i, packet] of PACKETS.entries()) {
      if (packet.data.length === 0 && what === 'captured more than there was') continue;
      const at = ENDS[i - 1] ?? 0;
      const file = Buffer.from(FILE);
      harm(file, at);
      const walk = walkRecords(file, SNAPLEN);
      assert.deepEqual([walk.packets, walk.bytes, walk.damaged], [i, at, true], what);
    }
  }
});

test('zeros after the last record, as power loss leaves them, are no packets', () => {
  const walk = walkRecords(Buffer.concat([FILE, Buffer.alloc(4096)]), SNAPLEN);
  assert.deepEqual([walk.packets, walk.bytes, walk.damaged], [PACKETS.length, FILE.length, true]);
});

test('any bytes can be walked', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.nat(262_144), (bytes, snaplen) => {
      const walk = walkRecords(bytes, snaplen);
      assert.equal(walk.bytes, walk.packets * 16 + walk.packetBytes);
      assert.ok(walk.bytes <= bytes.length);
    }),
  );
});

test('times have all their digits, from 1970 to 2106', () => {
  assert.equal(timeText(0, 0, 'nano'), '1970-01-01T00:00:00.000000000Z');
  assert.equal(timeText(0, 1, 'micro'), '1970-01-01T00:00:00.000001Z');
  assert.equal(timeText(0xffff_ffff, 999_999_999, 'nano'), '2106-02-07T06:28:15.999999999Z');
  assert.equal(recordTime(FILE.subarray(ENDS[1]), 0, 'nano'), '2106-02-07T06:28:15.999999999Z');
  assert.equal(recordTime(FILE, 0, 'nano'), '2023-11-14T22:13:20.123456789Z');
});
