import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { rcap } from './messages.js';
import protobuf from './protobuf.ts';

const { AgentMessage, Gap, Refusal, SettingsDocument } = rcap.v1;

test('fixed64 is exact, as eight bytes little endian', () => {
  const bytes = Gap.encode({ firstTimestampNs: 1_764_000_000_123_456_789n }).finish();
  assert.equal(Buffer.from(bytes).toString('hex'), '3115cd256fa7fc7a18');
  assert.equal(Gap.decode(bytes).firstTimestampNs, 1_764_000_000_123_456_789n);
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (ns) => {
      assert.equal(Gap.decode(Gap.encode({ lastTimestampNs: ns }).finish()).lastTimestampNs, ns);
    }),
  );
});

test('uint64 is a number, and never a Long', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (sequence) => {
      assert.equal(Gap.decode(Gap.encode({ firstSequence: sequence }).finish()).firstSequence, sequence);
    }),
  );
  const most = Gap.decode(Buffer.from('10ffffffffffffffffff01', 'hex')).firstSequence;
  assert.ok(typeof most === 'number' && !Number.isSafeInteger(most));
});

test('what is left out reads as its default', () => {
  const gap = Gap.decode(new Uint8Array(0));
  assert.deepEqual([gap.capture, gap.packets, gap.firstTimestampNs], [0, 0, 0n]);
  assert.equal(SettingsDocument.decode(new Uint8Array(0)).filter, null);
  assert.equal(AgentMessage.decode(new Uint8Array(0)).kind, undefined);
});

test('a oneof says which it is', () => {
  const message = AgentMessage.decode(AgentMessage.encode({ gap: { capture: 1 } }).finish());
  assert.deepEqual([message.kind, message.gap?.capture, message.hello], ['gap', 1, null]);
});

test('enum values have names both ways', () => {
  assert.equal(Refusal.Code.TOKEN, 2);
  assert.equal(Refusal.Code[2], 'TOKEN');
  assert.equal(Refusal.Code[99], undefined);
});

test('unknown fields are dropped, bytes that are cut short are refused', () => {
  const bytes = Gap.encode({ capture: 7, firstTimestampNs: 1n }).finish();
  assert.deepEqual(
    { ...Gap.decode(Buffer.concat([bytes, Buffer.from('fa0103616263', 'hex')])) },
    { capture: 7, firstTimestampNs: 1n },
  );
  for (const end of [1, 3, 5, bytes.length - 1]) assert.throws(() => Gap.decode(bytes.slice(0, end)), RangeError);
});

test('no bytes make decode throw anything but an error, or hang', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        AgentMessage.decode(bytes);
      } catch (error) {
        assert.ok(error instanceof Error);
      }
    }),
  );
  assert.equal((protobuf.util as { Long: unknown }).Long, null);
});
