import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { RcapError } from '../../errors.ts';
import { MAX_TEXT } from '../../formats/exceptions.ts';
import { HandClock } from '../../test/storage.ts';
import { temporaryFolder, until } from '../../test/support.ts';
import { rcap } from '../../wire/messages.js';
import { NO_SETTINGS, type Sealed } from '../../wire/settings.ts';
import { PublicSettings } from './settings.ts';

/** A public folder with these files, and what follows it. */
async function folderWith(t: TestContext, files: Record<string, string | Uint8Array>) {
  const folder = join(temporaryFolder(t), 'public');
  const write = (name: string, content: string | Uint8Array) => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  };
  for (const [name, content] of Object.entries(files)) write(name, content);
  const said: string[] = [];
  const clock = new HandClock();
  const open = () =>
    PublicSettings.open(folder, clock, {
      info: (line) => said.push(line.replaceAll(folder, 'public')),
      warning: (line) => said.push(`warning: ${line.replaceAll(folder, 'public')}`),
    });
  return { folder, write, said, clock, open };
}
const documentIn = ({ bytes }: Sealed) => rcap.v1.SettingsDocument.decode(bytes);
const listsFor = (settings: PublicSettings, host: string) =>
  documentIn(settings.of(host)).exceptions.map((e) => [e.name, e.text]);
/** As often as a change needs to count. */
async function look(settings: PublicSettings): Promise<void> {
  for (let n = 0; n < 2; n++) await settings.look();
}

test('a folder that does not exist is none, and may come later', async (t) => {
  const { write, open, said } = await folderWith(t, {});
  const settings = await open();
  assert.equal(settings.of('web-1'), NO_SETTINGS);
  write('exceptions.list', '192.0.2.1\n');
  await look(settings);
  assert.deepEqual(listsFor(settings, 'web-1'), [['exceptions.list', '192.0.2.1\n']]);
  assert.deepEqual(said, ['settings: took public/exceptions.list: 1 exception']);
});

test('all hosts with the same files share one document, and comments stay here', async (t) => {
  const { open } = await folderWith(t, {
    'exceptions.list': '\ufeff# ours\r\n192.0.2.1 # the DC\r\n\r\nExample.COM\r\n',
    'hosts/web-*/filter.txt': '# no\nnot port 22\n  and not arp\n',
    'hosts/web-1/settings.json': '{"count": 5}',
  });
  const settings = await open();
  assert.deepEqual(listsFor(settings, 'db'), [['exceptions.list', '192.0.2.1\nexample.com\n']]);
  assert.equal(settings.of('db'), settings.of('mail'));
  assert.equal(settings.of('web-2'), settings.of('WEB-3'));
  assert.notEqual(settings.of('web-2'), settings.of('db'));
  assert.equal(documentIn(settings.of('web-2')).filter?.text, 'not port 22 and not arp');
  assert.equal(documentIn(settings.of('web-1')).limits?.count, 5);
  assert.equal(Buffer.from(settings.exceptions(undefined)).toString(), '192.0.2.1\nexample.com\n');
});

test('a change counts once it stays the same from one look to the next', async (t) => {
  const { write, open, folder } = await folderWith(t, { 'exceptions.list': '192.0.2.1\n' });
  const settings = await open();
  const before = settings.of('a');
  write('exceptions.list', '192.0.2.1\n192.0.2');
  await settings.look();
  // It was half written; nobody saw that.
  write('exceptions.list', '192.0.2.1\n192.0.2.22\n');
  await settings.look();
  assert.equal(settings.of('a'), before);
  await settings.look();
  assert.deepEqual(listsFor(settings, 'a'), [['exceptions.list', '192.0.2.1\n192.0.2.22\n']]);
  // As editors do it: away, and a new one in its place.
  renameSync(join(folder, 'exceptions.list'), join(folder, 'exceptions.list~'));
  await settings.look();
  write('exceptions.list', '192.0.2.3\n');
  await settings.look();
  assert.deepEqual(listsFor(settings, 'a'), [['exceptions.list', '192.0.2.1\n192.0.2.22\n']]);
  await settings.look();
  assert.deepEqual(listsFor(settings, 'a'), [['exceptions.list', '192.0.2.3\n']]);
  rmSync(join(folder, 'exceptions.list'));
  await look(settings);
  assert.equal(settings.of('a'), NO_SETTINGS);
});

