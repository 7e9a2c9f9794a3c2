// Makes the executables in dist/, and the papers about them:
//   npm run package -- [PROGRAM…] [TARGET…] [--force] [--sign-key FILE --sign-cert FILE [--timestamp URL]]
// Without words everything: rcap-agent for five systems, rcap-collector for Linux. What is up to date stays.
import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { exitCodeOf, RcapError, reasonOf, usageError } from '../src/errors.ts';
import { assemble } from './package/assemble.ts';
import { bundle, type Bundle } from './package/bundle.ts';
import { makeUnlessFresh } from './package/fresh.ts';
import { writePapers } from './package/papers.ts';
import { addonOf, choose, dist, type Product, PROGRAMS, requireInputs } from './package/plan.ts';
import { inputsOf, type Signer, signerFrom, signWindows } from './package/sign.ts';

const OPTIONS = {
  force: { type: 'boolean', default: false },
  'sign-key': { type: 'string' },
  'sign-cert': { type: 'string' },
  timestamp: { type: 'string' },
} as const;

async function main(args: string[]): Promise<void> {
  const { values, positionals } = parse(args);
  const products = choose(positionals);
  const signer = signerFrom(values['sign-key'], values['sign-cert'], values.timestamp);
  if (signer && !products.some(isSignable)) throw usageError('could not sign: only win-x64 takes a certificate');
  for (const product of products) requireInputs(product);
  const bundles = new Map<string, Bundle>();
  for (const program of PROGRAMS) bundles.set(program.name, await bundle(program));
  for (const product of products) {
    const { script } = bundles.get(product.program.name)!;
    await make(product, script, values.force, isSignable(product) ? signer : undefined);
  }
  writePapers(bundles);
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw usageError(`could not read the command line: ${reasonOf(error).split('. ')[0]}`);
  }
}

const isSignable = ({ target }: Product): boolean => target.platform === 'win';

async function make(product: Product, script: Uint8Array, force: boolean, signer?: Signer): Promise<void> {
  const { program, target, file } = product;
  const inputs = {
    script,
    addon: program.addon ? readFileSync(addonOf(target)) : '',
    target: JSON.stringify(target),
    ...(signer && inputsOf(signer)),
  };
  await makeUnlessFresh(join(dist, file), inputs, force, async (unfinished, folder) => {
    console.error(`package: making dist/${file}`);
    await assemble(product, script, unfinished, folder);
    if (signer === undefined) return;
    renameSync(unfinished, `${unfinished}.unsigned`);
    signWindows(signer, program.name, `${unfinished}.unsigned`, unfinished);
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
