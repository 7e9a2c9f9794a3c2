/**
 * The only loader of node-pcap-native. In development the package finds its own binary; inside the executable the binary is
 * an asset, and every system loads a library from a file only. Linux gets an unnamed one, so that nothing is left and nobody
 * can swap it; macOS one that is gone once it is loaded; on Windows it is locked as long as it is used, so that the next run
 * deletes it.
 */
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants as system, tmpdir } from 'node:os';
import { dirname, isAbsolute, join, relative } from 'node:path';
import * as sea from 'node:sea';
import wrap from 'node-pcap-native/wrap.js';
import { reasonOf, RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { FOLDER_START, removeLeftovers } from './leftovers.ts';
import type { Addon } from './source.ts';

/** The asset's name, as scripts/package.ts puts it in. */
export const ADDON_ASSET = 'node-pcap-native.node';

/** Whether this is the executable, and not its source. */
export const isPackaged = (): boolean => sea.isSea();

let loaded: Addon | undefined;

export function loadAddon(): Addon {
  loaded ??= sea.isSea() ? (wrap(loadLibrary(new Uint8Array(sea.getRawAsset(ADDON_ASSET)))) as Addon) : loadPackage();
  return loaded;
}

/** Once everything is written: with the addon, since Node's way out may wait for ever (nodejs/node#54918). */
export function exit(code: number): never {
  return loaded ? loaded.exit(code) : process.exit(code);
}

/** Not seen by the bundler: the search for the binary stays out of the executable. */
const loadPackage = () => createRequire(import.meta.filename)('node-pcap-native') as Addon;

type Load = (bytes: Uint8Array, folder: string) => unknown;

/** Ways to load, best first, and the folders that each is tried in. */
const WAYS: Partial<Record<NodeJS.Platform, { loads: Load[]; folders: () => string[] }>> = {
  linux: { loads: [loadUnnamed, loadNamed], folders: () => ['/run', '/dev/shm', tmpdir(), '/var/tmp', ownFolder()] },
  win32: { loads: [loadLocked], folders: windowsFolders },
};
const OTHERS = { loads: [loadNamed], folders: () => [tmpdir(), '/var/tmp', ownFolder()] };

/** Loads a native module from memory. Exported for its test. */
export function loadLibrary(bytes: Uint8Array): unknown {
  const { loads, folders } = WAYS[process.platform] ?? OTHERS;
  const places = [...new Set(folders())];
  const refused: string[] = [];
  for (const load of loads) {
    for (const folder of places) {
      try {
        return load(bytes, folder);
      } catch (error) {
        refused.push(`${folder}: ${reasonOf(error)}`);
      }
    }
  }
  const hint =
    process.platform === 'win32'
      ? 'set TEMP to a folder that you may write to, and whose programs may run'
      : 'TMPDIR=DIR with a folder that is writable and not mounted noexec';
  throw new RcapError(
    'ADDON',
    `could not load 'node-pcap-native': none of ${places.join(', ')} takes it (${refused[0]})`,
    { hint, cause: new Error(refused.join('; ')) },
  );
}

const ownFolder = () => dirname(process.execPath);

/**
 * Whoever installed us below Program Files has an administrator's rights, and nobody with less can write there. Else the
 * temporary folder: a user's own is closed to other users; that of the system lets others add files, but not change ours.
 * Of the same user, a program with fewer rights than an elevated agent may swap the file before it is loaded: a file that we
 * hold open shares either everything or nothing, as Node opens files, and the latter Windows can't load. (An agent below
 * Program Files has no such gap.)
 */
function windowsFolders(): string[] {
  const programs = process.env['ProgramFiles'];
  const below = programs === undefined ? '..' : relative(programs, ownFolder());
  const installed = !below.startsWith('..') && !isAbsolute(below);
  return installed ? [ownFolder(), tmpdir()] : [tmpdir(), ownFolder()];
}

/** Linux' O_TMPFILE includes O_DIRECTORY; Node has no name for it. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

function loadUnnamed(bytes: Uint8Array, folder: string): unknown {
  const file = openSync(folder, O_TMPFILE | constants.O_RDWR | constants.O_EXCL, 0o700);
  try {
    writeFileSync(file, bytes);
    // Stays open for good: glibc knows a loaded library by its path, and this one's number must never come again.
    const library = open(`/proc/self/fd/${file}`);
    touch('made without a name', folder, 'the addon, to load it');
    touch('read', '/proc/self/fd/*', 'the addon, to load it');
    return library;
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

/** In a folder that only we can enter, gone once it is loaded. On Linux for file systems without O_TMPFILE. */
function loadNamed(bytes: Uint8Array, folder: string): unknown {
  const own = mkdtempSync(join(folder, FOLDER_START));
  try {
    const path = join(own, ADDON_ASSET);
    writeFileSync(path, bytes, { flag: 'wx', mode: 0o700 });
    touch('made and removed', path, 'the addon, to load it');
    return open(path);
  } finally {
    try {
      rmSync(own, { recursive: true, force: true });
    } catch {
      // Windows, and it is loaded
    }
  }
}

function loadLocked(bytes: Uint8Array, folder: string): unknown {
  removeLeftovers(folder, ADDON_ASSET);
  return loadNamed(bytes, folder);
}

function open(path: string): unknown {
  const module = { exports: {} as unknown };
  process.dlopen(module, path, system.dlopen.RTLD_NOW);
  return module.exports;
}
