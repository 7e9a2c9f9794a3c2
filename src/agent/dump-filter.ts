/** `-d`: the compiled filter, as tcpdump prints it. */
import type { Addon } from '../capture/source.ts';
import { usageError, reasonOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { AgentFlags } from '../options/agent.ts';
import { filterHint } from './filters.ts';
import { placesOf } from './link-types.ts';
import { filterIn } from './plan.ts';

const ETHERNET = 1;

/** Its listing: of the user's filter alone, on the first place that was named. The log says for which link type. */
export async function dumpFilter(flags: AgentFlags, addon: Addon, log: Log): Promise<string> {
  const filter = filterIn(flags);
  const place = (await placesOf(addon, flags))?.[0];
  const linkType = place?.linkType ?? ETHERNET;
  log.info(`${place ? `${place.name}: ` : ''}link-type ${linkTypeWords(addon, linkType)}`);
  try {
    return (await addon.compile(filter, linkType, flags.snaplen)).listing;
  } catch (e) {
    throw usageError(`could not compile the filter '${filter}': ${reasonOf(e)}`, filterHint(filter, flags.read));
  }
}

/** As tcpdump says it: EN10MB (Ethernet) */
export function linkTypeWords(addon: Addon, linkType: number): string {
  const [name, description] = addon.linkTypeName(linkType) ?? [`LINKTYPE ${linkType}`, 'unknown'];
  return `${name} (${description})`;
}
