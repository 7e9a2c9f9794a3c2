/** A connection as the agent's protocol sees it: bytes both ways, over a peer that is verified. */
import type { RcapError } from '../errors.ts';
import { formatAddress } from '../options/units.ts';

export interface Server {
  host: string;
  port: number;
}

export const serverText: (s: Server) => string = formatAddress;

export interface LinkEvents {
  /** The chunk may be overwritten after the call. */
  bytes(chunk: Uint8Array): void;
  /** Once, unless `destroy` was called: the connection is over. */
  closed(error: RcapError): void;
}

export interface Link {
  readonly localAddress: string;
  readonly remoteAddress: string;
  /** One at a time: `done` is called when the next may come, never in the same turn; not once the link is over. */
  write(bytes: Uint8Array, done: () => void): void;
  /** Closes behind what was written; `closed` follows. */
  end(): void;
  /** Closes at once; nothing is called any more. */
  destroy(): void;
}

/**
 * Connects to a server, as far as its being verified (TLS is set up, nothing was sent). Rejects with an RcapError that says
 * why not; a signal that is aborted ends the attempt, too.
 */
export type Dial = (server: Server, events: LinkEvents, signal: AbortSignal) => Promise<Link>;
