/** A source of packets: an interface or a file. What comes from it, and how it is stopped. */
import type * as native from 'node-pcap-native';
import { RcapError } from '../errors.ts';
import type { Block, CaptureInfo } from '../packet.ts';

export interface SourceHandlers {
  /** A capture begins; always before its first block. A file may hold several. */
  capture(id: number, info: CaptureInfo): void;
  block(id: number, block: Block): void;
  /** A packet of DNS, from its innermost IP header on; only if it was asked for. A file is read on after `goOn`. */
  dns?(packet: Uint8Array): void;
  /** The last call. With an error when the source failed, also when it failed to open. */
  end(error?: RcapError): void;
}

export type SourceStats = native.Stats;
export type Exceptions = native.Exceptions;
export type Installed = native.Installed;
export type Replaced = native.Replaced;

/** What every source may be opened with. */
export interface SourceOptions {
  /** BPF texts, all of which must match; empty for all. */
  filter: string | readonly string[];
  /** What is left out behind the filter: two sets, looked up in this order. */
  exceptions?: native.Exceptions;
  learned?: native.Exceptions;
  /** Hands packets of DNS over. */
  dns?: boolean;
}

export interface Source {
  /** What to call it in messages. */
  readonly label: string;
  /** Replaces the filter; rejects, and the old one stays, when it does not compile. */
  setFilter(filter: string | readonly string[]): Promise<Installed>;
  /** Replaces what is left out of the capture; BPF text. */
  setExclusion(exclusion: string): Promise<Installed>;
  /** Replaces both sets of exceptions; resolves, once they are used, with the final counts of those that were replaced. */
  setExceptions(exceptions?: Exceptions, learned?: Exceptions): Promise<Replaced>;
  /** What each name of the sets in use has left out; also valid after the end. */
  excludedBy(): Replaced;
  /** Cuts further packets to so many bytes. */
  setSnaplen(snaplen: number): Promise<void>;
  /** Whether packets of DNS are handed over from now on. */
  setDns(dns: boolean): void;
  /** Once for each packet of DNS: a file is read on. */
  goOn(): void;
  stats(): SourceStats;
  /** Ends it; `end` follows. With `drain`, all that the kernel had already received is delivered first. */
  stop(drain: boolean): void;
}

export type Pool = native.Pool;
export type Addon = typeof native;
export type Services = native.Services;
export type ServiceState = native.ServiceState;

/** Opens a native session and translates its blocks, captures and errors. */
export function openSession(
  addon: Addon,
  pool: Pool,
  label: string,
  options: native.OpenOptions,
  describe: (info: native.CaptureInfo) => CaptureInfo,
  explain: (error: native.PcapError) => RcapError,
  handlers: SourceHandlers,
): Source {
  const session = addon.open(pool, options, {
    onCapture: (id, info) => handlers.capture(id, withShortNames(describe(info))),
    onBlock: (id, block, end, packets, packetBytes) =>
      handlers.block(id, {
        bytes: pool.blocks[block]!,
        end,
        packets,
        packetBytes,
        release: () => pool.release(block),
      }),
    onDns: (packet) => handlers.dns?.(packet),
    onEnd: (error) => handlers.end(error && explain(error)),
  });
  return {
    label,
    setFilter: (filter) => session.setFilter(filter),
    setExclusion: (exclusion) => session.setExclusion(exclusion),
    setExceptions: (exceptions, learned) => session.setExceptions(exceptions, learned),
    excludedBy: () => session.excludedBy(),
    setSnaplen: (snaplen) => session.setSnaplen(snaplen),
    setDns: (dns) => session.setDns(dns),
    goOn: () => session.goOn(),
    stats: () => session.stats(),
    stop: (drain) => session.stop(drain),
  };
}

/** libpcap's words, and what they are about. */
export const wordsOf = (error: native.PcapError, filter: SourceOptions['filter']): string =>
  error.code === 'FILTER' ? `could not compile the filter '${textOf(filter)}': ${error.message}` : error.message;

/** Filters as one text for people. */
export const textOf = (filter: SourceOptions['filter']): string =>
  typeof filter === 'string'
    ? filter
    : filter.length === 1
      ? filter[0]!
      : filter.map((text) => `(${text})`).join(' and ');

/** Longest name of an interface or file in the protocol, bytes of UTF-8; a pcapng file may say a longer one. */
const NAME_BYTES = 255;

const withShortNames = (info: CaptureInfo): CaptureInfo => ({
  ...info,
  interface: shortened(info.interface),
  friendlyName: shortened(info.friendlyName),
  file: shortened(info.file),
});

function shortened(name: string): string {
  const bytes = Buffer.from(name);
  if (bytes.length <= NAME_BYTES) return name;
  let end = NAME_BYTES;
  while ((bytes[end]! & 0xc0) === 0x80) end--; // not within a character
  return bytes.toString('utf8', 0, end);
}
