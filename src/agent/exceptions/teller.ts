/** What a collector is told of one capture's exceptions: pieces that fit into a message, as long as there is news. */
import type { rcap } from '../../wire/messages.js';
import type { Count, Counts } from './counts.ts';
import { type Events, MAX_EVENTS } from './events.ts';

/** In one message. */
const EVENTS = 250;
const NAMES = 1000;
/** Names that are told by themselves; what is beyond is summed up. */
export const MAX_NAMES = 10_000;
export const OTHERS = '(others)';

export class Teller {
  readonly #capture: number;
  readonly #events: Events;
  readonly #counts: Counts;
  /** Number of the last event that was told: on this connection, and on any. */
  #told = 0;
  #toldEver = 0;
  readonly #named = new Set<string>();
  readonly #pending = new Set<string>();

  constructor(capture: number, events: Events, counts: Counts) {
    this.#capture = capture;
    this.#events = events;
    this.#counts = counts;
  }

  /** Another connection: all is told again. */
  restart(): void {
    this.#told = 0;
    for (const name of this.#counts.totals.keys()) this.#counts.changed.add(name);
  }

  /** Undefined when there is nothing to tell. */
  next(): rcap.v1.IExclusions | undefined {
    const events = this.#nextEvents();
    if (events.length > 0) return { capture: this.#capture, events };
    const names = this.#nextNames();
    return names.length > 0 ? { capture: this.#capture, names } : undefined;
  }

  #nextEvents(): rcap.v1.IExclusionEvent[] {
    const { last } = this.#events;
    if (this.#told === last) return [];
    if (this.#toldEver < last - MAX_EVENTS) this.#events.omit();
    const events = this.#events.since(this.#told, EVENTS);
    this.#told = events.at(-1)?.number ?? last;
    this.#toldEver = Math.max(this.#toldEver, this.#told);
    return events;
  }

  #nextNames(): rcap.v1.IExcludedName[] {
    const { changed, totals } = this.#counts;
    const names: rcap.v1.IExcludedName[] = [];
    for (const name of changed) {
      if (names.length >= NAMES - 1) break;
      changed.delete(name);
      if (this.#named.size < MAX_NAMES) this.#named.add(name);
      if (this.#named.has(name)) names.push({ name, ...totals.get(name)! });
      else this.#pending.add(name);
    }
    if (this.#pending.size > 0 && changed.size === 0) {
      this.#pending.clear();
      names.push({ name: OTHERS, ...this.#others() });
    }
    return names;
  }

  #others(): Count {
    const sum = { packets: 0, bytes: 0 };
    for (const [name, { packets, bytes }] of this.#counts.totals) {
      if (this.#named.has(name)) continue;
      sum.packets += packets;
      sum.bytes += bytes;
    }
    return sum;
  }
}
