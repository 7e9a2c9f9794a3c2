/**
 * Where a service of Windows is: all of one is in %ProgramFiles%\rcap\NAME, a folder that only administrators and the system
 * look into: the agent's copy, its settings, what it says.
 */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FOLDER_START } from '../../capture/leftovers.ts';
import { reasonOf, RcapError } from '../../errors.ts';
import { UNFINISHED } from './replace.ts';
import { CA_FILE, LOG_FILE, SETTINGS_FILE } from './settings.ts';

const EXECUTABLE = 'rcap-agent.exe';
const FILES = [EXECUTABLE, SETTINGS_FILE, CA_FILE].flatMap((name) => [name, name + UNFINISHED]);
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

const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);
/** Undefined without the folder. */
export const foreignIn = (folder: string): string | undefined => namesIn(folder).find((name) => !isOurs(name));
/** Whether an installation left anything, be it an empty folder. */
export const isLeft = (folder: string): boolean =>
  namesIn(folder).some(isOurs) || (existsSync(folder) && foreignIn(folder) === undefined);

/** What is ours, and then the folders if nothing else is in them. False if something is. */
export function removeOurs(folder: string): boolean {
  try {
    for (const name of namesIn(folder).filter(isOurs)) {
      // Its process may need a moment more.
      rmSync(join(folder, name), { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
    }
  } catch (e) {
    const error = `could not remove '${folder}': ${reasonOf(e)}`;
    throw new RcapError('SERVICE', error, { hint: 'delete that folder by hand', cause: e });
  }
  removeIfEmpty(folder);
  removeIfEmpty(dirname(folder));
  return !existsSync(folder);
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // others have theirs there, or it was never made
  }
}
