/**
 * All that is on the collector's disk, and what it knows of it: segments, runs, what a crash left. Intakes write through it;
 * one run is written by one connection at a time.
 */
import { join } from 'node:path';
import { type Clock, sleep, type Timer } from '../clock.ts';
import { reasonOf, RcapError } from '../errors.ts';
import type { Timestamps } from '../formats/pcap.ts';
import { plural } from '../ledger.ts';
import type { Disk } from './disk.ts';
import type { Budget } from './exclusions.ts';
import type { Manifest } from './manifest.ts';
import { hostFolder } from './names.ts';
import { leftovers, recover } from './recover.ts';
import { openReportOf, type Report, reportOf } from './report.ts';
import { type Position, type Recorded, Runs } from './runs.ts';
import {
  CaptureWriter,
  type Progress,
  type SeriesStart,
  type WriterEvents,
  type WriterLimits,
  type WriterStore,
} from './writer.ts';

/** How often the room on the disk is looked at, ms. */
const ROOM_MS = 500;
/** How often a segment that couldn't be recovered is tried again, ms. */
const AGAIN_MS = 5000;
/** Of the room to keep free, how much must be there before anything is taken again: not a file for each small deletion. */
const ROOM_AGAIN = 1.1;
/** How often runs are forgotten that are too old, ms. */
const PRUNE_MS = 3_600_000;

export interface StoreOptions extends WriterLimits {
  captures: string;
  state: string;
  timestamps: Timestamps;
  /** Room to keep free on the captures folder's disk, bytes. */
  minFreeBytes: number;
}

export interface StoreLog {
  info(message: string, fields?: Record<string, unknown>): void;
  warning(message: string, fields?: Record<string, unknown>): void;
}

/** A connection that writes a run. */
export interface RunHolder {
  /** Its number in the run, as its agent counts; 0 for one that doesn't. */
  readonly number: number;
  /** A newer connection of the run is there. Resolves when all that came is durable, published or left. */
  supersede(): Promise<void>;
}

export class Store implements WriterStore {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Why nothing more is taken for now; empty when it is. */
  full = '';
  readonly #options: StoreOptions;
  readonly #log: StoreLog;
  readonly #runs: Runs;
  readonly #made = new Map<string, number>();
  /** Folders of hosts that may hold what a crash left. */
  readonly #unlisted = new Set<string>();
  readonly #listing = new Map<string, Promise<void>>();
  /** Folders of hosts that power loss doesn't take away. */
  readonly #durable = new Set<string>();
  readonly #holders = new Map<string, RunHolder>();
  /** Segments to be recovered, by the beginning of their run's id, which is in their names. */
  readonly #left = new Map<string, { folder: string; stem: string }[]>();
  readonly #recovering = new Map<string, Promise<void>>();
  readonly #timers = new Map<string, Timer>();
  /** Bytes, when it was last looked at, less what was written since. */
  #free = Infinity;
  readonly #warned = new Map<string, string>();
  #closed = false;

  private constructor(options: StoreOptions, disk: Disk, clock: Clock, log: StoreLog, runs: Runs) {
    this.#options = options;
    this.disk = disk;
    this.clock = clock;
    this.#log = log;
    this.#runs = runs;
  }

  /** Begins to recover what a crash left. What can't be is said, and tried again: it must not keep others waiting. */
  static async open(options: StoreOptions, disk: Disk, clock: Clock, log: StoreLog): Promise<Store> {
    const runs = await Runs.open(disk, clock, join(options.state, 'runs'), (file, e) =>
      log.warning(`left runs/${file}: ${reasonOf(e)}`),
    );
    const store = new Store(options, disk, clock, log, runs);
    // Links to folders, too: they are written through.
    for (const { name } of await disk.list(options.captures)) store.#unlisted.add(join(options.captures, name));
    await store.#look();
    store.#every('room', ROOM_MS, () => store.#look());
    // Agents needn't wait for what isn't theirs.
    store.#every('recovery', 0, () => store.#recoverAll(), AGAIN_MS);
    store.#every('prune', PRUNE_MS, () => runs.prune((run) => store.#holders.has(run)));
    return store;
  }

