/**
 * A list of exceptions: what is not to be captured. One entry a line: an IPv4 or IPv6 address, a network (`10.0.0.0/8`), a
 * domain (`example.com`: exactly that name) or all names below one (`*.example.com`). `#` begins a comment.
 */
import { createHash } from 'node:crypto';
import { domainToASCII } from 'node:url';
import { RcapError } from '../errors.ts';
import { addressText, isMapped, networkOf, read4, read6 } from './address.ts';

/** Of one list, and of all that count together. */
export const MAX_ENTRIES = 1_000_000;
export const MAX_DOMAINS = 2000;
/** Longest line of a list, comment included, bytes of UTF-8. */
export const MAX_LINE = 1000;
/** Longest text of a list, bytes of UTF-8: all of a collector's fit into one settings document, with room for the rest. */
export const MAX_TEXT = (1 << 24) - (1 << 17);

export class NetworkEntry {
  readonly kind = 'network';
  /** In normal form: how it is counted and named. */
  readonly text: string;
  readonly family: 4 | 6;
  readonly prefix: number;
  /** Of IPv4: its four bytes, as a signed number. */
  readonly #bits: number;

  /** `address`: the bytes that the text says; not kept. */
  constructor(text: string, family: 4 | 6, prefix: number, address: Uint8Array) {
    this.text = text;
    this.family = family;
    this.prefix = prefix;
    this.#bits = (address[0]! << 24) | (address[1]! << 16) | (address[2]! << 8) | address[3]!;
  }

  /** 4 or 16 bytes, no bit set behind the prefix. */
  get address(): Uint8Array {
    const bytes = new Uint8Array(this.family === 4 ? 4 : 16);
    this.write(bytes, 0);
    return bytes;
  }
  /** The address's bytes into there. Those of IPv6 aren't kept: a list has very many. */
  write(out: Uint8Array, at: number): void {
    if (this.family === 4) {
      for (let i = 0; i < 4; i++) out[at + i] = this.#bits >>> (24 - 8 * i);
      return;
    }
    const slash = this.text.indexOf('/');
    read6(this.text, slash < 0 ? this.text.length : slash, out, at);
  }
}
export interface DomainEntry {
  kind: 'domain';
  text: string;
  /** Lower case, punycode, no dot at its end. */
  name: string;
  /** All names below `name`, and not that itself. */
  wildcard: boolean;
}
export type Entry = NetworkEntry | DomainEntry;

/** Why a text isn't an entry: what stands behind the colon of a message. */
export class ExceptionsError extends Error {
  override readonly name = 'ExceptionsError';
}

/** What is read at the moment; memory for each entry would cost more than all the rest. */
const SCRATCH = new Uint8Array(4);
const SCRATCH_6 = new Uint8Array(16);

/** One entry, without a comment. Throws an ExceptionsError. */
export function parseEntry(text: string): Entry {
  if (read4(text, 0, text.length, SCRATCH, 0)) return new NetworkEntry(text, 4, 32, SCRATCH);
  const entry = text.includes(':') || startsWithDigit(text) ? networkEntry(text) : undefined;
  return entry ?? domainEntry(text);
}

const startsWithDigit = (text: string) => text.charCodeAt(0) >= 48 && text.charCodeAt(0) <= 57;

/** Undefined when it is no address or network, and may be a domain. */
function networkEntry(text: string): NetworkEntry | undefined {
  const slash = text.indexOf('/');
  const before = slash < 0 ? text : text.slice(0, slash);
  const isIPv6 = before.includes(':');
  let address = isIPv6 ? SCRATCH_6 : SCRATCH;
  const isAddress = isIPv6 ? read6(before, before.length, address, 0) : read4(before, 0, before.length, address, 0);
  if (!isAddress) {
    if (before.includes('%')) throw new ExceptionsError('an address with a zone counts on one interface only');
    if (isIPv6) throw new ExceptionsError('it is not an IPv6 address');
    if (slash >= 0) throw new ExceptionsError('it is not an address and a prefix length');
    return undefined;
  }
  let prefix = slash < 0 ? address.length * 8 : prefixOf(text.slice(slash + 1), address.length * 8);
  if (isIPv6 && prefix >= 96 && isMapped(address)) {
    address = address.subarray(12);
    prefix -= 96;
  }
  const network = networkOf(address, prefix);
  const normal = networkText(network, prefix);
  if (network !== address)
    throw new ExceptionsError(`bits are set behind the prefix length; the network is '${normal}'`);
  return new NetworkEntry(normal, address.length === 4 ? 4 : 6, prefix, address);
}

