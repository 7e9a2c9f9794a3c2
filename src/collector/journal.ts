/**
 * The journal beside an open segment: what of it is durable. A point is written only after the file was synchronised up to
 * it, and what it covers is acknowledged only after the journal was: so after a crash the last whole line tells how much
 * counts, and the agent has all the rest.
 */
import type { rcap } from '../wire/messages.js';
import type { Disk, File } from './disk.ts';
import type { ManifestGap, ManifestStart } from './manifest.ts';

export const JOURNAL = '.journal';

export interface Closing {
  closedBy: string;
  end: { reason: string; counters: rcap.v1.ICounters | null } | null;
}

export interface Point {
  /** The last one that is durable. */
  sequence: number;
  /** Number of its last packet in the capture, gaps included. */
  packetNumber: number;
  /** Length of the file; 0 where there is none, since no packet came. */
  bytes: number;
  packets: number;
  packetBytes: number;
  firstPacketTime: string;
  lastPacketTime: string;
  /** Where `gaps` go in the list of all, and all from there on: a line has only what is new. */
  gapsFrom: number;
  gaps: ManifestGap[];
  counters: rcap.v1.ICounters | null;
  /** In the last line, when the segment is about to be published: all that its manifest says. */
  closing?: Closing & { sha256: string };
}

export class Journal {
  readonly #file: File;
  #bytes = 0;

  private constructor(file: File) {
    this.#file = file;
  }

  static async create(disk: Disk, path: string, start: ManifestStart): Promise<Journal> {
    const journal = new Journal(await disk.create(path));
    try {
      await journal.#line(start);
    } catch (e) {
      await journal.close().catch(() => {});
      throw e;
    }
    return journal;
  }

  /** Durable once it resolves. */
  async add(point: Point): Promise<void> {
    await this.#line(point);
    await this.#file.datasync();
  }

  async #line(value: ManifestStart | Point): Promise<void> {
    const bytes = Buffer.from(lineOf(value));
    await this.#file.write(bytes, this.#bytes);
    this.#bytes += bytes.length;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

const lineOf = (value: ManifestStart | Point) => `${JSON.stringify(value)}\n`;

/** A journal of this one point. */
export const journalText = (start: ManifestStart, point: Point): string => lineOf(start) + lineOf(point);

export interface JournalText {
  start: ManifestStart;
  /** The last whole one, with the gaps of all. Undefined: nothing was made durable. */
  point: Point | undefined;
}

/**
 * Reads the lines that are whole. Undefined: not even the first point is, so nothing was durable. The first two lines become
 * durable together, each further one before the next is written: a broken one before the last is damage that no crash does,
 * and reads as 'damaged'.
 */
export function readJournal(text: string): JournalText | 'damaged' | undefined {
  const lines = text.split('\n').slice(0, -1).map(parsed);
  const [start, ...points] = lines;
  const ours = (start as Partial<ManifestStart> | undefined)?.format === 'rcap manifest 1';
  if (!ours && points.length <= 1) return undefined;
  const torn = points.findIndex((p) => !isPoint(p));
  if (!ours || (torn >= 0 && torn < points.length - 1)) return 'damaged';
  const good = (torn < 0 ? points : points.slice(0, torn)) as Point[];
  const gaps: ManifestGap[] = [];
  for (const p of good) gaps.splice(p.gapsFrom, Infinity, ...p.gaps);
  const last = good.at(-1);
  return { start: start as ManifestStart, point: last && { ...last, gapsFrom: 0, gaps } };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // the tail of a write that never ended
  }
}

function isPoint(value: unknown): boolean {
  const p = value as Partial<Point> | null | undefined;
  const numbers = [p?.sequence, p?.packetNumber, p?.bytes, p?.packets, p?.packetBytes, p?.gapsFrom];
  return numbers.every((n) => Number.isSafeInteger(n)) && Array.isArray(p!.gaps);
}
