/** What happened to the exceptions of a run, numbered: the collector's manifests tell it. */
import { rcap } from '../../wire/messages.js';

const { Kind } = rcap.v1.ExclusionEvent;

/** Those that are kept, to be told on the next connection as well. */
export const MAX_EVENTS = 4096;
/** Longest words, bytes. */
const MAX_WORDS = 1000;

export interface ExclusionEvent {
  kind: 'LIST' | 'REFUSED' | 'RESOLVED' | 'LEARNED' | 'EXPIRED' | 'OMITTED' | 'SETTINGS';
  /** Made when it is told: of a long list it takes its time. */
  digest?: () => Uint8Array;
  entries?: number;
  words?: string;
  name?: string;
  address?: string;
}
type Numbered = ExclusionEvent & { number: number; timeNs: bigint };

export class Events {
  readonly #date: () => number;
  #list: Numbered[] = [];
  #last = 0;
  #omitted = false;

  /** `date` in milliseconds since 1970. */
  constructor(date: () => number) {
    this.#date = date;
  }

  add(event: ExclusionEvent): void {
    this.#list.push({ ...event, number: ++this.#last, timeNs: BigInt(this.#date()) * 1_000_000n });
    if (this.#list.length > 2 * MAX_EVENTS) this.#list = this.#list.slice(-MAX_EVENTS);
  }

  get last(): number {
    return this.#last;
  }
  /** Those behind a number, at most `most`; some of them may be gone. */
  since(number: number, most: number): rcap.v1.IExclusionEvent[] {
    const kept = this.#list.slice(-MAX_EVENTS);
    const at = kept.findIndex((e) => e.number > number);
    return at < 0 ? [] : kept.slice(at, at + most).map(messageOf);
  }
  /** Somebody was never told what is gone by now. */
  omit(): void {
    if (!this.#omitted) this.add({ kind: 'OMITTED' });
    this.#omitted = true;
  }
}

function messageOf({ kind, digest, words, ...event }: Numbered): rcap.v1.IExclusionEvent {
  return {
    ...event,
    kind: Kind[kind],
    ...(digest && { digest: digest() }),
    ...(words !== undefined && { words: shortened(words) }),
  };
}

function shortened(words: string): string {
  let text = words;
  while (Buffer.byteLength(text) > MAX_WORDS) text = text.slice(0, Math.floor((text.length * 9) / 10));
  return text === words ? text : text.replace(/[\ud800-\udbff]$/, '');
}
