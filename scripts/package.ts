// Makes the executables in dist/, and what says what is in them: npm run package -- [PROGRAM…] [TARGET…] [--force]
// Without words everything: rcap-agent for five systems, rcap-collector for Linux. What is up to date stays.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitCodeOf, RcapError } from '../src/errors.ts';
import { assemble } from './package/assemble.ts';
import { bundle, type Bundle } from './package/bundle.ts';
import { makeUnlessFresh } from './package/fresh.ts';
import { writePapers } from './package/papers.ts';
import { addonOf, choose, dist, type Product, PROGRAMS, requireInputs } from './package/plan.ts';

async function main(words: string[]): Promise<void> {
  const force = words.includes('--force');
  const products = choose(words.filter((word) => !word.startsWith('--')));
  for (const product of products) requireInputs(product);
  const bundles = new Map<string, Bundle>();
  for (const program of PROGRAMS) bundles.set(program.name, await bundle(program));
  for (const product of products) await make(product, bundles.get(product.program.name)!, force);
  writePapers(bundles);
}

async function make(product: Product, { script }: Bundle, force: boolean): Promise<void> {
  const { program, target, file } = product;
  const inputs = { script, addon: program.addon ? readFileSync(addonOf(target)) : '', target: JSON.stringify(target) };
  await makeUnlessFresh(join(dist, file), inputs, force, (unfinished, folder) => {
    console.error(`package: making dist/${file}`);
    return assemble(product, script, unfinished, folder);
  });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof RcapError)) throw error;
  console.error(`package: error: ${error.message}`);
  if (error.hint !== undefined) console.error(`package: hint: ${error.hint}`);
  process.exitCode = exitCodeOf(error);
}
