/** Writes one capture: a series of segments. What is durable is acknowledged, in groups. */
import type { Clock, Timer } from '../clock.ts';
import type { rcap } from '../wire/messages.js';
import { type Disk, replaceFile } from './disk.ts';
import { type Budget, ExclusionNotes, type Exclusions, together } from './exclusions.ts';
import type { Closing } from './journal.ts';
import { type Manifest, type ManifestGap, type ManifestStart, manifestText } from './manifest.ts';
import { segmentStem } from './names.ts';
import { manifestPath } from './publish.ts';
import { type RotationLimits, rotationDue } from './rotation.ts';
import { NO_PACKETS, type Recorded, recordedOf } from './runs.ts';
import { Segment, type SegmentPlace, type Slab } from './segment.ts';

/** What a journal and a manifest without a file take, at most. */
const SMALL_BYTES = 1 << 21;

export interface WriterLimits extends RotationLimits {
  /** What was written is made durable at this many bytes … */
  syncBytes: number;
  /** … or this long after the last time, milliseconds. What comes meanwhile is gathered into one write, too. */
  syncMs: number;
}

export interface WriterEvents {
  /** Up to `sequence`, with so many packets, all is durable; `ended`: and published, the end mark too. */
  acknowledge(sequence: number, packets: number, ended: boolean): void;
  /** Nothing is being written. */
  idle(): void;
  /** The disk failed; the writer does nothing more. */
  failed(error: Error): void;
  published(file: string, packets: number): void;
}

/** What a writer needs of the store around it. */
export interface WriterStore {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Resolves when there is room on the disk: true. Or false, once `over` says so. */
  room(over: () => boolean): Promise<boolean>;
  readonly full: string;
  /** So many bytes are to be written; `full` is right once it resolves. */
  spend(bytes: number): Promise<void>;
  /** A segment is published, and its manifest written; or the capture ended. Remembers it, durably. */
  recorded(start: SeriesStart, segment: Recorded, end: Manifest['end']): Promise<void>;
  /** The writer is closed; what it brought is recorded. Without an end mark the capture may go on on another connection. */
  closed(start: SeriesStart, why: string): void;
  /** A segment that couldn't be published: to be recovered. */
  left(stem: string, folder: string): void;
}

/** What earlier connections brought: sequences, packets, and the last event of its exclusions. */
export interface Progress {
  sequence: number;
  packets: number;
  events?: number | undefined;
}

export type SeriesStart = Omit<ManifestStart, 'opened' | 'firstSequence' | 'firstPacketNumber'>;

export class CaptureWriter {
  /** As the agent last said. */
  counters: rcap.v1.ICounters | null = null;
  readonly #store: WriterStore;
  readonly #place: SegmentPlace;
  readonly #start: SeriesStart;
  readonly #limits: WriterLimits;
  readonly #events: WriterEvents;
  readonly #clock: Clock;
  /** Of exclusions, what no journal has yet; and the last event that there was. */
  readonly #notes: ExclusionNotes;
  readonly #budget: Budget | undefined;
  #event: number;
  #segment: Segment | undefined;
  /** Those whose journal is still there. */
  readonly #unfinished = new Set<Segment>();
  /** The last one that was published, once it is recorded, too. */
  #last: Promise<{ stem: string; manifest: Manifest }> | undefined;
  /** Where the capture stands: written, not yet durable. */
  #sequence: number;
  #packets: number;
  /** What is done one after the other, and how much of it is left. */
  #tail: Promise<void> = Promise.resolve();
  #pending = 0;
  #unsynced = 0;
  #appendedMs = -Infinity;
  #syncedMs = -Infinity;
  #syncTimer: Timer | undefined;
  #syncing: Promise<void> | undefined;
  #failed = false;
  #closing = false;
  /** Something of it is recorded. */
  #brought = false;
  /** Closed while the disk was full: what came last isn't written. */
  #halted = false;

  /** `from`: what earlier connections brought. */
  constructor(
    store: WriterStore,
    place: SegmentPlace,
    start: SeriesStart,
    from: Progress,
    limits: WriterLimits,
    events: WriterEvents,
    budget?: Budget,
  ) {
    this.#budget = budget;
    this.#notes = new ExclusionNotes(budget);
    this.#store = store;
    this.#place = place;
    this.#start = start;
    this.#sequence = from.sequence;
    this.#packets = from.packets;
    this.#event = from.events ?? 0;
    this.#limits = limits;
    this.#events = events;
    this.#clock = store.clock;
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
    return this.busy ? undefined : this.#appendedMs + this.#limits.syncMs - this.#clock.now();
  }

