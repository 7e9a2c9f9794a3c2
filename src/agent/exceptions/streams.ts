/** DNS messages out of TCP streams: each is preceded by its length, two bytes. Seen from outside, so in any order. */
import type { Segment } from './segment.ts';

/** Streams at a time, each direction for itself; the oldest goes. */
export const MAX_STREAMS = 64;
/** What one may hold: a message and its length, or what came too early; bytes. */
export const MAX_HELD = 65_537;
/** Parts that came too early, of one. */
const MAX_EARLY = 32;

interface Stream {
  /** The next byte's number. */
  next: number;
  /** Begun, and not yet a whole message. */
  rest: Uint8Array;
  early: Map<number, Uint8Array>;
  earlyBytes: number;
}

export class Streams {
  readonly #streams = new Map<string, Stream>();

  /** Messages that this segment completes. `key` names the stream and its direction. A stream counts from its SYN on. */
  add(key: string, { payload, tcp }: Segment): Uint8Array[] {
    const { sequence, syn, over } = tcp!;
    if (syn) this.#begin(key, (sequence + 1) >>> 0);
    const stream = this.#streams.get(key);
    if (!stream) return [];
    const first = syn ? (sequence + 1) >>> 0 : sequence;
    const messages = payload.length > 0 ? this.#take(key, stream, first, payload) : [];
    if (over) this.#streams.delete(key);
    return messages;
  }

  #begin(key: string, next: number): void {
    this.#streams.delete(key);
    this.#streams.set(key, { next, rest: NOTHING, early: new Map(), earlyBytes: 0 });
    if (this.#streams.size > MAX_STREAMS) this.#streams.delete(this.#streams.keys().next().value!);
  }

  #take(key: string, stream: Stream, sequence: number, payload: Uint8Array): Uint8Array[] {
    const messages: Uint8Array[] = [];
    // A copy: the packet's memory is another one's soon.
    hold(stream, sequence, payload.slice());
    for (let bytes; (bytes = nextOf(stream)) !== undefined;) {
      stream.rest = joined(stream.rest, bytes);
      stream.next = (stream.next + bytes.length) >>> 0;
      cut(stream, messages);
    }
    if (stream.earlyBytes > MAX_HELD || stream.early.size > MAX_EARLY) this.#streams.delete(key);
    return messages;
  }
}

function hold(stream: Stream, sequence: number, bytes: Uint8Array): void {
  if (((sequence - stream.next) | 0) > MAX_HELD) return; // nowhere near
  const known = stream.early.get(sequence);
  if (known && known.length >= bytes.length) return;
  stream.early.set(sequence, bytes);
  stream.earlyBytes += bytes.length - (known?.length ?? 0);
}

/** What comes next, without what was there before: parts may come twice. */
function nextOf(stream: Stream): Uint8Array | undefined {
  for (const [sequence, bytes] of stream.early) {
    const old = (stream.next - sequence) | 0;
    if (old < 0) continue;
    stream.early.delete(sequence);
    stream.earlyBytes -= bytes.length;
    if (old < bytes.length) return bytes.subarray(old);
  }
  return undefined;
}

function cut(stream: Stream, messages: Uint8Array[]): void {
  let { rest } = stream;
  for (;;) {
    const end = rest.length < 2 ? Infinity : 2 + ((rest[0]! << 8) | rest[1]!);
    if (rest.length < end) break;
    messages.push(rest.subarray(2, end));
    rest = rest.subarray(end);
  }
  stream.rest = rest;
}

const NOTHING = new Uint8Array(0);
function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
