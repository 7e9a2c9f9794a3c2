/**
 * The command line of `rcap-agent service …`. `service` comes first: no filter begins so, since a BPF text that begins with
 * a bare name is a syntax error.
 */
import { usageError } from '../../errors.ts';
import { AGENT, type AgentFlags, checkAgentFlags } from '../../options/agent.ts';
import { fullHelp, shortHelp } from '../../options/help.ts';
import { type Environment, load, NOT_IN_FILE, type Origin, type Settings } from '../../options/load.ts';
import { nearest } from '../../options/near.ts';
import { parse, type Typed } from '../../options/parse.ts';
import type { Command, Option } from '../../options/table.ts';

const SERVICE_GROUP = 'The service';
const OWN = [
  {
    name: 'name',
    kind: 'text',
    value: 'NAME',
    check: refuseName,
    default: 'rcap-agent',
    group: SERVICE_GROUP,
    help: 'the name of the service, for several on one host',
    more: 'Letters, digits, - and _; at most 64.',
  },
  {
    name: 'print',
    kind: 'flag',
    group: SERVICE_GROUP,
    help: 'only show what install would write, without secrets',
  },
] as const satisfies readonly Option[];

export const SERVICE = {
  name: 'rcap-agent service',
  usage: 'install|uninstall|start|stop|status [options]',
  about:
    'Runs the agent as a service, with systemd or as a Windows service: from the start of the system, and again when it fails.',
  options: [...OWN, ...AGENT.options.filter(({ name }) => name === 'help')],
  notes: `  install [options] [filter words ...]   takes every option of an agent; they become the service's own. Starts it
  uninstall                              stops it, and removes everything that install made
  start, stop                            until the next start of the system
  status                                 exit code 0 when it runs, 3 when it does not, 4 when it is not installed

Example:
  rcap-agent service install --server ir.corp:9000 --pin sha256/... --token-file token -i eth0 not port 22`,
} as const satisfies Command;

/** Not for a service: it would send the same file again at each start, or nothing. */
const NOT_FOR_SERVICES = ['read', 'write'];
/** What says what to do now is no setting; but these are of use here. */
const USEFUL = ['settings', 'help'];

const takes = ({ name }: Option): boolean =>
  USEFUL.includes(name) || !(NOT_IN_FILE.has(name) || NOT_FOR_SERVICES.includes(name));

const INSTALL = {
  name: 'rcap-agent service install',
  usage: '[options] [filter words ...]',
  about: SERVICE.about,
  options: [...OWN, ...AGENT.options.filter(takes)],
  words: AGENT.words,
} satisfies Command;
const OTHERS = { ...SERVICE, usage: '[options]' } satisfies Command;

const VERBS = ['install', 'uninstall', 'start', 'stop', 'status'] as const;
type Verb = (typeof VERBS)[number];

/** By long name, as texts: what a settings file says, and no more than was given. */
export type Given = ReadonlyMap<string, readonly string[]>;
export type ServiceCommand =
  | { command: 'help'; text: string }
  | { command: 'install'; name: string; print: boolean; flags: AgentFlags; given: Given }
  | { command: Exclude<Verb, 'install'>; name: string }
  /** What Windows' service manager starts; not for people, so no help says it. */
  | { command: 'run'; name: string; folder: string };

/** `argv` from after the word `service` on; `stamp` as for an agent. */
export function readServiceFlags(
  argv: readonly string[],
  environment: Environment,
  stamp: () => Settings | undefined = () => undefined,
): ServiceCommand {
  const [word, ...rest] = argv;
  if (word === '--help' || word === '-h') return help(word === '-h', SERVICE);
  const [name, folder] = rest;
  if (word === 'run' && name !== undefined && folder !== undefined) return { command: 'run', name, folder };
  const verb = VERBS.find((v) => v === word);
  if (verb === undefined) throw unknownVerb(word);
  const typed = parse(verb === 'install' ? INSTALL : { ...OTHERS, name: `${SERVICE.name} ${verb}` }, rest);
  if (typed.given.has('help')) return help(typed.short.has('help'), SERVICE);
  const service = own(typed);
  if (verb === 'install') return { command: verb, ...service, ...installation(typed, environment, stamp()) };
  if (service.print)
    throw usageError(`could not use '--print' with 'service ${verb}'`, `${SERVICE.name} install --print`);
  return { command: verb, name: service.name };
}

/** Not from a settings file: that one is the agent's. */
function own(typed: Typed): { name: string; print: boolean } {
  const given = new Map([...typed.given].filter(([name]) => name !== 'settings'));
  return load({ ...OTHERS, options: OWN }, { ...typed, given }, {}).values;
}

function help(short: boolean, command: Command): ServiceCommand {
  return { command: 'help', text: short ? shortHelp(command) : fullHelp(command) };
}

function unknownVerb(word: string | undefined): Error {
  if (word === undefined) return usageError("could not use 'service' alone", `${SERVICE.name} ${VERBS.join('|')}`);
  const near = nearest(word, VERBS);
  const hint = near === undefined ? `${SERVICE.name} ${VERBS.join('|')}` : `did you mean ${SERVICE.name} ${near}?`;
  return usageError(`could not use '${word}': there is no such command for services`, hint);
}

/** Who installs means the service's settings, wherever they come from; what a default says needs no repeating. */
const ORIGINS: readonly Origin[] = ['flag', 'environment', 'file', 'stamp'];

function installation(
  typed: Typed,
  environment: Environment,
  stamp: Settings | undefined,
): { flags: AgentFlags; given: Given } {
  const { flags, meant } = checkAgentFlags(typed, environment, stamp);
  const wrong = NOT_FOR_SERVICES.find((name) => ORIGINS.includes(meant.origins.get(name) ?? 'default'));
  if (wrong !== undefined) {
    throw usageError(`could not use '--${wrong}' with a service: it captures and sends`, `leave out --${wrong}`);
  }
  const given = new Map<string, readonly string[]>();
  for (const [name, texts] of meant.texts) {
    const kept = ORIGINS.includes(meant.origins.get(name) ?? 'default') && !NOT_IN_FILE.has(name);
    if (kept) given.set(name, texts);
  }
  return { flags, given };
}

/** It becomes a file's name, and part of a unit. */
function refuseName(text: string): string | undefined {
  return /^[a-z0-9][a-z0-9_-]{0,63}$/i.test(text) ? undefined : 'letters, digits, - and _; at most 64';
}
