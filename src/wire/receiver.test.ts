import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../test/fuzz.ts';
import { frame, varint } from '../test/wire.ts';
import { ProtocolError } from './frame.ts';
import { Receiver, regionBytes } from './receiver.ts';

const MAX = 300;

/** A receiver amid other memory, and the frames that it handled; `ready` decides whether the handler takes one. */
function receiverOf(max = MAX, ready: () => boolean = () => true) {
  const from = 50;
  const memory = Buffer.alloc(from + regionBytes(max) + 50, 0x55);
  const frames: Buffer[] = [];
  const receiver = new Receiver(memory, from, max, (start, end) => {
    if (!ready()) return false;
    frames.push(Buffer.from(memory.subarray(start, end)));
    return true;
  });
  const intact = () => [...memory.subarray(0, from), ...memory.subarray(-50)].every((x) => x === 0x55);
  return { receiver, frames, intact };
}

const messageOf = (length: number) => Buffer.from(Array.from({ length }, (_, i) => (length + i * 3) & 255));
const MESSAGES = [1, 2, 127, 128, MAX, 5].map(messageOf);
const STREAM = Buffer.concat(MESSAGES.map(frame));

test('a stream cut in two at every byte gives the same messages', () => {
  for (let cut = 0; cut <= STREAM.length; cut++) {
    const { receiver, frames } = receiverOf();
    assert.ok(receiver.push(STREAM.subarray(0, cut)));
    assert.ok(receiver.push(STREAM.subarray(cut)));
    assert.deepEqual(frames, MESSAGES, `cut at ${cut}`);
    assert.equal(receiver.partial, false);
  }
});

test('a stream that comes a byte at a time gives the same messages', () => {
  const { receiver, frames } = receiverOf();
  for (const byte of STREAM) receiver.push(Uint8Array.of(byte));
  assert.deepEqual(frames, MESSAGES);
});

test('a message that is not yet whole is held, and known to be held', () => {
  const { receiver, frames } = receiverOf();
  assert.equal(receiver.partial, false);
  for (let n = 1; n < STREAM.length; n++) {
    receiver.push(STREAM.subarray(n - 1, n));
    const whole = frames.reduce((sum, m) => sum + frame(m).length, 0);
    assert.equal(receiver.partial, whole < n);
  }
});

test('chunks much longer than the region are taken', () => {
  const { receiver, frames, intact } = receiverOf();
  const many = Array.from({ length: 2000 }, (_, i) => messageOf(1 + (i % MAX)));
  assert.ok(receiver.push(Buffer.concat(many.map(frame))));
  assert.deepEqual(frames, many);
  assert.ok(intact());
});

test('a message may be as long as the limit, in whatever way its length is written, and no byte longer', () => {
  for (const bytes of [2, 3, 4]) {
    const { receiver, frames } = receiverOf();
    receiver.push(Buffer.concat([varint(MAX, bytes), messageOf(MAX)]));
    assert.deepEqual(frames, [messageOf(MAX)]);
    assert.throws(() => receiverOf().receiver.push(varint(MAX + 1, bytes)), ProtocolError);
  }
});

test('a length that no message can have is refused before the message comes', () => {
  const refused: [Buffer, RegExp][] = [
    [varint(MAX + 1), /longer than 300/],
    [varint(2 ** 28 - 1), /longer than 300/],
    [varint(2 ** 28), /more than 4 bytes/],
    [varint(2n ** 32n), /more than 4 bytes/],
    [varint(2n ** 64n - 1n), /more than 4 bytes/],
    [varint(5, 5), /more than 4 bytes/],
    [Buffer.alloc(1000, 0xff), /more than 4 bytes/],
    [varint(0), /empty/],
    [varint(0, 4), /empty/],
  ];
  for (const [bytes, words] of refused) {
    assert.throws(() => receiverOf().receiver.push(bytes), words);
    // A byte at a time, too.
    const { receiver, frames } = receiverOf();
    assert.throws(() => bytes.forEach((byte) => receiver.push(Uint8Array.of(byte))), words);
    assert.deepEqual(frames, []);
  }
});

