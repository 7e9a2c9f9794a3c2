/** Deletes the oldest published segments where the user limits what is kept; nothing goes without a record of it. */
import { basename, dirname, join } from 'node:path';
import type { Clock, Timer } from '../clock.ts';
import { type Deletion, DeletionRecord, RECORD } from './deletion-record.ts';
import type { Disk } from './disk.ts';
import { JOURNAL } from './journal.ts';
import type { Manifest } from './manifest.ts';

/** Undefined: without end. */
export interface RetentionLimits {
  /** Sum of the published capture files. */
  keepBytes: number | undefined;
  /** Since a file was published. */
  keepAgeMs: number | undefined;
}

export interface Kept {
  /** <host>/<name>, unique. */
  file: string;
  publishedMs: number;
  bytes: number;
}

export interface Due<Segment extends Kept> {
  segment: Segment;
  why: 'keep-bytes' | 'keep-age';
}

/** What has to go, oldest first. */
export function deletionsDue<Segment extends Kept>(
  segments: Iterable<Segment>,
  { keepBytes = Infinity, keepAgeMs = Infinity }: RetentionLimits,
  nowMs: number,
): Due<Segment>[] {
  const all = [...segments];
  let bytes = all.reduce((sum, s) => sum + s.bytes, 0);
  // Mostly nothing is: then many needn't be sorted.
  if (bytes <= keepBytes && all.every((s) => nowMs - s.publishedMs <= keepAgeMs)) return [];
  const oldestFirst = all.toSorted((a, b) => a.publishedMs - b.publishedMs || (a.file < b.file ? -1 : 1));
  const due: Due<Segment>[] = [];
  for (const segment of oldestFirst) {
    const old = nowMs - segment.publishedMs > keepAgeMs;
    if (!old && bytes <= keepBytes) break; // what follows is no older
    due.push({ segment, why: old ? 'keep-age' : 'keep-bytes' });
    bytes -= segment.bytes;
  }
  return due;
}

export interface RetentionEvents {
  deleted(deletion: Deletion): void;
  /** Once for each file, until it succeeds; the others go on. */
  failed(file: string, error: Error): void;
}

/** Between two looks at the captures folder. */
const EVERY_MS = 10_000;
const PUBLISHED = /\.pcap(\.linktype-\d+)?$/;
/** Ours are far shorter: a filter of 64 KiB and 1000 gaps. */
const MAX_MANIFEST_BYTES = 1 << 20;

