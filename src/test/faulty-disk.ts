/** The system's disk, whose steps are counted, and of which one may fail, or be the last one that a process did. */
import { constants } from 'node:os';
import { basename } from 'node:path';
import { getSystemErrorMessage } from 'node:util';
import { type Disk, type File, systemDisk } from '../collector/disk.ts';

/**
 * `before`: nothing of the step was done; `after`: all of it was, and it is said to have failed; `torn`: half of a write was.
 * `killed`: it, or nothing of it, and nothing from there on: no step ends any more.
 */
export type Fault = 'before' | 'after' | 'torn' | 'killed before' | 'killed after';

export class FaultyDisk implements Disk {
  /** All that were begun: what and where. */
  readonly steps: string[] = [];
  /** The step that fails, from 1, and how many do. */
  at = Infinity;
  lasting = 1;
  fault: Fault = 'before';
  code: 'EIO' | 'ENOSPC' = 'EIO';
  /** Bytes that are still free. */
  room = 2 ** 40;
  /** Resolves when the process was killed, and what it had asked for before is done. */
  readonly dead: Promise<void>;
  readonly #open = new Set<File>();
  readonly #die: () => void;
  #killed = false;
  /** Steps that are being done. */
  #under = 0;

  constructor(faults: Partial<Pick<FaultyDisk, 'at' | 'lasting' | 'fault' | 'code'>> = {}) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.dead = promise;
    this.#die = resolve;
    Object.assign(this, faults);
  }

  /** Of a fault that came true, its step. */
  get failed(): string | undefined {
    return this.steps[this.at - 1];
  }

  /** As the kernel does for a process that was killed. */
  async closeAll(): Promise<void> {
    this.#killed = true;
    await Promise.all([...this.#open].map((f) => f.close()));
    this.#open.clear();
  }

  async #step<T>(what: string, path: string, work: () => Promise<T>, half?: () => Promise<unknown>): Promise<T> {
    if (this.#killed) return NEVER;
    const number = this.steps.push(`${what} ${basename(path)}`);
    const fails = number >= this.at && number < this.at + this.lasting;
    if (fails && this.fault.startsWith('killed')) this.#killed = true;
    this.#under++;
    try {
      if (!fails) return await work();
      // A descriptor is gone even if its close fails.
      if (this.fault === 'after' || this.fault === 'killed after' || what === 'close') await work();
      if (this.fault === 'torn') await half?.();
      if (!this.#killed) throw systemError(this.code, what, path);
    } finally {
      this.#under--;
      if (this.#killed && this.#under === 0) this.#die();
    }
    return NEVER;
  }

  create = (path: string, mode?: number): Promise<File> =>
    this.#step('create', path, async () => this.#file(path, await systemDisk.create(path, mode)));
  open = (path: string, access: 'read' | 'write'): Promise<File> =>
    this.#step('open', path, async () => this.#file(path, await systemDisk.open(path, access)));
  exists = (path: string): Promise<boolean> => this.#step('exists', path, () => systemDisk.exists(path));
  readText = (path: string): Promise<string> => this.#step('readText', path, () => systemDisk.readText(path));
  list: Disk['list'] = (path) => this.#step('list', path, () => systemDisk.list(path));
  makeFolder = (path: string, mode: number): Promise<boolean> =>
    this.#step('makeFolder', path, () => systemDisk.makeFolder(path, mode));
  rename = (from: string, to: string): Promise<void> => this.#step('rename', from, () => systemDisk.rename(from, to));
  remove = (path: string): Promise<void> => this.#step('remove', path, () => systemDisk.remove(path));
  /** The kernel keeps what a killed process wrote: nothing needs to be done. */
  syncFolder = (path: string): Promise<void> => this.#step('syncFolder', path, () => Promise.resolve());
  free = (): Promise<number> => Promise.resolve(this.room);

  #file(path: string, file: File): File {
    this.#open.add(file);
    /** What isn't durable yet. */
    let unsynced: [from: number, to: number][] = [];
    const step = <T>(what: string, work: () => Promise<T>, half?: () => Promise<unknown>) =>
      this.#step(what, path, work, half);
    const write = (bytes: Uint8Array, position: number) => {
      unsynced.push([position, position + bytes.length]);
      return file.write(bytes, position);
    };
    return {
      write: (bytes, position) =>
        step(
          'write',
          () => write(bytes, position),
          () => write(bytes.subarray(0, bytes.length / 2), position),
        ),
      read: (into, position) => step('read', () => file.read(into, position)),
      truncate: (bytes) => step('truncate', () => file.truncate(bytes)),
      datasync: () =>
        step(
          'datasync',
          async () => {
            unsynced = [];
          },
          // As Linux does: what couldn't be written counts as written, and is gone; a second try says nothing of it.
          async () => {
            for (const [from, to] of unsynced) await file.write(new Uint8Array(to - from), from);
            unsynced = [];
          },
        ),
      size: () => step('size', () => file.size()),
      close: () =>
        step('close', () => {
          this.#open.delete(file);
          return file.close();
        }),
    };
  }
}

const READS = new Set(['exists', 'readText', 'list', 'read', 'size']);

/** Whether a fault in such a step is another one than `before` would be. */
export const differs = (fault: Fault, step: string): boolean => {
  const [what] = step.split(' ');
  if (fault === 'torn') return what === 'write' || what === 'datasync';
  return !fault.endsWith('after') || !READS.has(what!);
};

const NEVER = new Promise<never>(() => {});

function systemError(code: 'EIO' | 'ENOSPC', syscall: string, path: string): NodeJS.ErrnoException {
  const errno = -constants.errno[code];
  const message = `${code}: ${getSystemErrorMessage(errno)}, ${syscall} '${path}'`;
  return Object.assign(new Error(message), { code, errno, syscall, path });
}
