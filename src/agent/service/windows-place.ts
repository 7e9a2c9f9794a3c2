/**
 * Where a service of Windows is: all of one is in %ProgramFiles%\rcap\NAME, a folder that only administrators and the system
 * look into: the agent's copy, its settings, what it says.
 */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FOLDER_START } from '../../capture/leftovers.ts';
import { reasonOf, RcapError } from '../../errors.ts';
import { CA_FILE, LOG_FILE, SETTINGS_FILE } from './settings.ts';

const EXECUTABLE = 'rcap-agent.exe';
const FILES = [EXECUTABLE, SETTINGS_FILE, CA_FILE].flatMap((name) => [name, `${name}.new`]);
const OURS = new Set([...FILES, LOG_FILE, `${LOG_FILE}.1`]);
/** Its process loads the addon from here. */
const isOurs = (name: string): boolean => OURS.has(name) || name.startsWith(FOLDER_START);

export const executableIn = (folder: string): string => join(folder, EXECUTABLE);

/** Quoted: an unquoted path with a space would let others put their program in its way. */
export const commandOf = (name: string, folder: string): string =>
  `"${executableIn(folder)}" service run ${name} "${folder}"`;

/** The folder that such a command names; undefined when it is none of ours. */
export function folderIn(name: string, command: string): string | undefined {
  const folder = /^"[^"]+" service run \S+ "([^"]+)"$/.exec(command)?.[1];
  return folder !== undefined && command === commandOf(name, folder) ? folder : undefined;
}

/** Undefined without the folder. */
export const foreignIn = (folder: string): string | undefined =>
  existsSync(folder) ? readdirSync(folder).find((name) => !isOurs(name)) : undefined;

/** What is ours, and then the folders if nothing else is in them. False if something is. */
export function removeOurs(folder: string): boolean {
  try {
    for (const name of readdirSync(folder).filter(isOurs)) {
      // Its process may need a moment more.
      rmSync(join(folder, name), { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
    }
  } catch (e) {
    const error = `could not remove '${folder}': ${reasonOf(e)}`;
    throw new RcapError('SERVICE', error, { hint: 'delete that folder by hand', cause: e });
  }
  const removed = removeEmpty(folder);
  removeEmpty(dirname(folder));
  return removed;
}

function removeEmpty(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return false; // others have theirs there
  }
}
