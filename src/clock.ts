/** Time, so that a simulation may hand in its own. */

export interface Timer {
  /** Its work will not be done. May be called at any time. */
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since some moment; never goes back. */
  now(): number;
  /** Milliseconds since 1970; may jump. */
  date(): number;
  /** Does the work once, after so many milliseconds. */
  after(ms: number, work: () => void): Timer;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => Date.now(),
  after: (ms, work) => {
    const timer = setTimeout(work, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

export const sleep = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => void clock.after(ms, resolve));
