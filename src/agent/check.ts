/** `rcap-agent check`: what an agent with these options would do, without capturing or connecting. */
import { findInterface, interfaceOf, listInterfaces } from '../capture/interfaces.ts';
import type { Addon } from '../capture/source.ts';
import { RcapError, reasonOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { AgentFlags } from '../options/agent.ts';
import { serverText } from '../wire/link.ts';
import { localAddressTo } from '../wire/reach.ts';
import { checkExceptions, type CheckedExceptions, exceptionLines } from './check-exceptions.ts';
import { linkTypeWords } from './dump-filter.ts';
import { ownTraffic } from './filter.ts';
import { filterHint, KERNEL_INSTRUCTIONS } from './filters.ts';
import { placesOf } from './link-types.ts';
import { addressesIn, makePlan, type Plan } from './plan.ts';
import { limitsOf, limitWords } from './stricter.ts';

const ETHERNET = 1;

/** One place that would be captured on, or read from. */
export interface CheckedCapture {
  /** An interface, or a file; empty where it is chosen later. */
  name: string;
  /** LINKTYPE_ value, and in words. */
  linkType: number;
  linkTypeName: string;
  /** That it is an interface with this link type is only assumed. */
  assumed: boolean;
  /** With our own connections left out, as far as they are known. */
  filter: string;
  instructions: number;
}
export interface Checked extends CheckedExceptions {
  captures: CheckedCapture[];
  servers: string[];
  limits: string[];
  problems: { message: string; hint?: string | undefined }[];
}

/** Prints it; exit code 0, or 2 when something would be refused. */
export async function check(
  flags: AgentFlags,
  addon: Addon,
  log: Log,
  print: (text: string) => number,
): Promise<0 | 2> {
  const checked = await checkAll(flags, addon);
  print(
    flags.json
      ? `${JSON.stringify(checked)}\n`
      : checkedLines(checked)
          .map((line) => `${line}\n`)
          .join(''),
  );
  for (const { message, hint } of checked.problems) log.error(new RcapError('USAGE', message, { hint }));
  return checked.problems.length > 0 ? 2 : 0;
}

async function checkAll(flags: AgentFlags, addon: Addon): Promise<Checked> {
  const problems: Checked['problems'] = [];
  const problem = (e: unknown) => {
    problems.push({ message: reasonOf(e), hint: e instanceof RcapError ? e.hint : undefined });
  };
  const servers = flags.servers.map(serverText);
  const checked: Checked = { captures: [], servers, limits: [], problems, ...checkExceptions(flags, problem) };
  /** What one part of it refuses doesn't hide what others do. */
  const attempt = async <T>(work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (e) {
      problem(e);
      return undefined;
    }
  };
  const plan = await attempt(() => makePlan({ ...flags, except: [], exceptions: [] }));
  if (!plan) return checked;
  checked.limits = limitWords(limitsOf(plan));
  await attempt(async () => {
    for (const place of await whereTo(plan, addon, attempt)) {
      const program = await attempt(() => compiled(plan, addon, place.linkType));
      if (program) checked.captures.push({ ...place, ...program, linkTypeName: linkTypeWords(addon, place.linkType) });
    }
  });
  return checked;
}

type Attempt = <T>(work: () => T | Promise<T>) => Promise<T | undefined>;
type Where = Pick<CheckedCapture, 'name' | 'linkType' | 'assumed'>;

/** Where it isn't known, or may not be opened by who asks, it is probably Ethernet. */
async function whereTo(plan: Plan, addon: Addon, attempt: Attempt): Promise<Where[]> {
  const names = plan.read === undefined ? await attempt(() => interfacesOf(plan, addon)) : [];
  // The filter is tried all the same.
  if (!names) return [{ name: '', linkType: ETHERNET, assumed: true }];
  try {
    const places = await placesOf(addon, { ...plan, interfaces: names });
    if (places) return places.map((place) => ({ ...place, assumed: false }));
  } catch (e) {
    if (!(e instanceof RcapError && e.code === 'PERMISSION')) await attempt(() => Promise.reject(e));
  }
  const unknown = names.length > 0 ? names : [''];
  return unknown.map((name) => ({ name, linkType: ETHERNET, assumed: true }));
}

/** Those that are named, or the one that routes to the server. */
async function interfacesOf({ interfaces, upload }: Plan, addon: Addon): Promise<string[]> {
  const list = listInterfaces(addon);
  if (interfaces.length > 0) return interfaces.map((wanted) => findInterface(list, wanted).name);
  if (!upload) return list.slice(0, 1).map((i) => i.name);
  const { servers, source, proxyFor } = upload;
  const address = source ?? (await localAddressTo(servers.map((server) => proxyFor?.(server) ?? server)));
  const found = address === undefined ? undefined : interfaceOf(list, address.replace(/^::ffff:|%.*$/g, ''));
  return found ? [found.name] : [];
}

async function compiled(plan: Plan, addon: Addon, linkType: number): Promise<{ filter: string; instructions: number }> {
  const { filter, snaplen, read, upload } = plan;
  const own = upload && read === undefined ? ownTraffic(addressesIn(upload)) : '';
  try {
    const program = await addon.compile(filter, linkType, snaplen, own);
    return { filter: program.filter, instructions: program.instructions };
  } catch (e) {
    const what = `could not compile the filter '${filter}' for link-type ${linkTypeWords(addon, linkType)}: ${reasonOf(e)}`;
    throw new RcapError('FILTER', what, { hint: filterHint(filter, read), cause: e });
  }
}

/** For people: a line for each thing, and what follows from it below. */
export function checkedLines({ captures, servers, limits, ...exceptions }: Checked): string[] {
  return [
    ...captures.flatMap((c) => [
      `${c.name ? `captures on ${c.name}` : 'the interface is chosen later'}, link-type ${c.linkTypeName}${c.assumed ? ' (assumed)' : ''}`,
      `  filter: ${c.filter || 'none'}`,
      `  ${c.instructions} instructions of the ${KERNEL_INSTRUCTIONS} that the kernel takes${c.instructions > KERNEL_INSTRUCTIONS ? ': libpcap will filter outside of it, at about 3 ns for each that a packet goes through' : ''}`,
    ]),
    ...servers.map((server) => `sends to ${server}; its own connection there is always left out`),
    ...exceptionLines(exceptions),
    `limits: ${limits.join(', ') || 'none'}`,
    ...(servers.length > 0
      ? ['what the collector adds, its filter, exceptions and limits, is known only once it is connected']
      : []),
  ];
}
