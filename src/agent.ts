/** rcap-agent: flags to plan to run to exit code. */
import { isSea } from 'node:sea';
import { stopCoverage } from 'node:v8';
import { readAgentFlags, type AgentFlags, type Purpose } from './options/agent.ts';
import { check } from './agent/check.ts';
import { dumpFilter } from './agent/dump-filter.ts';
import { footprint, sayFootprint, watchConnections } from './agent/footprint.ts';
import { ownSettings } from './agent/own-stamp.ts';
import { checkUsers } from './agent/filters.ts';
import { placesOf } from './agent/link-types.ts';
import { makePlan, proxyWords } from './agent/plan.ts';
import { dropPrivileges } from './agent/privileges.ts';
import { progressView } from './agent/progress.ts';
import { excludedBy, excludedLines } from './agent/exceptions/report.ts';
import { type Capture, exitCode, type Outcome, Run } from './agent/run.ts';
import { manageService } from './agent/service/command.ts';
import { readServiceFlags } from './agent/service/flags.ts';
import { runService } from './agent/service/windows-run.ts';
import { writeAll } from './agent/write.ts';
import { exit, isPackaged, loadAddon } from './capture/addon.ts';
import { listInterfaces, listLine } from './capture/interfaces.ts';
import { cutWarning, INSTALL_NPCAP, requireCapture } from './capture/live.ts';
import type { Addon } from './capture/source.ts';
import { exitCodeOf, RcapError } from './errors.ts';
import { plural, report, unacknowledged } from './ledger.ts';
import { isConsole, Log } from './log.ts';
import { VERSION } from './version.ts';

const PROGRAM = 'rcap-agent';

async function main(argv: string[]): Promise<number> {
  if (argv[0] === 'service') return service(argv.slice(1));
  const purpose = argv[0] === 'check' ? 'check' : 'run';
  const command = readAgentFlags(purpose === 'check' ? argv.slice(1) : argv, process.env, ownSettings, purpose);
  if (command.command === 'help' || command.command === 'show-settings') return print(command.text);
  if (command.command === 'version') return print(`${PROGRAM} ${VERSION}\n`);
  const log = new Log(PROGRAM, { verbose: command.verbose, quiet: command.quiet, json: command.json });
  try {
    watch();
    return await account(command, loadAddon(), log, purpose);
  } catch (e) {
    log.error(e);
    return exitCodeOf(e);
  }
}

async function service(argv: string[]): Promise<number> {
  const action = readServiceFlags(argv, process.env, ownSettings);
  if (action.command === 'help') return print(action.text);
  if (action.command === 'run') {
    const addon = loadAddon();
    if (!addon.services) throw new RcapError('SERVICE', 'could not run as a service: only Windows starts one so');
    watch();
    return runService(addon.services, action.name, action.folder, (flags, log) => account(flags, addon, log));
  }
  const log = new Log(PROGRAM);
  const executable = isPackaged() ? process.execPath : undefined;
  return manageService(action, executable, print, (message) => log.info(message));
}

/** Once for a process, however often it captures. */
function watch(): void {
  watchConnections();
  // The terminal may go in the middle of a capture: what was captured is still sent.
  process.stderr.on('error', () => {});
}

/** Does what the command says, and accounts for it if it says so. */
async function account(command: AgentFlags, addon: Addon, log: Log, purpose: Purpose = 'run'): Promise<number> {
  const before = addon.privileges();
  // There are secrets in memory from here on.
  addon.forbidDumps();
  let code: number;
  try {
    code = await doings(command, purpose)(command, addon, log);
  } catch (e) {
    log.error(e);
    code = exitCodeOf(e);
  }
  if (command.footprint) sayFootprint(footprint(before, addon.privileges()), log, command.json);
  return code;
}

function print(text: string): number {
  try {
    if (isConsole(1)) process.stdout.write(text);
    else writeAll(1, Buffer.from(text));
  } catch {
    // a reader that goes away ('rcap-agent -D | head -1') is no error
  }
  return 0;
}

type Doing = (flags: AgentFlags, addon: Addon, log: Log) => number | Promise<number>;

function doings(flags: AgentFlags, purpose: Purpose): Doing {
  if (flags.listInterfaces) return showInterfaces;
  if (flags.dumpFilter) return async (...all) => print(await dumpFilter(...all));
  return purpose === 'check' ? async (...all) => check(...all, print) : capture;
}

function showInterfaces({ json }: AgentFlags, addon: Addon, log: Log): number {
  const list = listInterfaces(addon);
  const missing = addon.missing();
  if (missing !== undefined) log.warning(`they can't be captured on: ${missing}`, INSTALL_NPCAP);
  return print(json ? `${JSON.stringify(list)}\n` : list.map((i) => `${listLine(i)}\n`).join(''));
}