export class Retention {
  readonly #captures: string;
  readonly #record: DeletionRecord;
  readonly #limits: RetentionLimits;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #events: RetentionEvents;
  /** By file; null: not ours. Looked into once, as a published file and its manifest's facts never change. */
  #known = new Map<string, Kept | null>();
  /** What an error was said about, in this look and the one before. */
  #failing = new Set<string>();
  #failedBefore = new Set<string>();
  /** In the record, but not yet removed; by file. */
  readonly #recorded = new Map<string, Deletion>();
  #pass: Promise<void> | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(
    folders: { captures: string; state: string },
    limits: RetentionLimits,
    disk: Disk,
    clock: Clock,
    events: RetentionEvents,
  ) {
    this.#captures = folders.captures;
    this.#record = new DeletionRecord(disk, folders.state);
    this.#limits = limits;
    this.#disk = disk;
    this.#clock = clock;
    this.#events = events;
  }

  /** Looks now and every 10 seconds from then on; not at all without a limit. */
  start(): void {
    if (this.#limits.keepBytes === undefined && this.#limits.keepAgeMs === undefined) return;
    this.#pass = this.#finishLast().then(() => this.#again());
  }

  /** Resolves when nothing is being deleted any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#pass;
  }

  async #again(): Promise<void> {
    await this.pass();
    if (this.#stopped) return;
    this.#timer = this.#clock.after(EVERY_MS, () => {
      this.#pass = this.#again();
    });
  }

  /** One look: what is due goes. Never rejects. */
  async pass(): Promise<void> {
    this.#failedBefore = this.#failing;
    this.#failing = new Set();
    for (const deletion of this.#recorded.values()) await this.#attempt(deletion.file, () => this.#remove(deletion));
    await this.#attempt(this.#captures, () => this.#look());
    const ours = [...this.#known.values()].filter(
      (kept): kept is Kept => kept !== null && !this.#recorded.has(kept.file),
    );
    for (const due of deletionsDue(ours, this.#limits, this.#clock.date())) {
      if (this.#stopped) return;
      await this.#attempt(due.segment.file, () => this.#delete(due));
    }
  }

  async #attempt(file: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (e) {
      if (!this.#failing.has(file) && !this.#failedBefore.has(file)) this.#events.failed(file, e as Error);
      this.#failing.add(file);
    }
  }

  /** Brings what is known up to date. What is no folder may be a link to one, and isn't followed. */
  async #look(): Promise<void> {
    const seen = new Map<string, Kept | null>();
    for (const { name, folder } of await this.#disk.list(this.#captures)) {
      if (folder && !this.#stopped) await this.#attempt(name, () => this.#lookInto(name, seen));
    }
    this.#known = seen;
  }

  async #lookInto(host: string, seen: Map<string, Kept | null>): Promise<void> {
    const entries = await this.#disk.list(join(this.#captures, host));
    const names = new Set(entries.filter((e) => !e.folder).map((e) => e.name));
    const withFiles = new Set([...names].filter((name) => PUBLISHED.test(name)).map(manifestName));
    for (const name of names) {
      // Without a manifest it is somebody else's, or about to get one; with a journal its publishing isn't over. A manifest
      // may be alone: it tells of gaps only, or its file was taken away.
      const alone = name.endsWith('.json') && !withFiles.has(name);
      if (!alone && !(PUBLISHED.test(name) && names.has(manifestName(name)))) continue;
      if (names.has(journalName(name))) continue;
      const file = join(host, name);
      const known = this.#known.get(file);
      if (known !== undefined) seen.set(file, known);
      else await this.#attempt(file, async () => void seen.set(file, await this.#lookAt(file)));
    }
  }

  async #lookAt(file: string): Promise<Kept | null> {
    const manifest = await this.#manifest(file);
    if (!manifest) return null;
    const opened = await this.#disk.open(join(this.#captures, file), 'read');
    try {
      return { file, publishedMs: Date.parse(manifest.published), bytes: await opened.size() };
    } finally {
      await opened.close();
    }
  }

  /** Undefined when it isn't one of ours: such a file is never deleted. */
  async #manifest(file: string): Promise<Manifest | undefined> {
    const bytes = await this.#read(manifestName(join(this.#captures, file)));
    const manifest: Partial<Manifest> | undefined = parsed(bytes.toString());
    const ours = manifest?.format === 'rcap manifest 1' && (file.endsWith('.json') || manifest.file === basename(file));
    return ours && !Number.isNaN(Date.parse(String(manifest.published))) ? (manifest as Manifest) : undefined;
  }

  async #read(path: string): Promise<Buffer> {
    const file = await this.#disk.open(path, 'read');
    try {
      const bytes = Buffer.alloc(Math.min(MAX_MANIFEST_BYTES, await file.size()));
      return bytes.subarray(0, await file.read(bytes, 0));
    } finally {
      await file.close();
    }
  }

  /** The record first, then the file, then its manifest: what is cut short is seen from what is still there. */
  async #delete({ segment: { file }, why }: Due<Kept>): Promise<void> {
    const manifest = await this.#manifest(file);
    if (!manifest) throw new Error('its manifest changed');
    const { host, run, capture, firstSequence, lastSequence, packets, fileBytes, sha256 } = manifest;
    const time = new Date(this.#clock.date()).toISOString();
    const facts = { host, run, capture, firstSequence, lastSequence, packets, fileBytes, sha256 };
    const deletion: Deletion = { time, file, ...facts, why };
    await this.#record.append(deletion);
    this.#recorded.set(file, deletion);
    await this.#remove(deletion);
  }

  async #remove(deletion: Deletion): Promise<void> {
    const path = join(this.#captures, deletion.file);
    await this.#disk.remove(path);
    // Power loss must not bring the file back when its manifest is gone: nobody would delete it then.
    await this.#disk.syncFolder(dirname(path));
    await this.#disk.remove(manifestName(path));
    this.#recorded.delete(deletion.file);
    this.#known.delete(deletion.file);
    this.#events.deleted(deletion);
  }

  /** After a crash between the file and its manifest: only the last one recorded can be in that state. */
  async #finishLast(): Promise<void> {
    await this.#attempt(RECORD, async () => {
      const { file }: { file?: unknown } = parsed(await this.#record.lastLine()) ?? {};
      if (typeof file !== 'string' || !/^[^/.][^/]*\/[^/]+$/.test(file) || !PUBLISHED.test(file)) return;
      const path = join(this.#captures, file);
      if (!(await this.#disk.exists(path))) await this.#disk.remove(manifestName(path));
    });
  }
}

const manifestName = (file: string): string => file.replace(PUBLISHED, '.json');
const journalName = (file: string): string => file.replace(PUBLISHED, JOURNAL);

function parsed(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
