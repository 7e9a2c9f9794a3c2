/** A source of packets: an interface or a file. What comes from it, and how it is stopped. */
import type * as native from 'node-pcap-native';
import { RcapError } from '../errors.ts';
import type { Block, CaptureInfo } from '../packet.ts';

export interface SourceHandlers {
  /** A capture begins; always before its first block. A file may hold several. */
  capture(id: number, info: CaptureInfo): void;
  block(id: number, block: Block): void;
  /** The last call. With an error when the source failed, also when it failed to open. */
  end(error?: RcapError): void;
}

export type SourceStats = native.Stats;

export interface Source {
  /** What to call it in messages. */
  readonly label: string;
  /** Replaces what is left out of the capture; BPF text. */
  setExclusion(exclusion: string): Promise<string>;
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
    onEnd: (error) => handlers.end(error && explain(error)),
  });
  return {
    label,
    setExclusion: (exclusion) => session.setExclusion(exclusion),
    stats: () => session.stats(),
    stop: (drain) => session.stop(drain),
  };
}

/** libpcap's words, and what they are about. */
export const wordsOf = (error: native.PcapError, filter: string): string =>
  error.code === 'FILTER' ? `could not compile the filter '${filter}': ${error.message}` : error.message;

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
