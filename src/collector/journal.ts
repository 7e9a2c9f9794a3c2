/**
 * The journal beside an open segment: what of it is durable. A point is written only after the file was synchronised up to
 * it, and what it covers is acknowledged only after the journal was: so after a crash the last whole line tells how much
 * counts, and the agent has all the rest.
 */
import type { rcap } from '../wire/messages.js';
import type { Disk, File } from './disk.ts';
import { EXCLUSIONS_FORM, type Exclusions, together } from './exclusions.ts';
import { among, count, form, listOf, objectOf, or, string } from './forms.ts';
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
  /** As far as it is new, again. */
  exclusions?: Exclusions | undefined;
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
  /** The last whole one, with the gaps and exclusions of all. Undefined: nothing was made durable. */
  point: Point | undefined;
}

/**
 * Reads the lines that are whole. Undefined: not even the first point is, so nothing was durable. The first two lines become
 * durable together, each further one before the next is written: a broken one before the last is damage that no crash does,
 * and so is a whole one that says something else than it can. Those read as 'damaged'.
 */
export function readJournal(text: string): JournalText | 'damaged' | undefined {
  const [start, ...points] = text.split('\n').slice(0, -1).map(parsed);
  const torn = points.indexOf(undefined);
  if (start === undefined && points.length <= 1) return undefined;
  if (!START_FORM(start) || (torn >= 0 && torn < points.length - 1)) return 'damaged';
  const whole = torn < 0 ? points : points.slice(0, torn);
  if (!whole.every(POINT_FORM)) return 'damaged';
  const good = whole as Point[];
  const gaps: ManifestGap[] = [];
  for (const p of good) gaps.splice(p.gapsFrom, Infinity, ...p.gaps);
  const last = good.at(-1);
  const exclusions = together(good.map((p) => p.exclusions));
  const point = last && { ...last, gapsFrom: 0, gaps, ...(exclusions && { exclusions }) };
  return { start: start as ManifestStart, point };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // the tail of a write that never ended
  }
}

const COUNTERS = or(among(null), objectOf(count));
/** All of it is relied on: the run's id becomes the name of a file. */
const START_FORM = form<ManifestStart>({
  format: among('rcap manifest 1'),
  host: string,
  system: string,
  agent: string,
  peer: string,
  token: string,
  run: (v) => string(v) && /^[0-9a-f]{32}$/.test(v as string),
  capture: count,
  interface: string,
  friendlyName: string,
  addresses: listOf(string),
  linkType: count,
  snaplen: count,
  effectiveFilter: string,
  promiscuous: among(true, false),
  source: string,
  sourceFile: string,
  timestamps: among('nano', 'micro'),
  clockOffsetMs: Number.isSafeInteger,
  collector: string,
  opened: string,
  firstSequence: count,
  firstPacketNumber: count,
});
const POINT_FORM = form<Point>({
  sequence: count,
  packetNumber: count,
  bytes: count,
  packets: count,
  packetBytes: count,
  firstPacketTime: string,
  lastPacketTime: string,
  gapsFrom: count,
  gaps: listOf(
    form<ManifestGap>({
      firstSequence: count,
      lastSequence: count,
      packets: count,
      bytes: count,
      firstPacketTime: string,
      lastPacketTime: string,
    }),
  ),
  counters: COUNTERS,
  exclusions: EXCLUSIONS_FORM,
  closing: or(
    among(undefined),
    form<Closing & { sha256: string }>({
      closedBy: string,
      end: or(among(null), form<NonNullable<Closing['end']>>({ reason: string, counters: COUNTERS })),
      sha256: string,
    }),
  ),
});
