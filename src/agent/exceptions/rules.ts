/** Networks in the form that the addon takes: 24 bytes each. */
import type { NetworkEntry } from '../../formats/exceptions.ts';

export const RULE_BYTES = 24;
/** Behind the address, within a rule. */
const [FAMILY, PREFIX, NAME] = [16, 17, 20];

export interface Rules {
  readonly bytes: Uint8Array;
  /** Whose packets are counted, by the number in a rule. */
  readonly names: readonly string[];
}

/** Each under its own name. */
export function rulesOf(networks: readonly NetworkEntry[]): Rules {
  const bytes = new Uint8Array(networks.length * RULE_BYTES);
  networks.forEach((network, i) => {
    network.write(bytes, i * RULE_BYTES);
    finish(bytes, i, network.family, network.prefix, i);
  });
  return { bytes, names: networks.map(({ text }) => text) };
}

/** Single addresses; several may have one name. */
export function hostRules(hosts: readonly { address: Uint8Array; name: string }[]): Rules {
  const bytes = new Uint8Array(hosts.length * RULE_BYTES);
  const numbers = new Map<string, number>();
  hosts.forEach(({ address, name }, i) => {
    let number = numbers.get(name);
    if (number === undefined) numbers.set(name, (number = numbers.size));
    bytes.set(address, i * RULE_BYTES);
    finish(bytes, i, address.length === 4 ? 4 : 6, address.length * 8, number);
  });
  return { bytes, names: [...numbers.keys()] };
}

function finish(bytes: Uint8Array, index: number, family: number, prefix: number, name: number): void {
  const at = index * RULE_BYTES;
  bytes[at + FAMILY] = family;
  bytes[at + PREFIX] = prefix;
  for (let i = 0; i < 4; i++) bytes[at + NAME + i] = name >>> (8 * i);
}

export const countOf = ({ bytes }: Rules): number => bytes.length / RULE_BYTES;
export const nameOf = ({ bytes, names }: Rules, index: number): string => {
  const at = index * RULE_BYTES + NAME;
  return names[bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)]!;
};
export const familyOf = ({ bytes }: Rules, index: number): number => bytes[index * RULE_BYTES + FAMILY]!;
export const prefixOf = ({ bytes }: Rules, index: number): number => bytes[index * RULE_BYTES + PREFIX]!;

/** Whether the first bits of two addresses are the same. */
export function sameStart(a: Uint8Array, at: number, b: Uint8Array, bits: number): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (a[at + i] !== b[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((a[at + whole]! ^ b[whole]!) & (0xff00 >> rest) & 255) === 0;
}

/** The number of a rule that covers this address, or -1. */
export const covering = (rules: Rules, address: Uint8Array): number => allCovering(rules, address).next().value ?? -1;

/** The numbers of all that do. */
export function* allCovering(rules: Rules, address: Uint8Array): Generator<number, undefined> {
  const { bytes } = rules;
  const family = address.length === 4 ? 4 : 6;
  const count = countOf(rules);
  for (let i = 0; i < count; i++) {
    if (familyOf(rules, i) === family && sameStart(bytes, i * RULE_BYTES, address, prefixOf(rules, i))) yield i;
  }
  return undefined;
}
