/** What the collector remembers of each run: how far each of its captures is durable. A small file a run, in the state folder. */
import { dirname, join } from 'node:path';
import type { Clock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { type Disk, replaceFile } from './disk.ts';

export interface Position {
  /** The last one that is durable; 0 if none. */
  sequence: number;
  /** Packets up to there, gaps included. */
  packets: number;
  /** Up to here files are published and manifests written. */
  recorded: number;
  /** And so is its end mark. */
  ended: boolean;
}

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
const NONE: Position = { sequence: 0, packets: 0, recorded: 0, ended: false };

export class Runs {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #folder: string;
  readonly #runs = new Map<string, Run>();
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
    if (typeof known?.token !== 'string' || typeof known.captures !== 'object' || !known.captures)
      throw new Error('it is damaged');
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

  /** In memory; never goes back. */
  advance(run: string, capture: number, to: Position): void {
    const { captures } = this.#runs.get(run)!;
    const from = captures[capture] ?? NONE;
    const last = to.sequence >= from.sequence ? to : from;
    captures[capture] = {
      sequence: last.sequence,
      packets: last.packets,
      recorded: Math.max(to.recorded, from.recorded),
      ended: from.ended || to.ended,
    };
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
