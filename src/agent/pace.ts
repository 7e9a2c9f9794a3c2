/** `--max-rate`: a token bucket. */
import type { Clock } from '../clock.ts';

/** What may go at once after a pause: so many milliseconds' worth, and a page at least. */
const BURST_MS = 100;
const MIN_BURST = 4096;
/** Least that may be asked for, bytes a second. */
export const MIN_RATE = 4096;

export class Pace {
  #piece = 0;
  #rate = 0;
  readonly #clock: Clock;
  #tokens = 0;
  #at = 0;

  /** Bytes a second; left out: without limit. */
  constructor(rate: number | undefined, clock: Clock) {
    this.#clock = clock;
    this.setRate(rate);
    this.#tokens = this.#piece;
    this.#at = clock.now();
  }

  /** The longest piece that is written at once, so that what goes out is even. */
  get piece(): number {
    return this.#piece;
  }

  /** From now on; as the constructor's. */
  setRate(rate: number | undefined): void {
    this.#rate = rate ?? Infinity;
    this.#piece = Math.max(MIN_BURST, (this.#rate / 1000) * BURST_MS);
  }

  /** Milliseconds until so many bytes may go; 0: now, and they count as gone. `urgent` ones always may, and count too. */
  take(bytes: number, urgent = false): number {
    if (this.#rate === Infinity) return 0;
    const now = this.#clock.now();
    this.#tokens = Math.min(this.#piece, this.#tokens + ((now - this.#at) / 1000) * this.#rate);
    this.#at = now;
    if (this.#tokens < bytes && !urgent) return Math.max(1, Math.ceil(((bytes - this.#tokens) / this.#rate) * 1000));
    this.#tokens -= bytes;
    return 0;
  }
}
