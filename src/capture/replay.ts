/** A capture file, sent through the same line as a live capture. */
import { basename } from 'node:path';
import type { PcapError } from 'node-pcap-native';
import { RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import {
  type Addon,
  openSession,
  type Pool,
  type Source,
  type SourceHandlers,
  type SourceOptions,
  textOf,
  wordsOf,
} from './source.ts';

export interface ReplayOptions extends SourceOptions {
  /** Path of a pcap or pcapng file; '-' for standard input. */
  file: string;
}

export function openReplay(addon: Addon, pool: Pool, options: ReplayOptions, handlers: SourceHandlers): Source {
  const name = options.file === '-' ? 'stdin' : basename(options.file);
  return openSession(
    addon,
    pool,
    options.file,
    options,
    (info) => {
      if (options.file !== '-') touch('read', options.file, 'the packets');
      return {
        linkType: info.linkType,
        snaplen: info.snaplen,
        interface: info.interface || name.replace(/\.(pcap|pcapng|cap)$/, ''),
        friendlyName: info.description,
        addresses: [],
        effectiveFilter: info.filter,
        promiscuous: false,
        source: 'file',
        file: name,
      };
    },
    (error) => {
      const hint = HINTS[error.code]?.(options);
      return new RcapError(error.code, wordsOf(error, options.filter), { cause: error, ...(hint ? { hint } : {}) });
    },
    handlers,
  );
}

const HINTS: Partial<Record<PcapError['code'], (o: ReplayOptions) => string>> = {
  FILE_FORMAT: (o) => `'capinfos ${o.file}' says what it is; editcap -F pcap converts it`,
  FILE_TRUNCATED: () => 'all packets before the cut are sent',
  FILTER: (o) => `'man pcap-filter' has the language; check it with: tcpdump -r ${o.file} -d '${textOf(o.filter)}'`,
};
