/**
 * The only loader of node-pcap-native. In development the package finds its own binary; inside the executable the binary is
 * an asset, and Linux loads a library from a file only: an unnamed one, so that nothing is left and nobody can swap it.
 */
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants as system, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as sea from 'node:sea';
import wrap from 'node-pcap-native/wrap.js';
import { reasonOf, RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import type { Addon } from './source.ts';

/** The asset's name, as scripts/package.ts puts it in. */
export const ADDON_ASSET = 'node-pcap-native.node';

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

/** Loads a native module from memory. Exported for its test. */
export function loadLibrary(bytes: Uint8Array): unknown {
  const folders = ['/run', '/dev/shm', tmpdir(), '/var/tmp', dirname(process.execPath)];
  const refused: string[] = [];
  for (const load of [loadUnnamed, loadNamed]) {
    for (const folder of folders) {
      try {
        return load(bytes, folder);
      } catch (error) {
        refused.push(`${folder}: ${reasonOf(error)}`);
      }
    }
  }
  throw new RcapError('ADDON', `could not load 'node-pcap-native': ${refused[0]}`, {
    hint: 'TMPDIR=DIR with a folder that is writable and not mounted noexec',
    cause: new Error(refused.join('; ')),
  });
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

/** For file systems without O_TMPFILE: in a folder that only we can enter, gone once it is loaded. */
function loadNamed(bytes: Uint8Array, folder: string): unknown {
  const own = mkdtempSync(join(folder, 'rcap-'));
  try {
    const path = join(own, ADDON_ASSET);
    writeFileSync(path, bytes, { flag: 'wx', mode: 0o700 });
    touch('made and removed', path, 'the addon, to load it');
    return open(path);
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

function open(path: string): unknown {
  const module = { exports: {} as unknown };
  process.dlopen(module, path, system.dlopen.RTLD_NOW);
  return module.exports;
}
