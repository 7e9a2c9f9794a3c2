/** The agent as a Windows service, from its installation to its removal; Wine's service manager starts it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cleaner, Collector, lacks, lacksRoot, namespacePair, packetsIn, temporaryFolder, until } from './support.ts';
import { lacksWine, Wine, windowsPath } from './wine.ts';

const EXECUTABLE = fileURLToPath(new URL('../../dist/rcap-agent-win-x64.exe', import.meta.url));
const SENDER = fileURLToPath(new URL('send_frames.py', import.meta.url));
const GCC = 'x86_64-w64-mingw32-gcc';
const skip =
  lacksWine ||
  lacksRoot ||
  lacks('ip', 'capinfos', 'python3', GCC) ||
  (!existsSync(EXECUTABLE) && 'needs the executables: npm run package');

describe('the agent as a service of Windows', { skip }, () => {
  const suite = cleaner();
  const [here, there] = skip ? ([] as never) : namespacePair(suite);
  let collector: Collector;
  let wine: Wine;
  let token: string;
  let tokenFile: string;

  const agent = (...words: string[]) => wine.run(suite, EXECUTABLE, ['service', ...words]);
  const folder = (name = 'rcap-agent') => join(wine.folder, 'drive_c/Program Files/rcap', name);
  const log = (name?: string) => {
    const file = join(folder(name), 'agent.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };
  const listening = (times: number, name?: string) =>
    until(`${times} starts; it says:\n${log(name)}`, () => (log(name).match(/listening on/g)?.length ?? 0) >= times);
  const send = (count: number) =>
    execFileSync('ip', ['netns', 'exec', there.name, 'python3', SENDER, there.interface, `${count}`, '100', '5000']);
  const packets = () => collector.published().reduce((sum, file) => sum + packetsIn(file), 0);
  const install = (...more: string[]) =>
    agent('install', ...collector.address, '--token-file', windowsPath(tokenFile), '--host-name', 'served', '-i', here.interface, ...more, 'ether proto 0x88b5'); // prettier-ignore

  test.before(async () => {
    const flags = ['--rotate-age', '1s', '--rotate-idle', '1s'];
    collector = await Collector.start(suite, { prefix: here.prefix, flags });
    token = await collector.token('--host', 'served');
    tokenFile = join(temporaryFolder(suite), 'token');
    writeFileSync(tokenFile, token);
    wine = await Wine.start(suite, { prefix: here.prefix });
  });

  test('what is not installed is said so, and what is wrong refused before anything is written', async () => {
    assert.equal((await agent('status')).code, 4);
    for (const [words, said] of [
      [['start'], /'rcap-agent': it is not installed/],
      [['stop'], /'rcap-agent': it is not installed/],
      [['uninstall'], /'rcap-agent': it is not installed/],
      [['install', '--server', 'x', '--pin', 'no'], /a pin is sha256/],
      [['install', '--server', 'x', '--name', 'RpcSs'], /another service has it/],
      [['uninstall', '--name', 'RpcSs'], /another service has it/],
      [['start', '--name', 'RpcSs'], /another service has it/],
      [['stop', '--name', 'RpcSs'], /another service has it/],
      [['run', 'a', 'b'], /no service manager started this process \(Windows error 1063\)/],
    ] as [string[], RegExp][]) {
      const end = await agent(...words);
      assert.match(end.stderr, said, words.join(' '));
      assert.notEqual(end.code, 0);
    }
    assert.ok(!existsSync(join(folder(), '..')));
  });

  test('it is installed, and its packets arrive', async () => {
    const end = await install();
    assert.equal(end.code, 0, end.stderr);
    await listening(1);
    const status = await agent('status');
    assert.equal(status.code, 0, status.stdout + status.stderr);
    assert.match(
      status.stdout,
      /^rcap-agent: running\nprocess \d+\nlast line of C:\\Program Files\\rcap\\rcap-agent\\agent\.log: /,
    );
    send(2000);
    await until('2000 packets', () => packets() === 2000);
    assert.ok(readFileSync(join(folder(), 'settings.json'), 'utf8').includes(token));
    assert.ok(!log().includes(token));
    // As Wine shows who may look into a folder: "others" may not.
    assert.equal(statSync(folder()).mode & 0o007, 0);
    assert.notEqual(statSync(join(folder(), '..')).mode & 0o007, 0);
  });

  test('stop delivers what is captured, also with net.exe; start goes on', async () => {
    send(500);
    const stop = await agent('stop');
    assert.equal(stop.code, 0, stop.stderr);
    const status = await agent('status');
    assert.equal(status.code, 3);
    assert.match(status.stdout, /^rcap-agent: not running\nexit code 0\n/);
    assert.match(log(), /2500 packets sent, 2500 acknowledged/);
    await until('2500 packets', () => packets() === 2500);
    const manifests = collector.files().filter((f) => f.endsWith('.json'));
    assert.ok(
      manifests.some((f) => /"end": \{/.test(readFileSync(join(collector.captures, f), 'utf8'))),
      'no end mark',
    );
    assert.equal((await agent('stop')).code, 0);
    assert.equal((await wine.run(suite, 'net', ['start', 'rcap-agent'])).code, 0);
    await listening(2);
    assert.equal((await agent('start')).code, 0);
    assert.equal((await wine.run(suite, 'net', ['stop', 'rcap-agent'])).code, 0);
    await until('the end', () => /\n.*0 packets sent, 0 acknowledged/.test(log()));
  });

  test('installed again it has the new settings, tries again what fails, and captures without a collector', async () => {
    // Nobody listens on that port.
    const nowhere = ['--server', '127.0.0.1:1', ...collector.address.slice(2), '--stop-within', '1s'];
    const end = await agent('install', ...nowhere, '-i', 'none');
    assert.equal(end.code, 0, end.stderr);
    await until('two tries', () => (log().match(/trying again in 5 s/g)?.length ?? 0) >= 2);
    assert.equal((await agent('status')).code, 0);
    assert.equal((await agent('install', ...nowhere, '-i', here.interface, 'ether proto 0x88b5')).code, 0);
    await listening(3);
    const ends = await Promise.all([install('--count', '700'), install('--count', '700')]);
    assert.ok(ends.some((e) => e.code === 0), ends.map((e) => e.stderr).join('')); // prettier-ignore
    for (const e of ends.filter(({ code }) => code !== 0)) assert.match(e.stderr, /another rcap-agent service command/);
    await listening(4);
    send(700);
    await until('3200 packets', () => packets() === 3200);
    // Done is done.
    await until('700 packets', () => /700 packets sent, 700 acknowledged/.test(log()));
    assert.equal((await agent('status')).code, 3);
  });

  test("one command changes services at a time; a lock that is no administrator's is told from that", async (t) => {
    const exe = join(temporaryFolder(t), 'holder.exe');
    execFileSync(GCC, ['-xc', '-', '-o', exe, '-ladvapi32'], { input: HOLDER });
    for (const [owner, said] of [
      ['BA', /another rcap-agent service command is at work/],
      ['WD', /somebody who is no administrator holds the lock of such commands \(Windows error 1307\)/],
    ] as [string, RegExp][]) {
      const holder = wine.program(t, exe, [`O:${owner}D:(A;;GA;;;WD)`]);
      await holder.says(/held/);
      const end = await agent('stop');
      assert.equal(end.code, 1);
      assert.match(end.stderr, said);
      assert.equal((await agent('status')).code, 3, 'looking is free');
      holder.kill('SIGKILL');
      await holder.end();
    }
  });

  test('stop waits for the end also when somebody else has stopped it before', async (t) => {
    assert.equal((await install('--name', 'slow', '--stop-within', '6s')).code, 0);
    await listening(1, 'slow');
    const [command, ...prefix] = here.prefix;
    const link = (state: string) => execFileSync(command!, [...prefix, 'ip', 'link', 'set', 'lo', state]);
    // What it has can't be delivered.
    link('down');
    t.after(() => link('up'));
    send(10);
    const other = wine.program(t, 'net', ['stop', 'slow']);
    await until('its signal', () => /giving up|not yet acknowledged/.test(log('slow')));
    const stop = await agent('stop', '--name', 'slow');
    assert.equal(stop.code, 0, stop.stderr);
    assert.match((await agent('status', '--name', 'slow')).stdout, /^slow: not running\nexit code 3\n/);
    await other.end();
    link('up');
    assert.equal((await agent('uninstall', '--name', 'slow')).code, 0);
  });

  test('its own exit code is said', async () => {
    const settings = join(folder(), 'settings.json');
    const before = readFileSync(settings);
    writeFileSync(settings, '{');
    assert.equal((await agent('start')).code, 0);
    await until('its error', () => /could not use settings file/.test(log()));
    assert.equal((await agent('stop')).code, 0);
    assert.match((await agent('status')).stdout, /^rcap-agent: not running\nexit code 2\n/);
    writeFileSync(settings, before);
  });

  test('uninstall takes what a failed installation left, and nothing that is not ours', async () => {
    mkdirSync(folder('killed'));
    for (const file of ['rcap-agent.exe', 'settings.json'])
      writeFileSync(join(folder('killed'), `${file}.rcap-new`), '');
    const left = await agent('uninstall', '--name', 'killed');
    assert.equal(left.code, 0, left.stderr);
    assert.match(left.stderr, /what was left of service 'killed' is removed/);
    assert.ok(!existsSync(folder('killed')));
    mkdirSync(folder('half'));
    writeFileSync(join(folder('half'), 'settings.json'), '{}');
    writeFileSync(join(folder('half'), 'theirs'), '');
    const refused = await install('--name', 'half');
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /half\\theirs' is there, and not ours/);
    const end = await agent('uninstall', '--name', 'half');
    assert.equal(end.code, 0, end.stderr);
    assert.match(end.stderr, /half' stays: something in it is not ours/);
    assert.deepEqual(readdirSync(folder('half')), ['theirs']);
    rmSync(folder('half'), { recursive: true });
  });

  test('uninstall stops it and leaves nothing, and other services alone', async () => {
    assert.equal((await install('--name', 'second')).code, 0);
    await listening(1, 'second');
    const end = await agent('uninstall');
    assert.equal(end.code, 0, end.stderr);
    assert.equal((await agent('status')).code, 4);
    assert.equal((await agent('status', '--name', 'second')).code, 0);
    assert.deepEqual(readdirSync(join(folder(), '..')), ['second']);
    assert.equal((await agent('uninstall', '--name', 'second')).code, 0);
    assert.ok(!existsSync(join(folder(), '..')));
    assert.match((await agent('uninstall')).stderr, /it is not installed/);
  });
});

/** Holds what commands lock, with the rights that it is told. */
const HOLDER = `
#include <windows.h>
#include <sddl.h>
#include <stdio.h>
int main(int count, char **words) {
  SECURITY_ATTRIBUTES rights = {sizeof rights};
  ConvertStringSecurityDescriptorToSecurityDescriptorA(words[1], 1, &rights.lpSecurityDescriptor, NULL);
  if (!CreateMutexA(&rights, FALSE, "Global\\\\rcap-agent-service")) return 1;
  fprintf(stderr, "held\\n");
  Sleep(INFINITE);
}
`;
