/** What earlier runs had to leave behind on Windows, where a library can't be deleted while it is loaded. */
import { lstatSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

/** How the folders that hold our library are called; then come six characters of mkdtemp's. */
export const FOLDER_START = 'rcap-addon-';
const OURS = /^rcap-addon-[A-Za-z0-9]{6}$/;
/** A copy that starts at this moment has written its file and not loaded it yet. */
const AGE_MS = 10 * 60_000;

/**
 * Deletes them: folders of our name, no links, that are old and hold `file` and nothing else. What is in use can't be
 * deleted, and stays. Never throws.
 */
export function removeLeftovers(folder: string, file: string): void {
  for (const name of namesIn(folder)) if (OURS.test(name)) remove(join(folder, name), file);
}

function remove(folder: string, file: string): void {
  try {
    const stat = lstatSync(folder);
    if (!stat.isDirectory() || Date.now() - stat.mtimeMs < AGE_MS) return;
    const inside = readdirSync(folder);
    if (inside.some((name) => name !== file)) return;
    if (inside.length > 0) {
      if (!lstatSync(join(folder, file)).isFile()) return;
      unlinkSync(join(folder, file));
    }
    rmdirSync(folder);
  } catch {
    // it is in use, or another copy was faster
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
