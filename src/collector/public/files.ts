/** The files of the public folder: what each may hold, read and checked. */
import { open } from 'node:fs/promises';
import { RcapError, reasonOf } from '../../errors.ts';
import { MAX_TEXT, parseExceptions } from '../../formats/exceptions.ts';
import { filterOf, MAX_FILTER_BYTES, refuseFilter } from '../../formats/filter-text.ts';
import { type Limits, parseLimits } from './limits.ts';
import type { HostPattern } from './pattern.ts';

/** A file that was taken. */
export type PublicFile = {
  /** From the public folder: `hosts/web-1/filter.txt`. */
  name: string;
  /** Undefined: all hosts. */
  hosts: HostPattern | undefined;
  /** Of this content; no two have the same. */
  version: number;
} & Content;

export type Content =
  | { kind: 'exceptions'; /** In normal form, one a line. */ text: string; entries: number; domains: number }
  | { kind: 'filter'; text: string }
  | { kind: 'limits'; limits: Limits };

/** With comments. */
const MAX_FILTER = 4 * MAX_FILTER_BYTES;
const MAX_LIMITS = 65_536;

interface Kind {
  maxBytes: number;
  /** Throws an Error with the reason, or an RcapError that says all. */
  parse: (text: string, shown: string) => Content;
}
export const KINDS: Record<string, Kind> = {
  'exceptions.list': { maxBytes: MAX_TEXT, parse: exceptions },
  'filter.txt': { maxBytes: MAX_FILTER, parse: filter },
  'settings.json': { maxBytes: MAX_LIMITS, parse: (text) => ({ kind: 'limits', limits: parseLimits(text) }) },
};

/** Comments stay here: hosts that may be compromised needn't read what is noted beside an entry. */
function exceptions(text: string, shown: string): Content {
  const entries = parseExceptions(text, shown);
  const domains = entries.reduce((n, e) => n + (e.kind === 'domain' ? 1 : 0), 0);
  return { kind: 'exceptions', text: entries.map((e) => `${e.text}\n`).join(''), entries: entries.length, domains };
}

function filter(text: string): Content {
  const joined = filterOf(text);
  const refused = refuseFilter(joined);
  if (refused !== undefined) throw new Error(refused);
  return { kind: 'filter', text: joined };
}

/** `shown` is the file's name in messages. Throws an RcapError that says what is wrong, and where. */
export async function readPublicFile(path: string, base: string, shown: string): Promise<Content> {
  const { maxBytes, parse } = KINDS[base]!;
  try {
    return parse(await readText(path, maxBytes), shown);
  } catch (e) {
    if (e instanceof RcapError) throw e;
    throw new RcapError('SETTINGS', `could not read '${shown}': ${reasonOf(e)}`, { cause: e });
  }
}

async function readText(path: string, maxBytes: number): Promise<string> {
  // Another kind of file might let us wait for ever: it is known to be a file before it is opened.
  const file = await open(path, 'r');
  try {
    // One byte more than may be: it may grow meanwhile.
    const bytes = Buffer.allocUnsafe(Math.min((await file.stat()).size, maxBytes) + 1);
    let held = 0;
    for (let read = -1; read !== 0 && held < bytes.length; held += read)
      read = (await file.read(bytes, held, bytes.length - held)).bytesRead;
    if (held > maxBytes) throw new Error(`it is longer than ${maxBytes} bytes`);
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, held));
  } finally {
    await file.close();
  }
}
