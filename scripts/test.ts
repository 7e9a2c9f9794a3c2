// Checks, then all tests; ends with the line "N passed, N failed". Words choose files by a part of their path
// (npm test -- src/options); then the checks are left out.
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

/** Most files have to do with time, so more at once than there are cores makes them fail. */
const FILES_AT_ONCE = 2;
const FILE_TIMEOUT_MS = 10 * 60_000;

const root = join(import.meta.dirname, '..');
const words = process.argv.slice(2);

const checksFailed =
  words.length === 0 && spawnSync(process.execPath, ['scripts/check.ts'], { cwd: root, stdio: 'inherit' }).status !== 0;
const all = globSync(['src/**/*.test.ts', 'native/test/**/*.test.{js,ts}'], {
  cwd: root,
  exclude: ['**/node_modules/**'],
});
const files = all.filter((file) => words.length === 0 || words.some((word) => file.includes(word))).toSorted();

const counts = files.length === 0 ? { passed: 0, failed: 0, skipped: 0 } : await runFiles(files);
// The checks count as one test, so that the closing line tells the whole truth.
if (words.length === 0) counts[checksFailed ? 'failed' : 'passed']++;
const ran = counts.passed + counts.failed - (words.length === 0 ? 1 : 0);
if (ran === 0)
  console.error(
    `test: error: no test ran\ntest: hint: ${words.length > 0 ? 'npm test' : 'are there files *.test.ts in src/?'}`,
  );
process.exitCode = ran === 0 || counts.failed > 0 ? 1 : 0;
console.log(
  `${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}`,
);

async function runFiles(relative: string[]): Promise<{ passed: number; failed: number; skipped: number }> {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const stream = run({
    cwd: root,
    files: relative.map((file) => join(root, file)),
    concurrency: FILES_AT_ONCE,
    timeout: FILE_TIMEOUT_MS,
  });
  stream.on('test:summary', ({ file, counts: { tests, passed, skipped, todo } }) => {
    // One summary a file, and one without a file name for all.
    if (file === undefined)
      Object.assign(total, { passed, failed: tests - passed - skipped - todo, skipped: skipped + todo });
  });
  for await (const text of stream.compose(spec)) process.stdout.write(text);
  return total;
}
