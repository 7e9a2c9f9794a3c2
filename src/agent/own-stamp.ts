/** The settings that were packed into the executable that runs. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import * as sea from 'node:sea';
import { reasonOf, RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { readStamp, stampBytes, TAIL_BYTES } from '../formats/stamp.ts';
import type { Settings } from '../options/load.ts';
import { unseal } from '../wire/seal.ts';

/** Undefined for an agent that nobody packed. Throws an RcapError when the stamp isn't whole, or can't be read. */
export function ownSettings(): Settings | undefined {
  if (!sea.isSea()) return undefined;
  const file = ownFile();
  try {
    const payload = readStamp(tailOf(file));
    return payload && unseal(payload);
  } finally {
    closeSync(file);
  }
}

/** At once of an executable, bytes. */
const COPIED_BYTES = 4 << 20;

/**
 * A new file that only its owner reads: a copy without settings, of an ELF executable. They are never in there, not even
 * for a moment.
 */
export function copyUnpacked(executable: string, to: string): void {
  const from = openSync(executable, 'r');
  try {
    const size = fstatSync(from).size - stampBytes(tailOf(from));
    const file = openSync(to, 'wx', 0o600);
    try {
      copyBytes(from, file, size);
    } finally {
      closeSync(file);
    }
  } finally {
    closeSync(from);
  }
}

function copyBytes(from: number, to: number, size: number): void {
  const buffer = Buffer.allocUnsafe(Math.min(size, COPIED_BYTES));
  for (let at = 0; at < size;) {
    const read = readSync(from, buffer, 0, Math.min(size - at, buffer.length), at);
    if (read === 0) throw new Error('the executable became shorter meanwhile');
    for (let done = 0; done < read;) done += writeSync(to, buffer, done, read - done, at + done);
    at += read;
  }
}

/** Also right when the file has another name by now, or none; without /proc what Node takes for its path. */
function ownFile(): number {
  const paths = process.platform === 'linux' ? ['/proc/self/exe', process.execPath] : [process.execPath];
  const failures: unknown[] = [];
  for (const path of paths) {
    try {
      const file = openSync(path, 'r');
      touch('read', path, 'settings that were packed into it');
      return file;
    } catch (error) {
      failures.push(error);
    }
  }
  // Going on would mean to trust what the stamp may say not to.
  throw new RcapError('STAMP', `could not read '${process.execPath}', itself: ${reasonOf(failures.at(-1))}`, {
    hint: `chmod +r ${process.execPath}`,
    cause: failures.at(-1),
  });
}

function tailOf(file: number): Uint8Array {
  const { size } = fstatSync(file);
  const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
  for (let at = 0; at < tail.length;) {
    const read = readSync(file, tail, at, tail.length - at, size - tail.length + at);
    if (read === 0) break;
    at += read;
  }
  return tail;
}
