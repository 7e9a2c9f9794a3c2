import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_HEAD } from '../packet.ts';
import { fuzz } from '../test/fuzz.ts';
import * as wire from '../test/wire.ts';
import { ProtocolError, readBatchHeader, writeBatchHeader } from './frame.ts';
import { rcap } from './messages.js';

const number = fc.oneof(fc.nat(300), fc.constantFrom(127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32), fc.maxSafeNat());
const PACKET = wire.packet({ timestampNs: 1n, data: Buffer.from('abc') });

/** Reads a whole message, with something else around it in memory. */
function read(message: Uint8Array) {
  const memory = Buffer.concat([Buffer.alloc(7, 0x22), message, Buffer.alloc(7, 0x08)]);
  const h = readBatchHeader(memory, 7, 7 + message.length);
  return { ...h, packets: h.packets - 7 };
}

test('the header that is written before the packets is what an independent encoder writes', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 65_535 }),
      number,
      number,
      fc.nat(70_000),
      (capture, sequence, firstPacket, length) => {
        const block = Buffer.alloc(BLOCK_HEAD + length, 0x55);
        const start = writeBatchHeader(block, block.length, { capture, sequence, firstPacket });
        const frame = wire.frame(wire.batch({ capture, sequence, firstPacket }, block.subarray(BLOCK_HEAD)));
        assert.ok(block.subarray(start).equals(frame));
        // Timestamps of the first and the last packet stand in the block's first 16 bytes.
        assert.ok(block.subarray(0, start).every((x) => x === 0x55) && start >= 16);
      },
    ),
  );
});

test('a header is read as it was written, and as protobufjs decodes it', () => {
  fc.assert(
    fc.property(number, number, number, (capture, sequence, firstPacket) => {
      const message = wire.batch({ capture, sequence, firstPacket }, PACKET);
      assert.deepEqual(read(message), { capture, sequence, firstPacket, packets: message.length - PACKET.length });
      const { batch } = rcap.v1.AgentMessage.decode(message);
      assert.deepEqual([batch!.sequence, batch!.firstPacket], [sequence, firstPacket]);
    }),
  );
});

test('fields of a header may come in any order, be repeated or unknown, or be left out', () => {
  const header = [
    wire.bytes(100, 'x'),
    wire.uint(3, 9),
    wire.uint(2, 1),
    wire.fixed64(15, 5n),
    wire.uint(2, 8),
    wire.uint(1, 7),
  ];
  const message = wire.bytes(3, Buffer.concat([...header, PACKET]));
  assert.deepEqual(read(message), { capture: 7, sequence: 8, firstPacket: 9, packets: message.length - PACKET.length });
  assert.deepEqual(read(wire.bytes(3, PACKET)), { capture: 0, sequence: 0, firstPacket: 0, packets: 2 });
  assert.deepEqual(read(wire.bytes(3, '')), { capture: 0, sequence: 0, firstPacket: 0, packets: 2 });
});

test('an envelope that holds more than the batch, or less than it says, is refused', () => {
  const good = wire.batch({}, PACKET);
  const more = Buffer.concat([good, wire.uint(1, 1)]);
  assert.throws(() => read(more), ProtocolError);
  assert.throws(() => read(good.subarray(0, -1)), ProtocolError);
  assert.throws(() => read(Buffer.concat([good.subarray(0, 1), wire.varint(2n ** 63n), PACKET])), ProtocolError);
});

test('numbers beyond 2^53, and varints without an end, are refused', () => {
  for (const value of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
    assert.throws(() => read(wire.batch({ sequence: value }, PACKET)), /sequence of a batch is out of range/);
    assert.throws(() => read(wire.batch({ firstPacket: value }, PACKET)), /firstPacket of a batch is out of range/);
  }
  const endless = wire.bytes(3, Buffer.concat([Buffer.from([0x10]), Buffer.alloc(20, 0xff)]));
  assert.throws(() => read(endless), ProtocolError);
});

test('any bytes are read or refused', async () => {
  const soup = fc.array(fc.oneof(fc.nat(255), fc.constantFrom(0x08, 0x10, 0x18, 0x22, 0x80)), { maxLength: 30 });
  await fuzz(
    fc.property(soup, fc.boolean(), (list, wrapped) => {
      const message = wrapped ? wire.bytes(3, Uint8Array.from(list)) : Uint8Array.from([0x1a, ...list]);
      try {
        const h = read(message);
        assert.ok(h.packets >= 2 && h.packets <= message.length);
        assert.ok([h.capture, h.sequence, h.firstPacket].every(Number.isSafeInteger));
      } catch (e) {
        assert.ok(e instanceof ProtocolError, String(e));
      }
    }),
    3000,
  );
});
