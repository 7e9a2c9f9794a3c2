/** One file of a capture: opened as `.part` with its journal, appended to, made durable, published. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { FILE_HEADER_BYTES, fileHeader, recordTime } from '../formats/pcap.ts';
import type { rcap } from '../wire/messages.js';
import type { Disk, File } from './disk.ts';
import { type Budget, ExclusionNotes, type Exclusions } from './exclusions.ts';
import { type Closing, Journal, JOURNAL, type Point } from './journal.ts';
import type { Manifest, ManifestGap, ManifestStart } from './manifest.ts';
import { PART, publishedName } from './names.ts';
import { type FoldersMade, manifestOf, publishFile, writeManifest } from './publish.ts';

/** Gaps that a manifest lists; beyond, the last one grows: its packets and bytes stay exact. */
const MAX_GAPS = 1000;

/** Records of one or more batches of one capture, ready to be appended. */
export interface Slab {
  bytes: Uint8Array;
  /** Where the last record begins in `bytes`. */
  lastRecord: number;
  packets: number;
  packetBytes: number;
  firstSequence: number;
  lastSequence: number;
  /** Number of the first packet in the capture. */
  firstPacket: number;
  /** When its first batch came, by clock.now(). */
  arrivedMs: number;
  release(): void;
}

/** Where a segment is made, and with what. */
export interface SegmentPlace {
  disk: Disk;
  clock: Clock;
  made: FoldersMade;
  folder: string;
}

export class Segment {
  bytes = 0;
  packets = 0;
  packetBytes = 0;
  lastSequence: number;
  /** Of the last packet, in its capture. */
  packetNumber: number;
  readonly stem: string;
  readonly openedMs: number;
  appendedMs: number;
  readonly #place: SegmentPlace;
  readonly #start: ManifestStart;
  readonly #journal: Journal;
  #file: File | undefined;
  /** Of what was appended, taken while it is at hand: reading it back would cost as much again. */
  readonly #hash = createHash('sha256');
  #firstTime = '';
  #lastTime = '';
  #gaps: ManifestGap[] = [];
  /** From here on they aren't in the journal, or not as they are now. */
  #gapsFrom = 0;
  readonly #exclusions: ExclusionNotes;
  /** How much of the file is durable. */
  #syncedBytes = 0;
  /** A name was made in the folder that isn't durable yet. */
  #unnamed = true;

  private constructor(place: SegmentPlace, stem: string, start: ManifestStart, journal: Journal, budget?: Budget) {
    this.#place = place;
    this.#exclusions = new ExclusionNotes(budget);
    this.stem = stem;
    this.#start = start;
    this.#journal = journal;
    this.lastSequence = start.firstSequence - 1;
    this.packetNumber = start.firstPacketNumber - 1;
    this.openedMs = this.appendedMs = place.clock.now();
  }

  /** Begins with the journal alone: the file comes with the first packets. Never over another file. */
  static async open(place: SegmentPlace, stem: string, start: ManifestStart, budget?: Budget): Promise<Segment> {
    const { disk, folder } = place;
    const path = join(folder, publishedName(stem, start.linkType));
    if (await disk.exists(path)) throw new RcapError('STORAGE', `could not create '${stem}': it exists`);
    return new Segment(place, stem, start, await Journal.create(disk, join(folder, stem + JOURNAL), start), budget);
  }

