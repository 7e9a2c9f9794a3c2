/**
 * A disk for the collector, in memory. Every step takes its time, and what a process asked for at once happens in any
 * order; a killed process's steps happened or not; a write may be torn; what power loss does is in files.ts.
 */
import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';
import type { Disk, File } from '../../collector/disk.ts';
import type { Arkime } from './arkime.ts';
import { type Node, Folder, Inode } from './files.ts';
import type { Process, Scheduler } from './scheduler.ts';

export interface DiskFaults {
  /** Probability that a step fails, and one that a synchronisation does. */
  fail: number;
  failSync: number;
  codes: readonly ErrorCode[];
  /** Steps take so many times longer. */
  slow: number;
  readOnly: boolean;
  /** Bytes of all files together. */
  capacity: number;
}

export type ErrorCode = 'EIO' | 'EROFS' | 'ENOSPC' | 'ENOENT' | 'EEXIST' | 'EBADF' | 'EISDIR';

export const NO_FAULTS: Readonly<DiskFaults> = {
  fail: 0,
  failSync: 0,
  codes: ['EIO'],
  slow: 1,
  readOnly: false,
  capacity: Infinity,
};

export function systemError(code: ErrorCode, syscall: string, path: string): NodeJS.ErrnoException {
  const errno = -constants.errno[code];
  const message = `${code}: ${getSystemErrorMessage(errno)}, ${syscall} '${path}'`;
  return Object.assign(new Error(message), { code, errno, syscall, path });
}

/** What a process asked for and what isn't done; `happen` does it, perhaps only in part. */
interface Step {
  happen(torn: boolean): void;
}

interface Handle {
  inode: Inode;
  writes: boolean;
  /** Steps under way: like Node's, a close waits for them. */
  under: number;
  closing: (() => void) | undefined;
  closed: Promise<void> | undefined;
}

/** A process, as the disk knows it. */
interface User {
  process: Process;
  steps: Set<Step>;
  open: Set<Handle>;
}

const WRITES = new Set(['create', 'write', 'ftruncate', 'fdatasync', 'mkdir', 'rename', 'unlink', 'fsync']);

export class SimDisk {
  faults: DiskFaults = { ...NO_FAULTS };
  readonly root: Folder;
  readonly #scheduler: Scheduler;
  readonly #arkime: Arkime;
  /** Power is being lost. */
  #dark = false;

  /** `folders`: of the root, there from the beginning. */
  constructor(scheduler: Scheduler, arkime: Arkime, folders: readonly string[] = []) {
    this.#scheduler = scheduler;
    this.#arkime = arkime;
    this.root = new Folder('', -Infinity);
    for (const path of folders) this.root.change([path.slice(1), new Folder(path, -Infinity)]);
    this.root.sync(Infinity);
  }

