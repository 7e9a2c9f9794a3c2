/**
 * What the collector hasn't acknowledged: batches, and gaps in the place of those that had to be dropped, for each capture
 * in order. Full blocks stay where the capture thread wrote them, so a spooled packet costs no copy; small ones are copied
 * out, so that a quiet interface doesn't hold a block a flush. What memory can't hold goes to disk, if there is one.
 */
import { RcapError, reasonOf } from '../errors.ts';
import { plural } from '../ledger.ts';
import { type Block, firstTimestamp, lastTimestamp } from '../packet.ts';
import { ProtocolError, writeBatchHeader } from '../wire/frame.ts';
import { rcap } from '../wire/messages.js';
import { Fifo } from './fifo.ts';
import type { SpoolDisk } from './spool-disk.ts';
import { type Body, type Entry, Line } from './spool-line.ts';

/** What an entry takes beside its packets, wherever they are, bytes; counted, since there may be very many small ones. */
export const ENTRY_BYTES = 512;
/** Of the memory, what is left for batches on their way to the disk: half, at most so many bytes. */
const WRITE_BYTES = 4 << 20;
/** Batches read back from disk before they are asked for. */
const AHEAD = 4;

export interface SpoolOptions {
  /** Memory, bytes. */
  limit: number;
  /** What happens beyond: the source's pool runs empty, or the oldest batches that aren't sent go. */
  whenFull: 'wait' | 'drop';
  disk?: SpoolDisk | undefined;
  /** There is more to send: `next` had nothing although something waits. */
  ready?: (() => void) | undefined;
  /** A batch was lost on the disk. */
  trouble?: ((error: RcapError) => void) | undefined;
}

/** What a collector has of a capture. */
export interface Acknowledged {
  capture: number;
  /** In batches that were not acknowledged before. */
  packets: number;
  ended: boolean;
}

