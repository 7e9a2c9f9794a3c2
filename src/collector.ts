/** rcap-collector: flags to command to exit code. */
import { pinOf } from './collector/authority.ts';
import { isWindows } from './collector/executables.ts';
import { agentsText, settingsText, stopText, table } from './collector/commands.ts';
import { type CollectorCommand, type PackFlags, readCollectorFlags, type ServeFlags } from './collector/flags.ts';
import { pack, type Packed } from './collector/pack.ts';
import { serve } from './collector/run.ts';
import { Tokens } from './collector/tokens.ts';
import { exitCodeOf } from './errors.ts';
import { Log } from './log.ts';
import { formatDuration } from './options/units.ts';
import { VERSION } from './version.ts';

const PROGRAM = 'rcap-collector';

async function main(argv: string[]): Promise<number> {
  const command = readCollectorFlags(argv, process.env);
  switch (command.command) {
    case 'help':
      return print(command.text);
    case 'version':
      return print(`${PROGRAM} ${VERSION}\n`);
    case 'serve':
      return run(command);
    case 'pin':
      return print(`${await pinOf(command.state)}\n`);
    case 'token new':
      return print(`${new Tokens(command.state).create({ ...command, label: command.label ?? '' })}\n`);
    case 'token revoke':
      new Tokens(command.state).revoke(command.id);
      return 0;
    case 'token list':
      return listTokens(command);
    case 'agents':
      return print(await agentsText(command.state, command.json));
    case 'stop':
      return print(await stopText(command.state, command.host, command.json));
    case 'settings':
      return print(await settingsText(command, (message) => new Log(PROGRAM).warning(message)));
    case 'pack':
      return packed(await pack(command), command);
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** What goes on is for scripts: the sum, or the link and the line to paste. */
function packed(done: Packed, flags: PackFlags): number {
  if (flags.json) return print(`${JSON.stringify(done)}\n`);
  const log = new Log(PROGRAM, flags);
  const { tokenId, file, link, paste, sha256 } = done;
  log.info(
    `token ${tokenId}${flags.token === undefined ? ' made' : ''}; 'rcap-collector token revoke ${tokenId}' ends it`,
  );
  if (file !== undefined) return print(`${sha256}  ${file}\n`);
  // Windows gives the file the rights of its folder; there is a token in it.
  const how = isWindows(flags.target)
    ? 'into PowerShell, as administrator, in a folder where only you can read or write'
    : 'as root, in a folder where only you can write';
  log.info(`good once, for ${formatDuration(flags.linkExpiresMs)}; paste ${how}:`);
  return print(`${link}\n${paste}\n`);
}

async function run(flags: ServeFlags): Promise<number> {
  const log = new Log(PROGRAM, flags);
  let asked = false;
  const stopped = new Promise<string>((resolve) => {
    for (const s of ['SIGINT', 'SIGTERM'] as const) {
      process.on(s, () => {
        if (asked) {
          log.warning('ending at once: what is not published is recovered at the next start');
          process.exit(1);
        }
        asked = true;
        log.info('stopping: publishing what there is');
        resolve(s);
      });
    }
  });
  process.on('SIGHUP', () => {}); // the terminal may go, the collector stays
  try {
    await serve(flags, log, stopped);
    return 0;
  } catch (e) {
    log.error(e);
    return exitCodeOf(e);
  }
}

function listTokens({ state, json }: Extract<CollectorCommand, { command: 'token list' }>): number {
  const list = new Tokens(state).list();
  if (json) return print(list.map((t) => `${JSON.stringify(t)}\n`).join(''));
  const rows = list.map((t) => [
    t.id,
    t.state,
    t.host ?? '(first user)',
    t.expires ?? 'never',
    `${t.used}/${t.uses ?? '-'}`,
    t.label,
  ]);
  return print(table([['ID', 'STATE', 'HOST', 'EXPIRES', 'USED', 'LABEL'], ...rows]));
}

process.stdout.on('error', () => {}); // a reader that went away

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (e: unknown) => {
    new Log(PROGRAM).error(e);
    process.exit(exitCodeOf(e));
  },
);