  get file(): string {
    return publishedName(this.stem, this.#start.linkType);
  }

  async append(slab: Slab): Promise<void> {
    const file = (this.#file ??= await this.#create());
    const written = file.write(slab.bytes, this.bytes);
    // Meanwhile, on this thread.
    this.#hash.update(slab.bytes);
    await written;
    const { timestamps } = this.#start;
    if (this.packets === 0) this.#firstTime = recordTime(slab.bytes, 0, timestamps);
    this.#lastTime = recordTime(slab.bytes, slab.lastRecord, timestamps);
    this.bytes += slab.bytes.length;
    this.packets += slab.packets;
    this.packetBytes += slab.packetBytes;
    this.packetNumber = slab.firstPacket + slab.packets - 1;
    this.lastSequence = slab.lastSequence;
    this.appendedMs = this.#place.clock.now();
  }

  async #create(): Promise<File> {
    const { linkType, snaplen, timestamps } = this.#start;
    const file = await this.#place.disk.create(join(this.#place.folder, this.file + PART));
    this.#file = file;
    this.#unnamed = true;
    const header = fileHeader(linkType, snaplen, timestamps);
    this.#hash.update(header);
    await file.write(header, 0);
    this.bytes = FILE_HEADER_BYTES;
    return file;
  }

  gap(gap: ManifestGap): void {
    this.lastSequence = gap.lastSequence;
    this.packetNumber += gap.packets;
    this.appendedMs = this.#place.clock.now();
    if (this.#gaps.length < MAX_GAPS) {
      this.#gaps.push(gap);
      return;
    }
    const last = this.#gaps.pop()!;
    this.#gapsFrom = Math.min(this.#gapsFrom, this.#gaps.length);
    this.#gaps.push({
      ...gap,
      firstSequence: last.firstSequence,
      firstPacketTime: last.firstPacketTime,
      packets: last.packets + gap.packets,
      bytes: last.bytes + gap.bytes,
    });
  }

  /** Makes durable what there is now, and returns up to where that is. One at a time; appending may go on. */
  async sync(counters: rcap.v1.ICounters | null, news: Exclusions | undefined): Promise<Point> {
    // Totals wait for the last line: they change all the time, and the agent says them again after a crash.
    const events = this.#exclusions.add(news);
    const point = this.#point(counters, events.length > 0 ? { events, names: {} } : undefined);
    await this.#makeDurable(point);
    return point;
  }

  #point(counters: rcap.v1.ICounters | null, exclusions: Exclusions | undefined): Point {
    const gapsFrom = this.#gapsFrom;
    this.#gapsFrom = this.#gaps.length;
    return {
      sequence: this.lastSequence,
      packetNumber: this.packetNumber,
      // Not a header alone: no file is published without packets.
      bytes: this.packets > 0 ? this.bytes : 0,
      packets: this.packets,
      packetBytes: this.packetBytes,
      firstPacketTime: this.#firstTime,
      lastPacketTime: this.#lastTime,
      gapsFrom,
      gaps: this.#gaps.slice(gapsFrom),
      counters,
      ...(exclusions && { exclusions }),
    };
  }

  async #makeDurable(point: Point): Promise<void> {
    if (point.bytes > this.#syncedBytes) await this.#file!.datasync();
    this.#syncedBytes = point.bytes;
    if (this.#unnamed) {
      this.#unnamed = false; // not behind the await: a name may be made meanwhile
      await this.#place.disk.syncFolder(this.#place.folder);
    }
    await this.#journal.add(point);
  }

  /** The last sync; nothing is appended any more. Durable once it resolves. */
  async seal(counters: rcap.v1.ICounters | null, news: Exclusions | undefined, closing: Closing): Promise<Point> {
    const sha256 = this.bytes > 0 ? this.#hash.digest('hex') : '';
    const events = this.#exclusions.add(news);
    const { all } = this.#exclusions;
    const point = { ...this.#point(counters, all && { ...all, events }), closing: { ...closing, sha256 } };
    await this.#makeDurable(point);
    return point;
  }

  /** Makes a sealed segment visible, if it has packets. */
  async publish(): Promise<void> {
    if (!this.#file) return;
    const { disk, clock, made, folder } = this.#place;
    const file = this.#file;
    await publishFile(disk, clock, made, file, folder, this.file);
    this.#file = undefined;
  }

  /** The manifest of a published segment. Then its journal has done its work. */
  async record(point: Point): Promise<Manifest> {
    const { disk, clock, folder } = this.#place;
    const manifest = manifestOf(
      this.stem,
      this.#start,
      { ...point, gapsFrom: 0, gaps: this.#gaps, exclusions: this.#exclusions.all },
      new Date(clock.date()),
    );
    await writeManifest(disk, folder, this.stem, manifest);
    return manifest;
  }

  /** Its journal goes: all that it says stands elsewhere. */
  async forget(): Promise<void> {
    this.#exclusions.take();
    await this.#journal.close();
    await this.#place.disk.remove(join(this.#place.folder, this.stem + JOURNAL));
  }

  /** Closes the files as they are: the disk failed. */
  async abandon(): Promise<void> {
    this.#exclusions.take();
    await Promise.allSettled([this.#file?.close(), this.#journal.close()]);
  }
}
