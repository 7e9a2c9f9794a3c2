/** What `rcap-agent check` says of the exceptions on its command line. */
import { usageError } from '../errors.ts';
import { parseAddress } from '../formats/address.ts';
import { type Entry, tooMany } from '../formats/exceptions.ts';
import type { AgentFlags } from '../options/agent.ts';
import { percent, shareOf } from './exceptions/guard.ts';
import { Guard } from './exceptions/guarding.ts';
import { home } from './exceptions/home.ts';
import { readExceptions } from './exceptions/lists.ts';
import { rulesOf } from './exceptions/rules.ts';

export interface CheckedList {
  /** A file; or `--except`. */
  list: string;
  hosts: number;
  networks: number;
  domains: number;
  wildcards: number;
}
/** Of the address space, 0 to 1. */
export interface Shares {
  ipv4: number;
  /** Of 2000::/3, the part that is in use. */
  ipv6: number;
}
export interface CheckedExceptions {
  exceptions: CheckedList[];
  covered: Shares;
}

const IPV4 = { address: new Uint8Array(4), prefix: 0 };
const IPV6 = { address: Uint8Array.of(0x20, ...new Uint8Array(15)), prefix: 3 };

/** Each list; `problem` is told what is wrong with one, or with all together. */
export function checkExceptions(flags: AgentFlags, problem: (error: unknown) => void): CheckedExceptions {
  const lists = [
    ...flags.exceptions.map((file) => ({ list: file, except: [], exceptions: [file] })),
    ...(flags.except.length > 0 ? [{ list: '--except', except: flags.except, exceptions: [] }] : []),
  ];
  let all: Entry[] = [];
  const exceptions = lists.flatMap(({ list, ...flagged }) => {
    try {
      const entries = readExceptions(flagged);
      all = all.concat(entries); // too many to be arguments
      return [{ list, ...countsOf(entries) }];
    } catch (e) {
      problem(e);
      return [];
    }
  });
  const rules = rulesOf(all.filter((e) => e.kind === 'network'));
  const guard = new Guard(() => (flags.read === undefined ? home() : { addresses: [], networks: [] }));
  for (const { host } of flags.servers) {
    const address = parseAddress(host);
    if (address) guard.keep(address);
  }
  const reason = all.length === 0 ? undefined : (tooMany(all) ?? guard.refuse(rules));
  if (reason !== undefined) problem(usageError(`could not use the exceptions: ${reason}`));
  return { exceptions, covered: { ipv4: shareOf(rules, IPV4, 0), ipv6: shareOf(rules, IPV6, 0) } };
}

type Counts = Omit<CheckedList, 'list'>;
function countsOf(entries: readonly Entry[]): Counts {
  const of = (is: (e: Entry) => boolean) => entries.filter(is).length;
  return {
    hosts: of((e) => e.kind === 'network' && e.prefix === e.address.length * 8),
    networks: of((e) => e.kind === 'network' && e.prefix < e.address.length * 8),
    domains: of((e) => e.kind === 'domain' && !e.wildcard),
    wildcards: of((e) => e.kind === 'domain' && e.wildcard),
  };
}

export const exceptionLines = ({ exceptions, covered }: CheckedExceptions): string[] =>
  exceptions.length === 0
    ? ['exceptions: none']
    : [
        ...exceptions.map(
          (e) =>
            `exceptions in ${e.list}: ${e.hosts} hosts, ${e.networks} networks, ${e.domains} domains, ${e.wildcards} with *.`,
        ),
        `  ${percent(covered.ipv4)} of all IPv4 addresses, ${percent(covered.ipv6)} of those of IPv6 (2000::/3)`,
      ];
