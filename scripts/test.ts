// Checks, builds the executables, runs all tests, and ends with the line "N passed, N failed". Words choose files by a part
// of their path (npm test -- src/options); then only what those files need is done.
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

/** Many tests have to do with time: more files at once than there are cores would make them fail. */
const FILES_AT_ONCE = 2;
const FILE_TIMEOUT_MS = 10 * 60_000;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}
const root = join(import.meta.dirname, '..');

/** Another script of this folder, as if it were one test. */
function runScript(name: string): boolean {
  return spawnSync(process.execPath, [`scripts/${name}.ts`], { cwd: root, stdio: 'inherit' }).status === 0;
}

async function runFiles(files: string[]): Promise<Counts> {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  if (files.length === 0) return counts;
  const stream = run({
    cwd: root,
    files: files.map((file) => join(root, file)),
    concurrency: FILES_AT_ONCE,
    timeout: FILE_TIMEOUT_MS,
  });
  stream.on('test:summary', ({ file, counts: { tests, passed, skipped, todo } }) => {
    // One summary for each file, and one without a name for all of them.
    if (file !== undefined) return;
    Object.assign(counts, { passed, failed: tests - passed - skipped - todo, skipped: skipped + todo });
  });
  for await (const text of stream.compose(spec)) process.stdout.write(text);
  return counts;
}

async function main(words: string[]): Promise<boolean> {
  const all = globSync(['src/**/*.test.ts', 'native/test/**/*.test.{js,ts}'], {
    cwd: root,
    exclude: ['**/node_modules/**'],
  });
  const files = all.filter((file) => words.length === 0 || words.some((word) => file.includes(word))).toSorted();
  const before: string[] = [];
  if (words.length === 0) before.push('check');
  // Whole programs are tested there, also as executables.
  if (files.some((file) => file.startsWith('src/test/'))) before.push('package');
  const failedBefore = before.filter((name) => !runScript(name));
  const { passed, failed, skipped } = await runFiles(files);
  for (const name of failedBefore) console.log(`failed before the tests: ${name}`);
  if (passed + failed === 0)
    console.log(`test: error: no test ran\ntest: hint: npm test${words.length > 0 ? '' : ' in a whole checkout'}`);
  const allFailed = failed + failedBefore.length;
  const allPassed = passed + before.length - failedBefore.length;
  console.log(`${allPassed} passed, ${allFailed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return passed + failed > 0 && allFailed === 0;
}

process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