test('what came before a wrong length is handled', () => {
  const { receiver, frames } = receiverOf();
  assert.throws(() => receiver.push(Buffer.concat([STREAM, varint(0)])), ProtocolError);
  assert.deepEqual(frames, MESSAGES);
});

test('a handler that is not ready gets the same message again, at every message and every cut', () => {
  for (let cut = 0; cut <= STREAM.length; cut += 3) {
    for (let blockAt = 0; blockAt < MESSAGES.length; blockAt++) {
      let calls = 0;
      const { receiver, frames } = receiverOf(MAX, () => calls++ < blockAt || calls > blockAt + 3);
      for (const part of [STREAM.subarray(0, cut), STREAM.subarray(cut)]) {
        if (receiver.push(part)) continue;
        while (!receiver.resume());
      }
      assert.deepEqual(frames, MESSAGES);
    }
  }
});

test('what comes while the handler is not ready is kept, and whoever gave it may use its memory again', () => {
  const messages = Array.from({ length: 2000 }, (_, i) => messageOf(1 + (i % MAX)));
  const stream = Buffer.concat(messages.map(frame));
  for (const as of [(b: Buffer) => b, (b: Buffer) => new Uint8Array(b.buffer, b.byteOffset, b.length)]) {
    let calls = 0;
    const { receiver, frames, intact } = receiverOf(MAX, () => calls++ % 50 !== 0);
    // Longer than the region, and then more of it.
    for (const part of [stream.subarray(0, 200_000), stream.subarray(200_000)]) {
      const chunk = Buffer.from(part);
      assert.equal(receiver.push(as(chunk)), false);
      chunk.fill(0);
    }
    while (!receiver.resume());
    assert.deepEqual(frames, messages);
    assert.ok(intact() && !receiver.partial);
  }
});

test('any messages in any chunks, with a handler that is ready now and then, come whole and in order', async () => {
  await fuzz(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 70_000 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 20 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }),
      (lengths, chunks, dice) => {
        let calls = 0;
        // Never blocked for good.
        const { receiver, frames, intact } = receiverOf(70_000, () => dice[calls++ % dice.length]! || calls % 7 === 0);
        const messages = lengths.map(messageOf);
        const stream = Buffer.concat(messages.map(frame));
        for (let at = 0, i = 0; at < stream.length; i++) {
          const chunk = Buffer.from(stream.subarray(at, at + chunks[i % chunks.length]!));
          at += chunk.length;
          const ready = receiver.push(i % 2 ? chunk : new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length));
          chunk.fill(0);
          // Now and then more comes although it should not.
          if (!ready && dice[i % dice.length]) while (!receiver.resume());
        }
        while (!receiver.resume());
        assert.deepEqual(frames, messages);
        assert.ok(intact());
      },
    ),
    60,
  );
});

test('random bytes are messages or refused, and never leave the region', async () => {
  const chunk = fc.uint8Array({ maxLength: 400, size: 'max' });
  await fuzz(
    fc.property(fc.array(chunk, { maxLength: 10 }), fc.array(fc.boolean(), { minLength: 1 }), (chunks, dice) => {
      let calls = 0;
      const { receiver, frames, intact } = receiverOf(MAX, () => dice[calls++ % dice.length]! || calls % 7 === 0);
      try {
        for (const c of chunks) if (!receiver.push(c)) while (!receiver.resume());
      } catch (e) {
        assert.ok(e instanceof ProtocolError, String(e));
      }
      assert.ok(intact());
      assert.ok(frames.every((f) => f.length >= 1 && f.length <= MAX));
      const stream = Buffer.concat(chunks);
      const [first] = frames;
      if (first) assert.ok(stream.includes(first));
    }),
    1000,
  );
});
