/** The list of interfaces, and which one a user means. */
import type { Interface } from 'node-pcap-native';
import { existsSync } from 'node:fs';
import { RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { nearest } from '../options/near.ts';
import type { Addon } from './source.ts';

/** Interfaces that could be captured on, the best first. */
export function listInterfaces(addon: Addon): Interface[] {
  const list = addon.interfaces();
  if (process.platform === 'linux') touch('netlink socket', 'the kernel', 'which interfaces there are');
  for (const { name, loopback } of list) {
    const type = `/sys/class/net/${name}/type`;
    if (!loopback && existsSync(type)) touch('read', type, 'which interfaces there are');
  }
  return list;
}

/** The one that NAME or NUMBER means: a number of the list, a name, or a friendly name (case doesn't matter there). */
export function findInterface(list: Interface[], wanted: string): Interface {
  const found =
    list.find((i) => i.name === wanted) ??
    list.find((i) => String(i.number) === wanted) ??
    list.find((i) => i.friendlyName?.toLowerCase() === wanted.toLowerCase()) ??
    list.find((i) => i.description?.toLowerCase() === wanted.toLowerCase());
  if (found) return found;
  const near = nearest(wanted, list.map(shortName));
  throw new RcapError('NO_SUCH_INTERFACE', `could not find interface '${printable(wanted)}'`, {
    hint: near
      ? `did you mean -i ${near.includes(' ') ? `"${near}"` : near}?`
      : `'rcap-agent -D' lists them: ${list.map(shortName).slice(0, 8).join(', ')}`,
  });
}

/** The name that a user would type. */
const shortName = (i: Interface) => i.friendlyName ?? i.name;

/** What people call it: in the system's settings, else what libpcap says of it; may be empty. */
export const friendlyNameOf = (i: Interface): string => i.friendlyName ?? i.description ?? '';

/** The interface that has this address: the one that routes to whoever we reached from it. */
export const interfaceOf = (list: Interface[], address: string): Interface | undefined =>
  list.find((i) => i.addresses.some((a) => a.address === address));

/** One line an interface, as tcpdump -D prints it, with the addresses. */
export function listLine(i: Interface): string {
  const state = [
    ...(i.up ? ['Up'] : []),
    ...(i.running ? ['Running'] : []),
    ...(i.loopback ? ['Loopback'] : []),
    ...(i.wireless ? ['Wireless'] : []),
    ...(i.connection === 'disconnected' ? ['Disconnected'] : []),
  ];
  const addresses = i.addresses.filter((a) => a.family !== 'link').map((a) => a.address);
  const names = [...new Set([i.friendlyName, i.description])].filter(Boolean);
  return [
    `${i.number}.${i.name}`,
    ...(names.length > 0 ? [`(${names.join(': ')})`] : []),
    ...(addresses.length ? [addresses.join(' ')] : []),
    `[${state.join(', ') || 'Down'}]`,
  ].join(' ');
}

// eslint-disable-next-line no-control-regex
const printable = (s: string) => s.slice(0, 100).replace(/[\u0000-\u001f\u007f]/g, '?');
