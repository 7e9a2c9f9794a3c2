/** What is up to date stays: beside each file that is made lies the fingerprint of what it was made from. */
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { root, work } from './plan.ts';

/** The tools themselves, and what they are made of. */
const TOOLS = ['package-lock.json', 'scripts/node/package-lock.json', 'scripts/targets/package-lock.json'];
const toolFiles = () => [...TOOLS, ...globSync('scripts/package/*.ts', { cwd: root }).toSorted()];

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

let ofTools: string | undefined;
function fingerprint(inputs: Record<string, Uint8Array | string>): string {
  ofTools ??= toolFiles()
    .map((file) => sha256(readFileSync(join(root, file))))
    .join('\n');
  const parts = Object.entries(inputs).map(([name, bytes]) => `${name} ${sha256(bytes)}`);
  return sha256([ofTools, ...parts].join('\n'));
}

/**
 * Makes `output` in a folder of its own and moves it into place when it is whole; two at once don't meet. False when the
 * one that is there was made from the same and is unchanged since.
 */
export async function makeUnlessFresh(
  output: string,
  inputs: Record<string, Uint8Array | string>,
  force: boolean,
  make: (unfinished: string, folder: string) => void | Promise<void>,
): Promise<boolean> {
  const stamp = join(work, `${basename(output)}.made-from`);
  const from = fingerprint(inputs);
  const known = existsSync(stamp) ? readFileSync(stamp, 'utf8') : '';
  if (!force && existsSync(output) && known === `${from} ${sha256(readFileSync(output))}\n`) return false;
  mkdirSync(work, { recursive: true });
  rmSync(stamp, { force: true });
  const folder = mkdtempSync(join(work, 'making-'));
  try {
    const unfinished = join(folder, basename(output));
    await make(unfinished, folder);
    const made = sha256(readFileSync(unfinished));
    renameSync(unfinished, output);
    writeFileSync(stamp, `${from} ${made}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return true;
}
