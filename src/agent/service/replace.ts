/** Files that are whole or not there at all, also while others read them. */
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { reasonOf, RcapError } from '../../errors.ts';

export const writeWhole = (path: string, text: string, mode: number): void =>
  replace(path, (unfinished) => writeFileSync(unfinished, text, { mode, flag: 'wx' }), mode);

/** By another name first: who reads it meanwhile has the old file or the new one, and a running program can be replaced. */
export function replace(path: string, make: (unfinished: string) => void, mode: number): void {
  const unfinished = `${path}.new`;
  try {
    rmSync(unfinished, { force: true });
    make(unfinished);
    chmodSync(unfinished, mode);
    renameSync(unfinished, path);
  } catch (e) {
    rmSync(unfinished, { force: true });
    throw new RcapError('SERVICE', `could not write '${path}': ${reasonOf(e)}`, { cause: e });
  }
}
