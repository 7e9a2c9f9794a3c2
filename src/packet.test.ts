import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_HEAD, type Block, firstTimestamp, lastTimestamp, measure } from './packet.ts';
import { packet, type TestPacket } from './test/wire.ts';

const anyPacket: fc.Arbitrary<TestPacket> = fc
  .record({
    timestampNs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    data: fc.uint8Array({ maxLength: 300, size: 'max' }),
    more: fc.option(fc.nat(70_000), { nil: undefined }),
  })
  .map(({ more, data, ...p }) => ({ ...p, data, ...(more === undefined ? {} : { original: data.length + more }) }));

function blockOf(packets: TestPacket[]): Block {
  const head = Buffer.alloc(BLOCK_HEAD);
  const body = Buffer.concat(packets.map(packet));
  // What stands behind the end must not be looked at.
  const bytes = Buffer.concat([head, body, Buffer.alloc(64, 0xff)]);
  const packetBytes = packets.reduce((n, p) => n + p.data.length, 0);
  return { bytes, end: BLOCK_HEAD + body.length, packets: packets.length, packetBytes, release() {} };
}

test('a block is measured up to the packet that reaches the count or the bytes', () => {
  fc.assert(
    fc.property(
      fc.array(anyPacket, { maxLength: 30 }),
      fc.oneof(fc.nat(35), fc.constant(Infinity)),
      fc.oneof(fc.nat(5000), fc.constant(Infinity)),
      (packets, count, bytes) => {
        let end = BLOCK_HEAD;
        let taken = 0;
        let sum = 0;
        let lastTimestamp = 0n;
        for (const p of packets) {
          if (taken >= count || sum >= bytes) break;
          end += packet(p).length;
          sum += p.data.length;
          taken++;
          lastTimestamp = p.timestampNs;
        }
        const expected = { end, packets: taken, packetBytes: sum, lastTimestamp };
        assert.deepEqual(measure(blockOf(packets), count, bytes), expected);
      },
    ),
  );
});

test('the longest packet is measured', () => {
  const long = { timestampNs: 1n, data: new Uint8Array(262_144), original: 0xffff_ffff };
  const block = blockOf([long, long]);
  const end = BLOCK_HEAD + packet(long).length;
  assert.deepEqual(measure(block, 1, Infinity), { end, packets: 1, packetBytes: 262_144, lastTimestamp: 1n });
  assert.deepEqual(measure(block, Infinity, 262_144), { end, packets: 1, packetBytes: 262_144, lastTimestamp: 1n });
  assert.equal(measure(block, Infinity, 262_145).packets, 2);
});

test('the first and the last timestamp stand at the start of a block, wherever it lies in memory', () => {
  const bytes = Buffer.alloc(200).subarray(40);
  bytes.writeBigUInt64LE(2n ** 64n - 1n, 0);
  bytes.writeBigUInt64LE(7n, 8);
  assert.equal(firstTimestamp(bytes), 2n ** 64n - 1n);
  assert.equal(lastTimestamp(bytes), 7n);
});
