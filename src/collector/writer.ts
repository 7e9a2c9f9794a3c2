/** Writes one capture: a series of segments. What reached the disk is acknowledged, in groups. */
import { replaceFile } from './disk.ts';
import { type ManifestGap, type ManifestStart, manifestText } from './manifest.ts';
import { segmentStem } from './names.ts';
import { type RotationLimits, rotationDue } from './rotation.ts';
import { type Closing, type Published, Segment, type Slab } from './segment.ts';
import type { rcap } from '../wire/messages.js';

/** Gaps that a manifest lists; beyond, the last one grows: its packets and bytes stay exact. */
const MAX_GAPS = 1000;

export interface WriterLimits extends RotationLimits {
  /** What was written is made durable at this many bytes … */
  syncBytes: number;
  /** … or this long after the last time, milliseconds. What comes meanwhile is gathered into one write, too. */
  syncMs: number;
}

export interface WriterEvents {
  /** Up to `sequence` all is durable; `ended`: and published. */
  acknowledge(sequence: number, ended: boolean): void;
  /** Nothing is being written. */
  idle(): void;
  /** The disk failed; the writer does nothing more. */
  failed(error: Error): void;
  published(file: string, packets: number): void;
}

export type SeriesStart = Omit<ManifestStart, 'opened' | 'firstSequence' | 'firstPacketNumber'>;

export class CaptureWriter {
  /** As the agent last said. */
  counters: rcap.v1.ICounters | null = null;
  written = { packets: 0, packetBytes: 0, segments: 0 };
  readonly #folder: string;
  readonly #start: SeriesStart;
  readonly #limits: WriterLimits;
  readonly #events: WriterEvents;
  /** Since the last segment was closed. */
  #gaps: ManifestGap[] = [];
  #segment: Segment | undefined;
  #lastPublished: Published | undefined;
  #lastSequence = 0;
  /** What is done one after the other, and how much of it is left. */
  #tail: Promise<void> = Promise.resolve();
  #pending = 0;
  #unsynced = 0;
  #appendedMs = -Infinity;
  #syncedMs = -Infinity;
  #syncTimer: NodeJS.Timeout | undefined;
  #syncing: Promise<void> | undefined;
  #failed = false;

  constructor(folder: string, start: SeriesStart, limits: WriterLimits, events: WriterEvents) {
    this.#folder = folder;
    this.#start = start;
    this.#limits = limits;
    this.#events = events;
  }

  /** Steps that were asked for and aren't done. */
  get pending(): number {
    return this.#pending;
  }
  get busy(): boolean {
    return this.#pending > 0;
  }

  /** How long what there is to append may still wait for more, milliseconds; undefined: until `idle` is called. */
  get patience(): number | undefined {
    return this.busy ? undefined : this.#appendedMs + this.#limits.syncMs - performance.now();
  }

