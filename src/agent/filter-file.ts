/** `--filter-file`. */
import { readFileSync } from 'node:fs';
import { reasonOf, usageError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { filterOf, MAX_USERS_FILTER_BYTES, refuseFilter } from '../formats/filter-text.ts';

/** Throws a usage error when it can't be read, or holds what can be no filter. */
export function readFilterFile(path: string): string {
  try {
    const filter = filterOf(readFileSync(path, 'utf8'));
    touch('read', path, 'the filter');
    const reason = filter === '' ? 'there is no filter in it' : refuseFilter(filter, MAX_USERS_FILTER_BYTES);
    if (reason !== undefined) throw new Error(reason);
    return filter;
  } catch (e) {
    throw usageError(`could not read filter file '${path}': ${reasonOf(e)}`);
  }
}
