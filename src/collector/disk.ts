/** The few steps on files that more than one place takes: what is durable, what is atomic. */
import { constants, mkdirSync, writeFileSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RcapError, reasonOf } from '../errors.ts';

/** Makes a folder's entries durable: without it a rename may be undone by power loss. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the state folder, or one in it, if need be; nobody else reads there. */
export function makeStateFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (e) {
    throw new RcapError('FOLDER', `could not use state folder '${folder}': ${reasonOf(e)}`, { cause: e });
  }
}

/** A new file in the state folder, readable by us alone. */
export function createStateFile(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600, flag: 'wx' });
  } catch (e) {
    throw new RcapError('STATE', `could not write '${path}': ${reasonOf(e)}`, { cause: e });
  }
}

/** A new file that must not exist yet; readable by its group, like what tcpdump's users set up for Arkime. */
export const createFile = (path: string): Promise<FileHandle> => open(path, 'wx', 0o640);

/** Writes a small file so that either the old or the whole new one is there, also after power loss. */
export async function replaceFile(path: string, text: string, mode = 0o640): Promise<void> {
  const temporary = `${path}.new`;
  const handle = await open(temporary, 'w', mode);
  try {
    await handle.writeFile(text);
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}
