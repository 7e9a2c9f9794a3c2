/** Limits that two may set, the user and the collector: of each the stricter counts, and is called by whose it is. */
import { formatDuration, formatRate, formatSize, MAX_TIMER_MS } from '../options/units.ts';
import { MAX_SNAPLEN } from '../packet.ts';
import { ProtocolError } from '../wire/frame.ts';
import type { rcap } from '../wire/messages.js';
import { MIN_RATE } from './pace.ts';
import type { Plan } from './plan.ts';

/** What is left out is unlimited. */
export interface RunLimits {
  /** Packets, of all interfaces together. */
  count?: number | undefined;
  /** Captured bytes. */
  bytes?: number | undefined;
  durationMs?: number | undefined;
  /** Bytes a second that are sent. */
  rate?: number | undefined;
  snaplen?: number | undefined;
}
export type LimitName = keyof RunLimits;

const NAMES = ['count', 'bytes', 'durationMs', 'rate', 'snaplen'] as const satisfies LimitName[];

export interface Strictest extends RunLimits {
  /** Those that are the collector's, since the user has none or a laxer one. */
  collectors: ReadonlySet<LimitName>;
}

export function strictest(user: RunLimits, collector: RunLimits): Strictest {
  const limits: RunLimits = {};
  const collectors = new Set<LimitName>();
  for (const name of NAMES) {
    const [ours, theirs] = [user[name] ?? Infinity, collector[name] ?? Infinity];
    if (theirs < ours) collectors.add(name);
    if (Math.min(ours, theirs) < Infinity) limits[name] = Math.min(ours, theirs);
  }
  return { ...limits, collectors };
}

/** The user's. */
export const limitsOf = ({ limits, durationMs, snaplen, upload }: Plan): RunLimits => ({
  ...limits,
  durationMs,
  rate: upload?.maxRate,
  snaplen: snaplen === MAX_SNAPLEN ? undefined : snaplen,
});

/** As the option's value bounds it: what is no limit at all is as wrong as one that nobody can keep. */
const BOUNDS: Record<LimitName, [least: number, most: number]> = {
  count: [1, Number.MAX_SAFE_INTEGER],
  bytes: [1, Number.MAX_SAFE_INTEGER],
  durationMs: [1, MAX_TIMER_MS],
  rate: [MIN_RATE, 2 ** 40],
  snaplen: [1, MAX_SNAPLEN],
};

/** What a collector sends; 0 is none. Throws a ProtocolError. */
export function limitsFrom(message: rcap.v1.SettingsDocument.ILimits | null | undefined): RunLimits {
  const limits: RunLimits = {};
  for (const name of NAMES) {
    const value = message?.[name] ?? 0;
    if (value === 0) continue;
    const [least, most] = BOUNDS[name];
    if (!(value >= least && value <= most))
      throw new ProtocolError(`its limit ${wordsOf(name, value)} is out of range`);
    limits[name] = value;
  }
  return limits;
}

const WORDS: Record<LimitName, (value: number) => string> = {
  count: (n) => `count ${n}`,
  bytes: (n) => `bytes ${formatSize(n)}`,
  durationMs: (n) => `duration ${formatDuration(n)}`,
  rate: (n) => `max-rate ${formatRate(n)}`,
  snaplen: (n) => `snaplen ${n}`,
};
export const wordsOf = (name: LimitName, value: number): string => WORDS[name](value);

/** Each limit in the options' words. */
export const limitWords = (limits: RunLimits): string[] =>
  NAMES.flatMap((name) => (limits[name] === undefined ? [] : [wordsOf(name, limits[name])]));
