/**
 * Whole programs in tests: started from source, waited for with a bound, ended by their own pid. Whoever starts something
 * hands in a test's context, or its suite's `cleaner()`, and it is cleaned up afterwards.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** Nothing here waits longer: a bound against hanging, not a promise of speed. */
export const PATIENCE_MS = 180_000;

export interface Cleaner {
  after(clean: () => void | Promise<void>): void;
}

/** Lists that were worked off. */
const over = new WeakSet<object>();
const steps = new WeakMap<Cleaner, (() => void | Promise<void>)[]>();

/** After the test, what was started last is cleaned up first: a program ends before its folder goes. */
export function cleanUp(t: Cleaner, step: () => void | Promise<void>): void {
  const known = steps.get(t);
  if (known && over.has(known)) {
    // Of a fuzz test that was cut off at its time, one case still goes on.
    void step();
    return;
  }
  if (known) {
    known.push(step);
    return;
  }
  const list = [step];
  steps.set(t, list);
  t.after(() => newestFirst(list));
}

async function newestFirst(list: (() => void | Promise<void>)[]): Promise<void> {
  over.add(list);
  for (const step of list.toReversed()) await step();
}

/** For what a whole suite uses; called in its body. */
export function cleaner(): Cleaner {
  const suite: Cleaner = { after: (step) => cleanUp(suite, step) };
  const list: (() => void | Promise<void>)[] = [];
  steps.set(suite, list);
  after(() => newestFirst(list));
  return suite;
}

const source = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
export const COLLECTOR = source('collector.ts');
export const AGENT = source('agent.ts');
export const PYTHON_CLIENT = source('test/python_client.py');

/** A reason to skip, or false: `{ skip: lacks('tshark', 'python3') }`. */
export function lacks(...programs: string[]): string | false {
  const path = (process.env['PATH'] ?? '').split(':');
  const missing = programs.filter((p) => !path.some((folder) => existsSync(join(folder, p))));
  return missing.length > 0 && `needs ${missing.join(', ')}`;
}
export const lacksRoot: string | false = process.getuid?.() === 0 ? false : 'needs root';
/** The addon that captures and reads files, for tests of the agent. */
export const lacksAddon: string | false =
  !existsSync(fileURLToPath(new URL('../../native/prebuilds', import.meta.url))) &&
  'needs the native addon: npm run native';

