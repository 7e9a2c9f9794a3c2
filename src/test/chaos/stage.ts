/**
 * Where chaos happens: two network namespaces, a cable for agent and collector, another for the traffic, and both programs
 * as a user starts them. Whatever is done to them is done in these namespaces, or to processes that were started here.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  AGENT,
  type Cleaner,
  COLLECTOR,
  type Finished,
  lacks,
  lacksAddon,
  lacksRoot,
  type Namespace,
  namespacePair,
  Program,
  temporaryFolder,
  until,
} from '../support.ts';
import { Random } from './random.ts';

export const lacksStage: string | false =
  lacksRoot || lacksAddon || lacks('ip', 'nft', 'ss', 'gcc', 'unshare', 'nsenter');

const PORT = 9000;
/** Nothing here lasts longer, soaking apart: a bound against hanging. */
const MOST_MS = 180_000;
/** After so long it is looked at why a program doesn't end. */
const THREADS_MS = 90_000;
const NUMBERED = 'ether proto 0x88b5';
const fromHere = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Command lines of the two programs: from source, or the packaged executables. */
export interface Programs {
  agent: [string, ...string[]];
  collector: [string, ...string[]];
}
export const fromSource: Programs = { agent: [process.execPath, AGENT], collector: [process.execPath, COLLECTOR] };
export const packaged: Programs = {
  agent: [fromHere('../../../dist/rcap-agent-linux-x64')],
  collector: [fromHere('../../../dist/rcap-collector-linux-x64')],
};

export interface Conditions {
  rounds: number;
  seed: number;
  programs: Programs;
  /** 1: as much as by hand; less: so much less is sent. */
  scale: number;
  /** How long the one long fault of a scenario lasts that has one; soak: the pause between two cuts. */
  holdMs: number;
  say(line: string): void;
  /** What a failed round leaves is kept here, to look at. Undefined: it isn't kept. */
  keep: string | undefined;
}

/** A collector that may be killed and started again on the same folders. */
export class Service {
  readonly #launch: () => Program;
  readonly programs: Program[] = [];

  constructor(launch: () => Program) {
    this.#launch = launch;
  }

  get program(): Program {
    return this.programs.at(-1)!;
  }
  start(): void {
    this.programs.push(this.#launch());
  }
  /** Waits until it listens. */
  async up(): Promise<void> {
    await this.program.says(/--pin sha256\//);
  }
  /** kill -9. It must have been alive: it never ends by itself. */
  async kill(): Promise<void> {
    this.#mustRun();
    this.program.kill('SIGKILL');
    await this.program.exited;
  }
  /** SIGTERM, and exit code 0. */
  async stop(): Promise<void> {
    this.#mustRun();
    this.program.kill('SIGTERM');
    const end = await this.program.end();
    if (end.code !== 0) throw new Error(`the collector ended with ${end.code ?? end.signal}:\n${end.stderr}`);
  }
  /** Like a service manager: it may have given up in its start, but in order. */
  revive(): void {
    const { program } = this;
    if (program.running) return;
    const { stderr } = program;
    if (stderr.includes('"message":"listening') || !stderr.includes('"level":"error"')) this.#mustRun();
    this.start();
  }
  #mustRun(): void {
    if (!this.program.running) throw new Error(`the collector ended by itself:\n${this.program.stderr.slice(-4000)}`);
  }
}

export class Stage {
  readonly here: Namespace;
  readonly there: Namespace;
  /** The traffic cable's ends: where the agent captures, where the sender sends. */
  readonly wire: [capture: string, send: string];
  readonly conditions: Conditions;
  readonly #t: Cleaner;
  readonly folder: string;
  readonly #sender: string;
  readonly #pin: string;
  readonly #token: string;

