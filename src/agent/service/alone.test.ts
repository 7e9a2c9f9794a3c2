import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../test/support.ts';
import { alone } from './alone.ts';

test('one at a time, and nothing is left', async (t) => {
  const folder = temporaryFolder(t);
  let at = 0;
  const act = (): number => {
    at++;
    assert.equal(readdirSync(folder).length, 1);
    return at;
  };
  assert.equal(await alone(act, folder), 1);
  assert.deepEqual(readdirSync(folder), []);
  await assert.rejects(
    alone(() => {
      throw new Error('no');
    }, folder),
    { message: 'no' },
  );
  assert.deepEqual(readdirSync(folder), []);
});

const HOLDER = (folder: string, end: string) => `
  import { alone } from ${JSON.stringify(new URL('alone.ts', import.meta.url).href)};
  import { spawnSync } from 'node:child_process';
  await alone(() => { ${end} }, ${JSON.stringify(folder)}).catch((e) => console.log(e.message));`;
const hold = (folder: string, end: string) =>
  spawnSync(process.execPath, ['--input-type=module-typescript', '-e', HOLDER(folder, end)], { encoding: 'utf8', timeout: 60_000 }); // prettier-ignore

test('a second process gives way, also while the first one is busy', (t) => {
  const folder = temporaryFolder(t);
  const second = `['--input-type=module-typescript', '-e', ${JSON.stringify(HOLDER(folder, 'console.log("both")'))}]`;
  const end = hold(folder, `console.log(spawnSync(process.execPath, ${second}, { encoding: 'utf8' }).stdout)`);
  assert.match(end.stdout, /^could not change a service: another rcap-agent service command is at work\n/, end.stderr);
  assert.deepEqual(readdirSync(folder), []);
});

test("one that was killed is in nobody's way", async (t) => {
  const folder = temporaryFolder(t);
  assert.equal(hold(folder, 'process.kill(process.pid, "SIGKILL")').signal, 'SIGKILL');
  assert.equal(readdirSync(folder).length, 1);
  assert.equal(await alone(() => 'done', folder), 'done');
  assert.deepEqual(readdirSync(folder), []);
});

test('what else is wrong is not taken for another command', async (t) => {
  const folder = join(temporaryFolder(t), 'none');
  await assert.rejects(
    alone(() => {}, folder),
    { code: 'SERVICE', message: /no lock in '.*none': / },
  );
});
