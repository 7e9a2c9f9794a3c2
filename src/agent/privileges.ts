/** What the agent may do on its host: in words, and less once everything is open. */
import type { Privileges } from 'node-pcap-native';
import type { Addon } from '../capture/source.ts';
import { touch } from '../footprint.ts';
import type { Log } from '../log.ts';
import { needsOwner } from './spool-disk.ts';

/** Warns of what could not be given up: the capture matters more, and whoever runs it should know. */
export function dropPrivileges(addon: Addon, spoolFolder: string | undefined, log: Log): void {
  // Files are made there all the time.
  const keepUser = spoolFolder !== undefined && needsOwner(spoolFolder);
  const left = addon.dropPrivileges(keepUser);
  const now = addon.privileges();
  if (left !== undefined) log.warning(`could not give up all privileges: ${left}`);
  if (!now) return;
  if (keepUser && now.uid === 0) {
    const reason = `root stays the user: only root can make files in the spool folder '${spoolFolder}'`;
    log.warning(
      `could not give up all privileges: ${reason}`,
      'name an empty folder, or one that is missing; where users are mapped, or a file system has no owners, it stays so',
    );
  }
  touch('read', '/proc/self/task', 'which threads there are');
  touch('read', '/proc/self/task/*/status', 'whether all threads gave up their privileges');
  log.debug(`goes on as ${words(now)}`);
}

const NET_RAW = '0000000000002000';
const NONE = '0'.repeat(16);

export function words(p: Privileges): string {
  const sets = [p.effective, p.permitted, p.inheritable, p.ambient];
  const all = sets.every((s) => s === NONE) ? 'none' : p.effective === NET_RAW ? 'cap_net_raw' : p.effective;
  return [
    `uid ${p.uid}, gid ${p.gid}`,
    `capabilities ${all} (at most, by programs that it starts: ${p.bounding === NONE || p.noNewPrivileges ? 'none' : p.bounding})`,
    `no_new_privs ${p.noNewPrivileges ? 'on' : 'off'}`,
    `system calls ${p.seccomp === 0 ? 'not filtered' : 'filtered'}`,
    `dumps ${p.dumpable ? 'on' : 'off'}`,
  ].join(', ');
}
