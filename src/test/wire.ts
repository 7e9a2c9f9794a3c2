/** Protobuf's wire form and our messages, written by hand for tests: slow, and independent of the code under test. */

export interface TestPacket {
  timestampNs: bigint;
  data: Uint8Array;
  /** Left out when equal to the captured length. */
  original?: number;
}

/** `bytes` longer than needed make one that is legal, but not in its shortest form. */
export function varint(value: bigint | number, bytes = 1): Buffer {
  const out: number[] = [];
  for (let v = BigInt(value); v > 0n || out.length < bytes; v >>= 7n) out.push(Number(v & 127n) | 128);
  out[out.length - 1]! &= 127;
  return Buffer.from(out);
}

export const uint = (field: number, value: bigint | number): Buffer =>
  Buffer.concat([varint(field * 8), varint(value)]);
export const bytes = (field: number, value: Uint8Array | string): Buffer =>
  Buffer.concat([varint(field * 8 + 2), varint(Buffer.byteLength(value)), Buffer.from(value as string)]);
export const fixed32 = (field: number, value: number): Buffer => {
  const body = Buffer.alloc(4);
  body.writeUInt32LE(value);
  return Buffer.concat([varint(field * 8 + 5), body]);
};
export const fixed64 = (field: number, value: bigint): Buffer => {
  const body = Buffer.alloc(8);
  body.writeBigUInt64LE(value);
  return Buffer.concat([varint(field * 8 + 1), body]);
};

/** A packet as the agent writes it: field 4 of a batch. */
export const packet = (p: TestPacket): Buffer =>
  bytes(
    4,
    Buffer.concat([
      fixed64(1, p.timestampNs),
      ...(p.original === undefined ? [] : [uint(2, p.original)]),
      bytes(3, p.data),
    ]),
  );

/** AgentMessage.batch; `packets` already encoded. */
export const batch = (
  h: { capture?: number; sequence?: bigint | number; firstPacket?: bigint | number },
  packets: Uint8Array,
): Buffer =>
  bytes(3, Buffer.concat([uint(1, h.capture ?? 1), uint(2, h.sequence ?? 1), uint(3, h.firstPacket ?? 1), packets]));

/** Field 7 of a Hello: a capture goes on. */
export const resume = (
  capture: bigint | number,
  firstUnacknowledged: bigint | number,
  firstPacket: bigint | number = firstUnacknowledged,
): Buffer => bytes(7, Buffer.concat([uint(1, capture), uint(2, firstUnacknowledged), uint(3, firstPacket)]));

/** AgentMessage.counters. */
export const counters = (capture: number, received: bigint | number): Buffer =>
  bytes(5, Buffer.concat([uint(1, capture), uint(2, received)]));

export const ALIVE: Buffer = bytes(7, '');

/** A message behind its length. */
export const frame = (message: Uint8Array): Buffer => Buffer.concat([varint(message.length), message]);

/** Records of a classic pcap file, little endian, as the packets should stand there. */
export const records = (packets: TestPacket[], perSecond = 1_000_000_000n): Buffer =>
  Buffer.concat(
    packets.flatMap((p) => {
      const head = Buffer.alloc(16);
      head.writeUInt32LE(Number(p.timestampNs / 1_000_000_000n), 0);
      head.writeUInt32LE(Number(((p.timestampNs % 1_000_000_000n) * perSecond) / 1_000_000_000n), 4);
      head.writeUInt32LE(p.data.length, 8);
      head.writeUInt32LE(p.original || p.data.length, 12);
      return [head, p.data];
    }),
  );
