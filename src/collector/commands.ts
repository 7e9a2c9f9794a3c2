/** `rcap-collector agents`, `stop` and `settings`: what they print. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { systemClock } from '../clock.ts';
import { RcapError, usageError } from '../errors.ts';
import { printable } from '../log.ts';
import { NO_SETTINGS } from '../wire/settings.ts';
import type { AgentView } from './agents.ts';
import { ask } from './control.ts';
import { hostFolder } from './names.ts';
import { documentOf, filesFor, sealFor } from './public/documents.ts';
import type { PublicFile } from './public/files.ts';
import { limitWords } from './public/limits.ts';
import { patternOf } from './public/pattern.ts';
import { PublicSettings, wordsOf } from './public/settings.ts';
import { SHOWN_DIGEST } from './settings-feed.ts';

/** Columns, as wide as their widest cell. */
export function table(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  const line = (r: string[]) => r.map((cell, i) => cell.padEnd(widths[i]!)).join('  ');
  return rows.map((r) => `${line(r).trimEnd()}\n`).join('');
}

const jsonLines = (list: readonly unknown[]): string => list.map((item) => `${JSON.stringify(item)}\n`).join('');

export async function agentsText(state: string, json: boolean): Promise<string> {
  const agents = (await ask(state, 'GET', '/agents')).toSorted((a, b) => (a.host < b.host ? -1 : 1));
  if (json) return jsonLines(agents);
  const head = ['HOST', 'PEER', 'SINCE', 'CAPTURES', 'PACKETS', 'EXCLUDED', 'SETTINGS'];
  return table([head, ...agents.map(rowOf)]);
}

const rowOf = (a: AgentView): string[] => [
  a.host,
  a.peer,
  a.since.slice(0, 19) + 'Z',
  String(a.captures),
  String(a.packets),
  a.received > 0 ? `${((100 * a.excluded) / a.received).toFixed(1)} %` : '-',
  madeOf(a),
];

const short = (digest: string): string => digest.slice(0, SHOWN_DIGEST);
const STATES: Record<AgentView['settings']['state'], string> = {
  none: 'none',
  sent: 'sent, not answered yet',
  kept: 'in use',
  accepted: 'in use',
  refused: 'REFUSED',
};
/** Longest part of an agent's reason that is shown, characters. */
const SHOWN_REASON = 200;

function madeOf({ settings: { digest, state, reason } }: AgentView): string {
  const why = printable(reason.replace(/\s+/g, ' ').slice(0, SHOWN_REASON));
  return [`${digest && short(digest)} ${STATES[state]}`.trim(), ...(why ? [why] : [])].join(': ');
}

export async function stopText(state: string, words: string, json: boolean): Promise<string> {
  try {
    patternOf(words);
  } catch (e) {
    throw usageError(`could not stop '${words}': ${(e as Error).message}`, "'rcap-collector agents' lists the hosts");
  }
  const asked = await ask(state, 'POST', `/stop?host=${encodeURIComponent(words)}`);
  if (asked.length === 0) {
    throw new RcapError('NO_AGENT', `could not stop '${words}': no agent of such a host is connected`, {
      hint: "'rcap-collector agents' lists those that are",
    });
  }
  return json ? jsonLines(asked) : asked.map((a) => `asked ${a.host} (${a.peer}) to stop\n`).join('');
}

export interface SettingsCheck {
  publicFolder: string;
  publicGiven: boolean;
  state: string;
  /** Left out: all files, and all agents. */
  host: string | undefined;
  json: boolean;
}

/** Checks the folder; throws a usage error for what a collector would not start with. */
export async function settingsText(
  { publicFolder: named, publicGiven, state, host, json }: SettingsCheck,
  warning: (message: string) => void,
): Promise<string> {
  const running = await whenRunning(() => ask<string>(state, 'GET', '/public'));
  const publicFolder = publicGiven ? named : (running ?? named);
  if (publicGiven && !existsSync(named)) throw usageError(`could not use public folder '${named}': there is none`);
  if (running !== undefined && resolve(publicFolder) !== running)
    warning(`the collector that runs uses '${running}', and this is about '${publicFolder}'`);
  const { files } = await PublicSettings.open(publicFolder, systemClock, { info: () => {}, warning });
  const folder = host === undefined ? undefined : hostFolder(host);
  const agents = await connected(state, folder);
  return json ? settingsJson(files, folder, agents) : settingsLines(files, folder, agents);
}

async function connected(state: string, host: string | undefined): Promise<AgentView[] | undefined> {
  const agents = await whenRunning(() => ask(state, 'GET', '/agents'));
  return agents?.filter((a) => host === undefined || a.host.toLowerCase() === host.toLowerCase());
}

/** Undefined: no collector runs. */
async function whenRunning<T>(asks: () => Promise<T>): Promise<T | undefined> {
  try {
    return await asks();
  } catch (e) {
    if ((e as RcapError).code === 'NO_COLLECTOR') return undefined;
    throw e;
  }
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function settingsJson(files: PublicFile[], host: string | undefined, agents: AgentView[] | undefined): string {
  const rows = filesIn(files, host).map((f) => {
    const { name, kind } = f;
    const says = kind === 'filter' ? { filter: f.text } : kind === 'limits' ? f.limits : { entries: f.entries };
    return { name, hosts: f.hosts?.text ?? '*', kind, ...says };
  });
  const { filter, limits } = host === undefined ? {} : documentOf(filesFor(files, host));
  const gets = host === undefined ? {} : { host, digest: hex(sealFor(filesFor(files, host)).digest), filter, limits };
  return `${JSON.stringify({ files: rows, ...gets, agents })}\n`;
}

const filesIn = (files: PublicFile[], host: string | undefined) =>
  host === undefined ? files.toSorted((a, b) => (a.name < b.name ? -1 : 1)) : filesFor(files, host);

function settingsLines(files: PublicFile[], host: string | undefined, agents: AgentView[] | undefined): string {
  const rows = filesIn(files, host).map((f) => [f.name, f.kind === 'filter' && f.text ? f.text : wordsOf(f)]);
  const list = rows.length > 0 ? table([['FILE', 'SAYS'], ...rows]) : 'no settings\n';
  const running =
    agents === undefined
      ? 'no collector is running with this --state\n'
      : agents.map((a) => `${a.host} (${a.peer}): ${madeOf(a)}\n`).join('') || 'no such agent is connected\n';
  return `${list}${host === undefined ? '' : getsLines(files, host)}${running}`;
}

function getsLines(all: PublicFile[], host: string): string {
  const files = filesFor(all, host);
  const sealed = sealFor(files);
  if (sealed === NO_SETTINGS) return `${host} gets no settings\n`;
  const { filter, limits } = documentOf(files);
  const entries = files.reduce((n, f) => n + (f.kind === 'exceptions' ? f.entries : 0), 0);
  const parts = [
    `${entries} exception${entries === 1 ? '' : 's'}`,
    filter ? `the filter of ${filter.name}` : 'no filter',
    (limits && limitWords(limits)) || 'no limits',
  ];
  return `${host} gets ${short(hex(sealed.digest))}: ${parts.join('; ')}\n`;
}
