/**
 * Lines on standard error, prefixed by the program's name; with `json` one object a line. Written synchronously, so that
 * nothing is lost at exit, and never an error: whoever reads the log may go away, the capture goes on.
 */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { RcapError } from './errors.ts';

export type Level = 'error' | 'warning' | 'info' | 'debug';
/** Further values of a line: members of the object with `json`, otherwise left out. */
export type Fields = Record<string, unknown>;

export interface LogOptions {
  /** Also `debug`, and stacks of unexpected errors. */
  verbose?: boolean;
  /** Errors and warnings only. */
  quiet?: boolean;
  json?: boolean;
  /** Takes a whole line, newline included; for tests. */
  write?: (line: string) => void;
}

export class Log {
  /** Called before each line: whoever draws on the terminal clears what it drew. */
  beforeLine: (() => void) | undefined;
  readonly #program: string;
  readonly #options: LogOptions;
  readonly #write: (line: string) => void;

  constructor(program: string, options: LogOptions = {}) {
    this.#program = program;
    this.#options = options;
    this.#write = options.write ?? writeToStandardError;
  }

  /** An error and its hint, whatever was thrown. */
  error(error: unknown, fields?: Fields): void {
    const { verbose } = this.#options;
    const message = error instanceof Error ? (verbose && error.stack ? error.stack : error.message) : String(error);
    const known = error instanceof RcapError ? error : undefined;
    // A stack is for errors that nobody foresaw; ours say enough.
    this.#line('error', known ? known.message : message, known?.hint, {
      ...(known && { code: known.code }),
      ...fields,
    });
  }
  warning(message: string, hint?: string, fields?: Fields): void {
    this.#line('warning', message, hint, fields);
  }
  info(message: string, fields?: Fields): void {
    if (!this.#options.quiet) this.#line('info', message, undefined, fields);
  }
  debug(message: string, fields?: Fields): void {
    if (this.#options.verbose) this.#line('debug', message, undefined, fields);
  }

  #line(level: Level, message: string, hint: string | undefined, fields: Fields = {}): void {
    this.beforeLine?.();
    if (this.#options.json) {
      const line = { time: new Date().toISOString(), level, program: this.#program, message, hint, ...fields };
      this.#write(`${JSON.stringify(line, plain)}\n`);
      return;
    }
    const label = level === 'info' || level === 'debug' ? '' : `${level}: `;
    this.#write(`${this.#program}: ${label}${printable(message)}\n`);
    if (hint !== undefined) this.#write(`${this.#program}: hint: ${printable(hint)}\n`);
  }
}

const plain = (_key: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);

/** Names come from strangers: control characters must not reach a terminal. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (c) => {
    const code = c.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });
}

/** Windows' console takes characters, not bytes; Node's stream translates, and is synchronous there. */
export const isConsole = (fd: 1 | 2): boolean => process.platform === 'win32' && isatty(fd);

/** Tries of a pipe that is full and doesn't block; what then doesn't go in is lost. */
const TRIES = 50;

function writeToStandardError(line: string): void {
  if (isConsole(2)) {
    process.stderr.write(line);
    return;
  }
  let rest = Buffer.from(line);
  for (let tries = 0; rest.length > 0 && tries < TRIES; tries++) {
    try {
      rest = rest.subarray(writeSync(2, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
