/**
 * The public folder as the collector follows it. A file is taken once it hasn't changed from one look to the next, so not
 * half-written; one that can't be taken is said once, and what was there before it stays.
 */
import type { Clock, Timer } from '../../clock.ts';
import { reasonOf, RcapError, usageError } from '../../errors.ts';
import { NO_SETTINGS, type Sealed } from '../../wire/settings.ts';
import { Recent } from '../recent.ts';
import { exceptionsText, filesFor, sealFor } from './documents.ts';
import { type PublicFile, readPublicFile } from './files.ts';
import { limitWords } from './limits.ts';
import { type Found, type Scan, scan } from './scan.ts';

/** How often the folder is looked at, ms. */
const LOOK_MS = 500;
/** Hosts whose files are remembered; beyond, all are looked up again. */
const MAX_HOSTS = 10_000;
/** Of documents that are kept as they are sent, and of lists as they are served: hosts with the same files share one. */
const MAX_KEPT_BYTES = 64 << 20;
/** Of one, beside its text. */
const KEPT_BYTES = 1000;

export interface SettingsLog {
  info(message: string, fields?: Record<string, unknown>): void;
  warning(message: string, fields?: Record<string, unknown>): void;
}

export class PublicSettings {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #log: SettingsLog;
  /** What counts, by name. */
  readonly #files = new Map<string, PublicFile>();
  /** Stamps of what was read, good or bad; and of what was there at the last look. */
  readonly #read = new Map<string, string>();
  #seen = new Map<string, string>();
  #versions = 0;
  /** The files of a host. */
  readonly #hosts = new Map<string, readonly PublicFile[]>();
  /** By the versions of the files that count. */
  readonly #sealed = new Recent<Sealed | RcapError>(
    MAX_KEPT_BYTES,
    (s) => KEPT_BYTES + (s instanceof RcapError ? 0 : 2 * s.bytes.length), // with its messages
  );
  /** The exceptions alone, likewise: as bytes, which all who ask share. */
  readonly #texts = new Recent<Uint8Array>(MAX_KEPT_BYTES, (bytes) => KEPT_BYTES + bytes.length);
  /** What was said, by what it is about. */
  readonly #said = new Map<string, string>();
  #timer: Timer | undefined;
  #stopped = false;

  private constructor(folder: string, clock: Clock, log: SettingsLog) {
    this.#folder = folder;
    this.#clock = clock;
    this.#log = log;
  }

  /** Takes what is there. The folder needn't exist. Throws a usage error for what can't be taken. */
  static async open(folder: string, clock: Clock, log: SettingsLog): Promise<PublicSettings> {
    const settings = new PublicSettings(folder, clock, log);
    const found = await scan(folder).catch((e: RcapError) => {
      throw usageError(e.message, e.hint);
    });
    for (const [name, why] of found.bad) throw usageError(`could not use '${settings.#shown(name)}': ${why}`);
    for (const file of found.files.values()) {
      const e = await settings.#take(file);
      if (e) throw usageError(e.message, e.hint);
    }
    settings.#sayOdd(found);
    settings.#seen = stampsOf(found);
    return settings;
  }

  start(): void {
    this.#timer = this.#clock.after(LOOK_MS, () => {
      void this.look().finally(() => {
        if (!this.#stopped) this.start();
      });
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** What counts by now. */
  get files(): PublicFile[] {
    return [...this.#files.values()];
  }

  /** Of a host, as the captures folder calls it. Throws an RcapError when its files are too much together. */
  of(host: string): Sealed {
    const sealed = this.#sealedOf(this.#filesOf(host));
    if (sealed instanceof RcapError) throw sealed;
    return sealed;
  }

  /** The exceptions of a host, or those of all hosts. */
  exceptions(host: string | undefined): Uint8Array {
    const files = filesFor(this.files, host).filter((f) => f.kind === 'exceptions');
    return this.#texts.get(versionsOf(files), () => Buffer.from(exceptionsText(files)));
  }

  #filesOf(host: string): readonly PublicFile[] {
    const key = host.toLowerCase();
    let files = this.#hosts.get(key);
    if (!files) {
      if (this.#hosts.size >= MAX_HOSTS) this.#hosts.clear();
      this.#hosts.set(key, (files = filesFor(this.files, host)));
    }
    return files;
  }

  #sealedOf(files: readonly PublicFile[]): Sealed | RcapError {
    if (files.length === 0) return NO_SETTINGS;
    return this.#sealed.get(versionsOf(files), () => {
      try {
        return sealFor(files);
      } catch (e) {
        this.#log.warning((e as RcapError).message);
        return e as RcapError;
      }
    });
  }

  /** One look at the folder. Never rejects. */
  async look(): Promise<void> {
    let found: Scan;
    try {
      found = await scan(this.#folder);
      if (!found.exists && this.#files.size > 0) throw new Error(`'${this.#folder}' is gone`);
      this.#said.delete('');
    } catch (e) {
      // Nobody knows what is there: all stays as it is.
      this.#sayOnce('', `${reasonOf(e)}; the settings stay as they are`);
      return;
    }
    const now = stampsOf(found);
    const names = new Set([...now.keys(), ...this.#read.keys()]);
    const due = [...names].filter((n) => now.get(n) !== this.#read.get(n) && now.get(n) === this.#seen.get(n));
    this.#seen = now;
    // What is there, but can't be read, isn't gone.
    for (const name of due) if (!found.bad.has(name)) await this.#takeAgain(name, found.files.get(name));
    if (due.length > 0) this.#forget();
    this.#sayOdd(found);
  }

  async #takeAgain(name: string, file: Found | undefined): Promise<void> {
    if (!file) {
      this.#read.delete(name);
      if (this.#files.delete(name)) this.#log.info(`settings: ${this.#shown(name)} is gone`, { file: name });
      return;
    }
    const e = await this.#take(file);
    if (!e) return;
    const stays = this.#files.has(name) ? 'what it said before stays' : 'it does not count';
    this.#log.warning(`settings: ${e.message}; ${stays}`, { file: name });
  }

  /** The error, if it can't be taken. */
  async #take({ name, path, base, hosts, stamp }: Found): Promise<RcapError | undefined> {
    this.#read.set(name, stamp);
    try {
      const content = await readPublicFile(path, base, this.#shown(name));
      const file: PublicFile = { name, hosts, version: ++this.#versions, ...content };
      this.#files.set(name, file);
      this.#log.info(`settings: took ${this.#shown(name)}: ${wordsOf(file)}`, { file: name });
      return undefined;
    } catch (e) {
      return e as RcapError;
    }
  }

  /** Something changed: hosts are looked up again, and what nobody can get any more goes. */
  #forget(): void {
    this.#hosts.clear();
    const versions = new Set(this.files.map((f) => String(f.version)));
    for (const known of [this.#sealed, this.#texts]) {
      for (const key of known.keys()) if (!key.split(',').every((v) => versions.has(v))) known.delete(key);
    }
  }

  #sayOdd({ odd, bad }: Scan): void {
    for (const name of this.#said.keys()) if (name !== '' && !odd.has(name) && !bad.has(name)) this.#said.delete(name);
    for (const [name, why] of odd) this.#sayOnce(name, `'${this.#shown(name)}': ${why}`);
    for (const [name, why] of bad) this.#sayOnce(name, `could not use '${this.#shown(name)}': ${why}`);
  }

  #sayOnce(about: string, message: string): void {
    if (this.#said.get(about) === message) return;
    this.#said.set(about, message);
    this.#log.warning(`settings: ${message}`);
  }

  #shown(name: string): string {
    return name === '.' ? this.#folder : `${this.#folder.replace(/\/+$/, '')}/${name}`;
  }
}

const versionsOf = (files: readonly PublicFile[]) => files.map((f) => f.version).join();
const stampsOf = ({ files }: Scan) => new Map([...files].map(([name, f]) => [name, f.stamp]));

export function wordsOf(file: PublicFile): string {
  switch (file.kind) {
    case 'exceptions':
      return `${file.entries} ${file.entries === 1 ? 'exception' : 'exceptions'}`;
    case 'filter':
      return file.text === '' ? 'no filter' : 'a filter';
    case 'limits':
      return limitWords(file.limits) || 'no limits';
  }
}
