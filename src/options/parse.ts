/**
 * From argv to options as typed: which were given, with which texts, and the words between them. What a text means is
 * load.ts' business. minimist collects; before it, everything is spelled out as --name=value, because on its own it guesses
 * (numbers, `--no-` as negation, attached short values, empty values).
 */
import minimist from 'minimist';
import { usageError } from '../errors.ts';
import { nearest } from './near.ts';
import { type Command, type Option, spelled } from './table.ts';

export interface Typed {
  /** By long name; a flag's text is 'true'. */
  given: Map<string, string[]>;
  /** What is no option, in order. */
  words: string[];
  /** The short form was used for these: `-h` is not `--help`. */
  short: Set<string>;
}

export function parse(command: Command, argv: readonly string[]): Typed {
  const short = new Set<string>();
  const flags = command.options.filter((option) => option.kind === 'flag').map((option) => option.name);
  const valued = command.options.filter((option) => option.kind !== 'flag').map((option) => option.name);
  const parsed = minimist(spellOut(command, argv, short), {
    boolean: flags,
    // `_` too: filter words such as 080 must not become numbers.
    string: [...valued, '_'],
  });
  const given = new Map<string, string[]>();
  for (const option of command.options) {
    const texts = textsOf(option, parsed[option.name] as unknown);
    if (texts.length > 0) given.set(option.name, texts);
  }
  return { given, words: checkWords(command, parsed._), short };
}

function textsOf(option: Option, collected: unknown): string[] {
  if (option.kind === 'flag') return collected === true ? ['true'] : [];
  const texts = collected === undefined ? [] : ([collected].flat() as string[]);
  if (texts.length > 1 && !('repeatable' in option)) {
    throw usageError(`could not use '--${option.name}': it was given ${texts.length} times`);
  }
  const empty = texts.includes('') && !('mayBeEmpty' in option);
  if (empty) throw usageError(`could not use '--${option.name}': its value is empty`, spelled(option));
  return texts;
}

function checkWords(command: Command, words: string[]): string[] {
  const most = command.words?.most ?? 0;
  if (words.length <= most) return words;
  const extra = words[most]!;
  throw usageError(`could not use '${extra}': ${command.name} takes no such word here`, `${command.name} --help`);
}

/** Every option as --name=value (flags: --name=true), everything after `--` untouched. */
function spellOut(command: Command, argv: readonly string[], short: Set<string>): string[] {
  const out: string[] = [];
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') return [...out, '--', ...rest];
    if (word.startsWith('--')) out.push(spellOutLong(command, word, rest));
    else if (word.startsWith('-') && word !== '-') out.push(...spellOutShort(command, word, rest, short));
    else out.push(word);
  }
  return out;
}

function spellOutLong(command: Command, word: string, rest: string[]): string {
  const [, name = '', value] = /^--([^=]*)(?:=([^]*))?$/.exec(word)!;
  const option = command.options.find((o) => o.name === name);
  if (!option) throw unknown(command, `--${name}`);
  if (option.kind !== 'flag') return `--${name}=${value ?? nextValue(option, rest)}`;
  if (value !== undefined) throw usageError(`could not use '${word}': --${name} takes no value`, `--${name}`);
  return `--${name}=true`;
}

/** -vp, -c5, -i eth0, -vi eth0: as getopt reads them. */
function spellOutShort(command: Command, word: string, rest: string[], short: Set<string>): string[] {
  const out: string[] = [];
  for (let at = 1; at < word.length; at++) {
    const option = command.options.find((o) => o.short === word[at]);
    if (!option) throw unknown(command, `-${word[at]}`);
    short.add(option.name);
    if (option.kind === 'flag') {
      out.push(`--${option.name}=true`);
      continue;
    }
    const attached = word.slice(at + 1).replace(/^=/, '');
    return [...out, `--${option.name}=${attached || nextValue(option, rest)}`];
  }
  return out;
}

function nextValue(option: Option, rest: string[]): string {
  const next = rest.shift();
  if (next !== undefined && (next === '-' || !next.startsWith('-'))) return next;
  const hint = next === undefined ? spelled(option) : `a value that begins with - is given as --${option.name}=${next}`;
  throw usageError(`could not use '--${option.name}': it needs a value`, hint);
}

function unknown(command: Command, typed: string): Error {
  const near = nearest(
    typed.replace(/^--?/, ''),
    command.options.map((option) => option.name),
  );
  const hint =
    near === undefined || !typed.startsWith('--')
      ? `${command.name} --help lists all options`
      : `did you mean --${near}?`;
  return usageError(`could not use '${typed}': there is no such option`, hint);
}
