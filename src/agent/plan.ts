/** From the flags, as typed, to what the run does: nothing is opened here but the files that hold secrets. */
import { statSync } from 'node:fs';
import { isIP } from 'node:net';
import { arch, hostname, platform } from 'node:os';
import { usageError } from '../errors.ts';
import type { Place, Route } from '../wire/dial.ts';
import { type Server, serverText } from '../wire/link.ts';
import { parseProxy, type Proxy } from '../options/proxy.ts';
import { bypasses } from '../wire/proxy.ts';
import type { Trust } from '../wire/tls.ts';
import type { AgentFlags } from '../options/agent.ts';
import { readCertificates, readToken } from './credentials.ts';
import type { LocalExceptions } from './exceptions/exceptions.ts';
import { readExceptions } from './exceptions/lists.ts';
import { readFilterFile } from './filter-file.ts';
import type { Limits } from './limit.ts';

export interface Plan {
  /** What `-i` said, or empty for the default. */
  interfaces: string[];
  read: string | undefined;
  write: string | undefined;
  filter: string;
  exceptions: LocalExceptions;
  snaplen: number;
  promiscuous: boolean;
  bufferBytes: number;
  limits: Limits;
  durationMs: number | undefined;
  /** How long it delivers after its captures have failed; left out: until all is acknowledged. */
  stopWithinMs: number | undefined;
  upload: Upload | undefined;
  host: { name: string; system: string };
  spoolBytes: number;
  spoolFull: 'wait' | 'drop';
}

export interface Upload extends Route {
  servers: Server[];
  token: string;
  /** Infinity: never. Left out: a first connection comes before everything else, and then never. */
  giveUpMs: number | undefined;
  /** Bytes a second. */
  maxRate: number | undefined;
  spoolDisk: { folder: string; bytes: number } | undefined;
}

export function makePlan(flags: AgentFlags): Plan {
  if (flags.read !== undefined && flags.write !== undefined && sameFile(flags.read, flags.write)) {
    throw usageError(`could not write '${flags.write}': it is the file that is read`, 'give -w another name');
  }
  return {
    interfaces: flags.interfaces,
    read: flags.read,
    write: flags.write,
    filter: filterIn(flags),
    exceptions: { entries: readExceptions(flags), strict: flags.exceptionsStrict },
    snaplen: flags.snaplen,
    promiscuous: flags.promiscuous,
    bufferBytes: flags.bufferBytes,
    limits: { count: flags.count, bytes: flags.bytes },
    durationMs: flags.durationMs,
    stopWithinMs: flags.stopWithinMs,
    upload: flags.servers.length > 0 ? uploadOf(flags) : undefined,
    host: { name: flags.hostName ?? hostname(), system: `${platform()} ${arch()}` },
    spoolBytes: flags.spoolBytes,
    // A file waits for the collector; a live capture loses its oldest packets rather than its newest.
    spoolFull: flags.spoolFull ?? (flags.read === undefined ? 'drop' : 'wait'),
  };
}

/** The user's filter, wherever it was given. */
export const filterIn = ({ filter, filterFile }: AgentFlags): string =>
  filterFile === undefined ? filter.trim() : readFilterFile(filterFile);

function uploadOf(flags: AgentFlags): Upload {
  const { servers, giveUpMs, maxRate, spoolDir, spoolDiskBytes } = flags;
  const spoolDisk = spoolDir === undefined ? undefined : { folder: spoolDir, bytes: spoolDiskBytes };
  const route: Route = { trust: trustOf(flags), source: flags.source, proxyFor: proxyOf(flags) };
  return { servers, ...route, token: tokenOf(flags), giveUpMs, maxRate, spoolDisk };
}

function proxyOf({ proxy: text, noProxy }: AgentFlags): Route['proxyFor'] {
  const proxy = text === undefined ? undefined : parseProxy(text);
  return proxy && ((server) => (bypasses(noProxy, server) ? undefined : proxy));
}

/** What was given as addresses, and is connected to directly. */
export const addressesIn = ({ servers, proxyFor }: Upload): Place[] =>
  servers.filter((s) => isIP(s.host) !== 0 && !proxyFor?.(s)).map(({ host, port }) => ({ address: host, port }));

/** Which proxies are used for whom, in words: they may come from an environment that nobody thought of. */
export function proxyWords({ servers, proxyFor }: Upload): string[] {
  const used = servers.map((server): [Server, Proxy | undefined] => [server, proxyFor?.(server)]);
  return used.flatMap(([s, proxy]) =>
    proxy ? [`connecting to ${serverText(s)} through proxy ${serverText(proxy)}`] : [],
  );
}

function sameFile(a: string, b: string): boolean {
  try {
    // Windows' numbers of files are longer than a number here.
    const x = statSync(a, { bigint: true });
    const y = statSync(b, { bigint: true });
    return x.isFile() && x.dev === y.dev && x.ino === y.ino;
  } catch {
    return false; // the one to be written isn't there yet
  }
}

function trustOf(flags: AgentFlags): Trust {
  if (flags.pin) return { pin: flags.pin };
  return flags.ca === undefined ? 'system' : { ca: readCertificates(flags.ca) };
}

function tokenOf(flags: AgentFlags): string {
  if (flags.tokenFile !== undefined) return readToken(flags.tokenFile);
  return flags.token ?? '';
}
