/** Services of Windows. They run as LocalSystem, since Npcap may let nobody else capture. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Services, ServiceState } from '../../capture/source.ts';
import { RcapError } from '../../errors.ts';
import {
  atWork,
  type Installation,
  installed,
  leftRemoved,
  type Manager,
  needsExecutable,
  notInstalled,
  removed,
  type Status,
  taken,
} from './manager.ts';
import { replace, writeWhole } from './replace.ts';
import { CA_FILE, LOG_FILE, SETTINGS_FILE, STOP_WITHIN_MS } from './settings.ts';
import { commandOf, executableIn, folderIn, foreignIn, isLeft, removeOurs } from './windows-place.ts';

/** winerror.h */
const DENIED = 5;
const LOCKED = 183;
const ALREADY_RUNNING = 1056;
const NO_SUCH_SERVICE = 1060;
const NOT_NOW = 1061;
const NOT_RUNNING = 1062;
const EXISTS = 1073;
/** In words where Windows' own don't help. */
const WORDS: Record<number, [reason: string, hint: string]> = {
  [DENIED]: ['Windows does not let this user', "use a prompt that was opened with 'Run as administrator'"],
  [EXISTS]: ['another service has this name', 'choose another: --name NAME'],
  1058: ['it is disabled', 'sc config NAME start= auto'],
  1072: ['it is being removed, and somebody still looks at it', 'close the list of services, and try again'],
};

/** SERVICE_STATUS.dwCurrentState */
const STOPPED = 1;
const STATES: Record<number, string> = { 2: 'it is starting', 3: 'it is stopping, and delivers what it has', 4: '' };

/** A service that doesn't stop isn't waited for longer than the longest --stop-within is likely to be. */
const STOP_PATIENCE_MS = 10 * 60_000;

/** So long may the end of the system wait for it beyond --stop-within, milliseconds. */
const END_MS = 15_000;
const DESCRIPTION = 'Captures packets of this host and sends them to rcap-collector.';

export const windows = (services: Services): Manager => ({
  show: (installation) => show(services, installation),
  install: async (installation) => install(alone(services, 'install', installation.name), installation),
  uninstall: async (name) => uninstall(alone(services, 'remove', name), name),
  start: async (name) => {
    ours(alone(services, 'start', name), name);
    must(services, 'start', name, services.start(name), ALREADY_RUNNING);
  },
  stop: async (name) => {
    ours(alone(services, 'stop', name), name);
    await stop(services, name);
  },
  status: async (name) => status(services, name),
});

function alone(services: Services, verb: string, name: string): Services {
  must(services, verb, name, services.permitted());
  const error = services.lock();
  if (error === LOCKED) throw atWork();
  if (error === 0) return services;
  const reason = `somebody who is no administrator holds the lock of such commands (Windows error ${error})`;
  throw new RcapError('SERVICE', `could not ${verb} service '${name}': ${reason}`, {
    hint: 'handle.exe -a rcap-agent-service (of Sysinternals) says which process that is',
  });
}

const placeOf = (services: Services, name: string): string =>
  join(services.programs() ?? 'C:\\Program Files', 'rcap', name);

function show(services: Services, { name, files }: Installation): string {
  const folder = placeOf(services, name);
  const ca = files.ca === undefined ? '' : `\n# ${join(folder, CA_FILE)}\n${files.ca}`;
  return `# service '${name}'\n${commandOf(name, folder)}\n\n# ${join(folder, SETTINGS_FILE)}\n${files.shown}${ca}`;
}

async function install(services: Services, installation: Installation): Promise<string[]> {
  const { name, flags, executable } = installation;
  if (executable === undefined) throw needsExecutable();
  const known = find(services, name);
  const folder = known === undefined ? placeOf(services, name) : folderOf(name, known);
  if (known === undefined) refuseTaken(name, folder);
  else await stop(services, name); // a program that runs can't be replaced here
  try {
    write(services, installation, folder, executable);
    if (known === undefined) must(services, 'install', name, services.create(name, commandOf(name, folder)));
  } catch (e) {
    // Without a service nobody would look for the token there.
    if (known === undefined) undo(folder);
    throw e;
  }
  const endMs = (flags.stopWithinMs ?? STOP_WITHIN_MS) + END_MS;
  must(services, 'install', name, services.configure(name, DESCRIPTION, endMs));
  must(services, 'start', name, services.start(name), ALREADY_RUNNING);
  return [installed(name)];
}

