/** The agents' executables that a collector packs: where they are, whether they are whole, and their bytes. */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isSea } from 'node:sea';
import { reasonOf, RcapError } from '../errors.ts';
import { type Image, type Piece, pieces, type Stamped } from '../formats/image.ts';

export const TARGETS = ['linux-x64', 'linux-arm64', 'win-x64', 'macos-arm64', 'macos-x64'] as const;
export type Target = (typeof TARGETS)[number];
const SUMS = 'SHA256SUMS';
const CHUNK_BYTES = 1 << 18;

export const isWindows = (target: Target): boolean => target.startsWith('win-');
/** As scripts/package.ts names it. */
const fileOf = (target: Target) => `rcap-agent-${target}${isWindows(target) ? '.exe' : ''}`;

/** Beside the collector's own executable. */
const defaultFolder = () => (isSea() ? dirname(process.execPath) : '.');

export interface Executable {
  /** Absolute. */
  path: string;
  image: Image;
  close(): void;
}

/** An open file. */
export function imageOf(file: number, path: string): Image {
  const { size } = fstatSync(file);
  return { size, read: (offset, length) => readExactly(file, path, offset, length) };
}

/** The agent of a target; its sum must be right where there are sums. */
export function openAgent(target: Target, folder: string = defaultFolder()): Executable {
  const path = resolve(folder, fileOf(target));
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    const opened = file;
    const agent = { path, image: imageOf(opened, path), close: () => closeSync(opened) };
    checkSum(agent);
    return agent;
  } catch (e) {
    if (file !== undefined) closeSync(file);
    if (e instanceof RcapError) throw e;
    throw new RcapError(
      'FILE_OPEN',
      `could not pack an agent for ${target}: could not read '${path}': ${reasonOf(e)}`,
      {
        hint: "'npm run package' makes the agents; --agents DIR says where they are",
        cause: e,
      },
    );
  }
}

function readExactly(file: number, path: string, offset: number, length: number): Uint8Array {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const read = readSync(file, bytes, at, length - at, offset + at);
    if (read === 0) throw new RcapError('STAMP', `could not read '${path}': it became shorter meanwhile`);
    at += read;
  }
  return bytes;
}

function checkSum({ path, image }: Executable): void {
  const sums = readSums(join(dirname(path), SUMS));
  if (sums === undefined) return;
  const name = path.slice(dirname(path).length + 1);
  const expected = sums.get(name);
  const fail = (reason: string) =>
    new RcapError('SUM', `could not pack '${path}': ${reason}`, {
      hint: 'copy the agents and SHA256SUMS of one release together',
    });
  if (expected === undefined) throw fail(`${SUMS} beside it doesn't name it`);
  if (sha256Of(image, [{ from: 0, to: image.size }]) !== expected) throw fail(`its SHA-256 is not the one in ${SUMS}`);
}

function readSums(path: string): Map<string, string> | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new RcapError('FILE_OPEN', `could not read '${path}': ${reasonOf(e)}`, { cause: e });
  }
  return new Map([...text.matchAll(/^([0-9a-f]{64}) [ *](.+)$/gm)].map((m) => [m[2]!, m[1]!]));
}

/** The same, the parts of the file none longer than a chunk. */
export function* cut(list: Piece[]): Generator<Piece> {
  for (const piece of list) {
    if (piece instanceof Uint8Array) yield piece;
    else for (let from = piece.from; from < piece.to; from += CHUNK_BYTES) yield { from, to: Math.min(from + CHUNK_BYTES, piece.to) }; // prettier-ignore
  }
}

/** All the bytes of a stamped executable, in order, a chunk at a time. */
export function* chunks(image: Image, list: Piece[]): Generator<Uint8Array> {
  for (const piece of cut(list))
    yield piece instanceof Uint8Array ? piece : image.read(piece.from, piece.to - piece.from);
}

const sha256Of = (image: Image, list: Piece[]): string => {
  const hash = createHash('sha256');
  for (const chunk of chunks(image, list)) hash.update(chunk);
  return hash.digest('hex');
};

/** Of the stamped file, hex. */
export const stampedSha256 = (image: Image, stamped: Stamped): string => sha256Of(image, pieces(stamped));
