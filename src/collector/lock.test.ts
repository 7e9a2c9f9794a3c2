import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { RcapError } from '../errors.ts';
import { temporaryFolder } from '../test/support.ts';
import { lockFolder } from './lock.ts';

const take = (folder: string) => lockFolder(folder, 'state', 0o700);
const isLocked = (e: unknown) =>
  e instanceof RcapError && e.code === 'LOCKED' && /another rcap-collector/.test(e.message);

/** Another process that takes the folder, says whether it could, and stays. */
function holder(t: TestContext, folder: string): ChildProcess {
  const script = `import { lockFolder } from ${JSON.stringify(join(import.meta.dirname, 'lock.ts'))};
    lockFolder(${JSON.stringify(folder)}, 'state', 0o700).then(() => console.log('taken'), (e) => console.log(e.code));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => void child.kill('SIGKILL'));
  return child;
}

/** Leaves behind in the folder what a killed collector does. */
async function killedHolder(t: TestContext, folder: string): Promise<void> {
  const child = holder(t, folder);
  await once(child.stdout!, 'data');
  await assert.rejects(take(folder), isLocked);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal(readdirSync(folder).length, 1);
}

test('a folder is made if need be, taken once, and free again afterwards', async (t) => {
  const folder = join(temporaryFolder(t), 'a', 'b');
  const giveBack = await take(folder);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  await assert.rejects(take(folder), isLocked);
  giveBack();
  assert.deepEqual(readdirSync(folder), []);
  (await take(folder))();
});

/** Takes the folder many times at once; returns how often it was given. */
async function takeAtOnce(folder: string, times: number): Promise<number> {
  const results = await Promise.allSettled(Array.from({ length: times }, () => take(folder)));
  for (const r of results) if (r.status === 'rejected') assert.ok(isLocked(r.reason), String(r.reason));
  const given = results.filter((r) => r.status === 'fulfilled');
  if (given.length > 0) await assert.rejects(take(folder), isLocked);
  assert.equal(readdirSync(folder).length, given.length);
  for (const g of given) g.value();
  return given.length;
}

test('of many that start at once at most one gets the folder', async (t) => {
  for (let round = 0; round < 4; round++) assert.ok((await takeAtOnce(temporaryFolder(t), 2 + round)) <= 1);
});

test('a collector that was killed leaves its socket behind, and the next one takes the folder', async (t) => {
  const folder = temporaryFolder(t);
  await killedHolder(t, folder);
  const giveBack = await take(folder);
  await assert.rejects(take(folder), isLocked);
  giveBack();
});

test('of many that find the socket of a killed one at most one gets the folder', async (t) => {
  for (let round = 0; round < 2; round++) {
    const folder = temporaryFolder(t);
    await killedHolder(t, folder);
    assert.ok((await takeAtOnce(folder, 2 + 2 * round)) <= 1);
  }
});

test('of many processes that start at once at most one gets the folder', async (t) => {
  const folder = temporaryFolder(t);
  const children = Array.from({ length: 4 }, () => holder(t, folder));
  const said = await Promise.all(children.map(async (c) => String((await once(c.stdout!, 'data'))[0]).trim()));
  assert.ok(said.filter((s) => s === 'taken').length <= 1, said.join());
  assert.ok(
    said.every((s) => s === 'taken' || s === 'LOCKED'),
    said.join(),
  );
});

test('a path longer than a socket address may be is no trouble', async (t) => {
  const folder = join(temporaryFolder(t), 'x'.repeat(200), 'y'.repeat(200));
  const giveBack = await take(folder);
  await assert.rejects(take(folder), isLocked);
  giveBack();
});

test('a file where the folder should be, or where its socket should be, is said', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const isFolder = (e: unknown) => e instanceof RcapError && e.code === 'FOLDER' && e.message.includes(`'${file}`);
  await assert.rejects(take(file), isFolder);
  await assert.rejects(take(join(file, 'below')), isFolder);
});