  append(slab: Slab): void {
    this.#appendedMs = performance.now();
    this.#enqueue(async () => {
      try {
        await this.#rotate(slab.bytes.length, slab.arrivedMs);
        this.#segment ??= await this.#open(slab);
        await this.#segment.append(slab);
      } finally {
        slab.release();
      }
      this.#lastSequence = slab.lastSequence;
      this.written.packets += slab.packets;
      this.written.packetBytes += slab.packetBytes;
      this.#unsynced += slab.bytes.length;
      this.#scheduleSync();
    });
  }

  gap(gap: ManifestGap): void {
    this.#enqueue(async () => {
      this.#addGap(gap);
      this.#lastSequence = gap.lastSequence;
      this.#unsynced++;
      this.#scheduleSync();
    });
  }

  #addGap(gap: ManifestGap): void {
    if (this.#gaps.length < MAX_GAPS) {
      this.#gaps.push(gap);
      return;
    }
    const last = this.#gaps.at(-1)!;
    this.#gaps[MAX_GAPS - 1] = {
      ...last,
      lastSequence: gap.lastSequence,
      packets: last.packets + gap.packets,
      bytes: last.bytes + gap.bytes,
    };
  }

  /** The capture's end mark. `acknowledge` with `ended` follows once everything is published. */
  end(end: NonNullable<Closing['end']>): void {
    this.counters = end.counters;
    this.#enqueue(async () => {
      if (this.#segment) await this.#close('end', end);
      else await this.#amend(end);
      this.#events.acknowledge(this.#lastSequence, true);
    });
  }

  /** Publishes what there is, without an end mark. */
  async close(closedBy: 'disconnected' | 'stopped'): Promise<void> {
    this.#enqueue(async () => {
      if (this.#segment) await this.#close(closedBy, null);
      else if (this.#gaps.length > 0) await this.#amend(null);
    });
    await this.finished();
  }

  /** Resolves when all that was asked for is done, manifests too. */
  async finished(): Promise<void> {
    await this.#tail;
    await this.#lastPublished?.manifest.catch(() => {});
  }

  /** Called now and then, unless something is gathered: closes a segment that is old or idle. */
  tick(): void {
    if (this.#segment && !this.busy && rotationDue(this.#segment, this.#limits, performance.now(), 0)) {
      this.#enqueue(() => this.#rotate(0, performance.now()));
    }
  }

  #enqueue(work: () => Promise<void>): void {
    this.#pending++;
    this.#tail = this.#tail
      .then(() => (this.#failed ? undefined : work()))
      .catch((e: Error) => this.#fail(e))
      .then(() => {
        this.#pending--;
        if (!this.#pending) this.#events.idle();
      });
  }

  #fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    clearTimeout(this.#syncTimer);
    // What is on disk stays as `.part` and is salvaged at the next start.
    this.#segment?.abandon();
    this.#events.failed(error);
  }

  #open(slab: Slab): Promise<Segment> {
    const opened = new Date();
    const stem = segmentStem({ ...this.#start, opened, firstSequence: slab.firstSequence });
    return Segment.open(this.#folder, stem, {
      ...this.#start,
      opened: opened.toISOString(),
      firstSequence: slab.firstSequence,
      firstPacketNumber: slab.firstPacket,
    });
  }

  /** `now`: for what is to be appended when it came, for it may have been gathered long. */
  async #rotate(more: number, now: number): Promise<void> {
    const due = this.#segment && rotationDue(this.#segment, this.#limits, now, more);
    if (due) await this.#close(due, null);
  }

  async #close(closedBy: string, end: Closing['end']): Promise<void> {
    const segment = this.#segment!;
    // One that ends may begin another.
    while (this.#syncing) await this.#syncing;
    // A failed sync may have lost pages that a second one would not report; and what comes after must not acknowledge.
    if (this.#failed) throw new Error('an earlier write failed');
    clearTimeout(this.#syncTimer);
    this.#syncTimer = undefined;
    await this.#lastPublished?.manifest;
    this.#lastPublished = await segment.publish({
      closedBy,
      gaps: this.#gaps,
      counters: this.counters,
      end,
    });
    this.#lastPublished.manifest.catch((e: Error) => this.#fail(e));
    this.#segment = undefined;
    this.#gaps = [];
    this.#unsynced = 0;
    this.written.segments++;
    this.#events.published(segment.file, segment.packets);
    this.#events.acknowledge(this.#lastSequence, false);
  }

  /** The end mark, or gaps, came when the last segment was already published: its manifest gets them. */
  async #amend(end: Closing['end']): Promise<void> {
    if (!this.#lastPublished) return;
    const manifest = await this.#lastPublished.manifest;
    await replaceFile(
      this.#lastPublished.path,
      manifestText({ ...manifest, gaps: [...manifest.gaps, ...this.#gaps], counters: this.counters, end }),
    );
  }

  #scheduleSync(): void {
    const wait = this.#syncedMs + this.#limits.syncMs - performance.now();
    if (this.#unsynced >= this.#limits.syncBytes || wait <= 0) this.#sync();
    else this.#syncTimer ??= setTimeout(() => this.#sync(), wait);
  }

  /** Appending goes on meanwhile; what came later belongs to the next group. */
  #sync(): void {
    clearTimeout(this.#syncTimer);
    this.#syncTimer = undefined;
    if (this.#syncing || this.#failed || !this.#unsynced) return;
    const sequence = this.#lastSequence;
    this.#unsynced = 0;
    this.#syncing = (this.#segment?.sync() ?? Promise.resolve())
      .then(() => this.#events.acknowledge(sequence, false))
      .catch((e: Error) => this.#fail(e))
      .finally(() => {
        this.#syncing = undefined;
        this.#syncedMs = performance.now();
        if (this.#unsynced && !this.#failed) this.#scheduleSync();
      });
  }
}
