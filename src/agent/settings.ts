/**
 * What the collector's administrator wants of this agent: taken as a whole or not at all, one document after the other. The
 * user's own options stay as they are; what comes from the collector is added to them.
 */
import { RcapError, reasonOf } from '../errors.ts';
import { type Entry, parseExceptions } from '../formats/exceptions.ts';
import { filterOf, refuseFilter } from '../formats/filter-text.ts';
import type { rcap } from '../wire/messages.js';
import { ProtocolError } from '../wire/frame.ts';
import type { Arrived } from '../wire/settings.ts';
import type { SettingsAnswer, SettingsTaker } from './connection.ts';
import { limitsFrom, limitWords, type RunLimits } from './stricter.ts';

/** Most lists in a document, and the longest name of one, bytes. */
const MAX_LISTS = 100;
const MAX_NAME_BYTES = 255;

/** A document, read. */
export interface Wanted {
  /** BPF text; empty for none. */
  filter: string;
  /** The file that it is from. */
  filterName: string;
  exceptions: Entry[];
  /** Their files. */
  lists: string[];
  limits: RunLimits;
}
const NOTHING_WANTED: Wanted = { filter: '', filterName: '', exceptions: [], lists: [], limits: {} };

/** What applies them. */
export interface SettingsParts {
  /** Rejects when this filter can't be used beside the user's; changes nothing. */
  checkFilter(filter: string): Promise<void>;
  /** From now on, in what runs and in what is opened later. Rejects, and the one before stays. */
  setFilter(filter: string): Promise<void>;
  /** The collector's list, as a whole. The reason, if it is refused: then the one before stays. */
  setExceptions(entries: readonly Entry[], from: string): string | undefined;
  /** What of them can't be done by now, in words. */
  setLimits(limits: RunLimits): string[];
  /** These count from now on: for the record. */
  counts(digest: Uint8Array, words: string): void;
  notice(level: 'warning' | 'info', message: string, hint?: string): void;
}

const NOTHING = new Uint8Array(0);
const ACCEPTED: SettingsAnswer = { accepted: true, reason: '' };
const SUPERSEDED: SettingsAnswer = { accepted: false, reason: 'newer ones came meanwhile' };

export class CollectorSettings implements SettingsTaker {
  readonly #parts: SettingsParts;
  #digest: Uint8Array = NOTHING;
  #current = NOTHING_WANTED;
  /** The lists' texts, to know whether they changed. */
  #texts = '[]';
  #answer = ACCEPTED;
  #next: { arrived: Arrived; resolve: (answer: SettingsAnswer) => void } | undefined;
  #working = false;

  constructor(parts: SettingsParts) {
    this.#parts = parts;
  }

  /** While one is being applied, none is certain: whoever asks is sent it again. */
  get digest(): Uint8Array {
    return this.#working ? NOTHING : this.#digest;
  }

  /** Those that count. */
  get current(): Wanted {
    return this.#current;
  }

