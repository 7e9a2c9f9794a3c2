/** The collector's store and its intakes in tests: real files in a temporary folder, no sockets, clocks that can be turned. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, systemClock, type Timer } from '../clock.ts';
import { type Disk, systemDisk } from '../collector/disk.ts';
import { Intake, type IntakeHost } from '../collector/intake.ts';
import type { Manifest } from '../collector/manifest.ts';
import { Store, type StoreOptions } from '../collector/store.ts';
import type { CaptureWriter, SeriesStart } from '../collector/writer.ts';
import { NO_SETTINGS } from '../wire/settings.ts';
import { rcap } from '../wire/messages.js';
import { type Cleaner, cleanUp, temporaryFolder, until } from './support.ts';

/** The real clock, but it can be put forward. */
export class LiveClock implements Clock {
  #ahead = 0;
  after(ms: number, work: () => void): Timer {
    return systemClock.after(ms, work);
  }
  date(): number {
    return Date.now();
  }
  now(): number {
    return performance.now() + this.#ahead;
  }
  skip(ms: number): void {
    this.#ahead += ms;
  }
}

/** Time runs so many times as fast. */
export const fastClock = (times: number): Clock => ({
  now: () => performance.now() * times,
  date: () => Date.now(),
  after: (ms, work) => systemClock.after(ms / times, work),
});

/** Stands still until it is turned. */
export class HandClock implements Clock {
  #now = 1000;
  #date: number;
  readonly #timers = new Set<{ at: number; work: () => void }>();

