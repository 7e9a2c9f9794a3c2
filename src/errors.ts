/** The one kind of error that our own code throws; only the two programs print it and set the exit code. */
import { getSystemErrorMessage } from 'node:util';

export interface RcapErrorOptions {
  /** What to type to get further. */
  hint?: string | undefined;
  cause?: unknown;
}

export class RcapError extends Error {
  override readonly name = 'RcapError';
  readonly code: string;
  readonly hint: string | undefined;

  /** `message` reads: could not VERB 'object': reason. Lower case, no full stop. */
  constructor(code: string, message: string, options: RcapErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.hint = options.hint;
  }
}

/** Wrong usage of a command line: exit code 2. */
export const usageError = (message: string, hint?: string): RcapError => new RcapError('USAGE', message, { hint });

/** The reason for a message: the system's own words for a system error ("no such file or directory"), else the message. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { errno, syscall } = error as NodeJS.ErrnoException;
  // Some of Node's own have a positive one.
  if (errno !== undefined && errno < 0 && syscall !== undefined) return getSystemErrorMessage(errno);
  return error.message;
}

/** 2 for wrong usage, else 1. (0 and 3 are not errors: the ledger decides between them.) */
export const exitCodeOf = (error: unknown): 1 | 2 => (error instanceof RcapError && error.code === 'USAGE' ? 2 : 1);
