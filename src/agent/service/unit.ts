/** The systemd unit of a service: one capability, one user that exists while it runs, nothing else of the system. */
import { createHash } from 'node:crypto';
import type { AgentFlags } from '../../options/agent.ts';
import { CA_FILE, finalCodes, SETTINGS_FILE, STOP_WITHIN_MS } from './settings.ts';

export interface UnitParts {
  name: string;
  executable: string;
  /** It is the service's own copy, and goes with it. */
  copied: boolean;
  /** Its folder of settings, which only root reads; systemd hands the files to the service. */
  folder: string;
  hasCa: boolean;
  /** It keeps a spool folder: systemd's state folder of that name. */
  spools: boolean;
  stopWithinMs: number | undefined;
  /** Exit codes beside 0 after which it isn't started again. */
  finalCodes: number[];
}

/** In a unit that we wrote: which executable is ours to remove. systemd passes over sections that begin with X-. */
export const MARK = '[X-rcap]';
export const markedCopy = (unit: string): string | undefined => /^\[X-rcap\]\nCopy=(.+)$/m.exec(unit)?.[1];

/** Where systemd puts the spool of a service, and the only place that it lets the service write to. */
export const spoolFolder = (name: string): string => `/var/lib/${name}`;

/**
 * The user that exists while the service runs. Without one systemd takes the service's name for it, and if an account has
 * that, the service would run as that account. systemd.exec(5): at most 31 letters.
 */
export const userOf = (name: string): string => `rcap-${createHash('sha256').update(name).digest('hex').slice(0, 16)}`;

type FromFlags = Pick<UnitParts, 'hasCa' | 'spools' | 'stopWithinMs' | 'finalCodes'>;
/** The names of its files in its folder of settings. */
export const filesOf = (unit: string): string[] =>
  Array.from(unit.matchAll(/^LoadCredential=(.+?):/gm), ([, file]) => file!);
export const hasSpool = (unit: string): boolean => /^StateDirectory=/m.test(unit);

export const unitParts = (flags: AgentFlags): FromFlags => ({
  hasCa: flags.ca !== undefined,
  spools: flags.spoolDir !== undefined,
  stopWithinMs: flags.stopWithinMs,
  finalCodes: finalCodes(flags),
});

export function unitText(parts: UnitParts): string {
  const { name, executable, copied, folder, hasCa, spools, stopWithinMs = STOP_WITHIN_MS } = parts;
  const given = '${CREDENTIALS_DIRECTORY}';
  const start = [
    executable,
    '--settings',
    `${given}/${SETTINGS_FILE}`,
    ...(hasCa ? ['--ca', `${given}/${CA_FILE}`] : []),
  ];
  return `# Written by 'rcap-agent service install', removed by 'rcap-agent service uninstall --name ${name}'.
${MARK}
${copied ? `Copy=${executable}\n` : ''}
[Unit]
Description=rcap capture agent (${name})
# Not network-online: without a network it would wait, and the agent tries again by itself.
After=network.target
# However often it fails, it is started again.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${start.join(' ')}
${[SETTINGS_FILE, ...(hasCa ? [CA_FILE] : [])].map((file) => `LoadCredential=${file}:${folder}/${file}`).join('\n')}
# A capture that ended as it was told to (a limit, the collector's order) is over; wrong options stay wrong.
Restart=on-failure
RestartPreventExitStatus=${parts.finalCodes.join(' ')}
RestartSec=5s
# At SIGTERM the agent delivers what it has for ${Math.ceil(stopWithinMs / 1000)} s at most.
KillSignal=SIGTERM
TimeoutStopSec=${Math.ceil(stopWithinMs / 1000) + 15}s
TasksMax=512
UMask=0077
LimitCORE=0
${spools ? `StateDirectory=${name}\nStateDirectoryMode=0700\n` : ''}
DynamicUser=yes
User=${userOf(name)}
AmbientCapabilities=CAP_NET_RAW
CapabilityBoundingSet=CAP_NET_RAW
NoNewPrivileges=yes
RestrictAddressFamilies=AF_PACKET AF_NETLINK AF_INET AF_INET6 AF_UNIX
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# With these the agent confines itself further.
SystemCallFilter=capset seccomp
SystemCallErrorNumber=EPERM
ProtectSystem=strict
ProtectHome=yes
# Its own, and executable: the agent loads its capture library from there, whatever the host forbids for /tmp and /dev/shm.
TemporaryFileSystem=/dev/shm:mode=1777,size=16M,nosuid,nodev
PrivateMounts=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes

[Install]
WantedBy=multi-user.target
`;
}
