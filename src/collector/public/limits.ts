/** settings.json: limits by the names, units and ranges of rcap-agent's own options. */
import { AGENT } from '../../options/agent.ts';
import { convertText } from '../../options/load.ts';
import { nearest } from '../../options/near.ts';
import { formatDuration, formatRate, formatSize } from '../../options/units.ts';
import type { rcap } from '../../wire/messages.js';

export type Limits = rcap.v1.SettingsDocument.ILimits;
type Limit = 'count' | 'bytes' | 'durationMs' | 'rate' | 'snaplen';

/** By option, what it is called on the wire. */
const NAMES: Record<string, Limit> = {
  count: 'count',
  bytes: 'bytes',
  duration: 'durationMs',
  'max-rate': 'rate',
  snaplen: 'snaplen',
};

/** Throws an Error with the reason. */
export function parseLimits(text: string): Limits {
  const content: unknown = JSON.parse(text.replace(/^\ufeff/, ''));
  if (typeof content !== 'object' || content === null || Array.isArray(content)) throw new Error('not a JSON object');
  return Object.fromEntries(Object.entries(content).map(limitOf));
}

function limitOf([name, value]: [string, unknown]): [Limit, number] {
  const option = AGENT.options.find((o) => o.name === name);
  if (!Object.hasOwn(NAMES, name) || !option || option.kind === 'flag') {
    const near = nearest(name, Object.keys(NAMES));
    const known = near === undefined ? `there are ${Object.keys(NAMES).join(', ')}` : `did you mean "${near}"?`;
    throw new Error(`no limit is called "${name}"; ${known}`);
  }
  if (typeof value !== 'string' && typeof value !== 'number') throw new Error(`"${name}" takes text or a number`);
  try {
    return [NAMES[name]!, convertText(option, String(value), 'file') as number];
  } catch (e) {
    throw new Error(`"${name}": ${(e as Error).message}`, { cause: e });
  }
}

/** Of each the smaller one. */
export function strictest(all: readonly Limits[]): Limits {
  const strict: Limits = {};
  for (const limits of all) {
    for (const [name, value] of Object.entries(limits) as [Limit, number][])
      strict[name] = Math.min(value, strict[name] ?? Infinity);
  }
  return strict;
}

const WORDS: Record<Limit, (n: number) => string> = {
  count: String,
  bytes: formatSize,
  durationMs: formatDuration,
  rate: formatRate,
  snaplen: String,
};

/** `count 100000, bytes 1G`: by the options' names, in their units. */
export const limitWords = (limits: Limits): string =>
  Object.entries(NAMES)
    .flatMap(([name, member]) => (limits[member] ? `${name} ${WORDS[member](limits[member])}` : []))
    .join(', ');
