/** Help texts, all from the table: -h one line an option, --help everything, Markdown for the README. */
import { type Command, type Option, variablesOf } from './table.ts';

const WIDTH = 100;
const SOURCES =
  'A flag beats an environment variable, that beats the settings file, that beats the default.\n' +
  'Sizes: 4096, 64K, 64M, 1G (powers of two). Times: 500ms, 30s, 5m, 24h, 7d.';

/** -h */
export function shortHelp(command: Command): string {
  const column = Math.max(...command.options.map((option) => forms(option).length)) + 4;
  const lines = command.options.map((option) => `  ${forms(option).padEnd(column - 2)}${option.help}`);
  return [usage(command), ...lines, `${command.name} --help says more`].join('\n') + '\n';
}

/** --help */
export function fullHelp(command: Command): string {
  const blocks = groups(command).map(([group, options]) => [`${group}:`, ...options.map(describe)].join('\n'));
  const notes = command.notes === undefined ? [] : [command.notes];
  return [usage(command), wrap(command.about, ''), ...blocks, SOURCES, ...notes].join('\n\n') + '\n';
}

/** A list for the README. */
export function markdownHelp(command: Command): string {
  const blocks = groups(command).map(([group, options]) => {
    const items = options.map((option) => `- \`${forms(option).trim()}\`: ${sentences(option)}`);
    return [`**${group}**`, '', ...items].join('\n');
  });
  return [`\`${command.name} ${command.usage}\``, ...blocks].join('\n\n') + '\n';
}

const usage = (command: Command) => `Usage: ${command.name} ${command.usage}`;

function groups(command: Command): [string, Option[]][] {
  return Object.entries(Object.groupBy(command.options, (option) => option.group)) as [string, Option[]][];
}

function forms(option: Option): string {
  const letter = option.short === undefined ? '    ' : `-${option.short}, `;
  const value = option.kind === 'flag' ? '' : ` ${option.value}`;
  return `${letter}--${option.name}${value}`;
}

const describe = (option: Option): string => `  ${forms(option)}\n${wrap(sentences(option), '          ')}`;

function sentences(option: Option): string {
  const words = [
    `${option.help[0]!.toUpperCase()}${option.help.slice(1)}.`,
    option.more,
    'repeatable' in option ? 'May be given several times.' : undefined,
    option.env === undefined ? undefined : `Environment: ${variablesOf(option).join(' or ')}.`,
    'default' in option ? `Default: ${option.default}.` : undefined,
    option.defaultWords === undefined ? undefined : `Default: ${option.defaultWords}.`,
  ];
  return words.filter((word) => word !== undefined).join(' ');
}

function wrap(text: string, indent: string): string {
  const lines = [indent];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    if (line.length + word.length >= WIDTH && line.trim() !== '') lines.push(indent + word);
    else lines[lines.length - 1] = line.trim() === '' ? indent + word : `${line} ${word}`;
  }
  return lines.join('\n');
}
