/**
 * One line of events for everything in a simulation: virtual time, one event after the other, and what an event sets off
 * in promises has come to rest before the next. The seed decides all of it.
 */
import type { Clock, Timer } from '../../clock.ts';
import { Random } from './random.ts';

/** 2026-11-24T02:15:00Z. */
export const EPOCH_MS = 1_795_486_500_000;
const KEPT_LINES = 100;
/** The real one: a simulation forbids it to those that it runs. */
const soon = setImmediate;

export interface Limits {
  steps: number;
  ms: number;
}

interface Event {
  at: number;
  /** Decides between events of the same moment. */
  tie: number;
  work: (() => void) | undefined;
  owner: Process | undefined;
}

type Entry = [now: number, who: string, what: string, detail: readonly (string | number)[]];

export class Scheduler {
  readonly random: Random;
  /** Milliseconds since the start. */
  now = 0;
  steps = 0;
  readonly #heap: Event[] = [];
  readonly #all: boolean;
  readonly #entries: Entry[] = [];
  #failure: Error | undefined;

  /** `all`: keeps the whole trace, not only its end. */
  constructor(seed: number, all = false) {
    this.random = new Random(seed);
    this.#all = all;
  }

  after(ms: number, work: () => void, owner?: Process): Timer {
    const event: Event = { at: this.now + Math.max(0, ms), tie: this.random.bits(), work, owner };
    push(this.#heap, event);
    return { cancel: () => void (event.work = undefined) };
  }

  process(name: string): Process {
    return new Process(this, name);
  }

  /** Remembers what happened, for whoever must understand it later. */
  note(who: string, what: string, ...detail: readonly (string | number)[]): void {
    this.#entries.push([this.now, who, what, detail]);
    if (!this.#all && this.#entries.length >= 2 * KEPT_LINES) this.#entries.splice(0, KEPT_LINES);
  }

  /** The last of what happened, or all of it. */
  trace(): string[] {
    const entries = this.#all ? this.#entries : this.#entries.slice(-KEPT_LINES);
    return entries.map(
      ([now, who, what, detail]) => `${now.toFixed(3).padStart(10)} ${who}: ${[what, ...detail].join(' ')}`,
    );
  }

  /** Ends the run with this error, unless it has one. */
  fail(error: Error): void {
    this.#failure ??= error;
  }

  /** Runs until `done`; rejects when nothing is left to do before, when a limit is reached, and when anything failed. */
  async run(done: () => boolean, limits: Limits): Promise<void> {
    const rejected = (reason: unknown) =>
      this.fail(new Error(`nobody handled a rejection: ${textOf(reason)}`, { cause: reason }));
    process.on('unhandledRejection', rejected);
    try {
      await new Promise<void>((resolve, reject) => this.#loop(done, limits, resolve, reject));
      await new Promise<void>((resolve) => void soon(resolve));
      if (this.#failure) throw this.#failure;
    } finally {
      process.off('unhandledRejection', rejected);
    }
  }

  #loop(done: () => boolean, limits: Limits, resolve: () => void, reject: (e: Error) => void): void {
    // Two ways until all microtasks are done. The event loop also reports rejections that nobody handled, and is slow;
    // between two ticks only the microtasks run.
    const ticked = () => process.nextTick(step);
    const step = () => {
      try {
        if (this.#failure) throw this.#failure;
        if (done()) return resolve();
        this.#step(limits);
      } catch (e) {
        return reject(e as Error);
      }
      if ((this.steps & 63) === 0) soon(step);
      else queueMicrotask(ticked);
    };
    soon(step);
  }

  #step(limits: Limits): void {
    for (;;) {
      const event = pop(this.#heap);
      if (!event) throw new Error('nothing is left to do, and it is not done');
      if (!event.work || event.owner?.alive === false) continue;
      if (event.owner && event.owner.stoppedTo > event.at) {
        // In the order in which they would have come.
        push(this.#heap, Object.assign(event, { at: event.owner.stoppedTo, tie: event.at }));
        continue;
      }
      this.now = event.at;
      if (this.now > limits.ms) throw new Error(`not done after ${limits.ms} ms`);
      if (++this.steps > limits.steps) throw new Error(`not done after ${limits.steps} steps`);
      return event.work();
    }
  }
}

const textOf = (reason: unknown) => (reason instanceof Error ? (reason.stack ?? reason.message) : String(reason));

/** What can be killed: all that it waited for never happens. */
export class Process implements Clock {
  readonly name: string;
  readonly scheduler: Scheduler;
  alive = true;
  /** By how much its clocks are wrong, milliseconds. */
  skewMs = 0;
  /** Nothing happens in it before, as if its machine were paused. By the scheduler's clock. */
  stoppedTo = 0;
  readonly #uptimeMs: number;
  readonly #killed: (() => void)[] = [];

  constructor(scheduler: Scheduler, name: string) {
    this.scheduler = scheduler;
    this.name = name;
    this.#uptimeMs = scheduler.random.below(1_000_000) - scheduler.now;
  }

  now(): number {
    return this.scheduler.now + this.#uptimeMs;
  }

  date(): number {
    return Math.floor(EPOCH_MS + this.scheduler.now + this.skewMs);
  }

  after(ms: number, work: () => void): Timer {
    return this.scheduler.after(ms, work, this);
  }

  note(what: string, ...detail: readonly (string | number)[]): void {
    this.scheduler.note(this.name, what, ...detail);
  }

  /** What the system does when it is gone, in this order. */
  whenKilled(work: () => void): void {
    this.#killed.push(work);
  }

  kill(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const work of this.#killed) work();
  }
}

const before = (a: Event, b: Event) => a.at < b.at || (a.at === b.at && a.tie < b.tie);

function push(heap: Event[], event: Event): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(event, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): Event | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (heap.length === 0 || !last) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (child >= heap.length || !before(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return first;
}
