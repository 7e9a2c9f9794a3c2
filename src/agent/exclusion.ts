/** Leaves our own connections out of the captures that run, from before each is made. */
import { type Clock, sleep } from '../clock.ts';
import { RcapError, reasonOf } from '../errors.ts';
import type { Source } from '../capture/source.ts';
import type { Attempts } from '../wire/dial.ts';
import { OwnTraffic } from './filter.ts';

/** A connection waits no longer for its being left out, ms: a capture that ends answers late. */
const EXCLUDE_MS = 1000;

/** What runs, as far as it matters here. */
export interface Running {
  source: Pick<Source, 'label' | 'setExclusion'>;
}

export interface ExclusionOptions<S extends Running> {
  clock: Clock;
  running: () => S[];
  /** This is what filters there from now on. */
  changed: (where: S, effectiveFilter: string) => void;
  failed: (where: S, error: RcapError) => void;
}

export class Exclusion<S extends Running> implements Attempts {
  readonly #own = new OwnTraffic();
  readonly #options: ExclusionOptions<S>;

  constructor(options: ExclusionOptions<S>) {
    this.#options = options;
  }

  /** BPF text of what is left out; empty as long as there is nothing. */
  get filter(): string {
    return this.#own.filter;
  }

  async attempt(addresses: string[], port: number): Promise<void> {
    if (this.#own.attempt(addresses, port)) await this.#apply();
  }
  settle(verified: string | undefined, port: number): void {
    if (this.#own.settle(verified, port)) void this.#apply();
  }

  async #apply(): Promise<void> {
    const { clock, running, changed, failed } = this.#options;
    const { filter } = this;
    const answers = running().map(async (where) => {
      const { source } = where;
      try {
        changed(where, await source.setExclusion(filter));
      } catch (e) {
        const what = `could not change what is left out of the capture on '${source.label}': ${reasonOf(e)}`;
        failed(where, new RcapError('FILTER', what, { cause: e }));
      }
    });
    if (answers.length > 0) await Promise.race([Promise.all(answers), sleep(clock, EXCLUDE_MS)]);
  }
}
