/** Which hosts a word means: a whole name, or a pattern with `*`. Names are as in the captures folder, in any case. */
import { hostFolder } from '../names.ts';

export interface HostPattern {
  text: string;
  /** Without `*`. */
  whole: boolean;
  matches(host: string): boolean;
}

/** Longer than any host's name, with some stars. */
const MAX_PATTERN = 128;

/** Throws an Error with the reason: a pattern that no host could match is a mistake. */
export function patternOf(text: string): HostPattern {
  if (text.length > MAX_PATTERN) throw new Error(`a pattern has at most ${MAX_PATTERN} characters`);
  const strange = /[^A-Za-z0-9._*-]/.exec(text)?.[0];
  if (strange !== undefined) throw new Error(`no host's name has '${strange}' in it: what it has there becomes _`);
  if (text === '') throw new Error('it is empty');
  const whole = !text.includes('*');
  const parts = text.toLowerCase().split(/\*+/);
  if (whole && hostFolder(text) !== text) throw new Error(`no host has this name; did you mean ${hostFolder(text)}?`);
  return { text, whole, matches: (host) => fits(host.toLowerCase(), parts, whole) };
}

/** The parts between stars, one behind the other; never looks twice at a place, however many stars there are. */
function fits(name: string, parts: readonly string[], whole: boolean): boolean {
  const [first, last] = [parts[0]!, parts.at(-1)!];
  if (whole) return name === first;
  if (!name.startsWith(first)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - at >= last.length && name.endsWith(last);
}

/** The more specific one first: a whole name, then the longer pattern. */
export const bySpecificity = (a: HostPattern, b: HostPattern): number =>
  Number(b.whole) - Number(a.whole) || b.text.length - a.text.length || (a.text < b.text ? -1 : 1);