  append(slab: Slab): void {
    this.#appendedMs = this.#clock.now();
    this.#enqueue(
      async () => {
        await this.#makeRoom(slab.bytes.length);
        if (this.#halted) return;
        await this.#rotate(slab.bytes.length, slab.arrivedMs);
        this.#segment ??= await this.#open();
        await this.#segment.append(slab);
        this.#sequence = slab.lastSequence;
        this.#packets += slab.packets;
        this.#unsynced += slab.bytes.length;
        this.#scheduleSync();
      },
      () => slab.release(),
    );
  }

  gap(gap: ManifestGap): void {
    this.#enqueue(async () => {
      await this.#makeRoom(SMALL_BYTES);
      if (this.#halted) return;
      await this.#rotate(0, this.#clock.now());
      this.#segment ??= await this.#open();
      this.#segment.gap(gap);
      this.#sequence = gap.lastSequence;
      this.#packets += gap.packets;
      this.#unsynced++;
      this.#scheduleSync();
    });
  }

  /** An event comes again after a reconnection; totals are the later the truer. */
  exclusions({ events, names }: Exclusions): void {
    const fresh = events.filter((e) => e.number > this.#event);
    this.#event = Math.max(this.#event, ...fresh.map((e) => e.number));
    this.#notes.add({ events: fresh, names });
    this.#enqueue(async () => {
      // Without a segment they wait for one: they are no reason to begin a file.
      if (!this.#segment) return;
      await this.#makeRoom(SMALL_BYTES);
      await this.#rotate(0, this.#clock.now());
      if (!this.#segment || fresh.length === 0) return;
      this.#unsynced++;
      this.#scheduleSync();
    });
  }

  /** The capture's end mark. `acknowledge` with `ended` follows once everything is published. */
  end(end: NonNullable<Closing['end']>): void {
    this.counters = end.counters ?? this.counters;
    this.#enqueue(async () => {
      const [sequence, packets] = [this.#sequence, this.#packets];
      const amended = !this.#segment && (await this.#amend(end));
      if (!this.#segment && !amended && (sequence > 0 || this.#notes.all)) {
        await this.#makeRoom(SMALL_BYTES);
        if (this.#halted) return;
        this.#segment = await this.#open();
      }
      if (this.#segment) {
        await this.#close('end', end);
        await this.#last;
      } else {
        await this.#store.recorded(
          this.#start,
          { sequence, packets, ended: true, files: NO_PACKETS, gaps: NO_PACKETS },
          end,
        );
      }
      this.#events.acknowledge(sequence, packets, true);
    });
  }

  /** Publishes what there is, without an end mark. Never rejects. */
  async close(closedBy: 'disconnected' | 'superseded' | 'stopped'): Promise<void> {
    this.#closing = true;
    this.#enqueue(async () => {
      this.#halted = true;
      if (!this.#segment) await this.#keepNotes();
      if (this.#segment) await this.#close(closedBy, null);
    });
    await this.finished();
    if (this.#brought) this.#store.closed(this.#start, closedBy);
  }

  /** What exceptions left out must not go unrecorded with a connection that brings no packets. */
  async #keepNotes(): Promise<void> {
    const { all } = this.#notes;
    if (!all || this.#store.full || (await this.#amend(null))) return;
    // Totals alone come with every connection.
    if (all.events.length > 0) this.#segment = await this.#open();
  }

  /** Resolves when all that was asked for is done, manifests too, or has failed. */
  async finished(): Promise<void> {
    for (let tail; tail !== this.#tail;) {
      tail = this.#tail;
      await tail;
      await this.#last?.catch(() => {});
    }
  }

  /** Called now and then, unless something is gathered: closes a segment that is old or idle. */
  tick(): void {
    if (this.#segment && !this.busy && rotationDue(this.#segment, this.#limits, this.#clock.now(), 0)) {
      this.#enqueue(() => this.#rotate(0, this.#clock.now()));
    }
  }

  #enqueue(work: () => Promise<void>, release = () => {}): void {
    this.#pending++;
    this.#tail = this.#tail
      .then(() => (this.#failed || this.#halted ? undefined : work()))
      .catch((e: Error) => this.#fail(e))
      .then(() => {
        release();
        this.#pending--;
        if (!this.#pending) this.#events.idle();
      });
  }

  /** What is durable stays as it is, and is recovered; the agent sends the rest again. */
  #fail(cause: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#syncTimer?.cancel();
    this.#tail = this.#tail.then(async () => {
      // Nothing may still be under way in a file that is closed, and opened again.
      await this.#syncing;
      await this.#last?.catch(() => {});
      for (const s of this.#unfinished) {
        await s.abandon();
        this.#store.left(s.stem, this.#place.folder);
      }
    });
    this.#events.failed(cause);
  }

  /** Waits while the disk is too full. What there is gets published first: whoever makes room may take it away. */
  async #makeRoom(bytes: number): Promise<void> {
    await this.#store.spend(bytes);
    if (!this.#store.full) return;
    if (this.#segment) await this.#close('full', null);
    if (!(await this.#store.room(() => this.#closing))) this.#halted = true;
  }

  async #open(): Promise<Segment> {
    const opened = new Date(this.#clock.date());
    const firstSequence = this.#sequence + 1;
    const stem = segmentStem({ ...this.#start, opened, firstSequence });
    try {
      const segment = await Segment.open(
        this.#place,
        stem,
        {
          ...this.#start,
          opened: opened.toISOString(),
          firstSequence,
          firstPacketNumber: this.#packets + 1,
        },
        this.#budget,
      );
      this.#unfinished.add(segment);
      return segment;
    } catch (e) {
      // Half a journal may be there; but not one that is somebody else's.
      const { code, syscall } = e as NodeJS.ErrnoException;
      if (syscall !== undefined && code !== 'EEXIST') this.#store.left(stem, this.#place.folder);
      throw e;
    }
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
    this.#syncTimer?.cancel();
    this.#syncTimer = undefined;
    await this.#last;
    const point = await segment.seal(this.counters, this.#notes.take(), { closedBy, end });
    this.#unsynced = 0;
    this.#events.acknowledge(point.sequence, point.packetNumber, false);
    await segment.publish();
    this.#segment = undefined;
    if (segment.packets > 0) this.#events.published(segment.file, segment.packets);
    // The next segment needn't wait for the rest.
    this.#last = this.#finish(segment, point);
    this.#last.catch((e: Error) => this.#fail(e));
  }

  async #finish(
    segment: Segment,
    point: Awaited<ReturnType<Segment['seal']>>,
  ): Promise<{ stem: string; manifest: Manifest }> {
    const manifest = await segment.record(point);
    await this.#store.recorded(this.#start, recordedOf(manifest, point.packetNumber), manifest.end);
    this.#brought = true;
    await segment.forget();
    this.#unfinished.delete(segment);
    return { stem: segment.stem, manifest };
  }

  /** The end mark came when the last segment was already published: its manifest gets it, if nobody took that away. */
  async #amend(end: Closing['end']): Promise<boolean> {
    const last = await this.#last;
    if (!last) return false;
    const { disk, folder } = this.#place;
    const path = manifestPath(folder, last.stem);
    if (!(await disk.exists(path))) return false;
    const exclusions = together([last.manifest.exclusions, this.#notes.take()]);
    const manifest = { ...last.manifest, counters: this.counters, end, ...(exclusions && { exclusions }) };
    await replaceFile(disk, path, manifestText(manifest));
    return true;
  }

  #scheduleSync(): void {
    const wait = this.#syncedMs + this.#limits.syncMs - this.#clock.now();
    if (this.#unsynced >= this.#limits.syncBytes || wait <= 0) this.#sync();
    else this.#syncTimer ??= this.#clock.after(wait, () => this.#sync());
  }

  /** Appending goes on meanwhile; what came later belongs to the next group. */
  #sync(): void {
    this.#syncTimer?.cancel();
    this.#syncTimer = undefined;
    if (this.#syncing || this.#failed || !this.#unsynced || !this.#segment) return;
    this.#unsynced = 0;
    this.#syncing = this.#segment
      .sync(this.counters, this.#notes.take())
      .then((p) => this.#events.acknowledge(p.sequence, p.packetNumber, false))
      .catch((e: Error) => this.#fail(e))
      .finally(() => {
        this.#syncing = undefined;
        this.#syncedMs = this.#clock.now();
        if (this.#unsynced && !this.#failed) this.#scheduleSync();
      });
  }
}
