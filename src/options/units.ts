/** Values as people write them: sizes, times, addresses. Each throws a plain Error whose message is the reason. */

const SIZES: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
const TIMES: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Beyond this a Node timer fires at once; times that become a timer are limited to it. */
export const MAX_TIMER_MS = 24 * TIMES.d!;

export function parseNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new Error('not a whole number');
  return safe(Number(text));
}

/** Bytes: 4096, 64K, 64M, 1G, 1T; powers of two. */
export function parseSize(text: string): number {
  const match = /^(\d+)([KMGT]?)$/i.exec(text);
  if (!match) throw new Error('not a size like 4096, 64K, 64M or 1G');
  return safe(Number(match[1]) * SIZES[match[2]!.toUpperCase()]!);
}

/** Bytes a second: a size, with `/s` or without. */
export const parseRate = (text: string): number => parseSize(text.replace(/\/s$/, ''));

/** Milliseconds: 500ms, 30s, 5m, 24h, 7d. */
export function parseDuration(text: string): number {
  const match = /^(\d+)(ms|s|m|h|d)$/.exec(text);
  if (!match) throw new Error('not a time like 500ms, 30s, 5m, 24h or 7d');
  return safe(Number(match[1]) * TIMES[match[2]!]!);
}

function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw new Error('too large');
  return value;
}

export interface Address {
  /** Without brackets. */
  host: string;
  port: number;
}

/** HOST, HOST:PORT, [IPv6] or [IPv6]:PORT. */
export function parseAddress(text: string, defaultPort: number): Address {
  if (text.includes('/')) throw new Error('not HOST:PORT; leave out https:// and any path');
  if (/^[^[\]]*:[^[\]]*:/.test(text)) throw new Error(`an IPv6 address goes in brackets: [${text}]:${defaultPort}`);
  const match = /^(?:\[([0-9a-f:.]*:[0-9a-f:.]*(?:%[\w.-]+)?)\]|([\w.-]{1,253}))(?::(\d{1,5}))?$/i.exec(text);
  if (!match) throw new Error(`not HOST:PORT like ir.corp:${defaultPort} or [2001:db8::1]:${defaultPort}`);
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  if (port > 65535) throw new Error('a port is at most 65535');
  return { host: (match[1] ?? match[2])!, port };
}

/** As parseAddress reads it. */
export const formatAddress = ({ host, port }: Address): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

/** A size as parseSize reads it, with the largest unit that fits exactly. */
export const formatSize = (bytes: number): string => format(bytes, SIZES);
export const formatRate = (bytes: number): string => `${formatSize(bytes)}/s`;
/** A time as parseDuration reads it, with the largest unit that fits exactly. */
export const formatDuration = (ms: number): string => format(ms, TIMES);

function format(value: number, units: Record<string, number>): string {
  const fitting = Object.entries(units).filter(([, factor]) => value % factor === 0 && value >= factor);
  const [unit, factor] = fitting.at(-1) ?? Object.entries(units)[0]!;
  return `${value / factor}${unit}`;
}
