/** One collector a folder. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { RcapError, reasonOf } from '../errors.ts';
import { takeLock } from '../socket-lock.ts';

const PREFIX = '.rcap-collector.lock.';

/** Makes the folder if need be and takes it. Returns what gives it back. */
export async function lockFolder(folder: string, what: string, mode: number): Promise<() => void> {
  let fd: number | undefined;
  let giveBack;
  try {
    mkdirSync(folder, { recursive: true, mode });
    fd = openSync(folder, 'r');
    // By descriptor, which stays open: the folder's own path may be too long for a socket's.
    giveBack = await takeLock(`/proc/self/fd/${fd}`, PREFIX);
  } catch (e) {
    if (fd !== undefined) closeSync(fd);
    throw new RcapError('FOLDER', `could not use ${what} folder '${folder}': ${reasonOf(e)}`, { cause: e });
  }
  if (giveBack) return giveBack;
  closeSync(fd);
  throw new RcapError('LOCKED', `could not use ${what} folder '${folder}': another rcap-collector does`, {
    hint: 'stop that one, or give this one folders of its own: --state DIR --captures DIR',
  });
}