  constructor(t: Cleaner, conditions: Conditions) {
    this.#t = t;
    this.conditions = conditions;
    this.folder = temporaryFolder(t);
    [this.here, this.there] = namespacePair(t);
    this.wire = this.#cable();
    this.#sender = join(this.folder, 'send_numbered');
    execFileSync('gcc', ['-O2', '-Wall', '-Werror', '-o', this.#sender, fromHere('send_numbered.c')]);
    const ask = (...words: string[]) => {
      const [program, ...rest] = conditions.programs.collector;
      const args = [...rest, ...words, '--state', this.state];
      return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
    };
    this.#token = ask('token', 'new', '--host', '*');
    this.#pin = ask('pin');
  }

  get state(): string {
    return join(this.folder, 'state');
  }

  #cable(): [string, string] {
    const [a, b] = [`w${this.here.name}`, `w${this.there.name}`];
    const ip = (...words: string[]) => execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });
    ip('link', 'add', a, 'netns', this.here.name, 'type', 'veth', 'peer', 'name', b, 'netns', this.there.name);
    for (const [{ name, prefix }, end] of [[this.here, a] as const, [this.there, b] as const]) {
      // No IPv6: its own chatter isn't what is counted here.
      execFileSync(prefix[0]!, [...prefix.slice(1), 'sysctl', '-qw', `net.ipv6.conf.${end}.disable_ipv6=1`]);
      ip('-n', name, 'link', 'set', end, 'up');
    }
    return [a, b];
  }

  /** Of a number, what this run makes of it. */
  scaled(n: number): number {
    return Math.ceil(n * this.conditions.scale);
  }

