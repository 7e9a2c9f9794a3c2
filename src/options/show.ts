/** --show-settings: each option, its value as typed, and where it comes from; never a secret. */
import { type Meant, NOT_IN_FILE } from './load.ts';
import type { Command, Option } from './table.ts';

interface Shown {
  name: string;
  value: string;
  from: string;
}

/** `json`: one object an option; otherwise columns. */
export function showSettings<const Options extends readonly Option[]>(
  command: Command<Options>,
  meant: Meant<Options>,
  json: boolean,
): string {
  const all = command.options.filter((o) => !NOT_IN_FILE.has(o.name)).map((option) => shown(option, meant));
  if (json) return `${JSON.stringify(all)}\n`;
  const [names, values] = (['name', 'value'] as const).map((key) => Math.max(...all.map((s) => s[key].length)));
  return all.map((s) => `${s.name.padEnd(names!)}  ${s.value.padEnd(values!)}  ${s.from}\n`).join('');
}

function shown(option: Option, { origins, texts }: Pick<Meant<readonly Option[]>, 'origins' | 'texts'>): Shown {
  const { name } = option;
  const typed = texts.get(name);
  const value = option.kind === 'flag' ? (typed?.[0] === 'true' ? 'yes' : 'no') : (typed?.join(', ') ?? '');
  const unset = option.kind === 'flag' ? 'no' : `(${option.defaultWords ?? 'none'})`;
  return {
    name,
    value: typed === undefined ? unset : 'secret' in option ? '(secret)' : value,
    from: origins.get(name) ?? 'default',
  };
}
