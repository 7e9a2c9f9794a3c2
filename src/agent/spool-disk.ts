/**
 * The spool's part on disk, with `--spool-dir`: batches in files that have no name any more, encrypted with a key that is
 * in this process' memory only. Whatever ends the process, nothing that could be read is left.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import {
  type Stats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { RcapError, reasonOf } from '../errors.ts';
import { touch } from '../footprint.ts';

/** A file's length: it goes once all in it is acknowledged. */
const FILE_BYTES = 16 << 20;
/** But so many files at least, and at most: each is an open descriptor. */
const MIN_FILES = 8;
const MAX_FILES = 512;
/** After a failed write the disk isn't used for so long, ms. */
const PAUSE_MS = 10_000;
const CIPHER = 'aes-256-gcm';

/** Of all agents that were root and are not any more: GROUP in native/linux/privileges.c. */
const AGENTS_GROUP = 2_100_000_000;
/** They make files there, and nobody sees or removes those of others. */
const LENT_MODE = 0o1730;

/** Where a batch lies. */
export interface Slot {
  readonly file: DiskFile;
  readonly at: number;
  readonly length: number;
  readonly nonce: Buffer;
  readonly tag: Buffer;
  freed: boolean;
  /** Whether it is there, once that is known. */
  stored: Promise<boolean>;
}
interface DiskFile {
  readonly handle: Promise<FileHandle>;
  size: number;
  /** Slots that aren't freed. */
  slots: number;
}

/** What a test replaces. */
export interface DiskCalls {
  open(path: string, flags: string, mode: number): Promise<FileHandle>;
  unlink(path: string): Promise<void>;
}

export class SpoolDisk {
  readonly #folder: string;
  /** Of the folder when it is lent: leads there also when one above is root's alone. */
  #descriptor: number | undefined;
  readonly #limit: number;
  readonly #fileBytes: number;
  readonly #clock: Clock;
  readonly #trouble: (error: RcapError) => void;
  readonly #calls: DiskCalls;
  readonly #key = randomBytes(32);
  #nonce = 0n;
  readonly #files = new Set<DiskFile>();
  #current: DiskFile | undefined;
  /** Of the files that are open, bytes. */
  #used = 0;
  #writes: Promise<unknown> = Promise.resolve();
  #pausedUntil = -Infinity;
  #said = false;

  /** At most `limit` bytes in the folder, which is made if it is missing. Throws when others may look into it. */
  constructor(
    folder: string,
    limit: number,
    clock: Clock,
    trouble: (error: RcapError) => void,
    calls: DiskCalls = { open, unlink },
  ) {
    this.#folder = prepare(folder);
    this.#descriptor = lend(this.#folder);
    this.#limit = limit;
    this.#fileBytes = Math.ceil(Math.min(limit / MIN_FILES, Math.max(FILE_BYTES, limit / MAX_FILES)));
    this.#clock = clock;
    this.#trouble = trouble;
    this.#calls = calls;
  }

  /** Bytes that the files take. */
  get used(): number {
    return this.#used;
  }

  /** Whether so many bytes may be stored now. */
  room(bytes: number): boolean {
    return !this.isFull(bytes) && this.#clock.now() >= this.#pausedUntil;
  }
  isFull(bytes: number): boolean {
    return this.#used + bytes > this.#limit;
  }