function prefixOf(text: string, most: number): number {
  const prefix = /^(0|[1-9]\d{0,2})$/.test(text) ? Number(text) : Infinity;
  if (prefix > most) throw new ExceptionsError(`its prefix length is not a number from 0 to ${most}`);
  return prefix;
}

/** A network in normal form; an address stands for itself. */
export const networkText = (address: Uint8Array, prefix: number): string =>
  prefix === address.length * 8 ? addressText(address) : `${addressText(address)}/${prefix}`;

/** Underscores are in use, though not in host names. */
const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;
const ASCII = /^[\x21-\x7e]*$/;

function domainEntry(text: string): DomainEntry {
  const wildcard = text.startsWith('*.');
  const given = wildcard ? text.slice(2) : text;
  const ascii = ASCII.test(given) ? given.toLowerCase() : domainToASCII(given);
  const name = ascii.endsWith('.') ? ascii.slice(0, -1) : ascii;
  const labels = name.split('.');
  if (name.length > 253 || !labels.every((label) => LABEL.test(label)))
    throw new ExceptionsError('it is not an address, a network, a domain or *.DOMAIN');
  if (/^(0x[0-9a-f]*|\d+)$/.test(labels.at(-1)!)) throw new ExceptionsError('it is not an IPv4 address');
  if (wildcard && labels.length === 1) throw new ExceptionsError('it covers a whole top-level domain');
  return { kind: 'domain', text: wildcard ? `*.${name}` : name, name, wildcard };
}

/** All entries of a list, in its order. `file` is its name in messages. Throws an RcapError EXCEPTIONS. */
export function parseExceptions(text: string, file: string): Entry[] {
  const entries: Entry[] = [];
  let domains = 0;
  let number = 0;
  for (let at = text.charCodeAt(0) === 0xfeff ? 1 : 0; at < text.length;) {
    const feed = text.indexOf('\n', at);
    const end = feed < 0 ? text.length : feed;
    const line = text.slice(at, end);
    // Most lists are long lists of these.
    const plain = read4(text, at, end, SCRATCH, 0);
    at = end + 1;
    number++;
    try {
      const entry = plain ? new NetworkEntry(line, 4, 32, SCRATCH) : entryOf(line);
      if (!entry) continue;
      if (entries.push(entry) > MAX_ENTRIES) throw new ExceptionsError(`a list has at most ${MAX_ENTRIES} entries`);
      if (entry.kind === 'domain' && ++domains > MAX_DOMAINS)
        throw new ExceptionsError(`a list has at most ${MAX_DOMAINS} domains`);
    } catch (error) {
      if (!(error instanceof ExceptionsError)) throw error;
      const what = `could not read '${file}', line ${number}: '${shown(line)}': ${error.message}`;
      throw new RcapError('EXCEPTIONS', what, { hint: HINT, cause: error });
    }
  }
  return entries;
}

/** Beside each message about an entry. */
export const HINT =
  'one entry a line: 192.0.2.7, 192.0.2.0/24, 2001:db8::/48, example.com or *.example.com; # begins a comment';

/** Undefined for a line that has none. */
function entryOf(line: string): Entry | undefined {
  if (line.length > MAX_LINE / 4 && Buffer.byteLength(line) > MAX_LINE)
    throw new ExceptionsError(`a line has at most ${MAX_LINE} bytes`);
  const comment = line.indexOf('#');
  const text = (comment < 0 ? line : line.slice(0, comment)).trim();
  return text === '' ? undefined : parseEntry(text);
}

/** Longest part of a line in a message, characters. */
const SHOWN = 100;
const shown = (line: string): string => {
  const text = line.trim();
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
};

/** Why these are more than can count together, or undefined. */
export function tooMany(entries: readonly Entry[]): string | undefined {
  if (entries.length > MAX_ENTRIES) return `there are more than ${MAX_ENTRIES} of them together`;
  const domains = entries.filter((e) => e.kind === 'domain').map((e) => e.text);
  return domains.length > MAX_DOMAINS && new Set(domains).size > MAX_DOMAINS
    ? `there are more than ${MAX_DOMAINS} domains among them together`
    : undefined;
}

/** SHA-256 of the entries' texts, each once, sorted, each with a line feed: `sort -u LIST | sha256sum` of a list in normal form. */
export function digestOf(entries: readonly Entry[]): Uint8Array {
  const texts = [...new Set(entries.map((e) => e.text))].toSorted();
  return createHash('sha256')
    .update(texts.map((t) => `${t}\n`).join(''))
    .digest();
}