  /** The disk for one process; its descriptors are closed when it is killed. */
  for(process: Process): Disk {
    const user: User = { process, steps: new Set(), open: new Set() };
    process.whenKilled(() => this.#killed(user));
    const step = <T>(syscall: string, path: string, effect: (torn: boolean) => T) =>
      this.#step(user, syscall, path, effect);
    return {
      create: (path) => step('create', path, () => this.#file(user, this.#create(path), true)),
      open: (path, access) => step('open', path, () => this.#file(user, this.#inode(path), access === 'write')),
      exists: (path) => step('access', path, () => this.#exists(path)),
      readText: (path) => step('read', path, () => Buffer.from(this.#inode(path).content.view).toString()),
      list: (path) =>
        step('scandir', path, () =>
          this.#scheduler.random
            .shuffled(this.folder(path).entries)
            .map(([name, node]) => ({ name, folder: node instanceof Folder })),
        ),
      makeFolder: (path) => step('mkdir', path, () => this.#makeFolder(path)),
      rename: (from, to) => step('rename', from, () => this.#rename(from, to)),
      remove: (path) => step('unlink', path, () => this.#remove(path)),
      syncFolder: (path) => this.#syncFolder(user, path),
      free: (path) => step('statfs', path, () => this.#free),
    };
  }

  /** The process is gone at the same moment; nobody closes its files. */
  losePower(process: Process): void {
    this.#dark = true;
    process.kill();
    this.#dark = false;
    this.#arkime.losePower(this.root);
    this.root.losePower(this.#scheduler.random);
  }

  /** Another process removes a file, and synchronises the folder. */
  take(inode: Inode): void {
    const { folder, name } = inode.place!;
    folder.change([name, undefined]);
    folder.sync(folder.steps);
  }

  get used(): number {
    let used = 0;
    for (const [, file] of this.root.files()) used += file.content.length;
    return used;
  }
  get #free(): number {
    const { capacity } = this.faults;
    return capacity === Infinity ? Infinity : Math.max(0, capacity - this.used);
  }

  // ---- a step in time ----

  #step<T>(user: User, syscall: string, path: string, effect: (torn: boolean) => T, sure = false): Promise<T> {
    return new Promise((resolve, reject) => {
      const step: Step = { happen: (torn) => void effect(torn) };
      user.steps.add(step);
      this.#later(user, () => {
        user.steps.delete(step);
        let settle: () => void;
        try {
          if (!sure) this.#mayFail(syscall, path, effect);
          const value = effect(false);
          settle = () => resolve(value);
        } catch (e) {
          user.process.note(syscall, path, (e as NodeJS.ErrnoException).code ?? String(e));
          settle = () => reject(e);
        }
        // Done, but whoever waits doesn't know it yet.
        if (this.#scheduler.random.chance(0.2)) this.#later(user, settle);
        else settle();
      });
    });
  }

  #later(user: User, work: () => void): void {
    user.process.after(this.#scheduler.random.spread(0.01, 2) * this.faults.slow, work);
  }

  /** Throws, or doesn't. Of a write that fails a part may be there. */
  #mayFail(syscall: string, path: string, effect?: (torn: boolean) => unknown): void {
    const { fail, failSync, codes, readOnly } = this.faults;
    const { random } = this.#scheduler;
    if (readOnly && WRITES.has(syscall)) throw systemError('EROFS', syscall, path);
    const sync = syscall === 'fdatasync' || syscall === 'fsync';
    if (!random.chance(sync ? failSync : fail)) return;
    if (syscall === 'write' && random.chance(0.5)) effect?.(true);
    throw systemError(random.pick(codes), syscall, path);
  }

  #killed(user: User): void {
    const { random } = this.#scheduler;
    for (const step of random.shuffled(user.steps)) {
      if (random.chance(0.5)) continue;
      try {
        step.happen(random.chance(0.5));
      } catch {
        // Nobody is there to hear it.
      }
    }
    for (const handle of random.shuffled(user.open)) this.#close(user, handle);
  }

  // ---- names ----

  #node(path: string): Node {
    const slash = path.lastIndexOf('/');
    const parent = slash > 0 ? this.#node(path.slice(0, slash)) : this.root;
    const name = path.slice(slash + 1);
    if (name === '') return parent;
    const node = parent instanceof Folder ? parent.entries.get(name) : undefined;
    if (node) return node;
    throw systemError('ENOENT', 'open', path);
  }

  folder(path: string): Folder {
    const node = this.#node(path);
    if (node instanceof Folder) return node;
    throw systemError('ENOENT', 'scandir', path);
  }

  #inode(path: string): Inode {
    const node = this.#node(path);
    if (node instanceof Inode) return node;
    throw systemError('EISDIR', 'open', path);
  }

  #exists(path: string): boolean {
    try {
      return this.#node(path) !== undefined;
    } catch {
      return false;
    }
  }

  #place(path: string): [Folder, string] {
    const slash = path.lastIndexOf('/');
    return [this.folder(path.slice(0, slash)), path.slice(slash + 1)];
  }

  #create(path: string): Inode {
    const [folder, name] = this.#place(path);
    if (folder.entries.has(name)) throw systemError('EEXIST', 'open', path);
    if (this.#free === 0) throw systemError('ENOSPC', 'open', path);
    const inode = new Inode();
    folder.change([name, inode]);
    this.#scheduler.note('disk', 'created', path);
    return inode;
  }

  #makeFolder(path: string): boolean {
    const slash = path.lastIndexOf('/');
    const parent = path.slice(0, slash);
    if (slash > 0) this.#makeFolder(parent);
    const folder = slash > 0 ? this.folder(parent) : this.root;
    const name = path.slice(slash + 1);
    if (folder.entries.has(name)) return false;
    folder.change([name, new Folder(path, this.#scheduler.now)]);
    this.#scheduler.note('disk', 'made folder', path);
    return true;
  }

  #rename(from: string, to: string): void {
    const [folder, name] = this.#place(from);
    const [target, newName] = this.#place(to);
    const inode = this.#inode(from);
    if (target !== folder) throw new Error(`the simulation knows no rename to another folder: ${from}, ${to}`);
    folder.change([name, undefined], [newName, inode]);
    this.#scheduler.note('disk', 'renamed', from, newName);
  }

  #remove(path: string): void {
    const [folder, name] = this.#place(path);
    if (!folder.entries.has(name)) return;
    folder.change([name, undefined]);
    this.#scheduler.note('disk', 'removed', path);
  }

  async #syncFolder(user: User, path: string): Promise<void> {
    let folder: Folder | undefined;
    let steps = 0;
    await this.#step(user, 'open', path, () => {
      folder = this.folder(path);
      steps = folder.steps;
    });
    await this.#step(user, 'fsync', path, () => folder!.sync(steps));
  }

  // ---- open files ----

  #file(user: User, inode: Inode, writes: boolean): File {
    const handle: Handle = { inode, writes, under: 0, closing: undefined, closed: undefined };
    user.open.add(handle);
    const step = async <T>(syscall: string, effect: (torn: boolean) => T): Promise<T> => {
      if (handle.closed) throw systemError('EBADF', syscall, inode.path);
      handle.under++;
      try {
        return await this.#step(user, syscall, inode.path, effect);
      } finally {
        if (--handle.under === 0) handle.closing?.();
      }
    };
    return {
      write: (bytes, position) => step('write', (torn) => this.#write(handle, bytes, position, torn)),
      read: (into, position) =>
        step('read', () => {
          const bytes = inode.content.view.subarray(position, position + into.length);
          into.set(bytes);
          return bytes.length;
        }),
      truncate: (bytes) => step('ftruncate', () => this.#writable(handle).truncate(bytes)),
      datasync: () => this.#datasync(inode, step),
      size: () => step('fstat', () => inode.content.length),
      close: () => (handle.closed ??= this.#closeLater(user, handle)),
    };
  }

  #writable({ inode, writes }: Handle): Inode {
    if (!writes) throw systemError('EBADF', 'write', inode.path);
    return inode;
  }

  #write(handle: Handle, bytes: Uint8Array, position: number, torn: boolean): void {
    const inode = this.#writable(handle);
    const growth = position + bytes.length - inode.content.length;
    const full = growth > this.#free;
    // What the bytes are now counts: whoever changes them before the promise settles writes nonsense.
    let part = bytes.slice();
    if (full) part = part.subarray(0, Math.max(0, bytes.length - growth + this.#free));
    if (torn) part = part.subarray(0, this.#scheduler.random.below(part.length + 1));
    if (part.length > 0) inode.write(position, part);
    if (full) throw systemError('ENOSPC', 'write', inode.path);
  }

  async #datasync(inode: Inode, step: <T>(syscall: string, effect: () => T) => Promise<T>): Promise<void> {
    // From some moment on it no longer catches what is written meanwhile.
    let changes = inode.changes;
    if (this.#scheduler.random.chance(0.5)) changes = await step('fstat', () => inode.changes).catch(() => changes);
    try {
      await step('fdatasync', () => inode.sync(changes));
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'EBADF') inode.lose(changes);
      throw e;
    }
  }

  async #closeLater(user: User, handle: Handle): Promise<void> {
    if (handle.under > 0) await new Promise<void>((resolve) => (handle.closing = resolve));
    await this.#step(
      user,
      'close',
      handle.inode.path,
      () => {
        this.#close(user, handle);
        // The descriptor is closed whatever the system says.
        this.#mayFail('close', handle.inode.path);
      },
      true,
    );
  }

  #close(user: User, handle: Handle): void {
    if (!user.open.delete(handle) || !handle.writes || this.#dark) return;
    this.#scheduler.note('disk', 'closed', handle.inode.path);
    this.#arkime.closed(handle.inode, !user.process.alive);
  }
}