  /** Of those that wait only the newest is kept: a filter may take long to compile. */
  take(arrived: Arrived): Promise<SettingsAnswer> {
    const { promise, resolve } = Promise.withResolvers<SettingsAnswer>();
    this.#next?.resolve(SUPERSEDED);
    this.#next = { arrived, resolve };
    if (!this.#working) void this.#work();
    return promise;
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let next; (next = this.#next);) {
      this.#next = undefined;
      next.resolve(await this.#apply(next.arrived));
    }
    this.#working = false;
  }

  async #apply({ digest, document }: Arrived): Promise<SettingsAnswer> {
    // The same may come again, on another connection.
    if (Buffer.compare(digest, this.#digest) === 0) return this.#answer;
    const parts = this.#parts;
    try {
      const wanted = document ? readDocument(document) : NOTHING_WANTED;
      const undone = await this.#replace(wanted, textsOf(document));
      this.#digest = digest;
      this.#answer = { accepted: true, reason: undone.join('; ') };
      parts.counts(digest, document ? words(wanted) : NO_MORE);
      parts.notice('info', document ? `${nameOf(digest)} count now: ${words(wanted)}` : NO_MORE);
      for (const what of undone) parts.notice('warning', `of ${nameOf(digest)} one can't be done by now: ${what}`);
      return this.#answer;
    } catch (e) {
      // Of a list, it has a line.
      // eslint-disable-next-line no-control-regex
      const reason = reasonOf(e).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
      const left = this.#digest.length > 0 ? 'those before stay' : 'it captures without any';
      parts.notice('warning', `${nameOf(digest)} are refused, and ${left}: ${reason}`);
      return { accepted: false, reason };
    }
  }

  /** All of it, or nothing: then it throws. */
  async #replace(wanted: Wanted, texts: string): Promise<string[]> {
    const parts = this.#parts;
    const before = this.#current;
    const otherFilter = wanted.filter !== before.filter;
    const otherLists = texts !== this.#texts;
    if (otherFilter) await parts.checkFilter(wanted.filter);
    if (otherLists) {
      const refused = parts.setExceptions(wanted.exceptions, from(wanted.lists));
      if (refused !== undefined) throw new RcapError('EXCEPTIONS', refused);
    }
    try {
      if (otherFilter) await parts.setFilter(wanted.filter);
    } catch (e) {
      if (otherLists) parts.setExceptions(before.exceptions, from(before.lists));
      throw e;
    }
    this.#current = wanted;
    this.#texts = texts;
    // Last: it may end the run.
    return parts.setLimits(wanted.limits);
  }
}

/** Throws an Error that says what is wrong in it. */
export function readDocument({ filter, exceptions, limits }: rcap.v1.SettingsDocument): Wanted {
  if (exceptions.length > MAX_LISTS) throw new ProtocolError(`it has more than ${MAX_LISTS} lists of exceptions`);
  const lists = exceptions.map(({ name }) => shown(name, 'exceptions'));
  const text = filterOf(filter?.text ?? '');
  const filterName = shown(filter?.name ?? '', 'filter');
  const reason = refuseFilter(text);
  if (reason !== undefined) throw new ProtocolError(`could not use the filter in '${filterName}': ${reason}`);
  return {
    filter: text,
    filterName,
    exceptions: exceptions.flatMap((list, i) => parseExceptions(list.text, lists[i]!)),
    lists,
    limits: limitsFrom(limits),
  };
}

/** A file's name, safe for a terminal. */
function shown(name: string, without: string): string {
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) throw new ProtocolError(`a name in it has more than ${MAX_NAME_BYTES} bytes`); // prettier-ignore
  // eslint-disable-next-line no-control-regex
  return name.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?') || without;
}

/** Lists that are named at most. */
const MAX_NAMED = 3;
const from = (lists: string[]): string => {
  const more = lists.length - MAX_NAMED;
  const named = lists.slice(0, MAX_NAMED).join(', ');
  return `from the collector${named && `: ${named}`}${more > 0 ? ` and ${more} more` : ''}`;
};

const textsOf = (document: rcap.v1.SettingsDocument | undefined): string =>
  JSON.stringify((document?.exceptions ?? []).map(({ name, text }) => [name, text]));

const NO_MORE = 'no settings of the collector count any more';
/** settings 1a2b3c4d5e6f of the collector: as many digits as that one shows. */
const nameOf = (digest: Uint8Array): string =>
  `settings ${Buffer.from(digest).toString('hex', 0, 6) || '(none)'} of the collector`;

function words({ filter, filterName, exceptions, lists, limits }: Wanted): string {
  const parts = [
    ...(filter ? [`filter '${filter.length > 200 ? `${filter.slice(0, 200)}…` : filter}' (${filterName})`] : []),
    ...(lists.length > 0
      ? [`${exceptions.length} exception${exceptions.length === 1 ? '' : 's'} (${lists.join(', ')})`]
      : []),
    ...limitWords(limits),
  ];
  return parts.join(', ') || 'nothing';
}
