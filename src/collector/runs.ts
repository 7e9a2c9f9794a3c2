/** What the collector remembers of each run: how far its captures are durable, and what of them is in files. A small file each. */
import { dirname, join } from 'node:path';
import type { Clock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { type Disk, replaceFile } from './disk.ts';
import { among, count, form, objectOf, or, string } from './forms.ts';
import { lastEvent } from './exclusions.ts';
import type { Manifest } from './manifest.ts';

export interface Tally {
  packets: number;
  /** Sum of the captured lengths. */
  bytes: number;
}

export interface Position {
  /** The last one that is durable; 0 if none. */
  sequence: number;
  /** Packets up to there, gaps included. */
  packets: number;
  /** Up to here files are published and manifests written. */
  recorded: number;
  /** And so is its end mark. */
  ended: boolean;
  /** What was recorded, in files and in gaps. What another collector has of the capture is in neither. */
  files: Tally;
  gaps: Tally;
  /** The last event of its exclusions that a manifest has. */
  events?: number;
}

/** A segment that is published, with its manifest, or an end mark alone: files and gaps are of it. */
export type Recorded = Omit<Position, 'recorded'>;

export function recordedOf(m: Manifest, packets: number): Recorded {
  const events = lastEvent(m.exclusions);
  return {
    sequence: m.lastSequence,
    packets,
    ended: m.end !== null,
    files: { packets: m.packets, bytes: m.packetBytes },
    gaps: m.gaps.reduce(plus, NO_PACKETS),
    ...(events > 0 && { events }),
  };
}

interface Run {
  token: string;
  /** When it was last written down, ms since 1970. */
  seen: number;
  captures: Record<string, Position>;
}

const DAY_MS = 86_400_000;
/**
 * A run that wasn't seen for so long is forgotten. Also one whose captures have all ended: its agent may have been cut off
 * before it heard so, and waits to send the last of them again.
 */
const KEEP_MS = 30 * DAY_MS;

const TALLY_FORM = form<Tally>({ packets: count, bytes: count });
const RUN_FORM = form<Run>({
  token: string,
  seen: count,
  captures: objectOf(
    form<Position>({
      sequence: count,
      packets: count,
      recorded: count,
      ended: among(true, false),
      files: TALLY_FORM,
      gaps: TALLY_FORM,
      events: or(among(undefined), count),
    }),
  ),
});

const NAME = /^([0-9a-f]{32})\.json$/;
export const NO_PACKETS: Tally = { packets: 0, bytes: 0 };
const plus = (a: Tally, b: Tally): Tally => ({ packets: a.packets + b.packets, bytes: a.bytes + b.bytes });
const NONE: Position = { sequence: 0, packets: 0, recorded: 0, ended: false, files: NO_PACKETS, gaps: NO_PACKETS };

export class Runs {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #folder: string;
  readonly #said: (file: string, error: Error) => void;
  readonly #runs = new Map<string, Run>();
  /** Of all runs, since the start. */
  readonly totals = { ended: 0, files: NO_PACKETS, gaps: NO_PACKETS };
  /** Those whose file the disk didn't give. */
  readonly #unread = new Set<string>();
  /** Saves under way, and those that begin after them. */
  readonly #saving = new Map<string, Promise<void>>();
  readonly #next = new Map<string, Promise<void>>();

  private constructor(disk: Disk, clock: Clock, folder: string, said: (file: string, error: Error) => void) {
    this.#said = said;
    this.#disk = disk;
    this.#clock = clock;
    this.#folder = folder;
  }

  /** A file that is damaged is left out, and said: the run goes on where its agent says. */
  static async open(
    disk: Disk,
    clock: Clock,
    folder: string,
    said: (file: string, error: Error) => void,
  ): Promise<Runs> {
    const runs = new Runs(disk, clock, folder, said);
    await disk.makeFolder(folder, 0o700);
    await disk.syncFolder(dirname(folder));
    for (const { name } of await disk.list(folder)) {
      const [, id] = NAME.exec(name) ?? [];
      if (name.endsWith('.new')) await disk.remove(join(folder, name)); // a crash cut its writing short
      if (!id) continue;
      runs.#unread.add(id);
      // A disk that fails may succeed later; until then nobody knows where the run stands.
      await runs.load(id).catch((e: Error) => said(name, e));
    }
    await runs.prune(() => false).catch(() => {}); // the next time
    return runs;
  }

  /** Makes sure that what is known of a run is known here. Throws when the disk doesn't give it. */
  async load(run: string): Promise<void> {
    if (!this.#unread.has(run)) return;
    const name = `${run}.json`;
    const known = parsed(await this.#disk.readText(join(this.#folder, name)));
    if (!this.#unread.delete(run)) return;
    if (RUN_FORM(known)) this.#runs.set(run, known as Run);
    else this.#said(name, new Error('it is damaged'));
  }

  /** Forgets what is too old, unless it is in use. */
  async prune(used: (run: string) => boolean): Promise<void> {
    for (const [id, { seen, captures }] of this.#runs) {
      const age = this.#clock.date() - seen;
      // So that a restart knows that it was seen, also if nothing came of it for long.
      if (used(id) && age > DAY_MS && Object.keys(captures).length > 0) await this.save(id);
      if (used(id) || age <= KEEP_MS) continue;
      this.#runs.delete(id);
      await this.#disk.remove(join(this.#folder, `${id}.json`));
    }
  }

  /** A run belongs to the credential that began it: who learned its id can't go on with it. */
  claim(run: string, token: string): void {
    const known = this.#runs.get(run);
    if (!known) this.#runs.set(run, { token, seen: this.#clock.date(), captures: {} });
    else if (known.token !== token) throw new RcapError('TOKEN', 'this run began with another token');
  }

  /** Forgets a run of which nothing is durable. */
  leave(run: string): void {
    const known = this.#runs.get(run);
    if (known && Object.keys(known.captures).length === 0) this.#runs.delete(run);
  }

  position(run: string, capture: number): Position {
    return this.#runs.get(run)?.captures[capture] ?? NONE;
  }

  captures(run: string): [capture: number, position: Position][] {
    return Object.entries(this.#runs.get(run)?.captures ?? {}).map(([n, p]) => [Number(n), p]);
  }

  /** So much is durable. In memory; never goes back. */
  advance(run: string, capture: number, { sequence, packets }: Pick<Position, 'sequence' | 'packets'>): void {
    const { captures } = this.#runs.get(run)!;
    const from = captures[capture] ?? NONE;
    if (sequence >= from.sequence) captures[capture] = { ...from, sequence, packets };
  }

  /** A segment is published: counted once, however often it is said, but not behind a later one. In memory. */
  record(run: string, capture: number, segment: Recorded): Position {
    this.advance(run, capture, segment);
    const { captures } = this.#runs.get(run)!;
    const to = { ...captures[capture]! };
    if (segment.sequence > to.recorded) {
      to.recorded = segment.sequence;
      for (const sums of [to, this.totals]) {
        sums.files = plus(sums.files, segment.files);
        sums.gaps = plus(sums.gaps, segment.gaps);
      }
    }
    if (segment.ended && !to.ended) this.totals.ended++;
    if (segment.events) to.events = Math.max(segment.events, to.events ?? 0);
    to.ended ||= segment.ended;
    return (captures[capture] = to);
  }

  /** Resolves once all that was advanced before is durable. Who asks while one is written shares the next. */
  save(run: string): Promise<void> {
    const begun = this.#saving.get(run);
    const waiting = this.#next.get(run);
    if (waiting) return waiting;
    if (!begun) return this.#begin(run);
    const next = begun
      .catch(() => {})
      .then(() => {
        this.#next.delete(run);
        return this.#begin(run);
      });
    this.#next.set(run, next);
    return next;
  }

  #begin(run: string): Promise<void> {
    const known = this.#runs.get(run)!;
    known.seen = this.#clock.date();
    const path = join(this.#folder, `${run}.json`);
    const saving = replaceFile(this.#disk, path, JSON.stringify(known), 0o600).finally(() => {
      if (this.#saving.get(run) === saving) this.#saving.delete(run);
    });
    this.#saving.set(run, saving);
    return saving;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
