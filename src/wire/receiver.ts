/**
 * Bytes to frames: a state machine without a socket. Frames lie whole in one region of the buffer that it is given, so
 * that whoever handles them reads them in place.
 */
import { ProtocolError } from './frame.ts';

/** Handles the frame that lies in the buffer from `start` to `end`. False: not now; it comes again after `resume`. */
export type FrameHandler = (start: number, end: number) => boolean;

/** Bytes that a receiver's region needs for a given longest message: one frame, and room for reading ahead. */
export const regionBytes = (maxMessage: number): number => 4 + maxMessage + 65_536;

const NOTHING = new Uint8Array(0);

export class Receiver {
  readonly #bytes: Uint8Array;
  readonly #from: number;
  readonly #to: number;
  readonly #max: number;
  readonly #handle: FrameHandler;
  #start: number;
  #end: number;
  /** Where the first message that isn't whole will end at the earliest. */
  #wholeAt = 0;
  #blocked = false;
  /** What came while the handler wasn't ready. Copied by the constructor: a Buffer's slice() copies nothing. */
  readonly #rests: Uint8Array[] = [];

  /** `bytes` from `from` on, regionBytes(maxMessage) long, belongs to the receiver. */
  constructor(bytes: Uint8Array, from: number, maxMessage: number, handle: FrameHandler) {
    this.#bytes = bytes;
    this.#from = from;
    this.#to = from + regionBytes(maxMessage);
    this.#max = maxMessage;
    this.#handle = handle;
    this.#start = this.#end = from;
  }

  /** Whether bytes of an unfinished message are held. */
  get partial(): boolean {
    return this.#start < this.#end || this.#rests.length > 0;
  }

  /**
   * Takes the next bytes of the stream; `chunk` may be overwritten afterwards. False: the handler isn't ready; the stream
   * should pause (what still comes is kept) until a `resume` that returned true. Throws ProtocolError.
   */
  push(chunk: Uint8Array): boolean {
    if (this.#blocked) {
      this.#rests.push(new Uint8Array(chunk));
      return false;
    }
    const rest = this.#take(chunk);
    if (this.#blocked && rest.length > 0) this.#rests.push(new Uint8Array(rest));
    return !this.#blocked;
  }

  /** Goes on with what is held. */
  resume(): boolean {
    this.#blocked = !this.#frames();
    while (!this.#blocked && this.#rests.length > 0) {
      const rest = this.#take(this.#rests[0]!);
      if (rest.length > 0) this.#rests[0] = rest;
      else this.#rests.shift();
    }
    return !this.#blocked;
  }

  /** Copies into the region and handles what becomes whole, until all is taken or the handler isn't ready. */
  #take(chunk: Uint8Array): Uint8Array {
    let rest = chunk;
    while (rest.length > 0 && !this.#blocked) {
      if (this.#start > this.#from && rest.length > this.#to - this.#end) {
        this.#bytes.copyWithin(this.#from, this.#start, this.#end);
        this.#wholeAt -= this.#start - this.#from;
        this.#end -= this.#start - this.#from;
        this.#start = this.#from;
      }
      const take = Math.min(rest.length, this.#to - this.#end);
      this.#bytes.set(take === rest.length ? rest : rest.subarray(0, take), this.#end);
      this.#end += take;
      rest = take === rest.length ? NOTHING : rest.subarray(take);
      if (this.#end >= this.#wholeAt) this.#blocked = !this.#frames();
    }
    return rest;
  }

  /** Handles the whole frames that are there. False when the handler wasn't ready. */
  #frames(): boolean {
    const b = this.#bytes;
    this.#wholeAt = 0;
    while (this.#start < this.#end) {
      let at = this.#start;
      let length = 0;
      for (let shift = 0; ; shift += 7) {
        if (shift > 21) throw new ProtocolError('the length of a message has more than 4 bytes');
        if (at === this.#end) return true;
        const x = b[at++]!;
        length |= (x & 0x7f) << shift;
        if (x < 0x80) break;
      }
      if (length > this.#max) throw new ProtocolError(`a message of ${length} bytes is longer than ${this.#max}`);
      if (length === 0) throw new ProtocolError('a message is empty');
      if (at + length > this.#end) {
        this.#wholeAt = at + length;
        return true;
      }
      if (!this.#handle(at, at + length)) return false;
      this.#start = at + length;
    }
    this.#start = this.#end = this.#from;
    return true;
  }
}