test('where nothing that counts has changed, the document is the same', async (t) => {
  const { write, open } = await folderWith(t, { 'exceptions.list': '192.0.2.1\n', 'hosts/a/filter.txt': 'ip' });
  const settings = await open();
  const [a, b] = [settings.of('a'), settings.of('b')];
  write('hosts/a/filter.txt', 'ip6');
  await look(settings);
  assert.equal(settings.of('b'), b);
  assert.notDeepEqual(settings.of('a').digest, a.digest);
});

test('a bad file is said once, with its line; what it said before stays, and other files count', async (t) => {
  const { write, open, said } = await folderWith(t, { 'exceptions.list': '192.0.2.1\n' });
  const settings = await open();
  write('exceptions.list', '192.0.2.2\n10.0.0.1/8\n');
  write('filter.txt', 'ip');
  write('hosts/a/settings.json', '{"count": -1}');
  for (let n = 0; n < 5; n++) await settings.look();
  assert.deepEqual(listsFor(settings, 'a'), [['exceptions.list', '192.0.2.1\n']]);
  assert.equal(documentIn(settings.of('a')).filter?.text, 'ip');
  const warnings = said.filter((line) => line.startsWith('warning'));
  assert.deepEqual(warnings, [
    "warning: settings: could not read 'public/exceptions.list', line 2: '10.0.0.1/8': bits are set behind the prefix length; the network is '10.0.0.0/8'; what it said before stays",
    `warning: settings: could not read 'public/hosts/a/settings.json': "count": not a whole number; it does not count`,
  ]);
  write('exceptions.list', '10.0.0.0/8\n');
  await look(settings);
  assert.deepEqual(listsFor(settings, 'a'), [['exceptions.list', '10.0.0.0/8\n']]);
});

