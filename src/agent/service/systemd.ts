/** Services of systemd: a unit in /etc/systemd/system, settings in /etc/rcap/NAME, a copy of the agent in /usr/local/bin. */
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, realpathSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { reasonOf, RcapError, usageError } from '../../errors.ts';
import { copyUnpacked } from '../own-stamp.ts';
import { alone } from './alone.ts';
import {
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
import { type Part, replaceAll, UNFINISHED, whole } from './replace.ts';
import { CA_FILE, SETTINGS_FILE } from './settings.ts';
import { filesOf, hasSpool, MARK, markedCopy, spoolFolder, unitParts, unitText } from './unit.ts';

/** Credentials came with this version (Debian 11, RHEL 9, Ubuntu 22.04). */
const OLDEST = 247;

const unitFile = (name: string) => `/etc/systemd/system/${name}.service`;
const settingsFolder = (name: string) => `/etc/rcap/${name}`;
const copyOf = (name: string) => `/usr/local/bin/${name}`;

export const systemd: Manager = { show, install, uninstall, start, stop, status };

function show(installation: Installation): string {
  const { name, files } = installation;
  const folder = settingsFolder(name);
  const parts: [string, string][] = [
    [unitFile(name), unitOf(installation, !inPlace(installation.executable, copyOf(name)))],
    [join(folder, SETTINGS_FILE), files.shown],
  ];
  if (files.ca !== undefined) parts.push([join(folder, CA_FILE), files.ca]);
  return parts.map(([path, text]) => `# ${path}\n${text}`).join('\n');
}

function unitOf({ name, flags }: Installation, copied: boolean): string {
  if (flags.spoolDir !== undefined && flags.spoolDir !== spoolFolder(name)) {
    throw usageError(
      `could not use '--spool-dir ${flags.spoolDir}': this service may write to ${spoolFolder(name)} only`,
      `--spool-dir ${spoolFolder(name)}`,
    );
  }
  return unitText({ name, executable: copyOf(name), copied, folder: settingsFolder(name), ...unitParts(flags) });
}

async function install(installation: Installation): Promise<string[]> {
  const { name, files, executable } = installation;
  unitOf(installation, true); // refuses what can't be
  if (executable === undefined) throw needsExecutable();
  return asRoot(() => {
    const known = ourUnit(name);
    refuseTaken(installation, known);
    const [copy, folder] = [copyOf(name), settingsFolder(name)];
    for (const place of [dirname(copy), dirname(folder), folder]) refuseOthers(place);

    const copies = !inPlace(executable, copy);
    const copied = copies || (known !== undefined && markedCopy(known) === copy);
    // The unit is first in its place: it tells `uninstall` what is ours. Until then all of it has names that are only ours.
    const parts = [whole(unitFile(name), unitOf(installation, copied), 0o644)];
    // Everybody may read it, so a packed one's settings are in the file below alone.
    if (copies) parts.push({ path: copy, mode: 0o755, make: (unfinished) => copyUnpacked(executable, unfinished) });
    for (const [file, text] of written(files)) parts.push(whole(join(folder, file), text, 0o600));
    place(parts, folder, () => {
      if (known !== undefined && hasSpool(known) && installation.flags.spoolDir === undefined) removeSpool(name);
    });
    const old = known === undefined ? [] : filesOf(known);
    for (const file of old) if (!written(files).has(file)) rmSync(join(folder, file), { force: true });
    systemctl('daemon-reload');
    systemctl('enable', `${name}.service`);
    systemctl('restart', `${name}.service`);
    return [installed(name)];
  });
}

/** What is in the folder of settings, by name. */
const written = ({ settings, ca }: Installation['files']): Map<string, string> =>
  new Map([[SETTINGS_FILE, settings], ...(ca === undefined ? [] : [[CA_FILE, ca] as const])]);

/** Nothing is taken over that isn't of an installation of ours. */
function refuseTaken({ name, flags, files, executable }: Installation, known: string | undefined): void {
  if (known === undefined && shown(name)['LoadState'] !== 'not-found') throw taken(name, 'another service has it');
  const needed = [...written(files).keys()].map((file) => join(settingsFolder(name), file));
  if (!inPlace(executable, copyOf(name))) needed.push(copyOf(name));
  if (flags.spoolDir !== undefined) needed.push(spoolFolder(name));
  const ours = known === undefined ? [] : filesOf(known).map((file) => join(settingsFolder(name), file));
  if (known !== undefined && hasSpool(known)) ours.push(spoolFolder(name));
  const copied = known !== undefined && markedCopy(known);
  for (const path of needed) {
    // A link that leads nowhere is there, too.
    const free = lstatSync(path, { throwIfNoEntry: false }) === undefined || ours.includes(path) || path === copied;
    if (!free) throw taken(name, `${path} is there, and not ours`, 'move it elsewhere, or choose another: --name NAME');
  }
}

/** All or nothing; `between` is for the moment before. */
function place(parts: Part[], folder: string, between: () => void): void {
  try {
    mkdirSync(dirname(folder), { recursive: true, mode: 0o755 });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    replaceAll(parts, between);
  } catch (e) {
    removeIfEmpty(folder);
    if (e instanceof RcapError) throw e;
    throw new RcapError('SERVICE', `could not make folder '${folder}': ${reasonOf(e)}`, { cause: e });
  }
}

async function uninstall(name: string): Promise<string[]> {
  return asRoot(() => {
    const unit = ourUnit(name);
    const left = removeUnfinished(name);
    if (unit === undefined) {
      if (left) return [leftRemoved(name)];
      if (shown(name)['LoadState'] === 'not-found') throw notInstalled(name);
      throw taken(name, 'another service has it');
    }
    // Waits until the last packets are delivered.
    systemctl('disable', '--now', `${name}.service`);
    // Else systemd would go on to list it.
    if (shown(name)['ActiveState'] === 'failed') systemctl('reset-failed', `${name}.service`);
    if (hasSpool(unit)) removeSpool(name);
    const copy = markedCopy(unit);
    if (copy !== undefined) rmSync(copy, { force: true });
    // What else is in the folder, an administrator's token file for one, isn't ours.
    const folder = settingsFolder(name);
    for (const file of filesOf(unit)) rmSync(join(folder, file), { force: true });
    removeIfEmpty(folder);
    // Last: what is interrupted before can be done again.
    rmSync(unitFile(name), { force: true });
    systemctl('daemon-reload');
    return [removed(name)];
  });
}

/** What an installation had begun when it was killed; whether there was anything. */
function removeUnfinished(name: string): boolean {
  const folder = settingsFolder(name);
  const left = [unitFile(name), copyOf(name), join(folder, SETTINGS_FILE), join(folder, CA_FILE)]
    .map((path) => path + UNFINISHED)
    .filter((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
  for (const path of left) rmSync(path, { force: true });
  return removeIfEmpty(folder) || left.length > 0;
}

/** And the folder of all services' settings. False if it isn't there, either. */
function removeIfEmpty(folder: string): boolean {
  try {
    rmdirSync(folder);
  } catch {
    return false; // others have theirs there
  }
  try {
    rmdirSync(dirname(folder));
  } catch {
    // other services do
  }
  return true;
}

/** Also by another name, through links. */
const inPlace = (executable: string | undefined, copy: string): boolean =>
  executable !== undefined && existsSync(copy) && realpathSync(executable) === realpathSync(copy);

/** Who may write there could give the service another program or other settings. */
function refuseOthers(folder: string): void {
  const is = statSync(folder, { throwIfNoEntry: false });
  if (is === undefined || (is.uid === 0 && (is.mode & 0o002) === 0)) return;
  throw new RcapError('SERVICE', `could not install into '${folder}': others than root may write there`, {
    hint: `chown root ${folder} && chmod o-w ${folder}`,
  });
}

function removeSpool(name: string): void {
  systemctl('stop', `${name}.service`);
  systemctl('clean', '--what=state', `${name}.service`);
}

async function start(name: string): Promise<void> {
  return asRoot(() => control('start', name));
}
async function stop(name: string): Promise<void> {
  return asRoot(() => control('stop', name));
}
function control(verb: string, name: string): void {
  if (ourUnit(name) === undefined) throw notInstalled(name);
  systemctl(verb, `${name}.service`);
}

function status(name: string): Promise<Status> {
  needsSystemd();
  if (ourUnit(name) === undefined) return Promise.resolve({ state: 'not installed', lines: [] });
  const is = shown(name);
  const running = is['ActiveState'] === 'active' || is['ActiveState'] === 'deactivating';
  const lines = [
    running ? `since ${is['ActiveEnterTimestamp']}, process ${is['MainPID']}` : how(is),
    `${is['UnitFileState'] === 'enabled' ? 'starts' : 'does not start'} with the system; restarts after failures: ${is['NRestarts']}`,
  ];
  const last = lastLine(name);
  if (last) lines.push(`last line: ${last}`);
  return Promise.resolve({ state: running ? 'running' : 'not running', lines });
}

function how({ ActiveState, SubState, Result }: Record<string, string>): string {
  return SubState === 'auto-restart' ? `failed (${Result}), and will be started again` : `${ActiveState} (${Result})`;
}

/** The unit's text when it is one that we wrote. */
function ourUnit(name: string): string | undefined {
  try {
    const text = readFileSync(unitFile(name), 'utf8');
    return text.includes(`\n${MARK}\n`) ? text : undefined;
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new RcapError('SERVICE', `could not read '${unitFile(name)}': ${reasonOf(e)}`, { cause: e });
  }
}

const PROPERTIES = 'LoadState,ActiveState,SubState,Result,ActiveEnterTimestamp,MainPID,UnitFileState,NRestarts';
function shown(name: string): Record<string, string> {
  const text = systemctl('show', `--property=${PROPERTIES}`, `${name}.service`);
  return Object.fromEntries(text.split('\n').map((line) => line.split(/=(.*)/, 2))) as Record<string, string>;
}

function lastLine(name: string): string {
  try {
    return run('journalctl', [
      `_SYSTEMD_UNIT=${name}.service`,
      '--lines=1',
      '--output=cat',
      '--no-pager',
      '--quiet',
    ]).trim();
  } catch {
    return ''; // not everybody may read the journal
  }
}

// ---- systemd -----------------------------------------------------------------------------------------------------------

async function asRoot<T>(act: () => T): Promise<T> {
  needsSystemd();
  if (process.getuid?.() !== 0) {
    throw new RcapError('SERVICE', 'could not change a service: only root may', { hint: 'sudo rcap-agent service …' });
  }
  return alone(act);
}

function needsSystemd(): void {
  // Its own test of whether it runs this system: sd_booted(3).
  if (!existsSync('/run/systemd/system')) {
    throw new RcapError('SERVICE', 'could not manage services: this system was not started by systemd', {
      hint: 'rcap-agent service install --print … shows a unit to adapt',
    });
  }
  const version = Number(/\d+/.exec(run('systemctl', ['--version']))?.[0]);
  if (version < OLDEST) {
    throw new RcapError('SERVICE', `could not manage services: systemd ${version} has no credentials`, {
      hint: `systemd ${OLDEST} or newer is needed`,
    });
  }
}

const systemctl = (...words: string[]): string => run('systemctl', ['--no-pager', '--quiet', ...words]);

function run(program: string, words: string[]): string {
  try {
    return execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (e) {
    const said = (e as { stderr?: string }).stderr?.trim() || reasonOf(e);
    throw new RcapError('SERVICE', `could not run '${program} ${words.join(' ')}': ${said}`, { cause: e });
  }
}
