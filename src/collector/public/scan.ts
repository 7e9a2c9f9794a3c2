/** What lies in the public folder: names and stamps, nothing is opened. */
import { lstat, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Stats } from 'node:fs';
import { reasonOf, RcapError } from '../../errors.ts';
import { nearest } from '../../options/near.ts';
import { KINDS } from './files.ts';
import { type HostPattern, patternOf } from './pattern.ts';

const HOSTS = 'hosts';
/** Of S_IFMT's permissions: others may write. */
const OTHERS_WRITE = 0o002;

export interface Found {
  /** From the public folder. */
  name: string;
  path: string;
  /** `exceptions.list` and so on. */
  base: string;
  hosts: HostPattern | undefined;
  /** Changes with the file. */
  stamp: string;
}

export interface Scan {
  /** The folder is there. */
  exists: boolean;
  files: Map<string, Found>;
  /** What is wrong, and settings don't count for it: from the public folder, what it is, and why. */
  bad: Map<string, string>;
  /** What is worth a warning. */
  odd: Map<string, string>;
}

/** Throws an RcapError when a folder can't be read: then nobody knows what is in it. */
export async function scan(folder: string): Promise<Scan> {
  const exists = (await statusOf(folder)) !== undefined;
  const found: Scan = { exists, files: new Map(), bad: new Map(), odd: new Map() };
  await scanFolder(found, folder, '', undefined);
  for (const name of await namesIn(join(folder, HOSTS))) {
    if (name.startsWith('.')) continue;
    const place = `${HOSTS}/${name}`;
    const status = await statusOf(join(folder, place));
    if (!status?.isDirectory()) continue;
    try {
      await scanFolder(found, folder, `${place}/`, patternOf(name));
    } catch (e) {
      if (e instanceof RcapError) throw e;
      found.bad.set(place, (e as Error).message);
    }
  }
  checkWritable(found, await statusOf(join(folder, HOSTS)), HOSTS);
  return found;
}

async function scanFolder(found: Scan, folder: string, place: string, hosts: HostPattern | undefined): Promise<void> {
  checkWritable(found, await statusOf(join(folder, place)), place.slice(0, -1) || '.');
  for (const base of await namesIn(join(folder, place))) {
    const name = place + base;
    if (!Object.hasOwn(KINDS, base)) {
      const near =
        base.startsWith('.') || (base === HOSTS && place === '') ? undefined : nearest(base, Object.keys(KINDS));
      // What editors leave beside a file isn't meant.
      if (near !== undefined && !base.endsWith('~')) found.odd.set(name, `it is not used; did you mean ${near}?`);
      continue;
    }
    const path = join(folder, name);
    const status = await statusOf(path);
    if (!status) {
      if (await isLink(path)) found.bad.set(name, 'it is a link that leads nowhere');
      continue;
    }
    checkWritable(found, status, name);
    if (!status.isFile()) found.bad.set(name, 'it is not a file');
    else found.files.set(name, { name, path, base, hosts, stamp: stampOf(status) });
  }
}

function checkWritable(found: Scan, status: Stats | undefined, name: string): void {
  if (status && (status.mode & OTHERS_WRITE) !== 0) {
    found.odd.set(name, 'everybody on this machine may write it, and so say what agents capture: chmod o-w');
  }
}

const stampOf = ({ dev, ino, size, mtimeMs, ctimeMs }: Stats) => [dev, ino, size, mtimeMs, ctimeMs].join(' ');

/** None where there is no such folder. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (e) {
    if (isNothing(e)) return [];
    throw unreadable(folder, e);
  }
}

/** Of what a link leads to. */
async function statusOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (e) {
    if (isNothing(e)) return undefined;
    throw unreadable(path, e);
  }
}

/** And not gone since its name was read. */
const isLink = async (path: string): Promise<boolean> => {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch {
    return false;
  }
};

const isNothing = (e: unknown) => ['ENOENT', 'ENOTDIR'].includes((e as NodeJS.ErrnoException).code ?? '');
const unreadable = (path: string, cause: unknown) =>
  new RcapError('SETTINGS', `could not look at '${path}': ${reasonOf(cause)}`, { cause });
