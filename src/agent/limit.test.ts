import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_HEAD, type Block } from '../packet.ts';
import { packet } from '../test/wire.ts';
import { admit } from './limit.ts';

/** A block of packets with these captured lengths. */
function blockOf(lengths: number[]): Block {
  const body = Buffer.concat(lengths.map((n) => packet({ timestampNs: 1n, data: Buffer.alloc(n) })));
  const packetBytes = lengths.reduce((a, b) => a + b, 0);
  return {
    bytes: Buffer.concat([Buffer.alloc(BLOCK_HEAD), body]),
    end: BLOCK_HEAD + body.length,
    packets: lengths.length,
    packetBytes,
    release() {},
  };
}
const NONE = { packets: 0, packetBytes: 0 };

test('without limits the whole block belongs to the run, and is not even looked at', () => {
  const block = { ...blockOf([10, 20]), bytes: new Uint8Array() };
  const { packets, packetBytes, end, reached } = admit(NONE, {}, block);
  assert.deepEqual([packets, packetBytes, end, reached], [2, 30, block.end, undefined]);
});

test('the packet that reaches the count is the last one, counted over blocks', () => {
  const block = blockOf([10, 20, 30]);
  assert.equal(admit({ packets: 6, packetBytes: 0 }, { count: 10 }, block).reached, undefined);
  assert.deepEqual(admit({ packets: 7, packetBytes: 0 }, { count: 10 }, block), {
    packets: 3,
    packetBytes: 60,
    end: block.end,
    lastTimestamp: 1n,
    reached: 'count',
  });
  assert.deepEqual(admit({ packets: 8, packetBytes: 0 }, { count: 10 }, block), {
    packets: 2,
    packetBytes: 30,
    end: blockOf([10, 20]).end,
    lastTimestamp: 1n,
    reached: 'count',
  });
});

test('the packet that reaches the bytes is the last one, and is whole', () => {
  const block = blockOf([10, 20, 30]);
  assert.equal(admit(NONE, { bytes: 61 }, block).reached, undefined);
  assert.deepEqual(admit(NONE, { bytes: 60 }, block), {
    packets: 3,
    packetBytes: 60,
    end: block.end,
    lastTimestamp: 1n,
    reached: 'bytes',
  });
  assert.deepEqual(admit(NONE, { bytes: 11 }, block), {
    packets: 2,
    packetBytes: 30,
    end: blockOf([10, 20]).end,
    lastTimestamp: 1n,
    reached: 'bytes',
  });
});

test('of two limits the one that comes first ends the run', () => {
  const block = blockOf([10, 20, 30]);
  assert.deepEqual(admit(NONE, { count: 3, bytes: 15 }, block).reached, 'bytes');
  assert.deepEqual(admit(NONE, { count: 1, bytes: 15 }, block).reached, 'count');
});

test('a run that is over takes nothing more', () => {
  for (const [taken, limits] of [
    [{ packets: 5, packetBytes: 0 }, { count: 5 }],
    [{ packets: 6, packetBytes: 99 }, { bytes: 50 }],
  ] as const) {
    const { packets, end, reached } = admit(taken, limits, blockOf([1, 2]));
    assert.deepEqual([packets, end], [0, BLOCK_HEAD]);
    assert.ok(reached);
  }
});

test('over any blocks exactly the packets up to the limit are taken', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.nat(200), { minLength: 1, maxLength: 10 }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 3000 }),
      (blocks, count, bytes) => {
        const taken = { packets: 0, packetBytes: 0 };
        let over = false;
        for (const lengths of blocks) {
          const part = admit(taken, { count, bytes }, blockOf(lengths));
          if (over) assert.equal(part.packets, 0);
          taken.packets += part.packets;
          taken.packetBytes += part.packetBytes;
          over ||= part.reached !== undefined;
        }
        const all = blocks.flat();
        let [packets, packetBytes] = [0, 0];
        while (packets < all.length && packets < count && packetBytes < bytes) packetBytes += all[packets++]!;
        assert.deepEqual(taken, { packets, packetBytes });
        assert.equal(over, packets >= count || packetBytes >= bytes);
      },
    ),
  );
});
