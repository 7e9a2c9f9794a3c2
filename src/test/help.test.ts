import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AGENT } from '../options/agent.ts';
import { SERVICE } from '../agent/service/flags.ts';
import { COLLECTOR_COMMANDS } from '../collector/flags.ts';
import { fullHelp, markdownHelp, shortHelp } from '../options/help.ts';
import type { Command } from '../options/table.ts';

const commands: Command[] = [AGENT, SERVICE, ...Object.values<Command>(COLLECTOR_COMMANDS)];

for (const command of commands) {
  test(`${command.name}: every option is in every help text`, () => {
    for (const text of [shortHelp(command), fullHelp(command), markdownHelp(command)]) {
      for (const { name } of command.options) assert.match(text, new RegExp(`--${name}[ \`\n]`), name);
    }
  });
  test(`${command.name}: names and letters are unique, sentences are in form`, () => {
    const names = command.options.map((option) => option.name);
    const letters = command.options.flatMap((option) => option.short ?? []);
    assert.equal(new Set(names).size, names.length);
    assert.equal(new Set(letters).size, letters.length);
    for (const { name, help } of command.options) {
      assert.match(name, /^[a-z]+(-[a-z]+)*$/);
      assert.match(help, /^[a-z].*[^.]$/, name);
    }
  });
  test(`${command.name}: lines fit a terminal`, () => {
    // The notes are kept as they are.
    const text = fullHelp(command).replace(command.notes ?? '', '') + shortHelp(command);
    for (const line of text.split('\n')) assert.ok(line.length <= 100, line);
  });
}

test('--help begins with usage and says what a value is, its variable and its default', () => {
  const text = fullHelp(AGENT);
  assert.ok(
    text.startsWith('Usage: rcap-agent [options] [filter words ...]\n\nCaptures packets and sends them over TLS'),
    text.slice(0, 200),
  );
  assert.match(text, /\n {6}--server HOST:PORT\n {10}The rcap-collector to send to\.[^]*?Environment: RCAP_SERVER\./);
  assert.match(text, /\n {2}-B, --buffer SIZE\n.*Default: 32M\./);
  assert.match(text, /flag beats an environment variable, that beats the settings file, that beats the default/);
  assert.match(text, /Exit codes: 0 done/);
});

test('-h has one line an option', () => {
  const lines = shortHelp(AGENT).trimEnd().split('\n');
  assert.equal(lines.length, AGENT.options.length + 2);
  assert.equal(lines[0], 'Usage: rcap-agent [options] [filter words ...]');
  assert.match(lines[1]!, /^ {2}-i, --interface NAME\|NUMBER {2,}capture on this interface$/);
});

test('Markdown is a list under headings', () => {
  assert.match(
    markdownHelp(AGENT),
    /^`rcap-agent \[options\] \[filter words \.\.\.\]`\n\n\*\*What to capture\*\*\n\n- `-i, --interface NAME\|NUMBER`: Capture on/,
  );
});
