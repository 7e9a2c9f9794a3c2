/** What a system's own manager of services does for us; systemd.ts and windows.ts are two of them. */
import { RcapError } from '../../errors.ts';
import type { AgentFlags } from '../../options/agent.ts';
import type { ServiceFiles } from './settings.ts';

export interface Installation {
  name: string;
  flags: AgentFlags;
  files: ServiceFiles;
  /** The agent's executable as it was started, with its stamp; undefined when it runs from source. */
  executable: string | undefined;
}

export interface Status {
  state: 'running' | 'not running' | 'not installed';
  /** Details for people: since when, what it said last. */
  lines: string[];
}

export interface Manager {
  /** Everything that install would write, for people to read. Changes nothing and needs no rights. */
  show(installation: Installation): string;
  /** Installs and starts it; an earlier installation of the same name is replaced. Returns what was done. */
  install(installation: Installation): Promise<string[]>;
  uninstall(name: string): Promise<string[]>;
  start(name: string): Promise<void>;
  stop(name: string): Promise<void>;
  status(name: string): Promise<Status>;
}

/** Most have one only. */
const named = (name: string): string => (name === 'rcap-agent' ? '' : ` --name ${name}`);
export const installed = (name: string): string =>
  `service '${name}' is installed and started; rcap-agent service status${named(name)} says how it fares`;

export const removed = (name: string): string => `service '${name}' is stopped and removed`;
/** Where an installation had ended half-way. */
export const leftRemoved = (name: string): string => `what was left of service '${name}' is removed`;

export const notInstalled = (name: string): RcapError =>
  new RcapError('NOT_INSTALLED', `could not find service '${name}': it is not installed`, {
    hint: `rcap-agent service install${named(name)} --server HOST:PORT …`,
  });

export const needsExecutable = (): RcapError =>
  new RcapError('SERVICE', 'could not install a service: this agent runs from its source', {
    hint: 'npm run package, and install with the executable in dist/',
  });

export const taken = (name: string, reason: string, hint = 'choose another: --name NAME'): RcapError =>
  new RcapError('SERVICE', `could not use the name '${name}': ${reason}`, { hint });

export const atWork = (): RcapError =>
  new RcapError('SERVICE', 'could not change a service: another rcap-agent service command is at work', {
    hint: 'try again when it is done',
  });
