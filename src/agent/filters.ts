/** The filters that count in a run, the user's and the collector's: checked before they count, changed while it runs. */
import type { Addon, Installed, Source } from '../capture/source.ts';
import { RcapError, reasonOf, usageError } from '../errors.ts';
import { MAX_USERS_FILTER_BYTES, refuseFilter } from '../formats/filter-text.ts';
import { type CaptureInfo, MAX_SNAPLEN } from '../packet.ts';

/** Most instructions that Linux' kernel takes (BPF_MAXINSNS). */
export const KERNEL_INSTRUCTIONS = 4096;

/** After so long it is said that a filter takes its time, ms. */
const SLOW_MS = 2000;

/** LINKTYPE_ values that a filter is tried on where nobody knows on which it will run: Ethernet first. */
const USUAL = [1, 101, 276, 113, 127];

export type Compile = Addon['compile'];

/**
 * Rejects when the filters can't be compiled together for each of these link types; or, where they aren't known, for any of
 * the usual ones.
 */
export async function checkFilters(
  compile: Compile,
  filters: readonly string[],
  linkTypes: readonly number[] | undefined,
): Promise<void> {
  // One after the other: a long filter takes much memory.
  let first: unknown;
  for (const linkType of linkTypes ?? USUAL) {
    try {
      await compile(filters, linkType, MAX_SNAPLEN);
      if (!linkTypes) return;
    } catch (e) {
      if (linkTypes) throw e;
      first ??= e;
    }
  }
  if (!linkTypes) throw first;
}

/** What a user must know where the kernel took no filter; undefined where it did, or nobody should. */
export function userSpaceNote({
  interface: name,
  inKernel,
  instructions = 0,
  source,
}: CaptureInfo): [level: string, hint: string] | undefined {
  if (source !== 'live' || inKernel !== false || instructions === 0) return undefined;
  return [
    `the kernel does not take the filter on '${name}' (${instructions} instructions; it takes ${KERNEL_INSTRUCTIONS}): libpcap filters here, each packet once it is copied, at about 3 ns for each instruction that it goes through`,
    'put addresses that are not to be captured into --exceptions FILE: those cost next to nothing',
  ];
}

/** What runs, as far as it matters here. */
export interface Filtered {
  source: Pick<Source, 'label' | 'setFilter'>;
}

export interface FiltersOptions<S extends Filtered> {
  /** The user's; empty for none. */
  user: string;
  compile: Compile;
  running: () => S[];
  /** Of all that is captured from, or will be; undefined where that isn't known yet. */
  linkTypes: () => Promise<readonly number[] | undefined>;
  /** This is what filters there from now on. */
  changed: (where: S, installed: Installed) => void;
  /** A filter of the collector takes long to be checked. */
  slow: () => void;
}

/** A longer one may take libpcap minutes: it is compiled once only, where it will run. Characters. */
const QUICK = 4096;

/** Throws a usage error for a filter of the user's that can be compiled nowhere. */
export async function checkUsers(
  compile: Compile,
  filter: string,
  read: string | undefined,
  linkTypes: () => Promise<readonly number[] | undefined>,
): Promise<void> {
  if (filter === '') return;
  const reason = refuseFilter(filter, MAX_USERS_FILTER_BYTES);
  if (reason !== undefined)
    throw usageError(`could not use the filter: ${reason}`, 'long lists of addresses belong into --exceptions FILE');
  if (filter.length > QUICK) return;
  try {
    await checkFilters(compile, [filter], undefined);
  } catch (e) {
    // It may be for a rarer link type. What can't be opened is said when it is opened.
    const types = await linkTypes().catch(() => undefined);
    const fits = types && (await compiles(compile, filter, types));
    if (fits) return;
    throw usageError(`could not compile the filter '${filter}': ${reasonOf(e)}`, filterHint(filter, read));
  }
}
const compiles = (compile: Compile, filter: string, linkTypes: readonly number[] | undefined): Promise<boolean> =>
  checkFilters(compile, [filter], linkTypes).then(
    () => true,
    () => false,
  );
export function filterHint(filter: string, read: string | undefined): string {
  if (process.platform === 'win32')
    return 'https://www.tcpdump.org/manpages/pcap-filter.7.html has the language; check it with: rcap-agent check';
  return `'man pcap-filter' has the language; check it with: tcpdump${read === undefined ? '' : ` -r ${read}`} -d '${filter}'`;
}

export class Filters<S extends Filtered> {
  readonly #options: FiltersOptions<S>;
  #collectors = '';

  constructor(options: FiltersOptions<S>) {
    this.#options = options;
  }

  /** For what is opened now. All must match. */
  get list(): string[] {
    return this.#with(this.#collectors);
  }

  #with(collectors: string): string[] {
    return [this.#options.user, collectors].filter((filter) => filter !== '');
  }

  /** Rejects when this filter of the collector can't be used, alone or beside the user's. */
  async check(collectors: string): Promise<void> {
    if (collectors === '') return;
    const { compile, linkTypes, user } = this.#options;
    const types = await linkTypes();
    const slow = setTimeout(this.#options.slow, SLOW_MS);
    try {
      await checkFilters(compile, this.#with(collectors), types);
    } catch (e) {
      // Which of the two it is about matters to who wrote them.
      const alone = user !== '' && (await compiles(compile, collectors, types));
      if (!alone) throw refused(`could not compile the filter '${collectors}'`, e);
      throw refused(`could not use the filter '${collectors}' beside '${user}', which the agent's user gave`, e);
    } finally {
      clearTimeout(slow);
    }
  }

  /** From now on, also for what is opened later. Rejects when a running capture doesn't take it: all go on as before. */
  async set(collectors: string): Promise<void> {
    const before = this.#collectors;
    // What is opened meanwhile has it from the start.
    this.#collectors = collectors;
    try {
      await this.#install();
    } catch (e) {
      this.#collectors = before;
      await this.#install().catch(() => {});
      throw e;
    }
  }

  async #install(): Promise<void> {
    const { running, changed } = this.#options;
    const { list } = this;
    const answers = running().map(async (where) => {
      try {
        changed(where, await where.source.setFilter(list));
      } catch (e) {
        // One that has ended meanwhile needs no filter.
        if (running().includes(where)) throw refused(`could not change the filter on '${where.source.label}'`, e);
      }
    });
    const failed = (await Promise.allSettled(answers)).find((answer) => answer.status === 'rejected');
    if (failed) throw failed.reason;
  }
}

const refused = (what: string, cause: unknown) => new RcapError('FILTER', `${what}: ${reasonOf(cause)}`, { cause });
