/** From the files of the public folder to what one host gets: pure. */
import { RcapError } from '../../errors.ts';
import { MAX_DOMAINS, MAX_ENTRIES } from '../../formats/exceptions.ts';
import type { rcap } from '../../wire/messages.js';
import { NO_SETTINGS, type Sealed, sealDocument } from '../../wire/settings.ts';
import type { PublicFile } from './files.ts';
import { strictest } from './limits.ts';
import { bySpecificity } from './pattern.ts';

/** Lists of a document, and bytes of a file's name in it. */
const MAX_LISTS = 100;
const MAX_NAME = 255;

type OfKind<K extends PublicFile['kind']> = Extract<PublicFile, { kind: K }>;
const only = <K extends PublicFile['kind']>(files: readonly PublicFile[], kind: K): OfKind<K>[] =>
  files.filter((f): f is OfKind<K> => f.kind === kind);

/** Those that count for a host: for all hosts first, then the less specific ones. A host without a name: only the former. */
export const filesFor = (files: readonly PublicFile[], host: string | undefined): PublicFile[] =>
  files
    .filter((f) => !f.hosts || (host !== undefined && f.hosts.matches(host)))
    .toSorted((a, b) => (a.hosts && b.hosts ? bySpecificity(b.hosts, a.hosts) : Number(!!a.hosts) - Number(!!b.hosts)));

/** `files` as filesFor sorts them. Of filters the last counts; an empty one says that there is none. */
export function documentOf(files: readonly PublicFile[]): rcap.v1.ISettingsDocument {
  const lists = only(files, 'exceptions').filter((f) => f.entries > 0);
  const filter = only(files, 'filter').at(-1);
  const limits = strictest(only(files, 'limits').map((f) => f.limits));
  const sum = (of: (f: OfKind<'exceptions'>) => number) => lists.reduce((n, f) => n + of(f), 0);
  if (lists.length > MAX_LISTS)
    throw new Error(`${lists.length} lists of exceptions count for it, at most ${MAX_LISTS} can`);
  const most: [number, number, string][] = [
    [sum((f) => f.entries), MAX_ENTRIES, 'exceptions'],
    [sum((f) => f.domains), MAX_DOMAINS, 'domains'],
  ];
  for (const [n, limit, what] of most)
    if (n > limit) throw new Error(`${n} ${what} count for it, at most ${limit} can`);
  return {
    ...(filter?.text && { filter: named(filter) }),
    ...(lists.length > 0 && { exceptions: lists.map(named) }),
    ...(Object.keys(limits).length > 0 && { limits }),
  };
}

const named = ({ name, text }: { name: string; text: string }): rcap.v1.SettingsDocument.IText => ({
  name: name.slice(-MAX_NAME),
  text,
});

/** Throws an RcapError that says which files are too much together. */
export function sealFor(files: readonly PublicFile[]): Sealed {
  try {
    const document = documentOf(files);
    return Object.keys(document).length === 0 ? NO_SETTINGS : sealDocument(document);
  } catch (cause) {
    const names = files.map((f) => f.name).join(', ');
    throw new RcapError('SETTINGS', `could not put together the settings in ${names}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** The exceptions of these files, one a line. */
export const exceptionsText = (files: readonly PublicFile[]): string =>
  only(files, 'exceptions')
    .map((f) => f.text)
    .join('');
