/**
 * Batches that the collector hasn't acknowledged. Full blocks stay where the capture thread wrote them, so a spooled
 * packet costs no copy; small ones are copied out, so that a quiet interface doesn't hold a block a flush.
 */
import { type Block, firstTimestamp, lastTimestamp } from '../packet.ts';

export interface Batch {
  kind: 'batch';
  capture: number;
  /** From 1, without holes. */
  sequence: number;
  /** Number of its first packet in the capture, from 1. */
  firstPacket: number;
  bytes: Uint8Array;
  end: number;
  packets: number;
  packetBytes: number;
  /** Memory that it holds, bytes. */
  held: number;
  release(): void;
}

/** Batches that were dropped before they were sent. */
export interface Gap {
  kind: 'gap';
  capture: number;
  firstSequence: number;
  lastSequence: number;
  packets: number;
  packetBytes: number;
  firstTimestamp: bigint;
  lastTimestamp: bigint;
}

/** A message that must keep its place between the batches. */
export interface Note {
  kind: 'note';
  capture: number;
  message: Uint8Array;
}

interface Line {
  nextSequence: number;
  nextPacket: number;
  unacknowledged: Batch[];
  dropped: { packets: number; packetBytes: number };
}

export class Spool {
  readonly #limit: number;
  readonly #drop: boolean;
  readonly #lines = new Map<number, Line>();
  readonly #unsent: (Batch | Gap | Note)[] = [];
  #held = 0;

  /** `limit` in bytes; what happens beyond it: 'wait' (the source's pool runs empty) or 'drop' (the oldest unsent goes). */
  constructor(limit: number, whenFull: 'wait' | 'drop') {
    this.#limit = limit;
    this.#drop = whenFull === 'drop';
  }

  /** Memory held, bytes. */
  get held(): number {
    return this.#held;
  }

  /** Entries that wait to be sent. */
  get waiting(): number {
    return this.#unsent.length;
  }

  /** What was dropped of a capture so far. */
  dropped(capture: number): { packets: number; packetBytes: number } {
    return this.#line(capture).dropped;
  }

  lastSequence(capture: number): number {
    return this.#line(capture).nextSequence - 1;
  }

  note(capture: number, message: Uint8Array): void {
    this.#unsent.push({ kind: 'note', capture, message });
  }

  /** Takes a block over; the first `packets` of it, up to `end`. */
  add(capture: number, block: Block): void {
    const line = this.#line(capture);
    // A full spool that waits keeps blocks whatever is in them, else the pool would never run empty.
    const whole = block.end > block.bytes.length / 2 || (!this.#drop && this.#held >= this.#limit);
    // Not slice(), which copies nothing where a Buffer comes.
    const bytes = whole ? block.bytes : new Uint8Array(block.bytes.subarray(0, block.end));
    if (!whole) block.release();
    const batch: Batch = {
      kind: 'batch',
      capture,
      sequence: line.nextSequence++,
      firstPacket: line.nextPacket,
      bytes,
      end: block.end,
      packets: block.packets,
      packetBytes: block.packetBytes,
      held: bytes.length,
      release: whole ? () => block.release() : () => {},
    };
    line.nextPacket += block.packets;
    this.#held += batch.held;
    this.#unsent.push(batch);
    while (this.#drop && this.#held > this.#limit && this.#dropOldest());
  }

  /** The next thing to send, or undefined. A batch stays in the spool until it is acknowledged. */
  next(): Batch | Gap | Note | undefined {
    const entry = this.#unsent.shift();
    if (entry?.kind === 'batch') this.#line(entry.capture).unacknowledged.push(entry);
    return entry;
  }

  /** Lets everything up to `sequence` go; returns the packets that were in it. */
  acknowledge(capture: number, sequence: number): number {
    const { unacknowledged } = this.#line(capture);
    let packets = 0;
    let n = 0;
    for (; n < unacknowledged.length && unacknowledged[n]!.sequence <= sequence; n++) {
      const batch = unacknowledged[n]!;
      packets += batch.packets;
      this.#let(batch);
    }
    unacknowledged.splice(0, n);
    return packets;
  }

  #let(batch: Batch): void {
    this.#held -= batch.held;
    batch.release();
  }

  /** The oldest unsent batch becomes (part of) its capture's gap. */
  #dropOldest(): boolean {
    const at = this.#unsent.findIndex((e) => e.kind === 'batch');
    if (at < 0) return false;
    const batch = this.#unsent[at] as Batch;
    const before = this.#unsent.slice(0, at).find((e) => e.kind === 'gap' && e.capture === batch.capture) as
      Gap | undefined;
    if (before) {
      before.lastSequence = batch.sequence;
      before.packets += batch.packets;
      before.packetBytes += batch.packetBytes;
      before.lastTimestamp = lastTimestamp(batch.bytes);
      this.#unsent.splice(at, 1);
    } else {
      this.#unsent[at] = {
        kind: 'gap',
        capture: batch.capture,
        firstSequence: batch.sequence,
        lastSequence: batch.sequence,
        packets: batch.packets,
        packetBytes: batch.packetBytes,
        firstTimestamp: firstTimestamp(batch.bytes),
        lastTimestamp: lastTimestamp(batch.bytes),
      };
    }
    const { dropped } = this.#line(batch.capture);
    dropped.packets += batch.packets;
    dropped.packetBytes += batch.packetBytes;
    this.#let(batch);
    return true;
  }

  #line(capture: number): Line {
    let line = this.#lines.get(capture);
    if (!line)
      this.#lines.set(
        capture,
        (line = { nextSequence: 1, nextPacket: 1, unacknowledged: [], dropped: { packets: 0, packetBytes: 0 } }),
      );
    return line;
  }
}
