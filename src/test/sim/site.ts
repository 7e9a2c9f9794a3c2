/** A collector's machine: its disk, Arkime beside it, and the collector's process, which comes and goes. */
import type { Report } from '../../collector/report.ts';
import type { StoreOptions } from '../../collector/store.ts';
import type { rcap } from '../../wire/messages.js';
import { Arkime } from './arkime.ts';
import { SimCollector } from './collector.ts';
import { SimDisk } from './disk.ts';
import type { Inode } from './files.ts';
import type { SimNetwork } from './network.ts';
import type { Scheduler } from './scheduler.ts';

const CAPTURES = '/captures';
const STATE = '/state';

export interface SiteEvents {
  /** The collector is about to say so. */
  says(site: Site, message: rcap.v1.CollectorMessage): void;
  /** It couldn't start, and is gone. */
  failed(site: Site): void;
  /** Somebody takes a file away. */
  taken(path: string, file: Inode): void;
}

export class Site {
  readonly name: string;
  readonly disk: SimDisk;
  readonly arkime: Arkime;
  readonly options: StoreOptions;
  collector: SimCollector | undefined;
  starts = 0;
  /** What its collectors said of captures that ended. */
  readonly reports: Report[] = [];
  /** By how much its clock is wrong, milliseconds. */
  skewMs = 0;
  readonly #scheduler: Scheduler;
  readonly #network: SimNetwork;
  readonly #events: SiteEvents;
  readonly #taken = new Map<string, Uint8Array>();
  /** Resolves when the next collector listens. */
  #listens: (() => void) | undefined;

  constructor(scheduler: Scheduler, network: SimNetwork, name: string, events: SiteEvents) {
    this.name = name;
    this.#scheduler = scheduler;
    this.#network = network;
    this.#events = events;
    this.arkime = new Arkime(scheduler);
    this.disk = new SimDisk(scheduler, this.arkime, [CAPTURES, STATE]);
    const { random } = scheduler;
    this.options = {
      captures: CAPTURES,
      state: STATE,
      timestamps: random.pick(['nano', 'micro']),
      rotateBytes: Math.floor(random.spread(500, 50_000)),
      rotateAgeMs: random.spread(500, 60_000),
      rotateIdleMs: random.spread(200, 10_000),
      syncBytes: Math.floor(random.spread(1, 50_000)),
      syncMs: random.spread(1, 1000),
      minFreeBytes: random.chance(0.5) ? 0 : 3000,
    };
  }

  start(): void {
    this.starts++;
    const process = this.#scheduler.process(`${this.name} ${this.starts}`);
    process.skewMs = this.skewMs;
    this.collector = new SimCollector(process, this.#network, this.name, {
      says: (message) => this.#events.says(this, message),
      warns: (message) => {
        if (/MISSING/.test(message)) this.#scheduler.fail(new Error(message));
      },
      reports: (report) => this.reports.push(report),
      listens: () => this.#listens?.(),
      failed: () => {
        this.kill(false);
        this.#events.failed(this);
      },
    });
    void this.collector.start(this.disk, this.options);
  }

  /** Ends the collector at once, and with it (`dark`) the machine. It doesn't come back by itself. */
  kill(dark: boolean): void {
    const { collector } = this;
    if (!collector) return;
    this.#scheduler.note(this.name, dark ? 'loses power' : 'is killed');
    this.collector = undefined;
    if (dark) this.disk.losePower(collector.process);
    else collector.process.kill();
    this.#network.gone(this.name, dark);
  }

  set clockIsWrongByMs(ms: number) {
    this.skewMs = ms;
    if (this.collector) this.collector.process.skewMs = ms;
  }

  /** Somebody takes a published file away, after Arkime has read it. */
  take(path: string, file: Inode): void {
    this.#scheduler.note('cleaner', 'takes', path);
    this.#taken.set(path, file.content.view.slice());
    this.#events.taken(path, file);
    this.disk.take(file);
  }

  /** Whether there is a file with such a path. */
  has(name: RegExp): boolean {
    return [...this.disk.root.files()].some(([path]) => name.test(path));
  }

  /** Whatever state the collector is in, in the end it has started, recovered, and stopped in order. */
  async comeToRest(): Promise<void> {
    const { random } = this.#scheduler;
    if (this.collector?.listening && random.chance(0.4)) await this.#wait(random.spread(1, 20_000));
    if (random.chance(0.3)) this.kill(random.chance(0.5));
    await this.#listening();
    await this.#wait(Math.max(0, this.collector!.process.stoppedTo - this.#scheduler.now));
    // What couldn't be recovered at the start, for a fault that lasted that long, is tried again after a while.
    for (let n = 0; this.has(/\.(journal|part)$/) && n < 20; n++) await this.#wait(1000);
    // A file that couldn't even be removed goes at the next start, in the background.
    if (this.has(/\.new$/)) {
      this.kill(false);
      await this.#listening();
      for (let n = 0; this.has(/\.new$/) && n < 20; n++) await this.#wait(1000);
    }
    await this.collector!.stop();
    this.collector!.process.kill();
  }

  async #listening(): Promise<void> {
    if (!this.collector) this.start();
    if (!this.collector!.listening) await new Promise<void>((resolve) => (this.#listens = resolve));
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#scheduler.after(ms, resolve));
  }

  /** All that is there, and what was taken away: contents by path, of the captures, and of the rest. */
  remains(): { files: Map<string, Uint8Array>; others: string[] } {
    const files = new Map(this.#taken);
    const others: string[] = [];
    for (const [path, file] of this.disk.root.files()) {
      if (!path.startsWith(`${CAPTURES}/`)) others.push(path);
      // A manifest may be written once more, with the end mark.
      else if (files.has(path) && !path.endsWith('.json')) throw new Error(`${path} came back after it was taken away`);
      else files.set(path, file.content.view);
    }
    return { files, others };
  }
}
