/** Live capture on one interface. */
import type { CaptureInfo as NativeInfo, Interface, PcapError } from 'node-pcap-native';
import { existsSync } from 'node:fs';
import { RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import type { CaptureInfo } from '../packet.ts';
import { friendlyNameOf } from './interfaces.ts';
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

export interface LiveOptions extends SourceOptions {
  interface: Interface;
  /** BPF text of our own traffic; empty for none. */
  exclusion: string;
  snaplen: number;
  promiscuous: boolean;
  /** Kernel ring, bytes. */
  bufferBytes: number;
}

/** Throws when this machine lacks what every live capture needs, whatever the interface. */
export function requireCapture(addon: Addon): void {
  const missing = addon.missing();
  if (missing !== undefined)
    throw new RcapError('CAPTURE_LIBRARY', `could not capture: ${missing}`, { hint: INSTALL_NPCAP });
}
/** We may not bring it along: its licence says so. */
export const INSTALL_NPCAP = 'install Npcap as an administrator, from https://npcap.com, and run this again';

/** What a user must know who has packets cut. */
export const cutWarning = (snaplen: number): [message: string, hint: string] => [
  `packets are cut to ${snaplen} bytes: Arkime stops on cut packets`,
  'set readTruncatedPackets=true in its config.ini',
];

export function openLive(addon: Addon, pool: Pool, options: LiveOptions, handlers: SourceHandlers): Source {
  const { interface: device, ...rest } = options;
  return openSession(
    addon,
    pool,
    device.name,
    { interface: device.name, ...rest },
    (info) => describe(device, options, info),
    (error) => explain(error, options),
    handlers,
  );
}

function describe(device: Interface, options: LiveOptions, info: NativeInfo): CaptureInfo {
  touch('packet socket', device.name, 'the capture');
  for (const counter of ['rx_missed_errors', 'rx_fifo_errors']) {
    const file = `/sys/class/net/${device.name}/statistics/${counter}`;
    if (existsSync(file)) touch('read', file, 'packets that the interface dropped');
  }
  return {
    linkType: info.linkType,
    snaplen: info.snaplen,
    interface: device.name,
    friendlyName: friendlyNameOf(device),
    addresses: device.addresses.filter((a) => a.family !== 'link').map((a) => a.address),
    effectiveFilter: info.filter,
    instructions: info.instructions,
    inKernel: info.inKernel,
    promiscuous: options.promiscuous,
    source: 'live',
    file: '',
  };
}

function explain(error: PcapError, options: LiveOptions): RcapError {
  const hint = HINTS[error.code]?.(options);
  return new RcapError(error.code, wordsOf(error, options.filter), { cause: error, ...(hint ? { hint } : {}) });
}

type Hints = Partial<Record<PcapError['code'], (o: LiveOptions) => string>>;
const UNIX_HINTS: Hints = {
  PERMISSION: () => `run it as root, or once: sudo setcap cap_net_raw+ep ${process.execPath}`,
  INTERFACE_DOWN: (o) => `ip link set ${o.interface.name} up`,
  FILTER: (o) => `'man pcap-filter' has the language; check it with: tcpdump -d '${textOf(o.filter)}'`,
};
const WINDOWS_HINTS: Hints = {
  PERMISSION: () => 'run it as an administrator (Npcap was installed for administrators only)',
  FILTER: () => 'https://www.tcpdump.org/manpages/pcap-filter.7.html has the language',
};
const HINTS = process.platform === 'win32' ? WINDOWS_HINTS : UNIX_HINTS;
