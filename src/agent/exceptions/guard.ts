/**
 * What a list of exceptions must not cover, since a capture that leaves it out is blind: pure functions. The limits are
 * generous for what lists are for, and far below what would hide a host's traffic.
 */
import { addressText } from '../../formats/address.ts';
import { networkText } from '../../formats/exceptions.ts';
import { countOf, covering, familyOf, nameOf, prefixOf, RULE_BYTES, type Rules, sameStart } from './rules.ts';

export interface Network {
  address: Uint8Array;
  prefix: number;
}
/** An address that must stay visible, and whose it is in words ("an address of this host"). */
export interface Kept {
  address: Uint8Array;
  whose: string;
}
export interface Guarded {
  kept: readonly Kept[];
  /** The host's own networks. */
  networks: readonly Network[];
}

/** Of all IPv4 addresses, and of those of IPv6 that are in use (2000::/3). */
export const MOST_OF_SPACE = 1 / 16;
/** Of a network of the host. */
export const MOST_OF_NETWORK = 1 / 2;
/** Shortest prefix of an IPv6 entry. */
export const SHORTEST_6 = 8;

const SPACES: [space: Network, words: string][] = [
  [{ address: new Uint8Array(4), prefix: 0 }, 'all IPv4 addresses'],
  [{ address: Uint8Array.of(0x20, ...new Uint8Array(15)), prefix: 3 }, 'all IPv6 addresses (2000::/3)'],
];

/** Why these can't count, or undefined. */
export function refusal(rules: Rules, { kept, networks }: Guarded): string | undefined {
  const count = countOf(rules);
  for (let i = 0; i < count; i++) {
    if (familyOf(rules, i) === 6 && prefixOf(rules, i) < SHORTEST_6)
      return `'${nameOf(rules, i)}' is too wide: a prefix of an IPv6 network has at least ${SHORTEST_6} bits`;
  }
  for (const [space, words] of SPACES) {
    const share = shareOf(rules, space, MOST_OF_SPACE);
    if (share > MOST_OF_SPACE) return tooMuch(rules, space, share, words, MOST_OF_SPACE);
  }
  for (const { address, whose } of kept) {
    const by = covering(rules, address);
    if (by >= 0) return `'${nameOf(rules, by)}' covers ${addressText(address)}, ${whose}`;
  }
  for (const network of networks.filter(isShared)) {
    const share = shareOf(rules, network, MOST_OF_NETWORK);
    const words = `${networkText(network.address, network.prefix)}, a network of this host`;
    if (share > MOST_OF_NETWORK) return tooMuch(rules, network, share, words, MOST_OF_NETWORK);
  }
  return undefined;
}

/** A network of one or two addresses is no network to be blind on; its host's own address is kept anyway. */
export const isShared = ({ address, prefix }: Network): boolean => address.length * 8 - prefix >= 2;

function tooMuch(rules: Rules, network: Network, share: number, words: string, most: number): string {
  const alone = enoughAlone(rules, network, most);
  const what = alone !== undefined ? `'${alone}' covers` : 'together they cover';
  return `${what} ${percent(share)} of ${words}; at most ${percent(most)} may be left out`;
}

/** An entry that covers more than that of the network by itself. */
function enoughAlone(rules: Rules, { address, prefix }: Network, most: number): string | undefined {
  const count = countOf(rules);
  const family = address.length === 4 ? 4 : 6;
  for (let i = 0; i < count; i++) {
    const own = prefixOf(rules, i);
    const isWide = familyOf(rules, i) === family && 2 ** (prefix - own) > most;
    if (isWide && sameStart(rules.bytes, i * RULE_BYTES, address, Math.min(own, prefix))) return nameOf(rules, i);
  }
  return undefined;
}

/** 6.25 % */
export const percent = (share: number): string => `${Number((share * 100).toPrecision(3))} %`;

/**
 * The part of a network that the rules cover, 0 to 1: exact where it is above `limit`, else at most too large. (Bits behind the
 * 52nd of a network are below anything that counts here.)
 */
export function shareOf(rules: Rules, network: Network, limit: number): number {
  let sum = 0;
  within(rules, network, (_, size) => (sum += size));
  if (sum <= limit) return sum;
  const parts: [start: number, size: number][] = [];
  const { address, prefix } = network;
  within(rules, network, (i, size) => {
    const start = size === 1 ? 0 : startOf(rules.bytes, i * RULE_BYTES, prefix, address.length);
    parts.push([start, size]);
  });
  return united(parts);
}

/** The rules that cover a part of the network, or all of it: their size there, 0 to 1. */
function within(rules: Rules, { address, prefix }: Network, each: (index: number, size: number) => void): void {
  const { bytes } = rules;
  const family = address.length === 4 ? 4 : 6;
  const count = countOf(rules);
  for (let i = 0; i < count; i++) {
    if (familyOf(rules, i) !== family) continue;
    const own = prefixOf(rules, i);
    if (!sameStart(bytes, i * RULE_BYTES, address, own < prefix ? own : prefix)) continue;
    each(i, own <= prefix ? 1 : 2 ** (prefix - own));
  }
}

/** Where a network begins within another one of `prefix` bits, 0 to 1. */
function startOf(bytes: Uint8Array, at: number, prefix: number, length: number): number {
  let scale = 2 ** (prefix & 7);
  let start = 0;
  const first = prefix >> 3;
  for (let i = first; i < Math.min(length, first + 7); i++) {
    const byte = i === first ? bytes[at + i]! & (255 >> (prefix & 7)) : bytes[at + i]!;
    scale /= 256;
    start += byte * scale;
  }
  return start;
}

/** Networks lie within each other or apart. */
function united(parts: [start: number, size: number][]): number {
  let covered = 0;
  let end = 0;
  for (const [start, size] of parts.toSorted((a, b) => a[0] - b[0] || b[1] - a[1])) {
    if (start < end) continue;
    covered += size;
    end = start + size;
  }
  return covered;
}

/** Addresses that an answer may name, and that are no host: unspecified, loopback, multicast, broadcast, link-local. */
export function isNoHost(a: Uint8Array): boolean {
  if (a.length === 4) return a[0] === 0 || a[0] === 127 || a[0]! >= 224 || (a[0] === 169 && a[1] === 254);
  const small = !a.subarray(0, 15).some((b) => b !== 0) && a[15]! < 2;
  return small || a[0] === 0xff || (a[0] === 0xfe && (a[1]! & 0xc0) === 0x80);
}
