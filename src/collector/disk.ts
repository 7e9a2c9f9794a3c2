/** The few steps on files that more than one place takes: what is durable, what is atomic. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Makes a folder's entries durable: without it a rename may be undone by power loss. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
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
