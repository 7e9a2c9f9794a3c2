/** Addresses that names have, each for as long as its answer said. */
import { addressText } from '../../formats/address.ts';

/** Of all names together. */
export const MAX_ADDRESSES = 16_384;
/** An answer counts for at least and at most so long, ms. */
export const [SHORTEST_MS, LONGEST_MS] = [10_000, 3_600_000];

export interface Named {
  address: Uint8Array;
  /** The entry's text. */
  name: string;
}

export class Addresses {
  readonly #known = new Map<string, Named & { until: number }>();

  /** TTLs in seconds; the bound time in ms. `least` is a longer lower bound, ms. */
  static boundMs(ttl: number, least = SHORTEST_MS): number {
    return Math.max(least, Math.min(LONGEST_MS, Math.max(SHORTEST_MS, ttl * 1000)));
  }

  /** Whether it is new, longer known, or finds no room. */
  put(name: string, address: Uint8Array, until: number): 'new' | 'known' | 'full' {
    const key = `${name} ${addressText(address)}`;
    const known = this.#known.get(key);
    if (known) {
      known.until = Math.max(known.until, until);
      return 'known';
    }
    if (this.#known.size >= MAX_ADDRESSES) return 'full';
    this.#known.set(key, { address, name, until });
    return 'new';
  }

  /** Takes out what is over by now. */
  expire(now: number): Named[] {
    return this.remove(({ until }) => until <= now);
  }
  remove(which: (known: Named & { until: number }) => boolean): Named[] {
    const gone = [...this.#known].filter(([, known]) => which(known));
    for (const [key] of gone) this.#known.delete(key);
    return gone.map(([, known]) => known);
  }

  get list(): Named[] {
    return [...this.#known.values()];
  }
}
