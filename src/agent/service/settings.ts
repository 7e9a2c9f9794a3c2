/** What a service is told at its start: a settings file, which only administrators may read since a token may be in it. */
import { resolve } from 'node:path';
import { AGENT, type AgentFlags } from '../../options/agent.ts';
import { readCertificates, readToken } from '../credentials.ts';
import { readFilterFile } from '../filter-file.ts';
import type { Given } from './flags.ts';

/** At the end a service waits this long for its collector, where nobody said otherwise: the system's end must not hang on it. */
const STOP_WITHIN = '30s';
export const STOP_WITHIN_MS = 30_000;

/** Names of files in the service's own folder, and of systemd's credentials. */
export const SETTINGS_FILE = 'settings.json';
export const CA_FILE = 'ca.pem';
export const LOG_FILE = 'agent.log';

/**
 * Exit codes beside 0 after which a service isn't started again. 2: wrong options stay wrong. 3: it ended as it was told to
 * (a limit, the collector's order), though packets were lost; but with a time in --give-up it may also mean that it gave up.
 */
export const finalCodes = ({ giveUpMs }: AgentFlags): number[] => ((giveUpMs ?? Infinity) === Infinity ? [2, 3] : [2]);

export interface ServiceFiles {
  /** JSON as `--settings` reads it. */
  settings: string;
  /** The same for people's eyes. */
  shown: string;
  /** Certificates that the service trusts; it can't rely on reading the file that was named. */
  ca: string | undefined;
}

/** Reads the files that hold token and CA, so that the service needs neither. */
export function serviceFiles(flags: AgentFlags, given: Given): ServiceFiles {
  const texts = new Map(given);
  if (flags.stopWithinMs === undefined) texts.set('stop-within', [STOP_WITHIN]);
  // At the start of a system its network may not be there yet.
  if (flags.giveUpMs === undefined) texts.set('give-up', ['never']);
  if (flags.tokenFile !== undefined) {
    texts.delete('token-file');
    texts.set('token', [readToken(flags.tokenFile)]);
  }
  if (flags.filterFile !== undefined) {
    texts.delete('filter-file');
    texts.set('filter', [readFilterFile(flags.filterFile)]);
  }
  // It doesn't work in the folder where it was installed.
  if (flags.spoolDir !== undefined) texts.set('spool-dir', [resolve(flags.spoolDir)]);
  // The service is told by a flag where its copy lies.
  texts.delete('ca');
  return {
    settings: json(texts, false),
    shown: json(texts, true),
    ca: flags.ca === undefined ? undefined : readCertificates(flags.ca),
  };
}

function json(texts: Given, hideSecrets: boolean): string {
  const entries = [...texts].map(([name, list]) => {
    const option = AGENT.options.find((o) => o.name === name)!;
    if (option.kind === 'flag') return [name, list[0] === 'true'];
    const shown = hideSecrets && 'secret' in option ? list.map(() => '(hidden)') : list;
    return [name, 'repeatable' in option ? shown : shown[0]];
  });
  return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
}
