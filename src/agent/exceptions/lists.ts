/** The exceptions of the command line: what is wrong with them is said before anything starts. */
import { readFileSync } from 'node:fs';
import { RcapError, reasonOf, usageError } from '../../errors.ts';
import { touch } from '../../footprint.ts';
import { type Entry, HINT, MAX_TEXT, parseEntry, parseExceptions } from '../../formats/exceptions.ts';

export interface ListFlags {
  except: readonly string[];
  /** Paths. */
  exceptions: readonly string[];
}

/** Throws a usage error. */
export const readExceptions = ({ except, exceptions }: ListFlags): Entry[] => [
  ...exceptions.flatMap(readList),
  ...except.map(parseEntry),
];

function readList(path: string): Entry[] {
  try {
    const bytes = readFileSync(path);
    touch('read', path, 'a list of exceptions');
    if (bytes.length > MAX_TEXT) throw usageError(`could not read '${path}': a list has at most ${MAX_TEXT} bytes`);
    return parseExceptions(bytes.toString(), path);
  } catch (e) {
    if (e instanceof RcapError) throw usageError(e.message, e.hint);
    throw usageError(`could not read the exceptions '${path}': ${reasonOf(e)}`, HINT);
  }
}
