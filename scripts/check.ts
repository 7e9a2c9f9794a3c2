// Types, lint and layout of all that is ours. Ends with 1 if anything is wrong. --write mends the layout and does no more.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** What prettier looks at; what tools write themselves, and what is a sample of something, is left out. */
const LAYOUT = [
  'package.json',
  'tsconfig.json',
  'src',
  'scripts/*.{ts,json}',
  'scripts/package',
  'scripts/bench',
  'native/**/*.{js,ts,json}',
];
const NOT_LAYOUT = ['!src/wire/messages.*', '!native/{build*,prebuilds}/**', '!**/fixtures/**', '!**/node_modules/**'];

interface Step {
  name: string;
  tool: string;
  words: string[];
  /** What to type to see this alone, or to mend it. */
  hint: string;
}
const prettier = (what: string): Step => ({
  name: 'layout',
  tool: 'prettier',
  words: [what, '--log-level=warn', '--no-error-on-unmatched-pattern', ...LAYOUT, ...NOT_LAYOUT],
  hint: 'npm run format',
});
const lint = ['-c', 'scripts/oxlint.json', '--type-aware', '--format=unix', 'src', 'scripts', 'native'];
const ALL: Step[] = [
  { name: 'types', tool: 'tsc', words: ['--noEmit'], hint: 'npx tsc --noEmit' },
  { name: 'lint', tool: 'oxlint', words: lint, hint: `npx oxlint ${lint.join(' ')}` },
  prettier('--check'),
];

function passes({ name, tool, words, hint }: Step): boolean {
  const program = join(root, 'node_modules/.bin', tool);
  if (!existsSync(program)) return complain(`${tool} is not installed`, 'npm run setup');
  const { status, stdout, stderr } = spawnSync(program, words, { cwd: root, encoding: 'utf8' });
  if (status === 0) return true;
  process.stderr.write(stdout + stderr);
  return complain(`${name} failed`, hint);
}

function complain(message: string, hint: string): false {
  process.stderr.write(`check: error: ${message}\ncheck: hint: ${hint}\n`);
  return false;
}

const steps = process.argv.includes('--write') ? [prettier('--write')] : ALL;
const failed = steps.filter((step) => !passes(step));
if (failed.length === 0) console.log(`check: ${steps.map(({ name }) => name).join(', ')}: in order`);
process.exitCode = failed.length === 0 ? 0 : 1;
