/** What an agent says of its exceptions, on its way into the manifest: which counted when, and what they left out. */
import { among, type Check, count, form, listOf, objectOf, or, string } from './forms.ts';
import type { Tally } from './runs.ts';

export const EVENT_KINDS = ['list', 'refused', 'resolved', 'learned', 'expired', 'omitted', 'settings'] as const;

export interface ExclusionEvent {
  /** From 1 for each run: the same number is the same event. */
  number: number;
  /** The agent's clock, RFC 3339. */
  time: string;
  kind: (typeof EVENT_KINDS)[number];
  /** Of list and refused: SHA-256 of the entries, hex. */
  digest?: string;
  /** Of list: how many entries it has. */
  entries?: number;
  /** Where a list came from, and why it was refused. */
  words?: string;
  /** The entry that an address is of. */
  name?: string;
  address?: string;
}

export interface Exclusions {
  /** Those that came while the segment was open, or before it, since the last one. */
  events: ExclusionEvent[];
  /** By entry, of those whose totals changed meanwhile: since the capture's start. */
  names: Record<string, Tally>;
  /** Events and totals that had no room here. */
  omitted?: number;
}

/** What a segment takes of them. An agent may be hostile: its captures are many, and all of this is held in memory. */
const MAX_EVENTS = 1000;
const MAX_NAMES = 4096;
const MAX_BYTES = 1 << 18;
/** Of an event and of a name, beside their texts, as a manifest has them. */
const EVENT_BYTES = 200;
const NAME_BYTES = 56;

/** What all captures of one connection hold together, bytes: they are many. */
export interface Budget {
  room: number;
}
export const MAX_CONNECTION_BYTES = 1 << 20;

/** Puts them together, within the limits. */
export class ExclusionNotes {
  #events: ExclusionEvent[] = [];
  /** Names may be anything, also `__proto__`. */
  #names = new Map<string, Tally>();
  #omitted = 0;
  #room = MAX_BYTES;
  readonly #budget: Budget;

  constructor(budget: Budget = { room: Infinity }) {
    this.#budget = budget;
  }

  /** Returns the events that there was room for. */
  add(more: Exclusions | undefined): ExclusionEvent[] {
    if (!more) return [];
    this.#omitted += more.omitted ?? 0;
    const before = this.#events.length;
    for (const e of more.events) {
      const bytes = EVENT_BYTES + sizeOf(e.words) + sizeOf(e.name) + sizeOf(e.address);
      if (this.#events.length < MAX_EVENTS && this.#takes(bytes)) this.#events.push(e);
      else this.#omitted++;
    }
    for (const [name, total] of Object.entries(more.names)) {
      const known = this.#names.has(name);
      if (known || (this.#names.size < MAX_NAMES && this.#takes(NAME_BYTES + sizeOf(name))))
        this.#names.set(name, total);
      else this.#omitted++;
    }
    return this.#events.slice(before);
  }

  #takes(bytes: number): boolean {
    if (bytes > this.#room || bytes > this.#budget.room) return false;
    this.#room -= bytes;
    this.#budget.room -= bytes;
    return true;
  }

  /** Undefined: nothing was said. */
  get all(): Exclusions | undefined {
    if (this.#events.length === 0 && this.#names.size === 0 && this.#omitted === 0) return undefined;
    return {
      events: [...this.#events],
      names: Object.fromEntries(this.#names),
      ...(this.#omitted > 0 && { omitted: this.#omitted }),
    };
  }

  /** All, and begins anew. */
  take(): Exclusions | undefined {
    const { all } = this;
    this.#events = [];
    this.#names = new Map();
    this.#omitted = 0;
    this.#budget.room += MAX_BYTES - this.#room;
    this.#room = MAX_BYTES;
    return all;
  }
}

/** As JSON, where a control character takes six bytes. */
const sizeOf = (text = ''): number => Buffer.byteLength(JSON.stringify(text));

export function together(parts: Iterable<Exclusions | undefined>): Exclusions | undefined {
  const notes = new ExclusionNotes();
  for (const part of parts) notes.add(part);
  return notes.all;
}

/** The highest event's number; 0 without one. */
export const lastEvent = (e: Exclusions | undefined): number => Math.max(0, ...(e?.events ?? []).map((x) => x.number));

const absent = among(undefined);
export const EXCLUSIONS_FORM: Check = or(
  absent,
  form<Exclusions>({
    events: listOf(
      form<ExclusionEvent>({
        number: count,
        time: string,
        kind: among(...EVENT_KINDS),
        digest: or(absent, string),
        entries: or(absent, count),
        words: or(absent, string),
        name: or(absent, string),
        address: or(absent, string),
      }),
    ),
    names: objectOf(form<Tally>({ packets: count, bytes: count })),
    omitted: or(absent, count),
  }),
);