export function temporaryFolder(t: Cleaner): string {
  const folder = mkdtempSync(join(tmpdir(), 'rcap-test-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Waits until `condition` returns something, asking again and again. */
export async function until<T>(
  what: string,
  condition: () => T | undefined | false,
  boundMs = PATIENCE_MS,
): Promise<T> {
  for (const end = performance.now() + boundMs; ; await sleep(20)) {
    const value = condition();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited ${boundMs / 1000} s in vain for ${what}`);
  }
}

/** The promise's value, or an error when it takes longer than any patience. */
export async function bounded<T>(what: string, promise: Promise<T>, boundMs = PATIENCE_MS): Promise<T> {
  const over = new AbortController();
  const late = sleep(boundMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`waited ${boundMs / 1000} s in vain for ${what}`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    over.abort();
  }
}

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface StartOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** Words before the command: `ip netns exec NAME`, `setpriv --reuid …`. */
  prefix?: string[];
  input?: string | Uint8Array;
}

/** A process that a test started. */
export class Program {
  stdout = '';
  stderr = '';
  readonly name: string;
  readonly exited: Promise<Finished>;
  readonly #child: ChildProcess;

  constructor(t: Cleaner, command: string, args: string[], options: StartOptions = {}) {
    const [first, ...rest] = [...(options.prefix ?? []), command, ...args];
    this.name = [command, ...args].join(' ');
    const child = spawn(first!, rest, {
      cwd: options.cwd,
      env: { ...environment(), ...options.env },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    child.stdout!.setEncoding('utf8').on('data', (s: string) => (this.stdout += s));
    child.stderr!.setEncoding('utf8').on('data', (s: string) => (this.stderr += s));
    child.stdin?.on('error', () => {}).end(options.input);
    this.exited = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }));
    });
    this.exited.catch(() => {}); // whoever waits for it sees it
    cleanUp(t, async () => {
      this.kill('SIGKILL');
      await this.exited.catch(() => {});
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }
  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  kill(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** Waits for the end; kills it when that takes too long. */
  async end(boundMs = PATIENCE_MS): Promise<Finished> {
    try {
      return await bounded(`the end of ${this.name}`, this.exited, boundMs);
    } catch (e) {
      this.kill('SIGKILL');
      throw new Error(`${(e as Error).message}; it said:\n${this.stderr}`, { cause: e });
    }
  }

  /** Waits until standard error matches. */
  async says(pattern: RegExp, boundMs = PATIENCE_MS): Promise<RegExpExecArray> {
    return until(
      `${pattern} from ${this.name}; it said:\n${this.stderr}`,
      () => {
        const match = pattern.exec(this.stderr);
        if (!match && !this.running) throw new Error(`${this.name} ended without ${pattern}; it said:\n${this.stderr}`);
        return match ?? undefined;
      },
      boundMs,
    );
  }

  /** Resident memory now, bytes. */
  get residentBytes(): number {
    const kilobytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1];
    return Number(kilobytes) * 1024;
  }
}

/** What the programs inherit: nothing that would change what they do. */
function environment(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !/^(RCAP_|NODE_|(https?|no)_proxy$)/i.test(name)) kept[name] = value;
  }
  return kept;
}

/** Runs a program to its end. */
export async function run(t: Cleaner, command: string, args: string[], options?: StartOptions): Promise<Finished> {
  return new Program(t, command, args, options).end();
}

export const runAgent = (t: Cleaner, args: string[], options?: StartOptions): Promise<Finished> =>
  run(t, process.execPath, [AGENT, ...args], options);
export const runCollector = (t: Cleaner, args: string[], options?: StartOptions): Promise<Finished> =>
  run(t, process.execPath, [COLLECTOR, ...args], options);

export interface CollectorOptions extends StartOptions {
  /** Holds `state` and `captures`; left out: a new temporary one. */
  folder?: string;
  flags?: string[];
  listen?: string;
}

/** A collector that listens. */
export class Collector extends Program {
  readonly folder: string;
  port = 0;
  pin = '';
  readonly #cleaner: Cleaner;

  private constructor(t: Cleaner, folder: string, args: string[], options: StartOptions) {
    super(t, process.execPath, [COLLECTOR, ...args], options);
    this.folder = folder;
    this.#cleaner = t;
  }

  static async start(t: Cleaner, options: CollectorOptions = {}): Promise<Collector> {
    const folder = options.folder ?? temporaryFolder(t);
    const places = ['--state', join(folder, 'state'), '--captures', join(folder, 'captures')];
    const flags = options.flags ?? [];
    // Tests run side by side, and its port is the same in all of them.
    const http = flags.includes('--http') ? [] : ['--http', 'none'];
    const args = ['--listen', options.listen ?? '127.0.0.1:0', ...http, ...places, ...flags];
    const collector = new Collector(t, folder, args, options);
    const line = await collector.says(/:(\d+) --pin (sha256\/\S+)/);
    collector.port = Number(line[1]);
    collector.pin = line[2]!;
    return collector;
  }

  get state(): string {
    return join(this.folder, 'state');
  }
  get captures(): string {
    return join(this.folder, 'captures');
  }
  /** For the agent: where to send, whom to trust. */
  get address(): string[] {
    return ['--server', `127.0.0.1:${this.port}`, '--pin', this.pin];
  }

  async token(...flags: string[]): Promise<string> {
    const made = await runCollector(this.#cleaner, ['token', 'new', '--state', this.state, ...flags]);
    if (made.code !== 0) throw new Error(made.stderr);
    return made.stdout.trim();
  }

  /** SIGTERM, and how it ended. */
  async stop(): Promise<Finished> {
    this.kill('SIGTERM');
    return this.end();
  }

  /** Everything under the captures folder that isn't a folder, but for its locks. */
  files(): string[] {
    return filesUnder(this.captures).filter((f) => !f.startsWith('.rcap-collector.lock'));
  }
  /** Published captures, whole paths. */
  published(): string[] {
    return this.files()
      .filter((f) => /\.pcap(\.linktype-\d+)?$/.test(f))
      .map((f) => join(this.captures, f));
  }
}

/** Relative paths, sorted. */
export function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => !e.isDirectory())
    .map((e) => join(e.parentPath, e.name).slice(folder.length + 1))
    .toSorted();
}

/** Packets as tshark reads them: a row each, one text for each field. */
export function tshark(file: string, ...fields: string[]): string[][] {
  const args = ['-n', '-r', file, '-T', 'fields', ...fields.flatMap((f) => ['-e', f])];
  const text = execFileSync('tshark', args, {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => line.split('\t'));
}

/** The file as tcpdump writes it again: this machine's byte order, nanoseconds. A format reader that isn't ours. */
export function rewritten(file: string): Buffer {
  const args = ['-r', '-', '-w', '-', '--time-stamp-precision=nano'];
  return execFileSync('tcpdump', args, {
    input: readFileSync(file),
    maxBuffer: 1 << 30,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

/** What capinfos says, by its own names: 'Number of packets', 'File encapsulation', … Throws when it can't read the file. */
export function capinfos(file: string): Map<string, string> {
  const text = execFileSync('capinfos', ['-M', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  return new Map([...text.matchAll(/^(\S[^:]*):\s+(.*)$/gm)].map((m) => [m[1]!, m[2]!]));
}
export const packetsIn = (file: string): number => Number(capinfos(file).get('Number of packets'));

export interface Namespace {
  name: string;
  interface: string;
  address: string;
  /** Words that run a command in it. */
  prefix: string[];
}

/** Two network namespaces with a cable between them. Needs root. */
export function namespacePair(t: Cleaner): [Namespace, Namespace] {
  const id = `rc${process.pid}${'abcdefghij'[pairs++] ?? pairs}`;
  const ends = ['1', '2'].map((n) => ({
    name: `${id}${n}`,
    interface: `${id}${n}`,
    address: `10.77.0.${n}`,
    prefix: ['ip', 'netns', 'exec', `${id}${n}`],
  })) as [Namespace, Namespace];
  const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  for (const { name } of ends) {
    ip('netns', 'add', name);
    cleanUp(t, () => void ip('netns', 'del', name));
  }
  const [a, b] = ends;
  ip('link', 'add', a.interface, 'netns', a.name, 'type', 'veth', 'peer', 'name', b.interface, 'netns', b.name);
  for (const e of ends) {
    ip('-n', e.name, 'address', 'add', `${e.address}/24`, 'dev', e.interface);
    for (const up of [e.interface, 'lo']) ip('-n', e.name, 'link', 'set', up, 'up');
  }
  return ends;
}
let pairs = 0;
