/** `--footprint`: what the agent touched on its host, for whoever has to account for it. */
import { subscribe } from 'node:diagnostics_channel';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import * as sea from 'node:sea';
import type { Privileges } from 'node-pcap-native';
import { type How, touch, type Touch, touched } from '../footprint.ts';
import type { Log } from '../log.ts';
import { words } from './privileges.ts';

/** Node tells of every connection that anything in this process makes. */
export function watchConnections(): void {
  subscribe('net.client.socket', (message) => {
    const { socket } = message as { socket: Socket };
    const place = (address: string | undefined, port: number | undefined) =>
      address?.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    socket.on('connectionAttempt', (address: string, port: number) => touch('tcp attempt', place(address, port), 'the way to a collector')); // prettier-ignore
    socket.on('connect', () => touch('tcp', `${place(socket.localAddress, socket.localPort)} -> ${place(socket.remoteAddress, socket.remotePort)}`, 'the way to a collector')); // prettier-ignore
  });
}

/**
 * What Node and the C library open by themselves, where it exists: known from watching them (Node 24, glibc), since there is
 * nobody in the process to ask. A test with strace holds this list against what they do.
 */
const BY_ITSELF: Record<string, string> = {
  '/etc/ld.so.cache': 'C library: where libraries are',
  '/proc/self/maps': 'V8 and this list: what is in memory',
  '/proc/self/cgroup': 'Node: how much memory there is',
  '/proc/meminfo': 'Node: how much memory there is',
  '/etc/resolv.conf': 'resolver',
  '/etc/nsswitch.conf': 'resolver',
  '/etc/localtime': 'C library: the time zone',
};
/** Only when more threads than it expected want memory at the same moment. */
const BY_CHANCE = ['/sys/devices/system/cpu/online', 'C library: how many processors there are'];
/** And for a connection or a pipe, or a name. */
const BY_STREAM: Record<string, string> = { '/dev/null': 'Node: a descriptor in reserve' };
const BY_LOOKUP: Record<string, string> = { '/etc/host.conf': 'resolver', '/etc/hosts': 'resolver' };

const UNKNOWN = [
  'not listed: what is looked for and not there; what changes nothing and opens nothing (stat, readlink)',
  "names are looked up by the system: which of its services and name servers that asks, and through which sockets, isn't known here",
];

export interface Footprint {
  /** When, in the host's own time. */
  at: string;
  touched: Touch[];
  /** Further ones that there was no room for. */
  beyond: number;
  bySystem: Touch[];
  privileges: { before: Privileges | undefined; after: Privileges | undefined };
  unknown: string[];
}

export function footprint(before: Privileges | undefined, after: Privileges | undefined): Footprint {
  const { list, beyond } = touched();
  const has = (...hows: How[]) => list.some((t) => hows.includes(t.how));
  const tables = [
    BY_ITSELF,
    has('tcp', 'tcp attempt') || process.stderr instanceof Socket ? BY_STREAM : {},
    has('looked up') ? BY_LOOKUP : {},
  ];
  const fixed = tables.flatMap((table) => Object.entries(table)).filter(([path]) => existsSync(path));
  const memory = existsSync('/proc/self/cgroup')
    ? [['/sys/fs/cgroup/**/memory.*', 'Node: how much memory there is']]
    : [];
  const extra = process.env['NODE_EXTRA_CA_CERTS'];
  const named = extra !== undefined && existsSync(extra) ? [[extra, 'Node, as NODE_EXTRA_CA_CERTS says; it changes nothing here']] : []; // prettier-ignore
  const unknown = sea.isSea() ? UNKNOWN : [...UNKNOWN, "not listed: the program's own source, which isn't packaged"];
  const once =
    (how: How) =>
    ([target, why]: string[]): Touch => ({ how, target: target!, why: why!, times: 1 });
  const bySystem = [
    ...[...mapped(), ...fixed, ...memory, ...named, ...terminal()].map(once('read')),
    ...[BY_CHANCE].filter(([path]) => existsSync(path!)).map(once('may have read')),
  ];
  return { at: new Date().toString(), touched: list, beyond, bySystem, privileges: { before, after }, unknown };
}

/** The executable and the libraries. Linux only; what has no name any more is the addon, which is listed by its loader. */
function mapped(): string[][] {
  if (!existsSync('/proc/self/maps')) return [];
  const paths = readFileSync('/proc/self/maps', 'utf8').match(/(?<= )\/.*$/gm) ?? [];
  const files = [...new Set(paths)].filter((path) => !path.endsWith(' (deleted)'));
  return files.map((path) => [path, path === process.execPath ? 'this program' : 'library']);
}

/** Node opens the terminal once more. */
const terminal = (): string[][] =>
  process.stderr.isTTY && existsSync('/proc/self/fd/2')
    ? [[readlinkSync('/proc/self/fd/2'), 'Node: the terminal, to write there']]
    : [];

export function sayFootprint(found: Footprint, log: Log, json: boolean): void {
  if (json) {
    log.info('footprint', { ...found });
    return;
  }
  log.info(`footprint: what this run touched, ${found.at}`);
  const line = (t: Touch) => `footprint: ${t.how} ${t.target}${t.times > 1 ? `, ${t.times} times` : ''} (${t.why})`;
  for (const t of found.touched) log.info(line(t));
  if (found.beyond > 0) log.info(`footprint: ${found.beyond} more that are not listed`);
  for (const t of found.bySystem) log.info(line(t));
  const { before, after } = found.privileges;
  log.info(`footprint: privileges before: ${before ? words(before) : 'not known on this system'}`);
  if (after) log.info(`footprint: privileges after: ${words(after)}`);
  for (const what of found.unknown) log.info(`footprint: ${what}`);
}
