/** Leaves our own connections out of the captures that run, from before each is made. */
import { type Clock, sleep } from '../clock.ts';
import { RcapError, reasonOf } from '../errors.ts';
import type { Installed, Source } from '../capture/source.ts';
import type { Attempts, Place } from '../wire/dial.ts';
import { OwnTraffic } from './filter.ts';

/** A connection waits no longer for its being left out, ms: a capture that ends answers late. */
const EXCLUDE_MS = 1000;
/** The last packets of a connection that is over may still be seen for so long, ms: as long as TCP keeps its port. */
const LINGER_MS = 60_000;

/** What runs, as far as it matters here. */
export interface Running {
  source: Pick<Source, 'label' | 'setExclusion'>;
}

export interface ExclusionOptions<S extends Running> {
  clock: Clock;
  /** Servers by address: left out from the start, since other agents of this host may be connected there. */
  given?: readonly Place[];
  running: () => S[];
  /** This is what filters there from now on. */
  changed: (where: S, installed: Installed) => void;
  /** It can't leave out what we connect to next: it must be ended here. */
  failed: (where: S, error: RcapError) => void;
  /** It goes on leaving out what it could see again. */
  kept: (where: S, error: RcapError) => void;
}

export class Exclusion<S extends Running> implements Attempts {
  readonly #own: OwnTraffic;
  readonly #retiring = new WeakSet<Place>();
  readonly #options: ExclusionOptions<S>;

  constructor(options: ExclusionOptions<S>) {
    this.#options = options;
    this.#own = new OwnTraffic(options.given);
  }

  /** BPF text of what is left out; empty as long as there is nothing. */
  get filter(): string {
    return this.#own.filter;
  }

  async attempt(places: Place[]): Promise<void> {
    // There is one connection at a time: who makes the next has lost the others, and soon their ports are others'.
    this.#retire(this.#own.verified.filter((place) => place.from !== undefined));
    if (this.#own.attempt(places)) await this.#apply(this.#options.failed);
  }
  /**
   * A collector that we left for another stays left out: another agent of this host may be connected there. Two that see each
   * other's connections send them on for ever.
   */
  settle(verified: Place[]): void {
    if (this.#own.settle(verified)) void this.#apply(this.#options.kept);
  }

  /** Forgets places, a while from now. */
  #retire(places: readonly Place[]): void {
    const over = places.filter((place) => !this.#retiring.has(place));
    if (over.length === 0) return;
    for (const place of over) this.#retiring.add(place);
    this.#options.clock.after(LINGER_MS, () => {
      if (this.#own.forget(over)) void this.#apply(this.#options.kept);
    });
  }

  async #apply(refused: ExclusionOptions<S>['failed']): Promise<void> {
    const { clock, running, changed } = this.#options;
    const { filter } = this;
    const answers = running().map(async (where) => {
      const { source } = where;
      try {
        changed(where, await source.setExclusion(filter));
      } catch (e) {
        const what = `could not change what is left out of the capture on '${source.label}': ${reasonOf(e)}`;
        refused(where, new RcapError('FILTER', what, { hint: 'start it again', cause: e }));
      }
    });
    if (answers.length > 0) await Promise.race([Promise.all(answers), sleep(clock, EXCLUDE_MS)]);
  }
}
