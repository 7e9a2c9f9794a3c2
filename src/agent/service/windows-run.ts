/** The process that Windows' service manager starts: captures until it is told to stop, and tries again when that fails. */
import { appendFileSync, existsSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Services } from '../../capture/source.ts';
import { exitCodeOf, RcapError } from '../../errors.ts';
import { Log } from '../../log.ts';
import { type AgentCommand, type AgentFlags, readAgentFlags } from '../../options/agent.ts';
import { ownSettings } from '../own-stamp.ts';
import { CA_FILE, finalCodes, LOG_FILE, SETTINGS_FILE, STOP_WITHIN_MS } from './settings.ts';

/** SERVICE_STATUS.dwCurrentState */
const STOPPED = 1;
const STOPPING = 3;
const RUNNING = 4;
/** As systemd has it: devices may not be there yet when the system starts, nor the network. */
const AGAIN_MS = 5000;
/** What it says is kept up to twice this, bytes. */
const LOG_BYTES = 4 << 20;

export type Capture = (flags: AgentFlags, log: Log) => Promise<number>;

/** Resolves with the exit code when the service has ended. */
export function runService(services: Services, name: string, folder: string, capture: Capture): Promise<number> {
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    const onEvent = (event: 'start' | 'stop' | 'failed', error: number) => {
      if (event === 'failed') {
        const message = `could not run as service '${name}': no service manager started this process (Windows error ${error})`;
        reject(new RcapError('SERVICE', message, { hint: 'rcap-agent service start' }));
      } else if (event === 'stop') {
        stop.abort();
      } else {
        services.report(RUNNING, 0, 0);
        const work = captureAgain(services, folder, capture, stop.signal);
        void work.then((code) => {
          services.report(STOPPED, code, 0);
          resolve(code);
        });
      }
    };
    const error = services.run(name, onEvent);
    if (error) reject(new RcapError('SERVICE', `could not run as service '${name}': ${services.words(error)}`));
  });
}

async function captureAgain(services: Services, folder: string, capture: Capture, stop: AbortSignal): Promise<number> {
  const write = (line: string) => keep(join(folder, LOG_FILE), `${new Date().toISOString()} ${line}`);
  let log = new Log('rcap-agent', { write });
  let stopWithinMs = 0;
  stop.addEventListener('abort', () => {
    services.report(STOPPING, 0, stopWithinMs + 15_000);
    // From here on as with a signal.
    process.emit('SIGTERM', 'SIGTERM');
  });
  for (;;) {
    let code: number;
    let final: number[] = [0, 2];
    try {
      const flags = settingsIn(folder);
      log = new Log('rcap-agent', { verbose: flags.verbose, quiet: flags.quiet, json: flags.json, write });
      final = [0, ...finalCodes(flags)];
      stopWithinMs = flags.stopWithinMs ?? STOP_WITHIN_MS;
      code = stop.aborted ? 0 : await capture(flags, log);
    } catch (e) {
      log.error(e);
      code = exitCodeOf(e);
    }
    if (stop.aborted || final.includes(code)) return code;
    log.info(`trying again in ${AGAIN_MS / 1000} s`);
    await sleep(AGAIN_MS, undefined, { signal: stop }).catch(() => {});
    if (stop.aborted) return 0;
  }
}

/** The settings, and what is packed into the executable: nothing that this host's environment says. */
function settingsIn(folder: string): AgentFlags {
  const ca = join(folder, CA_FILE);
  const argv = ['--settings', join(folder, SETTINGS_FILE), ...(existsSync(ca) ? ['--ca', ca] : [])];
  const command: AgentCommand = readAgentFlags(argv, {}, ownSettings);
  if (command.command !== 'run') throw new Error('settings that ask for help');
  return command;
}

function keep(file: string, line: string): void {
  try {
    if (existsSync(file) && statSync(file).size > LOG_BYTES) renameSync(file, `${file}.1`);
    appendFileSync(file, line);
  } catch {
    // a full disk doesn't end a capture
  }
}
