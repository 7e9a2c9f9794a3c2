/** For whom a proxy is not used. */
import { BlockList, isIP } from 'node:net';
import type { Server } from './link.ts';

/**
 * Whether a list, as NO_PROXY holds one, names this server: `*`; a domain with all below it, `.` or `*.` before it or not;
 * an address; a network (10.0.0.0/8); each with a port or without. What is none of these names nobody. A name isn't looked up.
 */
export function bypasses(list: readonly string[], server: Server): boolean {
  return list.flatMap((text) => text.split(/[\s,]+/)).some((entry) => entry !== '' && names(entry, server));
}

function names(entry: string, { host, port }: Server): boolean {
  if (entry === '*') return true;
  const [, bracketed, plain, only] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(entry) ?? [];
  if (only !== undefined && Number(only) !== port) return false;
  const what = bracketed ?? plain ?? entry;
  const address = host.replace(/%.*$/, '');
  if (isIP(address)) return covers(what, address);
  const name = lower(host);
  const domain = lower(what.replace(/^\*?\./, ''));
  return name === domain || name.endsWith(`.${domain}`);
}

const lower = (name: string) => name.toLowerCase().replace(/\.$/, '');

function covers(what: string, address: string): boolean {
  const [network = '', bits] = what.split('/');
  const family = isIP(network);
  if (!family) return false;
  const kind = family === 6 ? 'ipv6' : 'ipv4';
  const prefix = bits === undefined ? (family === 6 ? 128 : 32) : /^\d{1,3}$/.test(bits) ? Number(bits) : 999;
  if (prefix > (family === 6 ? 128 : 32)) return false;
  const set = new BlockList();
  set.addSubnet(network, prefix, kind);
  return set.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}
