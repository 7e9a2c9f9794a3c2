/**
 * Looks names up, each again when its answer's TTL is over: with the host's name servers, whose answers say a TTL; where those
 * know nothing, as any program of the host would (its hosts file and whatever else is configured).
 */
import { lookup, Resolver } from 'node:dns/promises';
import type { Clock, Timer } from '../../clock.ts';
import { parseAddress } from '../../formats/address.ts';
import { touch } from '../../footprint.ts';
import { Addresses } from './addresses.ts';

/** Names at a time: two queries each. */
const AT_A_TIME = 4;
/** From one name to the next, ms: at most 50 queries a second. */
const PACE_MS = 40;
/** A name whose answer said nothing, or not all, is asked for again after this, ms. */
const AGAIN_MS = 30_000;
/** What is told without a TTL counts for so long, seconds. */
const LOOKUP_TTL = 60;
/** Settings of the host's resolver are read again after this, ms. */
const SETTINGS_MS = 60_000;
/** So much of a TTL passes until it is asked again, so that the answer is there in time. */
const EARLY = 0.8;

export interface Answer {
  address: Uint8Array;
  /** Seconds. */
  ttl: number;
}
export interface Answers {
  list: Answer[];
  /** Something was not answered, and may be next time. */
  partial: boolean;
}
export type Ask = (name: string) => Promise<Answers>;

export interface NamesOptions {
  clock: Clock;
  ask: Ask;
  found: (name: string, answers: readonly Answer[]) => void;
}

export class Names {
  readonly #options: NamesOptions;
  /** When each is to be asked for. */
  readonly #due = new Map<string, number>();
  readonly #asking = new Set<string>();
  #lastAt = -Infinity;
  #timer: Timer | undefined;
  #closed = false;
  /** Those who wait until each name was asked for once. */
  #waiting: (() => void)[] = [];

  constructor(options: NamesOptions) {
    this.#options = options;
  }

  /** From now on these. */
  set(names: readonly string[]): void {
    const wanted = new Set(names);
    for (const name of this.#due.keys()) if (!wanted.has(name)) this.#due.delete(name);
    for (const name of wanted) if (!this.#due.has(name)) this.#due.set(name, -Infinity);
    this.#next();
  }

  /** A name's address counts for at least so long, ms: as long as it takes to ask for all of them. */
  get roundMs(): number {
    return this.#due.size * PACE_MS * 1.25;
  }

  /** Resolves once each was asked for. */
  async first(): Promise<void> {
    if (this.#isFirst) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
  get #isFirst(): boolean {
    return !this.#closed && [...this.#due.values()].includes(-Infinity);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #next(): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    if (!this.#isFirst) for (const resolve of this.#waiting.splice(0)) resolve();
    if (this.#asking.size >= AT_A_TIME) return;
    let [first, at] = ['', Infinity];
    for (const [name, due] of this.#due) if (due < at && !this.#asking.has(name)) [first, at] = [name, due];
    if (at === Infinity) return;
    const { clock } = this.#options;
    const now = clock.now();
    const waitMs = Math.max(at, this.#lastAt + PACE_MS) - now;
    if (waitMs > 0) {
      this.#timer = clock.after(waitMs, () => this.#next());
      return;
    }
    this.#lastAt = now;
    void this.#ask(first);
    this.#next();
  }

  async #ask(name: string): Promise<void> {
    const { clock, ask, found } = this.#options;
    this.#asking.add(name);
    const { list, partial } = await ask(name).catch(() => ({ list: [], partial: true }));
    this.#asking.delete(name);
    if (!this.#closed && this.#due.has(name)) {
      found(name, list);
      const ttls = list.map(({ ttl }) => Addresses.boundMs(ttl, this.roundMs) * EARLY);
      this.#due.set(name, clock.now() + Math.min(...ttls, list.length === 0 || partial ? AGAIN_MS : Infinity));
    }
    this.#next();
  }
}

/** The host's own resolver. */
export function hostResolver(clock: Clock): Ask {
  let resolver: Resolver | undefined;
  let since = -Infinity;
  let looking: Promise<unknown> = Promise.resolve();
  return async (name) => {
    if (!resolver || clock.now() - since >= SETTINGS_MS) {
      resolver = new Resolver({ timeout: 2500, tries: 2 });
      since = clock.now();
    }
    touch('looked up', name, 'a name among the exceptions');
    for (const server of resolver.getServers()) touch('asked', server, 'the names among the exceptions');
    const found = await Promise.allSettled([
      resolver.resolve4(name, { ttl: true }),
      resolver.resolve6(name, { ttl: true }),
    ]);
    const list = found.flatMap((f) => (f.status === 'fulfilled' ? f.value.flatMap(answerOf) : []));
    const partial = found.some((f) => f.status === 'rejected' && !KNOWN.has((f.reason as NodeJS.ErrnoException).code!));
    if (list.length > 0) return { list, partial };
    // It takes one of few threads that files need as well: one at a time.
    const looked = looking.then(() => lookup(name, { all: true }));
    looking = looked.catch(() => {});
    return { list: (await looked).flatMap(({ address }) => answerOf({ address, ttl: LOOKUP_TTL })), partial };
  };
}
/** There is no such address: an answer, too. */
const KNOWN = new Set(['ENODATA', 'ENOTFOUND']);

function answerOf({ address: text, ttl }: { address: string; ttl: number }): Answer[] {
  const address = parseAddress(text);
  return address ? [{ address, ttl }] : [];
}
