/** Files that are whole or not there at all, also while others read them. */
import { chmodSync, closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { reasonOf, RcapError } from '../../errors.ts';

/** A file that takes the place of one that may be there: who makes it makes it by another name first. */
export interface Part {
  path: string;
  mode: number;
  make: (unfinished: string) => void;
}

/** What is made first has this at its end; nobody else's has, so it may be what an earlier one left. */
export const UNFINISHED = '.rcap-new';

export const whole = (path: string, text: string, mode: number): Part => ({
  path,
  mode,
  make: (unfinished) => writeFileSync(unfinished, text, { mode, flag: 'wx' }),
});

export const writeWhole = (path: string, text: string, mode: number): void => replaceAll([whole(path, text, mode)]);

export const replace = (path: string, make: Part['make'], mode: number): void => replaceAll([{ path, make, mode }]);

/**
 * Makes all by other names, and only then moves them, in this order: on a full disk nothing has changed. Who reads them
 * meanwhile has the old or the new file, and a running program can be replaced. `between` is called when all are made.
 */
export function replaceAll(parts: readonly Part[], between = () => {}): void {
  try {
    for (const { path, mode, make } of parts) {
      attempt(path, () => {
        rmSync(path + UNFINISHED, { force: true });
        make(path + UNFINISHED);
        flush(path + UNFINISHED);
        chmodSync(path + UNFINISHED, mode);
      });
    }
    between();
    for (const { path } of parts) attempt(path, () => renameSync(path + UNFINISHED, path));
  } catch (e) {
    for (const { path } of parts) discard(path + UNFINISHED);
    throw e;
  }
}

/** Else power loss could leave the new name with nothing behind it. */
function flush(path: string): void {
  const file = openSync(path, 'r+');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** What stays nevertheless is replaced by the next one. */
function discard(unfinished: string): void {
  try {
    rmSync(unfinished, { force: true });
  } catch {
    // why it had to be is the error to show
  }
}

function attempt(path: string, act: () => void): void {
  try {
    act();
  } catch (e) {
    throw new RcapError('SERVICE', `could not write '${path}': ${reasonOf(e)}`, { cause: e });
  }
}
