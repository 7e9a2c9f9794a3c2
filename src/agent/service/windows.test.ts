/** What Wine's service manager doesn't do: refuse. Everything else is in src/test/service-windows.test.ts. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Services } from '../../capture/source.ts';
import { temporaryFolder } from '../../test/support.ts';
import { readServiceFlags } from './flags.ts';
import type { Installation } from './manager.ts';
import { UNFINISHED } from './replace.ts';
import { serviceFiles } from './settings.ts';
import { windows } from './windows.ts';
import { commandOf } from './windows-place.ts';

/** A manager with that one service, or with none. */
const manager = (own: Partial<Services>): Services => ({ permitted: () => 0, lock: () => 0, words: String, ...own }) as Services; // prettier-ignore
const STOPPING = { state: 3, process: 7, exitCode: 0, command: commandOf('web', 'C:\\web') };

test('stop is told again while Windows cannot tell it, and waits for the end', async () => {
  const states = [STOPPING, STOPPING, STOPPING, { ...STOPPING, state: 1 }];
  const answers = [1061, 1061, 0];
  await windows(manager({ query: () => states.shift()!, stop: () => answers.shift()! })).stop('web');
  assert.deepEqual([states, answers], [[], []]);
  const denied = windows(manager({ query: () => STOPPING, stop: () => 5 })).stop('web');
  await assert.rejects(denied, /could not stop service 'web': Windows does not let this user/);
});

function installation(t: Parameters<typeof temporaryFolder>[0], ...more: string[]): [string, Installation] {
  const folder = temporaryFolder(t);
  const executable = join(folder, 'agent.exe');
  writeFileSync(executable, '');
  const argv = ['install', '--server', 'a', '--token', 'rcap_x', '--name', 'web', ...more];
  const command = readServiceFlags(argv, {});
  assert.ok(command.command === 'install');
  const files = serviceFiles(command.flags, command.given);
  return [folder, { name: 'web', flags: command.flags, files, executable }];
}
const folders = { privateFolder: (path: string) => (mkdirSync(path), 0), query: () => 1060 };

test('an installation that fails leaves no token', async (t) => {
  const [programs, wanted] = installation(t);
  const written = () => existsSync(join(programs, 'rcap/web/settings.json'));
  const create = () => {
    assert.ok(written());
    return 1072;
  };
  const failed = windows(manager({ ...folders, programs: () => programs, create })).install(wanted);
  await assert.rejects(failed, /could not install service 'web': it is being removed/);
  assert.ok(!existsSync(join(programs, 'rcap')));
});

test('what made an installation fail is said, whatever its removal runs into', async (t) => {
  const [programs, wanted] = installation(t);
  const folder = join(programs, 'rcap/web');
  const install = (privateFolder: Services['privateFolder']) =>
    windows(manager({ ...folders, programs: () => programs, privateFolder })).install(wanted);
  await assert.rejects(install(() => 5), /could not make the folder of service 'web': Windows does not let this user/); // prettier-ignore
  assert.ok(!existsSync(join(programs, 'rcap')));
  const notRemoved = install((path) => (writeFileSync(path, ''), 5));
  await assert.rejects(notRemoved, /could not make the folder of service 'web': Windows does not let this user/);
  rmSync(folder);
  const inTheWay = install((path) => (mkdirSync(join(path, `rcap-agent.exe${UNFINISHED}`), { recursive: true }), 0));
  await assert.rejects(inTheWay, { code: 'SERVICE', message: /could not write '.*rcap-agent\.exe': / });
});

test('uninstall takes what a killed installation left', async (t) => {
  const [programs, wanted] = installation(t);
  const folder = join(programs, 'rcap/web');
  mkdirSync(folder, { recursive: true });
  for (const file of ['rcap-agent.exe', 'settings.json']) writeFileSync(join(folder, file + UNFINISHED), '');
  const all = { ...folders, programs: () => programs, create: () => 0, configure: () => 0, start: () => 0 };
  const service = windows(manager({ ...all, privateFolder: () => 0 }));
  await service.install(wanted);
  assert.deepEqual(readdirSync(folder).toSorted(), ['rcap-agent.exe', 'settings.json']);
  writeFileSync(join(folder, `settings.json${UNFINISHED}`), '');
  for (const file of ['rcap-agent.exe', 'settings.json']) rmSync(join(folder, file));
  assert.deepEqual(await service.uninstall('web'), ["what was left of service 'web' is removed"]);
  assert.ok(!existsSync(join(programs, 'rcap')));
  await assert.rejects(service.uninstall('web'), { code: 'NOT_INSTALLED' });
});

test("the system's end waits longer than --stop-within", async (t) => {
  const [programs, wanted] = installation(t, '--stop-within', '2m');
  const told: number[] = [];
  const configure = (_name: string, _description: string, endMs: number) => (told.push(endMs), 0);
  const all = { ...folders, programs: () => programs, create: () => 0, configure, start: () => 0 };
  await windows(manager(all)).install(wanted);
  assert.deepEqual(told, [135_000]);
});
