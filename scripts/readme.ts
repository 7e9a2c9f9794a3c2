/** Writes the option lists of README.md from the tables; with --check only says whether they are up to date. */
import { readFileSync, writeFileSync } from 'node:fs';
import { AGENT } from '../src/options/agent.ts';
import { SERVICE } from '../src/agent/service/flags.ts';
import { COLLECTOR_COMMANDS } from '../src/collector/flags.ts';
import { markdownHelp } from '../src/options/help.ts';

const README = new URL('../README.md', import.meta.url);
const SECTION = /(<!-- options:.*?-->\n)[\s\S]*?(<!-- \/options -->)/;

const lists = [
  AGENT,
  SERVICE,
  COLLECTOR_COMMANDS.serve,
  COLLECTOR_COMMANDS['token new'],
  COLLECTOR_COMMANDS.agents,
  COLLECTOR_COMMANDS.stop,
  COLLECTOR_COMMANDS.settings,
  COLLECTOR_COMMANDS.pack,
]
  .map((c) => `### ${c.name}\n\n${markdownHelp(c)}`)
  .join('\n');
const before = readFileSync(README, 'utf8');
const after = before.replace(SECTION, (_, start: string, end: string) => `${start}\n${lists}\n${end}`);
if (after === before) process.exit(0);
if (process.argv.includes('--check')) {
  console.error('error: the options in README.md are not those of the tables');
  console.error('hint: sh scripts/run.sh readme');
  process.exit(1);
}
writeFileSync(README, after);