/** What stays nevertheless, `uninstall` removes; why all this had to be is the error to show. */
function undo(folder: string): void {
  try {
    removeOurs(folder);
  } catch {
    // as said
  }
}

function refuseTaken(name: string, folder: string): void {
  const foreign = foreignIn(folder);
  if (foreign !== undefined) throw taken(name, `'${join(folder, foreign)}' is there, and not ours`);
}

function write(services: Services, { name, files }: Installation, folder: string, executable: string): void {
  mkdirSync(dirname(folder), { recursive: true });
  must(services, 'make the folder of', name, services.privateFolder(folder));
  const copy = executableIn(folder);
  if (executable.toLowerCase() !== copy.toLowerCase()) replace(copy, (made) => copyFileSync(executable, made), 0o755);
  writeWhole(join(folder, SETTINGS_FILE), files.settings, 0o600);
  if (files.ca === undefined) rmSync(join(folder, CA_FILE), { force: true });
  else writeWhole(join(folder, CA_FILE), files.ca, 0o600);
}

async function uninstall(services: Services, name: string): Promise<string[]> {
  const known = find(services, name);
  const folder = known === undefined ? placeOf(services, name) : folderOf(name, known);
  // An installation may have ended half-way.
  if (known === undefined && !isLeft(folder)) throw notInstalled(name);
  if (known !== undefined) {
    await stop(services, name);
    must(services, 'remove', name, services.remove(name));
  }
  const left = removeOurs(folder) ? [] : [`'${folder}' stays: something in it is not ours`];
  return [known === undefined ? leftRemoved(name) : removed(name), ...left];
}

/** Waits until it has delivered what it captured. While it starts or stops, Windows can't tell it. */
async function stop(services: Services, name: string): Promise<void> {
  const end = performance.now() + STOP_PATIENCE_MS;
  for (;;) {
    const error = services.stop(name);
    if (error !== NOT_NOW) must(services, 'stop', name, error, NOT_RUNNING);
    if ((find(services, name)?.state ?? STOPPED) === STOPPED) return;
    if (performance.now() > end) throw new RcapError('SERVICE', `could not stop service '${name}': it does not end`);
    await sleep(100);
  }
}

function status(services: Services, name: string): Status {
  const known = find(services, name);
  const folder = known && folderIn(name, known.command);
  if (known === undefined || folder === undefined) return { state: 'not installed', lines: [] };
  const running = known.state !== STOPPED;
  const how = running ? `process ${known.process}` : `exit code ${known.exitCode}`;
  const lines = [STATES[known.state] ?? '', how, lastLine(folder)].filter((line) => line !== '');
  return { state: running ? 'running' : 'not running', lines };
}

function lastLine(folder: string): string {
  const file = join(folder, LOG_FILE);
  try {
    const last = existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').at(-1) : undefined;
    return last ? `last line of ${file}: ${last}` : '';
  } catch {
    return ''; // only administrators may read it
  }
}

function find(services: Services, name: string): ServiceState | undefined {
  const found = services.query(name);
  if (typeof found === 'object') return found;
  if (found === NO_SUCH_SERVICE) return undefined;
  throw failure(services, 'look at', name, found);
}

/** Its folder; refuses services of others. */
function folderOf(name: string, { command }: ServiceState): string {
  const folder = folderIn(name, command);
  if (folder === undefined) throw taken(name, 'another service has it');
  return folder;
}

function ours(services: Services, name: string): void {
  const known = find(services, name);
  if (known === undefined) throw notInstalled(name);
  folderOf(name, known);
}

function must(services: Services, verb: string, name: string, error: number, harmless = 0): void {
  if (error !== 0 && error !== harmless) throw failure(services, verb, name, error);
}
function failure(services: Services, verb: string, name: string, error: number): RcapError {
  if (error === NO_SUCH_SERVICE) return notInstalled(name);
  const [reason, hint] = WORDS[error] ?? [services.words(error), undefined];
  return new RcapError('SERVICE', `could not ${verb} service '${name}': ${reason} (Windows error ${error})`, { hint });
}
