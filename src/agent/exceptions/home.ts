/** This host, as far as exceptions are concerned: its addresses and networks, and whom it asks for names. */
import { Resolver } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { networkOf, parseAddress } from '../../formats/address.ts';
import { touch } from '../../footprint.ts';
import type { Network } from './guard.ts';

export interface Home {
  addresses: Uint8Array[];
  networks: Network[];
}

export function home(): Home {
  const found = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  if (process.platform === 'linux') touch('netlink socket', 'the kernel', "the host's addresses, for the exceptions");
  const addresses: Uint8Array[] = [];
  const networks: Network[] = [];
  for (const { address: text, cidr } of found) {
    const address = parseAddress(text);
    if (!address) continue;
    addresses.push(address);
    const prefix = Number(cidr?.split('/')[1] ?? address.length * 8);
    networks.push({ address: networkOf(address, prefix), prefix });
  }
  return { addresses, networks };
}

/** Where systemd-resolved keeps the servers that it asks itself. */
const UPSTREAM = '/run/systemd/resolve/resolv.conf';

/** Name servers of this host, without ports; also those behind a local one, where it says so. */
export function nameServers(): Uint8Array[] {
  const texts = new Resolver()
    .getServers()
    .map((s) => s.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1'));
  try {
    const upstream = readFileSync(UPSTREAM, 'utf8');
    touch('read', UPSTREAM, "the host's name servers, for the exceptions");
    texts.push(...[...upstream.matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, server]) => server!));
  } catch {
    // it doesn't run here
  }
  return texts.flatMap((text) => parseAddress(text) ?? []);
}
