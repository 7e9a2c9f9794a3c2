/** What is said about a connection that comes and goes, and a collector that is slow: not the same again and again. */
import type { Clock } from '../clock.ts';
import type { RcapError } from '../errors.ts';
import { plural } from '../ledger.ts';

/** The same words are said once in so long, ms. */
const AGAIN_MS = 60_000;

export class Outage {
  readonly #clock: Clock;
  /** When something was last said. */
  readonly #said = new Map<string, number>();
  /** A loss was said, and not yet that there is a connection again. */
  #open = false;
  #behind = '';
  #behindAt = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** These words, unless they were said within the last minute. */
  once(words: string): string | undefined {
    const now = this.#clock.now();
    for (const [old, at] of this.#said) if (now - at >= AGAIN_MS) this.#said.delete(old);
    if (this.#said.has(words)) return undefined;
    this.#said.set(words, now);
    return words;
  }

  lost(error: RcapError, retryMs: number): string | undefined {
    this.#behind = '';
    if (this.once(error.message) === undefined) return undefined;
    this.#open = true;
    return `${error.message}; trying again in ${Math.max(0.1, retryMs / 1000).toFixed(1)} s`;
  }

  /** Nothing where no loss was said. */
  connected(server: string, outageMs: number | undefined, waiting: number): string | undefined {
    if (!this.#open) return undefined;
    this.#open = false;
    const again = outageMs === undefined ? '' : ` again`;
    const after = outageMs === undefined ? '' : ` after ${Math.max(1, Math.round(outageMs / 1000))} s`;
    return `connected${again} to '${server}'${after}, ${plural(waiting, 'to send')}`;
  }

  /** When it changes, that it is behind once a minute: one that is now and then says nothing new. */
  status(behind: boolean, reason: string): string | undefined {
    const words = behind ? `the collector is behind: ${reason || 'it does not say why'}` : '';
    if (words === this.#behind) return undefined;
    const now = this.#clock.now();
    if (behind && now - this.#behindAt < AGAIN_MS) return undefined;
    if (behind) this.#behindAt = now;
    this.#behind = words;
    return words || 'the collector is no longer behind';
  }
}
