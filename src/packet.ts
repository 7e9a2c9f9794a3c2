/**
 * The wire form of a packet, which everything between the capture thread and the collector's file passes on unread:
 * field 4 of a Batch (proto/rcap.proto), `0x22 length 0x09 timestamp_ns [0x10 original_length] 0x1a length data`.
 */

/** Bytes at the start of a block that hold no packets; the sender puts the batch's header there, right-aligned. */
export const BLOCK_HEAD = 128;
/** Longest captured length, bytes: libpcap's MAXIMUM_SNAPLEN. */
export const MAX_SNAPLEN = 262_144;
/** Most packets of one batch. */
export const MAX_BATCH_PACKETS = 65_536;
/** Longest message from an agent, bytes. */
export const MAX_AGENT_MESSAGE = 524_288;
/** Longest message from a collector, bytes. */
export const MAX_COLLECTOR_MESSAGE = 65_536;
/** Tag of a packet in a batch. */
export const PACKET_TAG = 0x22;

/** A run of packets of one capture, still in the memory that the capture thread filled. */
export interface Block {
  /** Block head, then packets. */
  bytes: Uint8Array;
  /** Where the packets end. */
  end: number;
  packets: number;
  /** Sum of the captured lengths. */
  packetBytes: number;
  /** Of the last packet, where that isn't the one that the block was filled up to. */
  lastTimestamp?: bigint | undefined;
  /** Gives the memory back. Once, and nothing is read afterwards. */
  release(): void;
}

/** What a source knows about a capture when it begins. */
export interface CaptureInfo {
  /** LINKTYPE_ value, without FCS bits. */
  linkType: number;
  snaplen: number;
  interface: string;
  friendlyName: string;
  addresses: string[];
  effectiveFilter: string;
  /** Instructions of its program; and whether the system's kernel runs it, where nobody else should. */
  instructions?: number;
  inKernel?: boolean;
  promiscuous: boolean;
  source: 'live' | 'file';
  /** Name without folders, for a file. */
  file: string;
}

/** Timestamp of a block's first packet, nanoseconds since 1970. */
export const firstTimestamp = (bytes: Uint8Array): bigint => timestampAt(bytes, 0);
/** Timestamp of the last packet that a block was filled with. */
export const lastTimestamp = (bytes: Uint8Array): bigint => timestampAt(bytes, 8);
const timestampAt = (b: Uint8Array, at: number) => new DataView(b.buffer, b.byteOffset).getBigUint64(at, true);

/**
 * How much of a block its first packets are: as many as needed to reach `packets` packets or `packetBytes` captured
 * bytes, whichever comes first. Walks the packets, so it is for the last block of a capture only.
 */
export function measure(
  block: Block,
  packets: number,
  packetBytes: number,
): { end: number; packets: number; packetBytes: number; lastTimestamp: bigint } {
  const b = block.bytes;
  let at = BLOCK_HEAD;
  let count = 0;
  let sum = 0;
  let last = 0n;
  while (at < block.end && count < packets && sum < packetBytes) {
    const [length, body] = varint(b, at + 1);
    at = body + length;
    last = timestampAt(b, body + 1);
    sum += dataLength(b, body, at);
    count++;
  }
  return { end: at, packets: count, packetBytes: sum, lastTimestamp: last };
}

function dataLength(b: Uint8Array, at: number, end: number): number {
  at += 9; // timestamp
  if (b[at] === 0x10) at = varint(b, at + 1)[1];
  return at < end ? varint(b, at + 1)[0] : 0;
}

function varint(b: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const x = b[at++]!;
    value |= (x & 0x7f) << shift;
    if (x < 0x80) return [value, at];
  }
}