  /** A new folder for one round. */
  round(number: number): Round {
    return new Round(this, this.#t, mkdtempSync(join(this.folder, 'round-')), number);
  }

  agent(flags: string[], wrapper: string[] = []): Program {
    const [program, ...rest] = this.conditions.programs.agent;
    const server = ['--server', `${this.there.address}:${PORT}`, '--pin', this.#pin];
    const args = [...rest, ...server, '--host-name', 'chaos', '--json', ...flags];
    const prefix = [...this.here.prefix, ...wrapper];
    return new Program(this.#t, program, args, { env: { RCAP_TOKEN: this.#token }, prefix });
  }

  collector(captures: string, flags: string[], wrapper: string[] = []): Service {
    const [program, ...rest] = this.conditions.programs.collector;
    const places = ['--listen', `${this.there.address}:${PORT}`, '--state', this.state, '--captures', captures];
    const args = [...rest, ...places, '--json', ...flags];
    return new Service(() => new Program(this.#t, program, args, { prefix: [...wrapper, ...this.there.prefix] }));
  }

  /** So many numbered frames of so many bytes a second; what it ends with is how many went out. */
  sender(count: number, size: number, rate: number): Program {
    const args = [this.wire[1], count, size, rate].map(String);
    return new Program(this.#t, this.#sender, args, { prefix: this.there.prefix });
  }
}

/** One run of an agent, with a captures folder of its own. */
export class Round {
  readonly stage: Stage;
  readonly random: Random;
  readonly captures: string;
  readonly number: number;
  readonly folder: string;
  collector!: Service;
  agent!: Program;
  /** Ends, and with it the mount that only it sees. */
  #mount: Program | undefined;
  /** The captures folder as it is seen from here. */
  seen: string;
  readonly t: Cleaner;

  constructor(stage: Stage, t: Cleaner, folder: string, number: number) {
    this.stage = stage;
    this.t = t;
    this.folder = folder;
    this.number = number;
    this.random = new Random(stage.conditions.seed + number - 1);
    this.captures = this.seen = join(folder, 'captures');
    mkdirSync(this.captures);
  }

  async startCollector(flags: string[]): Promise<void> {
    this.collector = this.stage.collector(this.captures, ['--min-free', '0', ...flags]);
    await this.#started();
  }

  /** With a captures folder on a file system in memory, of this size. */
  async startCollectorOnSmallDisk(size: string, flags: string[]): Promise<void> {
    const script = 'mount -t tmpfs -o "size=$1,mode=750" chaos "$2" && echo mounted && exec sleep infinity';
    const mount = new Program(this.t, 'unshare', ['-m', 'sh', '-c', script, 'sh', size, this.captures]);
    this.#mount = mount;
    await until('the mount', () => mount.stdout.includes('mounted'));
    this.seen = `/proc/${mount.pid}/root${this.captures}`;
    const wrapper = ['nsenter', '-t', String(mount.pid), '-m'];
    this.collector = this.stage.collector(this.captures, flags, wrapper);
    await this.#started();
  }

  async #started(): Promise<void> {
    this.collector.start();
    await this.collector.up();
  }

  /** Resolves once it is connected: only from then on it comes again. */
  async startReplay(input: string, ...flags: string[]): Promise<void> {
    this.agent = this.stage.agent(['-r', input, ...flags]);
    await this.inUse();
  }
  async startLive(...flags: string[]): Promise<void> {
    this.agent = this.stage.agent(['-i', this.stage.wire[0], ...flags, NUMBERED]);
    await this.agent.says(/listening on/);
  }

  /** Waits until the agent's connection is one that was welcomed, or the agent has ended. */
  async inUse(): Promise<void> {
    const { collector, agent } = this;
    const over = () => !agent.running || !collector.program.running;
    await until('a connection', () => collector.program.stderr.includes('connected: chaos') || over());
    await until('its first batch', () => this.#holdsFiles() || over());
  }

  #holdsFiles(): boolean {
    const folder = join(this.seen, 'chaos');
    return existsSync(folder) && readdirSync(folder).length > 0;
  }

  /** Does this again and again until `over` resolves; its own error ends it. */
  async meanwhile(over: Promise<unknown>, work: () => Promise<void>, boundMs = MOST_MS): Promise<void> {
    const state = { over: false };
    const ended = over.finally(() => (state.over = true));
    for (const end = performance.now() + boundMs; !state.over;) {
      if (performance.now() > end) throw new Error(`it isn't over after ${boundMs / 1000} s`);
      await work();
    }
    await ended;
  }

  /** What both programs said last, but for the agent's counters. */
  get lastWords(): string {
    const last = (p: Program | undefined) =>
      (p?.stderr ?? '')
        .trimEnd()
        .split('\n')
        .filter((line) => !line.includes('"message":"progress"'))
        .slice(-5);
    return [...last(this.agent), ...last(this.collector?.programs.at(-1))].map((line) => `  ${line}`).join('\n');
  }

  /** Ends a live capture once its sender has ended. */
  async stopLive(): Promise<Finished> {
    this.agent.kill('SIGINT');
    return this.endOfAgent();
  }

  /** What its threads wait for is said when it doesn't come. */
  async endOfAgent(): Promise<Finished> {
    const { pid, exited } = this.agent;
    const over = new AbortController();
    const late = sleep(THREADS_MS, undefined, { signal: over.signal }).then(
      () => this.stage.conditions.say(`the agent hasn't ended; its threads:\n${threads(pid)}`),
      () => {},
    );
    await Promise.race([exited, late]);
    over.abort();
    return this.agent.end();
  }

  pause(least: number, most: number): Promise<void> {
    return sleep(this.random.between(least, most));
  }

  /** What was said goes beside the files, and all of it where failures are kept. */
  async save(error: unknown): Promise<void> {
    const { keep } = this.stage.conditions;
    if (keep === undefined) return;
    await this.#halt();
    for (const [i, p] of (this.collector?.programs ?? []).entries())
      writeFileSync(join(this.folder, `collector-${i}.log`), p.stderr);
    if (this.agent) writeFileSync(join(this.folder, 'agent.log'), this.agent.stderr);
    writeFileSync(join(this.folder, 'error.txt'), error instanceof Error ? (error.stack ?? '') : String(error));
    if (this.seen !== this.captures) execFileSync('cp', ['-r', this.seen, this.folder]);
    execFileSync('cp', ['-r', this.folder, join(keep, `${this.random.seed}-${basename(this.folder)}`)]);
  }

  async #halt(): Promise<void> {
    for (const p of [this.agent, this.collector?.programs.at(-1)]) {
      p?.kill('SIGKILL');
      await p?.exited;
    }
  }

  /** Nothing of it runs any more, nothing of it is left. */
  async clear(): Promise<void> {
    await this.#halt();
    this.#mount?.kill('SIGKILL');
    await this.#mount?.exited;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Anonymous memory in bytes and open descriptors of a process. */
export function usage(pid: number): { anonymous: number; descriptors: number } {
  const kilobytes = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return { anonymous: Number(kilobytes) * 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

/** For each thread of a process: its name, what it does in the kernel, and which system call. */
function threads(pid: number): string {
  const folder = `/proc/${pid}/task`;
  if (!existsSync(folder)) return '  there are none';
  const read = (id: string, file: string) => readFileSync(join(folder, id, file), 'utf8').trim();
  return readdirSync(folder)
    .map((id) => `  ${id} ${['comm', 'wchan', 'syscall', 'stack'].map((file) => read(id, file)).join(' ')}`)
    .join('\n');
}
