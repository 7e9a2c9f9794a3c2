/**
 * Services of Windows: all of one is in %ProgramFiles%\rcap\NAME, a folder that only administrators and the system look into:
 * the agent's copy, its settings, what it says. It runs as LocalSystem, since Npcap may let nobody else capture.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Services, ServiceState } from '../../capture/source.ts';
import { reasonOf, RcapError } from '../../errors.ts';
import {
  atWork,
  type Installation,
  installed,
  type Manager,
  needsExecutable,
  notInstalled,
  type Status,
  taken,
} from './manager.ts';
import { replace, writeWhole } from './replace.ts';
import { CA_FILE, LOG_FILE, SETTINGS_FILE } from './settings.ts';

/** winerror.h */
const DENIED = 5;
const ALREADY_RUNNING = 1056;
const NO_SUCH_SERVICE = 1060;
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

export const windows = (services: Services): Manager => ({
  show,
  install: async (installation) => install(alone(services), installation),
  uninstall: async (name) => uninstall(alone(services), name),
  start: async (name) => must(services, 'start', name, alone(services).start(name), ALREADY_RUNNING),
  stop: async (name) => stop(alone(services), name),
  status: async (name) => status(services, name),
});

function alone(services: Services): Services {
  if (services.lock() !== 0) throw atWork();
  return services;
}

const folderOf = (name: string): string => join(process.env['ProgramFiles'] ?? 'C:\\Program Files', 'rcap', name);
const executableIn = (folder: string): string => join(folder, 'rcap-agent.exe');
/** Quoted: an unquoted path with a space would let others put their program in its way. */
const commandOf = (name: string): string => `"${executableIn(folderOf(name))}" service run ${name} "${folderOf(name)}"`;

function show({ name, files }: Installation): string {
  const folder = folderOf(name);
  const ca = files.ca === undefined ? '' : `\n# ${join(folder, CA_FILE)}\n${files.ca}`;
  return `# service '${name}'\n${commandOf(name)}\n\n# ${join(folder, SETTINGS_FILE)}\n${files.shown}${ca}`;
}

async function install(services: Services, { name, files, executable }: Installation): Promise<string[]> {
  if (executable === undefined) throw needsExecutable();
  must(services, 'install', name, services.permitted());
  const known = find(services, name);
  if (known !== undefined) {
    refuseForeign(name, known);
    await stop(services, name); // a program that runs can't be replaced here
  }
  const folder = folderOf(name);
  mkdirSync(dirname(folder), { recursive: true });
  must(services, 'make the folder of', name, services.privateFolder(folder));
  const copy = executableIn(folder);
  if (executable.toLowerCase() !== copy.toLowerCase()) replace(copy, (made) => copyFileSync(executable, made), 0o755);
  writeWhole(join(folder, SETTINGS_FILE), files.settings, 0o600);
  if (files.ca === undefined) rmSync(join(folder, CA_FILE), { force: true });
  else writeWhole(join(folder, CA_FILE), files.ca, 0o600);
  const description = 'Captures packets of this host and sends them to rcap-collector.';
  if (known === undefined) must(services, 'install', name, services.create(name, description, commandOf(name)));
  must(services, 'start', name, services.start(name), ALREADY_RUNNING);
  return [installed(name)];
}

async function uninstall(services: Services, name: string): Promise<string[]> {
  must(services, 'remove', name, services.permitted());
  const known = find(services, name);
  if (known === undefined) throw notInstalled(name);
  refuseForeign(name, known);
  await stop(services, name);
  must(services, 'remove', name, services.remove(name));
  const folder = folderOf(name);
  try {
    // Its process may need a moment more.
    rmSync(folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
  } catch (e) {
    const error = `could not remove '${folder}': ${reasonOf(e)}`;
    throw new RcapError('SERVICE', error, { hint: 'the service is removed; delete that folder by hand', cause: e });
  }
  try {
    rmdirSync(dirname(folder));
  } catch {
    // other services have theirs there
  }
  return [`service '${name}' is stopped and removed`];
}

/** Waits until it has delivered what it captured. */
async function stop(services: Services, name: string): Promise<void> {
  must(services, 'stop', name, services.stop(name), NOT_RUNNING);
  const end = performance.now() + STOP_PATIENCE_MS;
  while ((find(services, name)?.state ?? STOPPED) !== STOPPED) {
    if (performance.now() > end) throw new RcapError('SERVICE', `could not stop service '${name}': it does not end`);
    await sleep(100);
  }
}

function status(services: Services, name: string): Status {
  const known = find(services, name);
  if (known === undefined || known.command !== commandOf(name)) return { state: 'not installed', lines: [] };
  const running = known.state !== STOPPED;
  const how = running ? `process ${known.process}` : `exit code ${known.exitCode}`;
  const lines = [STATES[known.state] ?? '', how, lastLine(name)].filter((line) => line !== '');
  return { state: running ? 'running' : 'not running', lines };
}

function lastLine(name: string): string {
  const file = join(folderOf(name), LOG_FILE);
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

function refuseForeign(name: string, { command }: ServiceState): void {
  if (command !== commandOf(name)) throw taken(name, 'another service has it');
}

function must(services: Services, verb: string, name: string, error: number, harmless = 0): void {
  if (error !== 0 && error !== harmless) throw failure(services, verb, name, error);
}
function failure(services: Services, verb: string, name: string, error: number): RcapError {
  if (error === NO_SUCH_SERVICE) return notInstalled(name);
  const [reason, hint] = WORDS[error] ?? [services.words(error), undefined];
  return new RcapError('SERVICE', `could not ${verb} service '${name}': ${reason} (Windows error ${error})`, { hint });
}