export class Spool {
  readonly #options: SpoolOptions;
  readonly #drop: boolean;
  /** Memory beyond which batches go to disk. */
  readonly #memory: number;
  readonly #lines = new Map<number, Line>();
  /** Those whose end isn't acknowledged. */
  readonly #open = new Set<Line>();
  #serial = 0;
  #held = 0;
  #waiting = 0;
  /** On the way to the disk, bytes. */
  #writing = 0;
  /** What is on disk only and waits to be sent, oldest first; and some that was dropped meanwhile. */
  #onDisk = new Fifo<Entry>();
  /** What belongs there, but came faster than the disk takes it; and some that was sent or dropped meanwhile. */
  readonly #late = new Fifo<Entry>();
  /** What is read from there, or being read, and isn't sent. */
  readonly #ahead = new Set<Entry>();
  #unreadable = false;

  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#drop = options.whenFull === 'drop';
    this.#memory = options.limit - (options.disk ? Math.min(options.limit / 2, WRITE_BYTES) : 0);
  }

  /** Memory held, bytes. */
  get held(): number {
    return this.#held;
  }
  get heldOnDisk(): number {
    return this.#options.disk?.used ?? 0;
  }
  /** Packets that wait to be sent. */
  get waiting(): number {
    return this.#waiting;
  }
  /** Captures that were begun and whose end isn't acknowledged. */
  get open(): number {
    return this.#open.size;
  }

  /** What was dropped of a capture so far. Less after `resume`, when a collector had it after all. */
  dropped(capture: number): Readonly<{ packets: number; packetBytes: number }> {
    return this.#line(capture).dropped;
  }

  lastSequence(capture: number): number {
    return this.#line(capture).nextSequence - 1;
  }

  /**
   * A capture begins; the message is sent first on each connection, and made for each. Before its first block. `news` is asked
   * for what else there is to say of the capture, before each message until its end; not kept.
   */
  start(capture: number, message: () => Uint8Array, news?: () => Uint8Array | undefined): void {
    const line = this.#line(capture);
    line.news = news;
    line.start = { serial: this.#serial++, message };
    this.#open.add(line);
  }

  /** It ends; the message is made when it is sent, so that it counts what is dropped until then. */
  end(capture: number, message: () => Uint8Array): void {
    this.#line(capture).end = { serial: this.#serial++, message };
  }

  /** Sent once, before what waits; not kept, and only while the capture runs and is connected. */
  counters(capture: number, message: () => Uint8Array): void {
    const line = this.#line(capture);
    if (line.started && !line.end) line.counters = message;
  }

  /** Takes a block over; the first `packets` of it, up to `end`. */
  add(capture: number, block: Block): void {
    const line = this.#line(capture);
    const { length } = block.bytes;
    const large = block.end > length / 2;
    const size = large ? length : block.end;
    // Nothing is lost to a disk that is only slow.
    if (this.#drop && !this.#options.disk?.room(length)) this.#makeRoom(size, length);
    const toDisk = !this.#fitsFirst(size) && this.#fitsOnDisk(length);
    const full = !toDisk && !this.#fits(size);
    // A disk that has room, but is slower than what comes: the source waits, which its kernel's buffer can bear for a while.
    const late = full && !!this.#options.disk?.room(length);
    // A full spool that waits keeps blocks whatever is in them, else the pool would never run empty.
    const whole = large || toDisk || (full && (late || !this.#drop));
    // Not slice(), which copies nothing where a Buffer comes.
    const bytes = whole ? block.bytes : new Uint8Array(block.bytes.subarray(0, block.end));
    if (!whole) block.release();
    const body: Body = {
      bytes,
      end: block.end,
      held: bytes.length + ENTRY_BYTES,
      release: whole ? () => block.release() : nothing,
      slot: undefined,
    };
    const entry: Entry = {
      capture,
      serial: this.#serial++,
      firstSequence: line.nextSequence,
      lastSequence: line.nextSequence,
      firstPacket: line.nextPacket,
      packets: block.packets,
      packetBytes: block.packetBytes,
      firstTimestamp: firstTimestamp(bytes),
      lastTimestamp: block.lastTimestamp ?? lastTimestamp(bytes),
      body,
      maybe: false,
      next: undefined,
    };
    const before = line.unsent.last;
    line.add(entry);
    this.#held += body.held;
    this.#waiting += entry.packets;
    if (toDisk) this.#store(line, entry, body);
    else if (late) {
      this.#late.push(entry);
      this.#storeLate();
    } else if (full && this.#drop) this.#dropOne(entry, before); // there is nothing older that would help
  }

  #fits(bytes: number): boolean {
    return this.#held + bytes + ENTRY_BYTES <= this.#options.limit;
  }
  /** Whether memory is where it belongs: there is room, and nothing older waits on disk. */
  #fitsFirst(bytes: number): boolean {
    if (!this.#options.disk) return true;
    return this.#onDisk.length === 0 && this.#writing === 0 && this.#held + bytes + ENTRY_BYTES <= this.#memory;
  }
  #fitsOnDisk(bytes: number): boolean {
    const { disk, limit } = this.#options;
    if (!disk || this.#late.length > 0) return false;
    return this.#writing + bytes <= limit - this.#memory && this.#fits(bytes) && disk.room(bytes);
  }

  /** The next message to send, or nothing. What is in it stays in the spool until it is acknowledged. */
  next(): Uint8Array | undefined {
    this.#readAhead();
    let first: Line | undefined;
    let serial = Infinity;
    for (const line of this.#open) {
      const { counters, nextSerial } = line;
      line.counters = undefined;
      if (counters) return counters();
      const news = line.started && !line.endSent ? line.news?.() : undefined;
      if (news) return news;
      if (nextSerial < serial) [first, serial] = [line, nextSerial];
    }
    return first && this.#nextOf(first);
  }

  #nextOf(line: Line): Uint8Array | undefined {
    if (!line.started) {
      line.started = line.announced = true;
      return line.start!.message();
    }
    const entry = line.unsent.first;
    if (!entry) {
      line.endSent = line.endAnnounced = true;
      return line.end!.message();
    }
    const { body } = entry;
    if (!body) {
      line.send();
      return encodeGap(entry);
    }
    const { bytes, end } = body;
    if (!bytes) return undefined; // it is being read
    line.send();
    this.#waiting -= entry.packets;
    // Its copy on disk is enough to keep.
    if (this.#ahead.delete(entry)) this.#forget(body);
    const { capture, firstSequence: sequence, firstPacket } = entry;
    return bytes.subarray(writeBatchHeader(bytes, end, { capture, sequence, firstPacket }), end);
  }

  /** Lets everything up to `sequence` go, of what was sent on the live connection. Throws for a capture that never was. */
  acknowledge(capture: number, sequence: number, ended: boolean): Acknowledged {
    const line = this.#lines.get(capture);
    if (!line?.announced) throw new ProtocolError(`it acknowledges capture ${capture}, of which it was never told`);
    let packets = 0;
    // An end includes all before it.
    line.acknowledge(ended && line.endSent ? Infinity : sequence, (e) => (packets += this.#let(e)));
    return { capture, packets, ended: ended && this.#isOver(line) };
  }

  /** The connection is over: what was sent and not acknowledged is to be sent again, and may be dropped. */
  disconnected(): void {
    for (const { body } of this.#ahead) this.#forget(body!);
    this.#ahead.clear();
    const onDisk: Entry[] = [];
    this.#waiting = 0;
    for (const line of this.#open) {
      line.disconnected();
      for (const e of line.unsent) {
        if (e.body) this.#waiting += e.packets;
        if (e.body?.slot && !e.body.bytes) onDisk.push(e);
      }
    }
    this.#onDisk = new Fifo(onDisk.toSorted((a, b) => a.serial - b.serial));
  }

  /** For Hello: what a collector may know of. */
  resumes(): rcap.v1.IResume[] {
    const lines = [...this.#open].filter((line) => line.announced);
    return lines.map((line) => {
      const { firstSequence, firstPacket } = line.first;
      return { capture: line.capture, firstUnacknowledged: firstSequence, firstPacket };
    });
  }

  /** From Welcome: what the collector has, before anything is sent. */
  resume(durables: readonly rcap.v1.IDurable[]): Acknowledged[] {
    const acknowledged: Acknowledged[] = [];
    for (const durable of durables) {
      const line = this.#lines.get(durable.capture ?? 0);
      if (!line || !this.#open.has(line)) continue;
      let packets = 0;
      const take = (e: Entry) => {
        if (e.body) this.#waiting -= e.packets;
        packets += e.maybe ? e.packets : this.#let(e);
      };
      const ended = !!durable.ended && line.endAnnounced;
      line.resume(ended ? Infinity : (durable.lastSequence ?? 0), take);
      acknowledged.push({ capture: line.capture, packets, ended: ended && this.#isOver(line) });
    }
    return acknowledged;
  }

  #isOver(line: Line): boolean {
    return line.endAnnounced && !line.sent.first && !line.unsent.first && this.#open.delete(line);
  }

  /** Gives back what an entry holds; returns the packets of a batch. */
  #let(e: Entry): number {
    const { body } = e;
    if (!body) return 0;
    this.#held -= body.held;
    body.release();
    if (body.slot) this.#options.disk!.free(body.slot);
    this.#ahead.delete(e);
    e.body = undefined;
    return e.packets;
  }

  /** Drops the oldest batches that the collector didn't get, until one more fits, or none of them would help. */
  #makeRoom(size: number, length: number): void {
    const { disk } = this.#options;
    const hasRoom = () => this.#fits(size) || disk?.room(length);
    while (!hasRoom()) {
      const oldest = this.#oldest();
      // A disk that is failing gets no better by dropping what it has.
      if (!oldest || (!oldest.body!.bytes && !disk!.isFull(length))) return;
      this.#dropOne(oldest);
    }
  }

  #oldest(): Entry | undefined {
    let oldest: Entry | undefined;
    for (const line of this.#open) {
      const e = line.oldest();
      if (e && e.serial < (oldest?.serial ?? Infinity)) oldest = e;
    }
    return oldest;
  }

  #dropOne(e: Entry, before?: Entry): void {
    this.#waiting -= this.#let(e);
    this.#line(e.capture).drop(e, before);
    while (this.#onDisk.first && !this.#onDisk.first.body) this.#onDisk.shift();
  }

  #store(line: Line, e: Entry, body: Body): void {
    const bytes = body.bytes!;
    this.#writing += bytes.length;
    body.slot = this.#options.disk!.store(bytes.subarray(0, body.end));
    void body.slot.stored.then((stored) => {
      this.#writing -= bytes.length;
      this.#storeLate();
      if (e.body !== body) return; // acknowledged or dropped meanwhile
      if (!stored) body.slot = undefined;
      if (!stored || line.isSent(e)) return; // stays in memory
      this.#forget(body);
      this.#onDisk.push(e);
    });
  }

  /** A write is done: the next may begin. */
  #storeLate(): void {
    const { disk, limit } = this.#options;
    for (let e; (e = this.#late.first) !== undefined; this.#late.shift()) {
      const line = this.#line(e.capture);
      if (!e.body || line.isSent(e)) continue;
      const { length } = e.body.bytes!;
      // Without a write under way nobody would come back for it.
      if (this.#writing > 0 && this.#writing + length > limit - this.#memory) return;
      if (disk!.room(length)) this.#store(line, e, e.body);
    }
  }

  /** What is on disk needs no memory. */
  #forget(body: Body): void {
    this.#held -= body.held - ENTRY_BYTES;
    body.held = ENTRY_BYTES;
    body.release();
    body.release = nothing;
    body.bytes = undefined;
  }

  #readAhead(): void {
    for (let e; (e = this.#onDisk.first) && this.#ahead.size < AHEAD;) {
      const { body } = e;
      if (body) {
        if (this.#ahead.size > 0 && !this.#fits(body.end)) return;
        this.#load(e, body);
      }
      this.#onDisk.shift();
    }
  }

  #load(e: Entry, body: Body): void {
    this.#ahead.add(e);
    this.#held += body.end;
    body.held += body.end;
    const still = () => e.body === body && this.#ahead.has(e) && !body.bytes;
    this.#options.disk!.load(body.slot!).then(
      (bytes) => {
        if (!still()) return;
        body.bytes = bytes;
        this.#unreadable = false;
        this.#options.ready?.();
      },
      (error: unknown) => {
        if (still()) this.#lose(e, error);
      },
    );
  }

  #lose(e: Entry, error: unknown): void {
    this.#dropOne(e);
    if (!this.#unreadable) {
      const what = `could not read ${plural(e.packets, 'back from the spool folder')}: ${reasonOf(error)}`;
      this.#options.trouble?.(new RcapError('SPOOL_DISK', what, { cause: error }));
    }
    this.#unreadable = true;
    this.#options.ready?.();
  }

  #line(capture: number): Line {
    let line = this.#lines.get(capture);
    if (!line) this.#lines.set(capture, (line = new Line(capture)));
    return line;
  }
}

const nothing = () => {};

function encodeGap(gap: Entry): Uint8Array {
  const message = {
    capture: gap.capture,
    firstSequence: gap.firstSequence,
    lastSequence: gap.lastSequence,
    packets: gap.packets,
    bytes: gap.packetBytes,
    firstTimestampNs: gap.firstTimestamp,
    lastTimestampNs: gap.lastTimestamp,
  };
  return rcap.v1.AgentMessage.encodeDelimited({ gap: message }).finish();
}