async function capture(flags: AgentFlags, addon: Addon, log: Log): Promise<number> {
  const plan = makePlan(flags);
  await checkUsers(addon.compile, plan.filter, plan.read, async () =>
    (await placesOf(addon, plan))?.map((p) => p.linkType),
  );
  if (plan.read === undefined) requireCapture(addon);
  if (flags.snaplen < 262_144 && flags.read === undefined) {
    log.warning(...cutWarning(flags.snaplen));
  }
  for (const words of plan.upload ? proxyWords(plan.upload) : []) log.info(words);
  const view = progressView(log, process.stderr, flags);
  const run = new Run(plan, addon, {
    listening: (c) => log.info(listening(c, addon.linkTypeName(c.info.linkType)), { ...c.info }),
    opened: () => dropPrivileges(addon, plan.upload?.spoolDisk?.folder, log),
    progress: (p) => {
      view.update(p);
      remind();
    },
    trouble: (e) => log.error(e),
    notice: (level, message, hint) => (level === 'info' ? log.info(message) : log.warning(message, hint)),
  });
  let stopped = false;
  let reminded = false;
  /** Who asked for the end waits for a collector now, maybe for ever: says so, once. */
  const remind = () => {
    if (!stopped || reminded || !run.disconnected) return;
    reminded = true;
    const packets = plural(unacknowledged(run.ledger), 'not yet acknowledged');
    log.warning(`${packets}; send the signal again (Ctrl-C) to give up`);
  };
  let late: NodeJS.Timeout | undefined;
  const release = onSignals((signal, again) => {
    if (again) {
      run.giveUp();
    } else {
      log.debug(`${signal}: sending what is captured`);
      run.stop('stopped');
      stopped = true;
      remind();
      if (flags.stopWithinMs !== undefined) late = setTimeout(() => run.giveUp(), flags.stopWithinMs);
    }
  });
  try {
    return conclude(await run.run(), log, flags);
  } finally {
    clearTimeout(late);
    release();
    view.clear();
  }
}

/** tcpdump's line, and what really filters. */
function listening({ info }: Capture, linkType: [string, string] | undefined): string {
  const [type, description] = linkType ?? [`LINKTYPE ${info.linkType}`, 'unknown'];
  // Windows' own names are for machines.
  const name =
    info.interface.startsWith('\\Device\\') && info.friendlyName
      ? `${info.friendlyName} (${info.interface})`
      : info.interface;
  const what = info.source === 'live' ? `listening on ${name}` : `reading from file ${info.file}`;
  const filter = info.effectiveFilter ? `, filter: ${info.effectiveFilter}` : '';
  return `${what}, link-type ${type} (${description}), snapshot length ${info.snaplen} bytes${filter}`;
}

function conclude(outcome: Outcome, log: Log, flags: AgentFlags): number {
  const { ledger, captures } = outcome;
  if (flags.json) {
    log.info('done', {
      ended: outcome.reason,
      ...ledger,
      lost: outcome.lost,
      captures: captures.map((c) => ({ interface: c.info.interface, ...c.ledger })),
      ...(ledger.excluded > 0 && { excludedBy: excludedBy(outcome) }),
    });
  } else if (captures.length > 0) {
    if (outcome.byLimit) log.info(`ended by ${outcome.reason}`);
    for (const line of [...report(ledger), ...excludedLines(outcome)]) log.info(line);
  }
  if (unacknowledged(ledger) > 0)
    log.warning(`${plural(unacknowledged(ledger), 'captured, but never acknowledged')}: lost`);
  else if (outcome.imbalance !== undefined && captures.length > 0)
    log.warning(`the ledger does not balance: ${outcome.imbalance}`);
  return exitCode(outcome);
}

/** Calls back at SIGINT, SIGTERM, SIGHUP and Windows' Ctrl-Break; `again` from the second on. Returns what takes the handlers away. */
function onSignals(act: (signal: string, again: boolean) => void): () => void {
  let seen = 0;
  const handler = (signal: string) => act(signal, seen++ > 0);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGBREAK'] as const;
  for (const s of signals) process.on(s, handler);
  return () => {
    for (const s of signals) process.off(s, handler);
  };
}

// NODE_V8_COVERAGE: a file at the end, wherever it says. From source it is right: tests are measured by it.
if (isSea()) stopCoverage();
main(process.argv.slice(2)).then(exit, (e: unknown) => {
  new Log(PROGRAM).error(e);
  exit(exitCodeOf(e));
});
