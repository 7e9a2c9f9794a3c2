/** What the collector remembers of each run: how far its captures are durable, and what of them is in files. A small file each. */
import { dirname, join } from 'node:path';
import type { Clock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { type Disk, replaceFile } from './disk.ts';
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
}

/** A segment that is published, with its manifest, or an end mark alone: files and gaps are of it. */
export type Recorded = Omit<Position, 'recorded'>;

export const recordedOf = (m: Manifest, packets: number): Recorded => ({
  sequence: m.lastSequence,
  packets,
  ended: m.end !== null,
  files: { packets: m.packets, bytes: m.packetBytes },
  gaps: m.gaps.reduce(plus, NOTHING),
});

interface Run {
  token: string;
  /** When it was last written down, ms since 1970. */
  seen: number;
  captures: Record<string, Position>;
}

const HOUR_MS = 3_600_000;
/** A run whose captures have all ended is forgotten after a day, any other when it wasn't seen for 30 days. */
const KEEP_ENDED_MS = 24 * HOUR_MS;
const KEEP_MS = 30 * 24 * HOUR_MS;

const FORM = /^([0-9a-f]{32})\.json$/;
export const NOTHING: Tally = { packets: 0, bytes: 0 };
const plus = (a: Tally, b: Tally): Tally => ({ packets: a.packets + b.packets, bytes: a.bytes + b.bytes });
const NONE: Position = { sequence: 0, packets: 0, recorded: 0, ended: false, files: NOTHING, gaps: NOTHING };

export class Runs {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #folder: string;
  readonly #runs = new Map<string, Run>();
  /** Of all runs, since the start. */
  readonly totals = { ended: 0, files: NOTHING, gaps: NOTHING };
  /** Those whose file the disk didn't give. */
  readonly #unread = new Set<string>();
  /** Saves under way, and those that begin after them. */
  readonly #saving = new Map<string, Promise<void>>();
  readonly #next = new Map<string, Promise<void>>();

  private constructor(disk: Disk, clock: Clock, folder: string) {
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
    const runs = new Runs(disk, clock, folder);
    await disk.makeFolder(folder, 0o700);
    await disk.syncFolder(dirname(folder));
    for (const { name } of await disk.list(folder)) {
      const [, id] = FORM.exec(name) ?? [];
      if (name.endsWith('.new')) await disk.remove(join(folder, name)); // a crash cut its writing short
      if (!id) continue;
      runs.#unread.add(id);
      try {
        await runs.load(id);
      } catch (e) {
        // A disk that fails may succeed later; until then nobody knows where the run stands.
        if ((e as NodeJS.ErrnoException).syscall === undefined) runs.#unread.delete(id);
        said(name, e as Error);
      }
    }
    await runs.prune(() => false).catch(() => {}); // the next time
    return runs;
  }

  /** Makes sure that what is known of a run is known here. Throws when the disk doesn't give it. */
  async load(run: string): Promise<void> {
    if (!this.#unread.has(run)) return;
    const text = await this.#disk.readText(join(this.#folder, `${run}.json`));
    const known = JSON.parse(text) as Partial<Run> | null;
    const whole = typeof known?.token === 'string' && typeof known.captures === 'object' && known.captures;
    if (!whole || !Object.values(whole).every(isPosition)) throw new Error('it is damaged');
    if (this.#unread.delete(run)) this.#runs.set(run, known as Run);
  }

  /** Forgets what is too old, unless it is in use. */
  async prune(used: (run: string) => boolean): Promise<void> {
    for (const [id, { captures, seen }] of this.#runs) {
      const keep = Object.values(captures).every((c) => c.ended) ? KEEP_ENDED_MS : KEEP_MS;
      if (used(id) || this.#clock.date() - seen <= keep) continue;
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

  /** A segment is published. In memory; each of a capture counts once, in the order of their sequences. */
  record(run: string, capture: number, segment: Recorded): Position {
    this.advance(run, capture, segment);
    const { captures } = this.#runs.get(run)!;
    const to = { ...captures[capture]! };
    for (const sums of segment.sequence > to.recorded ? [to, this.totals] : []) {
      sums.files = plus(sums.files, segment.files);
      sums.gaps = plus(sums.gaps, segment.gaps);
    }
    to.recorded = Math.max(to.recorded, segment.sequence);
    if (segment.ended && !to.ended) this.totals.ended++;
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

function isPosition(p: Partial<Position> | null): boolean {
  const tallies = [p?.files, p?.gaps].flatMap((t) => [t?.packets, t?.bytes]);
  return (
    [p?.sequence, p?.packets, p?.recorded, ...tallies].every(Number.isSafeInteger) && typeof p!.ended === 'boolean'
  );
}
