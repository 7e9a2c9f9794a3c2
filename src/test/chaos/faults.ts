/** What breaks: links, connections, processes, system calls. Each lasts as long as it is told, and is over when it resolves. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Cleaner, type Namespace, Program, until } from '../support.ts';

const PORT = 9000;

function inside({ prefix }: Namespace, command: string, args: string[], input?: string): string {
  return execFileSync(prefix[0]!, [...prefix.slice(1), command, ...args], { encoding: 'utf8', input, stdio: 'pipe' });
}

/** The cable is out. */
export async function linkDown(at: Namespace, ms: number): Promise<void> {
  const link = (state: string) => inside(at, 'ip', ['link', 'set', at.interface, state]);
  link('down');
  await sleep(ms).finally(() => link('up'));
}

/** A firewall's verdict on everything between agent and collector, or on one connection: `drop`, `reject with tcp reset`. */
async function firewall(at: Namespace, verdict: string, ms: number, localPort?: number): Promise<void> {
  const [to, from] =
    localPort === undefined ? [`dport ${PORT}`, `sport ${PORT}`] : [`sport ${localPort}`, `dport ${localPort}`];
  const chain = (hook: string, match: string) =>
    `chain ${hook} { type filter hook ${hook} priority 0; tcp ${match} ${verdict}; }`;
  inside(at, 'nft', ['-f', '-'], `table ip chaos {\n${chain('output', to)}\n${chain('input', from)}\n}\n`);
  await sleep(ms).finally(() => inside(at, 'nft', ['delete', 'table', 'ip', 'chaos']));
}
export const dropAll = (at: Namespace, ms: number): Promise<void> => firewall(at, 'drop', ms);
export const resetAll = (at: Namespace, ms: number): Promise<void> => firewall(at, 'reject with tcp reset', ms);

/** The kernel ends the agent's connections, as if the other side had reset them. */
export const killSockets = (at: Namespace): void => void inside(at, 'ss', ['-K', 'dport', '=', String(PORT)]);

/** The agent's connection dies, and the collector hears nothing of it: it keeps it, while the agent comes again. */
export async function halfOpen(at: Namespace, ms: number): Promise<void> {
  const port = /:(\d+)\s+\S+\s*$/m.exec(
    inside(at, 'ss', ['-tnH', 'state', 'established', 'dport', '=', String(PORT)]),
  )?.[1];
  if (port === undefined) return sleep(100);
  const over = firewall(at, 'drop', ms, Number(port));
  inside(at, 'ss', ['-K', 'sport', '=', port]);
  await over;
}

/** It doesn't run, and doesn't die. */
export async function freeze(program: Program, ms: number): Promise<void> {
  program.kill('SIGSTOP');
  await sleep(ms).finally(() => program.kill('SIGCONT'));
}

/** System calls of a running process fail as strace's `inject=` says. Returns how many did. */
export async function failCalls(t: Cleaner, pid: number, folder: string, inject: string, ms: number): Promise<number> {
  const log = join(folder, 'strace.log');
  const calls = inject.replace(/:.*/, '');
  const args = ['-f', '-o', log, '-e', `trace=${calls}`, '-e', `inject=${inject}`, '-p', String(pid)];
  const strace = new Program(t, 'strace', args);
  await until('strace', () => /attached/.test(strace.stderr) || !strace.running);
  await sleep(ms);
  strace.kill('SIGINT'); // it lets the process go
  // When the process was killed while it was traced, strace may wait for it for ever, and it for strace.
  const late = setTimeout(() => strace.kill('SIGKILL'), 5000);
  await strace.exited;
  clearTimeout(late);
  return readFileSync(log, 'utf8').split('(INJECTED)').length - 1;
}
