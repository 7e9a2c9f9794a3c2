/** Packets that tell who they are, the blocks they come in, and what became of them in truth. */
import { type Block, BLOCK_HEAD, PACKET_TAG } from '../../packet.ts';
import type { Random } from './random.ts';

/** Capture, number, length: what a packet says about itself. The rest of it follows from these and the seed. */
const SELF = 12;
const MARK = 0x5eed;
/** In a block, at most. */
export const LONGEST_PACKET = 340;

export interface Packet {
  capture: number;
  /** In its capture, from 1. */
  number: number;
  timestampNs: bigint;
  data: Uint8Array;
  original: number;
}

export function makePacket(
  seed: number,
  p: Pick<Packet, 'capture' | 'number' | 'timestampNs'> & { length: number; original: number },
): Packet {
  const data = Buffer.allocUnsafe(SELF + p.length);
  data.writeUInt16BE(MARK, 0);
  data.writeUInt16BE(p.capture, 2);
  data.writeUInt32BE(p.number, 4);
  data.writeUInt32BE(seed % 2 ** 32, 8);
  data.fill(seed ^ p.number, SELF);
  const { capture, number, timestampNs } = p;
  return { capture, number, timestampNs, data, original: Math.max(p.original, data.length) };
}

/** Which packet the bytes say they are; undefined when they are none of ours. */
export function whoIs(data: Uint8Array): { capture: number; number: number } | undefined {
  if (data.length < SELF) return undefined;
  const view = new DataView(data.buffer, data.byteOffset);
  if (view.getUint16(0) !== MARK) return undefined;
  return { capture: view.getUint16(2), number: view.getUint32(4) };
}

/** What one block brought: the packets from `first` to `last` of a capture. */
export interface Run {
  first: number;
  last: number;
  packetBytes: number;
}

/** Everything that one capture brought, and in which blocks. */
export class Truth {
  readonly packets: Packet[] = [];
  /** In the order of their sequences. */
  readonly batches: Run[] = [];

  add(packets: readonly Packet[], packetBytes: number): void {
    this.packets.push(...packets);
    this.batches.push({ first: packets[0]!.number, last: packets.at(-1)!.number, packetBytes });
  }

  get packetBytes(): number {
    return this.batches.reduce((sum, b) => sum + b.packetBytes, 0);
  }
}

/** Blocks as the native pool has them: so many, and a block that was given back is overwritten soon. */
export class Pool {
  readonly #free: Buffer[];
  readonly #failed: (error: Error) => void;
  out = 0;

  constructor(blocks: number, blockBytes: number, failed: (error: Error) => void) {
    const all = Buffer.allocUnsafeSlow(blocks * blockBytes);
    this.#free = Array.from({ length: blocks }, (_, i) => all.subarray(i * blockBytes, (i + 1) * blockBytes));
    this.#failed = failed;
  }

  get empty(): boolean {
    return this.#free.length === 0;
  }

  /** A block with these packets, which must fit into it. */
  fill(packets: readonly Packet[]): Block {
    const bytes = this.#free.pop()!;
    this.out++;
    let end = BLOCK_HEAD;
    let packetBytes = 0;
    for (const p of packets) {
      end = encode(p, bytes, end);
      packetBytes += p.data.length;
    }
    bytes.writeBigUInt64LE(packets[0]!.timestampNs, 0);
    bytes.writeBigUInt64LE(packets.at(-1)!.timestampNs, 8);
    let released = false;
    const release = () => {
      if (released) this.#failed(new Error('a block was released twice'));
      released = true;
      bytes.fill(0xdb);
      this.#free.push(bytes);
      this.out--;
    };
    return { bytes, end, packets: packets.length, packetBytes, release };
  }
}

/** Field 4 of a batch: `0x22 length 0x09 timestamp_ns [0x10 original_length] 0x1a length data`. Returns where it ends. */
function encode(p: Packet, to: Buffer, start: number): number {
  const original = p.original === p.data.length ? 0 : 1 + varintBytes(p.original);
  const body = 9 + original + 1 + varintBytes(p.data.length) + p.data.length;
  let at = varint(body, to, to.writeUInt8(PACKET_TAG, start));
  at = to.writeBigUInt64LE(p.timestampNs, to.writeUInt8(0x09, at));
  if (original) at = varint(p.original, to, to.writeUInt8(0x10, at));
  at = varint(p.data.length, to, to.writeUInt8(0x1a, at));
  to.set(p.data, at);
  return at + p.data.length;
}

const varintBytes = (n: number): number => (n > 127 ? 1 + varintBytes(Math.floor(n / 128)) : 1);

function varint(n: number, to: Buffer, at: number): number {
  return n > 127 ? varint(Math.floor(n / 128), to, to.writeUInt8((n % 128) | 128, at)) : to.writeUInt8(n, at);
}

/** The next packets of a capture: mostly small ones, close in time. */
export function* packetsOf(seed: number, capture: number, random: Random, now: () => bigint): Generator<Packet> {
  for (let number = 1; ; number++) {
    const timestampNs = now() + BigInt(random.below(1_000_000));
    const length = Math.floor(random.spread(1, 300)) - 1;
    const original = random.chance(0.1) ? length + random.below(2000) : 0;
    yield makePacket(seed, { capture, number, timestampNs, length, original });
  }
}
