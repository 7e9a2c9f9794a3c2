/** One capture's place in the spool: its entries in the order of their sequences, from the first unacknowledged one on. */
import type { Slot } from './spool-disk.ts';

/** Batches that are there, or were lost: a gap has no body. */
export interface Entry {
  readonly capture: number;
  /** Place among the entries of all captures. */
  readonly serial: number;
  readonly firstSequence: number;
  lastSequence: number;
  /** Number of its first packet in the capture, from 1. */
  readonly firstPacket: number;
  packets: number;
  packetBytes: number;
  readonly firstTimestamp: bigint;
  lastTimestamp: bigint;
  body: Body | undefined;
  /** A batch that was dropped, but that a collector may have on disk. */
  maybe: boolean;
  next: Entry | undefined;
}

export interface Body {
  /** Nothing while it is on disk only. */
  bytes: Uint8Array | undefined;
  readonly end: number;
  /** Memory that it holds, bytes. */
  held: number;
  release(): void;
  slot: Slot | undefined;
}

/** Entries in a chain: put at the end, taken from the start. */
class Chain {
  first: Entry | undefined;
  last: Entry | undefined;

  push(e: Entry): void {
    if (this.last) this.last.next = e;
    else this.first = e;
    this.last = e;
  }

  shift(): Entry | undefined {
    const e = this.first;
    this.first = e?.next;
    if (!this.first) this.last = undefined;
    if (e) e.next = undefined;
    return e;
  }

  /** Takes out what comes behind `before`. */
  cutBehind(before: Entry): void {
    const e = before.next!;
    before.next = e.next;
    if (this.last === e) this.last = before;
  }

  *[Symbol.iterator](): Generator<Entry> {
    for (let e = this.first; e; e = e.next) yield e;
  }
}

export class Line {
  readonly capture: number;
  nextSequence = 1;
  nextPacket = 1;
  readonly dropped = { packets: 0, packetBytes: 0 };
  /** Handed out on the live connection, and not yet acknowledged. */
  sent = new Chain();
  unsent = new Chain();
  start: { serial: number; message: () => Uint8Array } | undefined;
  end: { serial: number; message: () => Uint8Array } | undefined;
  counters: (() => Uint8Array) | undefined;
  news: (() => Uint8Array | undefined) | undefined;
  /** Of the live connection: what was handed out. */
  started = false;
  endSent = false;
  /** Of any connection. */
  announced = false;
  endAnnounced = false;
  /** Up to here a collector may have on disk what was sent. */
  #sentTo = 0;
  /** The last of the gaps before the oldest unsent batch; nothing when the first unsent entry is one, or it isn't known. */
  #gaps: Entry | undefined;

  constructor(capture: number) {
    this.capture = capture;
  }

  /** What comes next: the start, entries, the end. Infinity for nothing. */
  get nextSerial(): number {
    if (!this.started) return this.start?.serial ?? Infinity;
    if (this.unsent.first) return this.unsent.first.serial;
    return this.endSent ? Infinity : (this.end?.serial ?? Infinity);
  }

  /** The first that isn't acknowledged. */
  get first(): { firstSequence: number; firstPacket: number } {
    const entry = this.sent.first ?? this.unsent.first;
    return entry ?? { firstSequence: this.nextSequence, firstPacket: this.nextPacket };
  }

  add(e: Entry): void {
    this.unsent.push(e);
    this.nextSequence = e.lastSequence + 1;
    this.nextPacket += e.packets;
  }

  /** The first unsent entry is sent. */
  send(): void {
    const e = this.unsent.shift()!;
    if (this.#gaps === e) this.#gaps = undefined;
    e.maybe = false; // as a gap it is one now
    this.sent.push(e);
    this.#sentTo = Math.max(this.#sentTo, e.lastSequence);
  }

  /** On the live connection. */
  isSent(e: Entry): boolean {
    return (this.sent.last?.lastSequence ?? 0) >= e.lastSequence;
  }

  /** The oldest batch that the live connection didn't get. */
  oldest(): Entry | undefined {
    let before = this.#gaps;
    let e = before ? before.next : this.unsent.first;
    for (; e && !e.body; e = e.next) before = e;
    this.#gaps = before;
    return e;
  }

  /** A batch, of which nothing is held any more, becomes a gap, or part of the one `before` it: for the oldest that is known. */
  drop(e: Entry, before = this.#gaps): void {
    e.body = undefined;
    e.maybe = e.lastSequence <= this.#sentTo;
    this.dropped.packets += e.packets;
    this.dropped.packetBytes += e.packetBytes;
    const follows = before ? before.next === e : this.unsent.first === e;
    if (follows && before && this.#mergeable(before, e)) this.#merge(before);
    else if (follows && before === this.#gaps) this.#gaps = e;
  }

  /** What a collector may have on disk keeps its bounds, else it couldn't be told what is missing. */
  #mergeable(a: Entry, b: Entry): boolean {
    return !a.body && !b.body && a.firstSequence > this.#sentTo;
  }

  #merge(a: Entry): void {
    const b = a.next!;
    a.lastSequence = b.lastSequence;
    a.packets += b.packets;
    a.packetBytes += b.packetBytes;
    a.lastTimestamp = b.lastTimestamp;
    this.unsent.cutBehind(a);
  }

  /** What was sent and not acknowledged waits to be sent again. */
  disconnected(): void {
    const { sent, unsent } = this;
    if (sent.last) {
      sent.last.next = unsent.first;
      sent.last = unsent.last ?? sent.last;
      [this.unsent, this.sent] = [sent, unsent];
      unsent.first = unsent.last = undefined;
    }
    this.#gaps = undefined;
    this.started = this.endSent = false;
    this.counters = undefined;
  }

  /** Takes the entries off that a collector acknowledged: of what was sent on the live connection. */
  acknowledge(sequence: number, take: (e: Entry) => void): void {
    while (this.sent.first && this.sent.first.lastSequence <= sequence) take(this.sent.shift()!);
  }

  /**
   * The same for what a collector has from earlier connections, before anything is sent. A batch that was dropped although
   * it had arrived is no longer dropped. What was sent beyond keeps its bounds: another collector may have it.
   */
  resume(sequence: number, take: (e: Entry) => void): void {
    const durable = Math.min(sequence, this.#sentTo);
    this.#gaps = undefined;
    for (let e; (e = this.unsent.first) && e.lastSequence <= durable;) {
      this.unsent.shift();
      if (e.maybe) {
        this.dropped.packets -= e.packets;
        this.dropped.packetBytes -= e.packetBytes;
      }
      take(e);
    }
  }
}
