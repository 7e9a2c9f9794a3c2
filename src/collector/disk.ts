/** The file system as the collector uses it, so that a simulation may hand in its own; and what is made of its steps. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { access, type FileHandle, mkdir, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RcapError, reasonOf } from '../errors.ts';

/** An open file. Its steps may fail with a system error (`code`, `syscall`), and are durable only after `datasync`. */
export interface File {
  /** Writes all of it, at this offset. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Bytes read: fewer than asked at the end only. */
  read(into: Uint8Array, position: number): Promise<number>;
  truncate(bytes: number): Promise<void>;
  datasync(): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface Disk {
  /** A new file, to be read and written; EEXIST where there is one. */
  create(path: string, mode?: number): Promise<File>;
  /** A file that exists; never through a symbolic link. */
  open(path: string, access: 'read' | 'write'): Promise<File>;
  exists(path: string): Promise<boolean>;
  readText(path: string): Promise<string>;
  /** Names in a folder. */
  list(folder: string): Promise<{ name: string; folder: boolean }[]>;
  /** True when it wasn't there. */
  makeFolder(path: string, mode: number): Promise<boolean>;
  rename(from: string, to: string): Promise<void>;
  /** No error where there is nothing. */
  remove(path: string): Promise<void>;
  /** Makes a folder's entries durable: without it power loss may undo creating, renaming and removing. */
  syncFolder(folder: string): Promise<void>;
  /** Bytes that may still be written there. */
  free(folder: string): Promise<number>;
}

const handled = (handle: FileHandle): File => ({
  async write(bytes, position) {
    for (let at = 0; at < bytes.length;)
      at += (await handle.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
  },
  async read(into, position) {
    let at = 0;
    for (;;) {
      const { bytesRead } = await handle.read(into, at, into.length - at, position + at);
      at += bytesRead;
      if (bytesRead === 0 || at === into.length) return at;
    }
  },
  truncate: (bytes) => handle.truncate(bytes),
  datasync: () => handle.datasync(),
  size: async () => (await handle.stat()).size,
  close: () => handle.close(),
});

export const systemDisk: Disk = {
  // Readable by its group, like what tcpdump's users set up for Arkime.
  create: async (path, mode = 0o640) => handled(await open(path, 'wx+', mode)),
  open: async (path, access) =>
    handled(await open(path, (access === 'write' ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NOFOLLOW)),
  exists: (path) =>
    access(path).then(
      () => true,
      (e: NodeJS.ErrnoException) => {
        // A disk that fails doesn't say that there is nothing.
        if (e.code === 'ENOENT' || e.code === 'ENOTDIR') return false;
        throw e;
      },
    ),
  readText: (path) => readFile(path, 'utf8'),
  list: async (folder) =>
    (await readdir(folder, { withFileTypes: true })).map((e) => ({ name: e.name, folder: e.isDirectory() })),
  makeFolder: async (path, mode) => (await mkdir(path, { recursive: true, mode })) !== undefined,
  rename,
  remove: (path) => rm(path, { force: true }),
  async syncFolder(folder) {
    const handle = await open(folder, constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  async free(folder) {
    const { bavail, bsize, blocks } = await statfs(folder);
    // A file system without a size of its own.
    return blocks === 0 ? Infinity : bavail * bsize;
  },
};

/** Writes a small file so that either the old or the whole new one is there, also after power loss. */
export async function replaceFile(disk: Disk, path: string, text: string, mode?: number): Promise<void> {
  const temporary = `${path}.new`;
  await disk.remove(temporary);
  try {
    const file = await disk.create(temporary, mode);
    try {
      await file.write(Buffer.from(text), 0);
      await file.datasync();
    } finally {
      await file.close();
    }
    await disk.rename(temporary, path);
  } catch (e) {
    await disk.remove(temporary).catch(() => {});
    throw e;
  }
  await disk.syncFolder(dirname(path));
}

/** Makes the state folder, or one in it, if need be; nobody else reads there. */
export function makeStateFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (e) {
    throw new RcapError('FOLDER', `could not use state folder '${folder}': ${reasonOf(e)}`, { cause: e });
  }
}

/** A new file in the state folder, readable by us alone; whole as soon as it is there, since the collector may read it. */
export function createStateFile(path: string, text: string): void {
  const temporary = temporaryName(path);
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: 'wx', flush: true });
    renameNew(temporary, path);
    syncFolder(dirname(path));
  } catch (e) {
    throw new RcapError('STATE', `could not write '${path}': ${reasonOf(e)}`, { cause: e });
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** As `Disk.syncFolder`, at once. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Beside it, and nobody else's. */
export const temporaryName = (path: string): string => `${path}.${randomBytes(4).toString('hex')}.part`;

/**
 * Never over another file (EEXIST), unless the file system knows no hard links, and it came just now. Where there are some,
 * the old name stays.
 */
export function renameNew(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'EEXIST' || existsSync(to))
      throw Object.assign(new Error('there is one already', { cause: e }), { code: 'EEXIST' });
    renameSync(from, to);
  }
}