test('at the start a bad file, pattern or kind is a usage error', async (t) => {
  const cases: [files: Record<string, string | Uint8Array>, message: RegExp][] = [
    [{ 'exceptions.list': 'x y\n' }, /could not read '.*public\/exceptions\.list', line 1: 'x y'/],
    [{ 'exceptions.list': Buffer.of(0x31, 0xff) }, /could not read '.*exceptions\.list': .*not valid/],
    [{ 'hosts/a/settings.json': '{"count"' }, /could not read '.*hosts\/a\/settings\.json': .*JSON/],
    [{ 'filter.txt': 'ip\0' }, /could not read '.*filter\.txt': it holds a NUL character/],
    [{ 'filter.txt': 'x'.repeat(16_385) }, /filter\.txt': it has more than 16384 bytes/],
    [{ 'settings.json': ' '.repeat(65_537) }, /settings\.json': it is longer than 65536 bytes/],
    [{ 'hosts/we b/filter.txt': 'ip' }, /could not use '.*hosts\/we b': no host's name has ' ' in it/],
    [{ 'filter.txt/x': '' }, /could not use '.*filter\.txt': it is not a file/],
  ];
  for (const [files, message] of cases) {
    const { open } = await folderWith(t, files);
    await assert.rejects(open(), (e: RcapError) => e.code === 'USAGE' && message.test(e.message), String(message));
  }
});

test('a list that is too long, and a pipe, are refused without being read', async (t) => {
  const { folder, write, open, said } = await folderWith(t, { 'exceptions.list': '192.0.2.1\n' });
  const settings = await open();
  truncateSync(join(folder, 'exceptions.list'), 2 ** 40);
  await look(settings);
  assert.match(said.at(-1)!, new RegExp(`it is longer than ${MAX_TEXT} bytes; what it said before stays`));
  execFileSync('mkfifo', [join(folder, 'filter.txt')]);
  await look(settings);
  assert.match(said.at(-1)!, /filter\.txt': it is not a file/);
  assert.deepEqual(listsFor(settings, 'a'), [['exceptions.list', '192.0.2.1\n']]);
  write('hosts/we b/filter.txt', 'ip');
  await look(settings);
  await look(settings);
  assert.equal(said.filter((line) => line.includes('we b')).length, 1);
});

test('who else may write there is said, and what is called nearly like a file that counts', async (t) => {
  const { folder, open, said, write } = await folderWith(t, {
    'exception.list': '',
    'exceptions.list~': '',
    '.filter.txt.swp': '',
    README: '',
    'hosts/a/filter.txt': 'ip',
  });
  chmodSync(join(folder, 'hosts/a'), 0o777);
  const settings = await open();
  await look(settings);
  assert.deepEqual(said, [
    'settings: took public/hosts/a/filter.txt: a filter',
    "warning: settings: 'public/exception.list': it is not used; did you mean exceptions.list?",
    "warning: settings: 'public/hosts/a': everybody on this machine may write it, and so say what agents capture: chmod o-w",
  ]);
  chmodSync(join(folder, 'hosts/a'), 0o755);
  await look(settings);
  chmodSync(join(folder, 'hosts/a/filter.txt'), 0o666);
  chmodSync(folder, 0o777);
  await look(settings);
  assert.equal(said.filter((line) => /'public(\/hosts\/a\/filter\.txt)?': everybody/.test(line)).length, 2);
  write('exceptions.list', '192.0.2.1');
  await look(settings);
  assert.equal(listsFor(settings, 'a').length, 1);
});

test('links are followed', async (t) => {
  const { folder, write, open } = await folderWith(t, { 'lists/all': '192.0.2.1\n', 'groups/web/filter.txt': 'ip' });
  symlinkSync('lists/all', join(folder, 'exceptions.list'));
  mkdirSync(join(folder, 'hosts'));
  symlinkSync('../groups/web', join(folder, 'hosts/web-*'));
  const settings = await open();
  assert.equal(documentIn(settings.of('web-1')).filter?.text, 'ip');
  write('lists/all', '192.0.2.22\n');
  await look(settings);
  assert.deepEqual(listsFor(settings, 'web-1'), [['exceptions.list', '192.0.2.22\n']]);
});

test('a folder that can not be read leaves the settings as they are', async (t) => {
  const { folder, open, said } = await folderWith(t, { 'hosts/a/filter.txt': 'ip' });
  const settings = await open();
  renameSync(join(folder, 'hosts'), join(folder, 'before'));
  symlinkSync('hosts', join(folder, 'hosts'));
  await look(settings);
  await look(settings);
  assert.equal(said.length, 2);
  assert.match(said[1]!, /warning: settings: could not look at .*symbolic links.*; the settings stay as they are/);
  assert.equal(documentIn(settings.of('a')).filter?.text, 'ip');
});

test('files that are too much together: who has settings keeps them, who has none hears why', async (t) => {
  const { write, open, said } = await folderWith(t, { 'filter.txt': 'ip' });
  const settings = await open();
  for (let n = 0; n <= 100; n++) write(`hosts/${'*'.repeat(n + 1)}/exceptions.list`, '192.0.2.1\n');
  await look(settings);
  assert.throws(
    () => settings.of('a'),
    (e: RcapError) => e.code === 'SETTINGS' && /101 lists/.test(e.message),
  );
  assert.throws(() => settings.of('b'));
  assert.equal(said.filter((line) => line.startsWith('warning: could not put together')).length, 1);
});

test('it looks twice a second, until it is stopped', async (t) => {
  const { write, open, clock } = await folderWith(t, {});
  const settings = await open();
  settings.start();
  write('filter.txt', 'ip');
  await until('the change', () => {
    clock.turn(500);
    return settings.of('a') !== NO_SETTINGS;
  });
  settings.stop();
});
