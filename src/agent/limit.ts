/** Where a capture ends by count or bytes: a pure function over blocks. */
import { type Block, measure } from '../packet.ts';

export interface Limits {
  /** Packets, of all interfaces of the run together. */
  count?: number | undefined;
  /** Captured bytes: the packet that reaches them is the last one. */
  bytes?: number | undefined;
}

export interface Taken {
  packets: number;
  packetBytes: number;
}

export interface Admitted extends Taken, Pick<Block, 'end' | 'lastTimestamp'> {
  reached?: 'count' | 'bytes';
}

/** How much of a block still belongs to the run, and which limit ends it with this block. */
export function admit(taken: Taken, limits: Limits, block: Block): Admitted {
  const packets = (limits.count ?? Infinity) - taken.packets;
  const packetBytes = (limits.bytes ?? Infinity) - taken.packetBytes;
  if (block.packets < packets && block.packetBytes < packetBytes) return block;
  const part = measure(block, packets, packetBytes);
  return { ...part, reached: part.packets >= packets ? 'count' : 'bytes' };
}