  /** After the last writer: says what all of them did. */
  close(): void {
    this.#closed = true;
    for (const t of this.#timers.values()) t.cancel();
    const { ended, files, gaps } = this.#runs.totals;
    const captures = `${ended} capture${ended === 1 ? '' : 's'} ended`;
    this.#log.info(`stopped: ${captures}, ${plural(files.packets, 'in files')}, ${gaps.packets} in gaps`, {
      ended,
      files,
      gaps,
    });
  }

  get timestamps(): Timestamps {
    return this.#options.timestamps;
  }

  /**
   * The connection takes the run over from an older one. Resolves with where its captures stand; rejects when the run is
   * another's, or when the disk doesn't let what was left be recovered: then nobody knows where they stand.
   */
  async enter(
    holder: RunHolder,
    run: string,
    token: string,
    host: string,
  ): Promise<[capture: number, position: Position][]> {
    await this.#runs.load(run);
    this.#runs.claim(run, token);
    const before = this.#holders.get(run);
    if (before && holder.number > 0 && before.number > holder.number) throw superseded();
    this.#holders.set(run, holder);
    // Which itself waits for the one before it.
    await before?.supersede();
    if (this.#holders.get(run) !== holder) throw superseded();
    await this.#makeHostFolder(host);
    await this.#findLeft(this.#folderOf(host));
    await this.#recoverRun(runPart(run));
    this.#runs.claim(run, token); // who left may have had nothing to remember
    return this.#runs.captures(run);
  }

  leave(holder: RunHolder, run: string): void {
    if (this.#holders.get(run) !== holder) return;
    this.#holders.delete(run);
    if (!this.#left.has(runPart(run))) this.#runs.leave(run);
  }

  /** A writer in the host's folder, going on behind `from`. */
  writer(start: SeriesStart, from: Progress, events: WriterEvents, budget?: Budget): CaptureWriter {
    const folder = this.#folderOf(start.host);
    const place = { disk: this.disk, clock: this.clock, made: this.#made, folder };
    const { run, capture } = start;
    return new CaptureWriter(
      this,
      place,
      start,
      from,
      this.#options,
      {
        ...events,
        acknowledge: (sequence, packets, ended) => {
          this.#runs.advance(run, capture, { sequence, packets });
          events.acknowledge(sequence, packets, ended);
        },
      },
      budget,
    );
  }

  #folderOf(host: string): string {
    return join(this.#options.captures, hostFolder(host));
  }

  async #makeHostFolder(host: string): Promise<void> {
    const folder = this.#folderOf(host);
    if (await this.disk.makeFolder(folder, 0o750)) {
      this.#made.set(folder, this.clock.now());
      this.#durable.delete(folder);
    }
    if (this.#durable.has(folder)) return;
    // Also where it was there: a crash may have come right after it was made.
    await this.disk.syncFolder(this.#options.captures);
    this.#durable.add(folder);
  }

  async recorded(start: SeriesStart, segment: Recorded, end: Manifest['end']): Promise<void> {
    this.#record(start, segment, end);
    await this.#runs.save(start.run);
  }

  /** Says how a capture ended before that is durable: rather twice, after a crash, than never. */
  #record(start: SeriesStart, segment: Recorded, end: Manifest['end']): void {
    const before = this.#runs.position(start.run, start.capture);
    const at = this.#runs.record(start.run, start.capture, segment);
    if (end && !before.ended) this.#report(reportOf(start, at, end));
  }

  closed(start: SeriesStart, why: string): void {
    const at = this.#runs.position(start.run, start.capture);
    if (!at.ended) this.#report(openReportOf(start, at, why));
  }

  #report({ message, complete, ...fields }: Report): void {
    this.#log[complete === false ? 'warning' : 'info'](message, { complete, ...fields });
  }

  left(stem: string, folder: string): void {
    const part = /_([0-9a-f]{8})-\d+_\d+$/.exec(stem)?.[1] ?? '';
    this.#left.set(part, [...(this.#left.get(part) ?? []), { folder, stem }]);
  }

  async room(over: () => boolean): Promise<boolean> {
    while (this.full && !over()) await sleep(this.clock, ROOM_MS / 2);
    return !this.full;
  }

  /** So many bytes are to be written: whether there is room is seen in time. */
  async spend(bytes: number): Promise<void> {
    this.#free -= bytes;
    if (this.#free < this.#options.minFreeBytes) await this.#look();
  }

  async #look(): Promise<void> {
    const { captures, minFreeBytes } = this.#options;
    const free = await this.disk.free(captures).catch(() => undefined);
    if (free === undefined) return; // a disk that doesn't answer has no more room than before
    this.#free = free;
    const floor = this.full ? minFreeBytes * ROOM_AGAIN : minFreeBytes;
    const full = free < floor ? 'the disk of its captures is nearly full' : '';
    if (full && !this.full) {
      const [there, least] = [mebibytes(free), mebibytes(minFreeBytes)];
      this.#log.warning(
        `taking nothing more: ${there} are free on the captures' disk, ${least} are to be kept (--min-free)`,
      );
    } else if (!full && this.full) this.#log.info('there is room on the disk again');
    this.full = full;
  }

  /** Once for each folder, also when two ask at once: what is removed there must not be somebody's new file. */
  #findLeft(folder: string): Promise<void> {
    if (!this.#unlisted.has(folder)) return Promise.resolve();
    let listing = this.#listing.get(folder);
    if (!listing) {
      listing = this.#list(folder).finally(() => this.#listing.delete(folder));
      this.#listing.set(folder, listing);
    }
    return listing;
  }

  async #list(folder: string): Promise<void> {
    try {
      for (const stem of await leftovers({ disk: this.disk, folder })) this.left(stem, folder);
      // The folder may have been made a moment ago, by a process that was killed.
      this.#made.set(folder, this.clock.now());
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'ENOTDIR') throw e;
    }
    this.#unlisted.delete(folder);
  }

  async #recoverAll(): Promise<void> {
    for (const folder of this.#unlisted) {
      await this.#findLeft(folder).catch((e: unknown) => this.#warnOnce(folder, `left ${folder}: ${reasonOf(e)}`));
    }
    for (const part of this.#left.keys()) {
      await this.#recoverRun(part).catch((e: unknown) => this.#warnOnce(part, `could not recover yet: ${reasonOf(e)}`));
    }
  }

  /** What fails every few seconds is said when it changes. */
  #warnOnce(what: string, message: string): void {
    if (message !== this.#warned.get(what)) this.#log.warning(message);
    this.#warned.set(what, message);
  }

  /** Recovers what of a run is left. One at a time for each run. */
  #recoverRun(part: string): Promise<void> {
    const before = this.#recovering.get(part) ?? Promise.resolve();
    const work = before
      .catch(() => {})
      .then(async () => {
        for (const it of this.#left.get(part) ?? []) {
          await this.#recovered(it);
          const rest = this.#left.get(part)!.filter((l) => l !== it);
          if (rest.length > 0) this.#left.set(part, rest);
          else this.#left.delete(part);
        }
      })
      .finally(() => {
        if (this.#recovering.get(part) === work) this.#recovering.delete(part);
      });
    this.#recovering.set(part, work);
    return work;
  }

  async #recovered({ folder, stem }: { folder: string; stem: string }): Promise<void> {
    const place = { disk: this.disk, clock: this.clock, made: this.#made, folder };
    const r = await recover(place, stem, this.#runs, (...recorded) => this.#record(...recorded));
    if (!r) return;
    if (r.left !== undefined) {
      this.#log.warning(`left ${r.file}: ${r.left}`, { ...r });
      return;
    }
    const missing = r.missing > 0 ? `, ${r.missing} ACKNOWLEDGED PACKETS ARE MISSING: the disk lost them` : '';
    this.#log.warning(`recovered ${r.file}: ${r.packets} packets, ${r.cut} bytes cut${missing}`, { ...r });
  }

  #every(name: string, ms: number, work: () => Promise<void>, then = ms): void {
    const again = async () => {
      // What fails and matters is said by who does it; all of it comes again.
      await work().catch(() => {});
      if (!this.#closed) this.#every(name, then, work);
    };
    this.#timers.set(
      name,
      this.clock.after(ms, () => void again()),
    );
  }
}

const superseded = () => new RcapError('SUPERSEDED', 'a newer connection of this run is there');

/** As it stands in segments' names. */
const runPart = (run: string): string => run.slice(0, 8);

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
