import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { RcapError } from '../errors.ts';
import { temporaryFolder } from '../test/support.ts';
import { lockFolder } from './lock.ts';

const take = (folder: string) => lockFolder(folder, 'state', 0o700);
const isLocked = (e: unknown) =>
  e instanceof RcapError && e.code === 'LOCKED' && /another rcap-collector/.test(e.message);

/** Another process that takes the folder, and is killed while it has it. */
async function killedHolder(t: TestContext, folder: string): Promise<void> {
  const script = `import { lockFolder } from ${JSON.stringify(join(import.meta.dirname, 'lock.ts'))};
    await lockFolder(${JSON.stringify(folder)}, 'state', 0o700);
    console.log('taken');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  await assert.rejects(take(folder), isLocked);
  child.kill('SIGKILL');
  await once(child, 'exit');
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

test('of many that start at once exactly one gets the folder', async (t) => {
  const folder = temporaryFolder(t);
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => take(folder)));
  assert.equal(results.filter((r) => r.status === 'fulfilled').length, 1);
  for (const r of results) if (r.status === 'rejected') assert.ok(isLocked(r.reason), String(r.reason));
});

test('a collector that was killed leaves its socket behind, and the next one takes the folder', async (t) => {
  const folder = temporaryFolder(t);
  await killedHolder(t, folder);
  assert.ok(existsSync(join(folder, '.rcap-collector.lock')));
  const giveBack = await take(folder);
  await assert.rejects(take(folder), isLocked);
  giveBack();
});

test('of many that find the socket of a killed one exactly one gets the folder', async (t) => {
  for (let round = 0; round < 5; round++) {
    const folder = temporaryFolder(t);
    await killedHolder(t, folder);
    const results = await Promise.allSettled(Array.from({ length: 2 + round }, () => take(folder)));
    assert.equal(results.filter((r) => r.status === 'fulfilled').length, 1);
    await assert.rejects(take(folder), isLocked);
    assert.deepEqual(readdirSync(folder), ['.rcap-collector.lock']);
  }
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