  constructor(date = Date.parse('2026-11-24T02:15:00Z')) {
    this.#date = date;
  }
  now(): number {
    return this.#now;
  }
  date(): number {
    return this.#date;
  }
  after(ms: number, work: () => void): Timer {
    const timer = { at: this.#now + ms, work };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }
  /** What is due on the way is done in its order. */
  turn(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter((t) => t.at <= end).toSorted((a, b) => a.at - b.at);
      const to = Math.max(this.#now, next?.at ?? end);
      this.#date += to - this.#now;
      this.#now = to;
      if (!next) return;
      this.#timers.delete(next);
      next.work();
    }
  }
}

export const OPTIONS: Omit<StoreOptions, 'captures' | 'state'> = {
  timestamps: 'nano',
  rotateBytes: 1e9,
  rotateAgeMs: 1e9,
  rotateIdleMs: 1e9,
  syncBytes: 1e9,
  syncMs: 1,
  minFreeBytes: 0,
};
export const RUN = '00112233445566778899aabbccddeeff';
export const TOKEN = 'abcdef01';

export const SERIES: SeriesStart = {
  format: 'rcap manifest 1',
  host: 'web01',
  system: 'linux x64',
  agent: 'rcap-agent test',
  peer: '192.0.2.1:1234',
  token: TOKEN,
  run: RUN,
  capture: 3,
  interface: 'eth0',
  friendlyName: '',
  addresses: ['192.0.2.1'],
  linkType: 1,
  snaplen: 1000,
  effectiveFilter: 'tcp',
  promiscuous: true,
  source: 'live',
  sourceFile: '',
  timestamps: 'nano',
  clockOffsetMs: 5,
  collector: 'rcap-collector test',
};

/** A folder in memory where the system has such a place: for tests that make thousands of files. */
export function memoryFolder(t: Cleaner): string {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'rcap-test-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Two folders of a collector. */
export class Folders {
  readonly folder: string;
  readonly captures: string;
  readonly state: string;

  constructor(folder: string) {
    this.folder = folder;
    this.captures = join(folder, 'captures');
    this.state = join(folder, 'state');
    for (const f of [this.captures, this.state]) mkdirSync(f, { recursive: true });
  }
  host(name = 'web01'): string {
    return join(this.captures, name);
  }
  /** Names in a host's folder; none if there is no folder. */
  names(ending = '', host?: string): string[] {
    try {
      return readdirSync(this.host(host))
        .filter((n) => n.endsWith(ending))
        .toSorted(byFirstSequence);
    } catch {
      return [];
    }
  }
  bytes(name: string, host?: string): Buffer {
    return readFileSync(join(this.host(host), name));
  }
  manifests(host?: string): Manifest[] {
    return this.names('.json', host).map((n) => JSON.parse(this.bytes(n, host).toString()) as Manifest);
  }
}
const byFirstSequence = (a: string, b: string) => sequenceIn(a) - sequenceIn(b) || (a < b ? -1 : 1);
const sequenceIn = (name: string) => Number(/_(\d+)\./.exec(name)?.[1]);

export interface StoreSetting {
  folder?: string;
  disk?: Disk;
  clock?: Clock;
  options?: Partial<StoreOptions>;
}

/** A store, and what it said. */
export async function openStore(t: Cleaner, setting: StoreSetting = {}) {
  const { disk = systemDisk, clock = new LiveClock() } = setting;
  const folders = new Folders(setting.folder ?? temporaryFolder(t));
  const said: string[] = [];
  const options = { ...OPTIONS, captures: folders.captures, state: folders.state, ...setting.options };
  const store = await Store.open(options, disk, clock, {
    info: (message) => said.push(message),
    warning: (message) => said.push(`warning: ${message}`),
  });
  cleanUp(t, () => store.close());
  return { store, folders, said, clock };
}
export type OpenedStore = Awaited<ReturnType<typeof openStore>>;

/** So that a folder that was made just now needn't be waited for. */
const watched = (clock: Clock) => {
  if (clock instanceof LiveClock) clock.skip(1000);
};

export interface IntakeSetting {
  admit?: IntakeHost['admit'];
  standing?: IntakeHost['standing'];
  turnAway?: IntakeHost['turnAway'];
  settings?: IntakeHost['settings'];
  /** Sees each writer that is made. */
  onWriter?: (writer: CaptureWriter) => void;
  version?: string;
  /** Of each piece of settings; left out: the kernel has it at once. */
  taken?: (taken: () => void) => void;
}

/** An intake without a socket, on a store. */
export function openIntake({ store, clock }: Pick<OpenedStore, 'store' | 'clock'>, setting: IntakeSetting = {}) {
  const answers: rcap.v1.CollectorMessage[] = [];
  const log: string[] = [];
  let [closed, ready] = [0, 0];
  let entering: Promise<unknown> | undefined;
  const intake = new Intake(
    {
      version: setting.version ?? 'rcap-collector test',
      clock,
      timestamps: store.timestamps,
      get full() {
        return store.full;
      },
      admit: setting.admit ?? (() => TOKEN),
      standing: setting.standing ?? (() => 'valid'),
      turnAway:
        setting.turnAway ??
        ((_, line) => {
          log.push(line);
          return 0;
        }),
      enter: (...run) => {
        const known = store.enter(...run);
        entering = known.then(() => watched(clock)).catch(() => {});
        return known;
      },
      leave: (...run) => store.leave(...run),
      settings: setting.settings ?? (() => NO_SETTINGS),
      writer: (...series) => {
        const writer = store.writer(...series);
        setting.onWriter?.(writer);
        return writer;
      },
      log: (message) => log.push(message),
      warn: (message) => log.push(`warning: ${message}`),
    },
    {
      peer: '192.0.2.1:5555',
      send: (bytes, taken) => {
        answers.push(rcap.v1.CollectorMessage.decodeDelimited(bytes));
        if (!taken) return;
        if (setting.taken) setting.taken(taken);
        else taken();
      },
      ready: () => ready++,
      close: () => closed++,
    },
  );
  /** Pushes as the server does: no more until it is ready. True when it had to wait. */
  const feed = async (chunk: Uint8Array): Promise<boolean> => {
    const before = ready;
    if (intake.push(chunk)) return false;
    await until('ready', () => ready > before || closed > 0);
    return true;
  };
  const refusal = () => answers.find((a) => a.refusal)?.refusal;
  const welcome = () => answers.find((a) => a.welcome)?.welcome;
  return {
    intake,
    feed,
    answers,
    log,
    refusal,
    welcome,
    closed: () => closed,
    ready: () => ready,
    acks: () => answers.flatMap((a) => (a.ack ? [a.ack] : [])),
    statuses: () => answers.flatMap((a) => (a.status ? [a.status] : [])),
    /** Resolves when a Hello that was taken is answered. */
    greeted: async () => {
      if (!entering) return;
      await entering;
      await until('an answer', () => welcome() ?? refusal());
    },
  };
}
export type OpenedIntake = ReturnType<typeof openIntake>;

/** A store whose run is entered, for writers without an intake. */
export async function enteredStore(t: Cleaner, setting: StoreSetting = {}, run = RUN, host = SERIES.host) {
  const opened = await openStore(t, setting);
  await opened.store.enter({ number: 0, supersede: () => Promise.resolve() }, run, TOKEN, host);
  watched(opened.clock);
  return opened;
}