  /** Encrypts and writes. The bytes may change after the call. */
  store(bytes: Uint8Array): Slot {
    const nonce = Buffer.alloc(12);
    nonce.writeBigUInt64BE(this.#nonce++, 4);
    const cipher = createCipheriv(CIPHER, this.#key, nonce);
    const text = cipher.update(bytes);
    cipher.final();
    const file = this.#fileFor(text.length);
    const tag = cipher.getAuthTag();
    const stored = Promise.resolve(false);
    const slot = { file, at: file.size, length: text.length, nonce, tag, freed: false, stored };
    file.size += text.length;
    file.slots++;
    this.#used += text.length;
    // One after another: a disk isn't faster with more, and what is stored first is there first.
    this.#writes = slot.stored = this.#writes.then(() => this.#write(slot, text));
    return slot;
  }

  async #write(slot: Slot, text: Buffer): Promise<boolean> {
    if (slot.freed) return false;
    try {
      const handle = await slot.file.handle;
      for (let at = 0; at < text.length;)
        at += (await handle.write(text, at, text.length - at, slot.at + at)).bytesWritten;
      this.#said = false;
      return true;
    } catch (e) {
      if (slot.freed) return false;
      this.#pausedUntil = this.#clock.now() + PAUSE_MS;
      if (this.#current === slot.file) this.#current = undefined;
      this.free(slot);
      // Once, until it works again.
      if (!this.#said) {
        this.#trouble(
          new RcapError('SPOOL_DISK', `could not write to '${this.#folder}': ${reasonOf(e)}`, {
            hint: 'the spool goes on in memory, and tries the folder again every 10 s',
            cause: e,
          }),
        );
      }
      this.#said = true;
      return false;
    }
  }

  /** Rejects when it can't be read, or isn't what was stored. */
  async load(slot: Slot): Promise<Uint8Array> {
    const text = Buffer.allocUnsafeSlow(slot.length);
    const handle = await slot.file.handle;
    for (let at = 0; at < text.length;) {
      const { bytesRead } = await handle.read(text, at, text.length - at, slot.at + at);
      if (bytesRead === 0) throw new RcapError('SPOOL_DISK', 'the file is shorter than what was written');
      at += bytesRead;
    }
    const decipher = createDecipheriv(CIPHER, this.#key, slot.nonce).setAuthTag(slot.tag);
    const bytes = decipher.update(text);
    try {
      decipher.final();
    } catch (e) {
      throw new RcapError('SPOOL_DISK', 'it is not what was written', { cause: e });
    }
    return bytes;
  }

  /** Its bytes aren't needed any more. */
  free(slot: Slot): void {
    if (slot.freed) return;
    slot.freed = true;
    if (--slot.file.slots === 0) this.#close(slot.file);
  }

  /** Gives all of it back. */
  close(): void {
    const files = [...this.#files];
    for (const file of files) this.#close(file);
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    // Not while a file is made by way of it.
    if (descriptor !== undefined) void Promise.allSettled(files.map((f) => f.handle)).then(() => closeSync(descriptor));
  }

  #fileFor(bytes: number): DiskFile {
    const { size } = this.#current ?? { size: Infinity };
    if (size === 0 || size + bytes <= this.#fileBytes) return this.#current!;
    const file = { handle: this.#create(), size: 0, slots: 0 };
    file.handle.catch(() => {}); // the write says it
    this.#files.add(file);
    return (this.#current = file);
  }

  /** A file without a name: made for us alone, and unlinked before a byte is in it. */
  async #create(): Promise<FileHandle> {
    const folder = this.#descriptor === undefined ? this.#folder : `/proc/self/fd/${this.#descriptor}`;
    const path = join(folder, `rcap-${randomBytes(8).toString('hex')}`);
    const handle = await this.#calls.open(path, 'wx+', 0o600);
    touch('made and removed', join(this.#folder, 'rcap-*'), 'spool, encrypted');
    try {
      await this.#calls.unlink(path);
    } catch (e) {
      await handle.close();
      throw e;
    }
    return handle;
  }

  #close(file: DiskFile): void {
    if (!this.#files.delete(file)) return;
    if (this.#current === file) this.#current = undefined;
    this.#used -= file.size;
    file.handle.then((handle) => handle.close()).catch(() => {}); // it was never made, or is broken: nothing to keep
  }
}

/**
 * Makes it; throws unless it is ours alone. The folder behind a symbolic link is as good as another, and an administrator may
 * want it elsewhere; but the link is followed once, here, so that nobody turns it to another folder afterwards.
 */
function prepare(folder: string): string {
  let path: string;
  let stat: Stats;
  try {
    const made = mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (made !== undefined) touch('made', folder, 'spool folder');
    path = realpathSync(folder);
    stat = statSync(path);
  } catch (e) {
    throw new RcapError('SPOOL_DISK', `could not use spool folder '${folder}': ${reasonOf(e)}`, { cause: e });
  }
  const us = process.geteuid?.(); // Windows has no such thing
  const refuse = (reason: string, hint: string) =>
    new RcapError('SPOOL_DISK', `could not use spool folder '${folder}': ${reason}`, { hint });
  // Its owner could open it to others at any time.
  if (us !== undefined && stat.uid !== us) {
    throw refuse('it belongs to another user', `name a folder that is missing, or: chown ${us} '${path}'`);
  }
  if (us !== undefined && (stat.mode & 0o077) !== 0 && !isLent(stat))
    throw refuse('others than its owner may use it', `chmod 700 '${path}'`);
  return path;
}

const isLent = (s: Stats): boolean => s.uid === 0 && s.gid === AGENTS_GROUP && (s.mode & 0o7777) === LENT_MODE;

/**
 * Lets root go on as somebody else, on Linux: the folder stays root's, but the group that all agents go on with may make
 * files in it. Two at once get on, and the next one finds it so. Only an empty folder, since another may be somebody's home.
 * A descriptor of it; none where that isn't needed or possible (a file system or a user namespace without owners).
 */
function lend(folder: string): number | undefined {
  if (process.platform !== 'linux' || process.geteuid!() !== 0) return undefined;
  let descriptor: number | undefined;
  try {
    // By descriptor: what is looked at is what is changed.
    descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    touch('read', folder, 'spool folder: whether it is empty');
    const stat = fstatSync(descriptor);
    const empty = isEmpty(descriptor); // throws without /proc, which every file is made by way of
    if (stat.uid === 0 && (stat.mode & 0o077) === 0 && empty) {
      fchownSync(descriptor, 0, AGENTS_GROUP);
      fchmodSync(descriptor, LENT_MODE);
      touch('lent', folder, 'spool folder, to the group that the agent goes on with');
    }
    if (isLent(fstatSync(descriptor))) return descriptor;
  } catch {
    // the user stays
  }
  if (descriptor !== undefined) closeSync(descriptor);
  return undefined;
}

function isEmpty(descriptor: number): boolean {
  const path = `/proc/self/fd/${descriptor}`;
  touch('read', '/proc/self/fd/*', 'spool folder: whether it is empty');
  return readdirSync(path).length === 0;
}

/** Whether only the folder's owner can make files there: asked before that becomes another user. */
export function needsOwner(folder: string): boolean {
  try {
    return !isLent(statSync(folder));
  } catch {
    return false; // it is gone
  }
}
