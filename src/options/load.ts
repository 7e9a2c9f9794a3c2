/**
 * From options as typed to options as meant, and where each came from: flag > environment > settings file > stamp > default.
 * A stamp is what was packed into an agent. What it sets the environment doesn't: that is the host's, and whoever got there
 * first may have left a RCAP_SERVER in it; flags, and with them a settings file, are typed by who runs the agent.
 */
import { readFileSync } from 'node:fs';
import { RcapError, reasonOf, usageError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { nearest } from './near.ts';
import type { Typed } from './parse.ts';
import { type Command, type Option, spelled, type Values, variablesOf } from './table.ts';
import {
  formatDuration,
  formatRate,
  formatSize,
  parseAddress,
  parseDuration,
  parseNumber,
  parseRate,
  parseSize,
} from './units.ts';

export type Origin = 'flag' | 'environment' | 'file' | 'stamp' | 'default';
const RANK: Record<Origin, number> = { flag: 4, environment: 3, file: 2, stamp: 1, default: 0 };
/** By long name, as typed: one text, or several of a repeatable option; 'true' for a flag. */
export type Settings = Record<string, string[]>;

export interface Meant<Options extends readonly Option[]> {
  values: Values<Options>;
  /** Where each value came from; nothing where there is no value. */
  origins: Map<string, Origin>;
  /** And as it was typed there. */
  texts: Map<string, string[]>;
}
export type Environment = Readonly<Record<string, string | undefined>>;

interface Source {
  texts: string[];
  origin: Origin;
  /** What a message calls it. */
  label: string;
}

/** Never from a settings file: they say what to do now. */
export const NOT_IN_FILE = new Set(['settings', 'help', 'version', 'list-interfaces', 'dump-filter', 'show-settings']);

export function load<const Options extends readonly Option[]>(
  command: Command<Options>,
  typed: Typed,
  environment: Environment,
  stamp: Settings = {},
): Meant<Options> {
  const file = typed.given.get('settings')?.[0];
  const settings = file === undefined ? {} : readSettings(command, file);
  refuseStrange(command, stamp);
  const values: Record<string, unknown> = {};
  const origins = new Map<string, Origin>();
  const texts = new Map<string, string[]>();
  for (const option of command.options) {
    const source = sourceOf(option, typed, environment, settings, file, stamp);
    if (source) {
      origins.set(option.name, source.origin);
      texts.set(option.name, source.texts);
    }
    values[option.name] = meaningOf(option, source);
  }
  return { values: values as Values<Options>, origins, texts };
}

function refuseStrange({ name, options }: Command, stamp: Settings): void {
  const strange = Object.keys(stamp).find((key) => NOT_IN_FILE.has(key) || !options.some((o) => o.name === key));
  if (strange === undefined) return;
  throw new RcapError('STAMP', `could not use the settings in this executable: ${name} knows no '${strange}'`, {
    hint: 'it was packed by a collector of another version: take both from the same release',
  });
}

function sourceOf(
  option: Option,
  typed: Typed,
  environment: Environment,
  settings: Settings,
  file: string | undefined,
  stamp: Settings,
): Source | undefined {
  const given = typed.given.get(option.name);
  if (given) return { texts: given, origin: 'flag', label: `--${option.name}` };
  // Set but empty is how scripts unset a variable for one command.
  const stamped = stamp[option.name];
  const name = stamped ? undefined : variablesOf(option).find((v) => environment[v]);
  if (name !== undefined) {
    const variable = environment[name]!;
    const texts = 'repeatable' in option ? variable.split(',').map((text) => text.trim()) : [variable];
    return { texts, origin: 'environment', label: name };
  }
  const setting = settings[option.name];
  if (setting) return { texts: setting, origin: 'file', label: `${option.name} in ${file}` };
  if (stamped) return { texts: stamped, origin: 'stamp', label: `${option.name} in the stamp` };
  if ('default' in option) return { texts: [option.default], origin: 'default', label: `--${option.name}` };
  return undefined;
}

function meaningOf(option: Option, source: Source | undefined): unknown {
  if (option.kind === 'flag') return source?.texts[0] === 'true';
  const convert = (text: string): unknown => {
    try {
      return convertText(option, text, source!.origin);
    } catch (cause) {
      const shown = 'secret' in option ? '' : ` ${text}`;
      throw usageError(`could not use '${source!.label}${shown}': ${reasonOf(cause)}`, spelled(option));
    }
  };
  if ('repeatable' in option) return source?.texts.map(convert) ?? [];
  return source && convert(source.texts[0]!);
}

/** A value as typed to what it means. Throws an Error with the reason. */
export function convertText(option: Exclude<Option, { kind: 'flag' }>, text: string, origin: Origin): unknown {
  if (text.includes('\0')) throw new Error('it holds a NUL character');
  switch (option.kind) {
    case 'text': {
      const refused = option.ambient && origin === 'environment' ? undefined : option.check?.(text);
      if (refused !== undefined) throw new Error(refused);
      return text;
    }
    case 'choice':
      if (!option.choices.includes(text)) throw new Error(`not one of ${option.choices.join(', ')}`);
      return text;
    case 'address': {
      const address = parseAddress(text, option.defaultPort);
      if (address.port === 0 && !option.anyPort) throw new Error('port 0 is none to connect to');
      return address;
    }
    case 'number':
      return inRange(parseNumber(text), option, String);
    case 'size':
      return inRange(parseSize(text), option, formatSize);
    case 'rate':
      return inRange(parseRate(text), option, formatRate);
    case 'duration':
      return option.never && text === 'never' ? Infinity : inRange(parseDuration(text), option, formatDuration);
  }
}

function inRange(
  value: number,
  { min = 0, max = Infinity }: { min?: number; max?: number },
  format: (value: number) => string,
): number {
  if (value < min) throw new Error(`at least ${format(min)}`);
  if (value > max) throw new Error(`at most ${format(max)}`);
  return value;
}

/** A JSON object with the long names; numbers and text alike, an array where an option is repeatable, true or false for flags. */
function readSettings(command: Command, file: string): Settings {
  const fail = (reason: string, hint?: string) => usageError(`could not use settings file '${file}': ${reason}`, hint);
  let content: unknown;
  try {
    const text = readFileSync(file, 'utf8');
    touch('read', file, 'settings file');
    content = JSON.parse(text);
  } catch (cause) {
    throw fail(cause instanceof SyntaxError ? `not JSON (${cause.message})` : reasonOf(cause));
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw fail('not a JSON object', '{"server": "ir.corp:9000", "snaplen": 262144}');
  }
  const possible = command.options.filter((option) => !NOT_IN_FILE.has(option.name));
  const texts = Object.entries(content).map(([name, value]) => {
    const option = possible.find((o) => o.name === name);
    if (!option) {
      const near = nearest(name, possible.map((o) => o.name)); // prettier-ignore
      throw fail(`no setting is called '${name}'`, near && `did you mean "${near}"?`);
    }
    const text = textsOf(option, value);
    if (typeof text === 'string') throw fail(`"${name}" ${text}`);
    return [name, text] as const;
  });
  return Object.fromEntries(texts);
}

/** A setting's texts as if typed, or what is wrong with it. */
function textsOf(option: Option, value: unknown): string[] | string {
  if (option.kind === 'flag') return typeof value === 'boolean' ? [String(value)] : 'takes true or false';
  const list = 'repeatable' in option && Array.isArray(value) ? (value as unknown[]) : [value];
  if (!list.every((item) => typeof item === 'string' || typeof item === 'number')) return 'takes text or a number';
  if (list.includes('') && !('mayBeEmpty' in option)) return 'is empty';
  return list.map(String);
}

/** Whether `a` was given in a place as strong as `b` was, or a stronger one. */
export const asStrong = <Options extends readonly Option[]>(meant: Meant<Options>, a: string, b: string): boolean =>
  rankOf(meant, a) >= rankOf(meant, b);

/**
 * Two options that say the same thing in two ways. From equal places that is an error; otherwise the stronger place wins
 * and the other value goes (a token file given as a flag beats RCAP_TOKEN).
 */
export function either<Options extends readonly Option[]>(meant: Meant<Options>, a: string, b: string): void {
  const [rankA, rankB] = [a, b].map((name) => rankOf(meant, name)) as [number, number];
  if (rankA < 0 || rankB < 0) return;
  if (rankA === rankB) throw usageError(`could not use '--${a}' and '--${b}' together`, `leave out one of them`);
  forget(meant, rankA < rankB ? a : b);
}

/** As if it hadn't been given. */
export function forget<Options extends readonly Option[]>(meant: Meant<Options>, name: string): void {
  const values = meant.values as Record<string, unknown>;
  values[name] = Array.isArray(values[name]) ? [] : undefined;
  meant.origins.delete(name);
  meant.texts.delete(name);
}

function rankOf<Options extends readonly Option[]>(meant: Meant<Options>, name: string): number {
  const origin = meant.origins.get(name);
  return origin === undefined ? -1 : RANK[origin];
}
