/** A Link over a TLS connection whose other end is verified. */
import type { TLSSocket } from 'node:tls';
import { RcapError } from '../errors.ts';
import type { Link, LinkEvents } from './link.ts';

/** Silence after which TCP asks whether the other end is still there, ms. */
const KEEP_ALIVE_MS = 10_000;

export class SocketLink implements Link {
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly #socket: TLSSocket;
  readonly #events: LinkEvents;
  #over = false;

  constructor(socket: TLSSocket, events: LinkEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    this.localAddress = socket.localAddress ?? '';
    this.remoteAddress = socket.remoteAddress ?? '';
    socket.on('data', (chunk) => {
      if (!this.#over) events.bytes(chunk);
    });
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#socket.write(bytes, (error) => {
      if (!error && !this.#over) done();
    });
  }
  end(): void {
    this.#socket.end();
  }
  destroy(): void {
    this.#over = true;
    this.#socket.destroy();
  }
  over(error: RcapError): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.closed(error);
  }
}

export const lost = (name: string, e?: NodeJS.ErrnoException): RcapError =>
  new RcapError('CONNECTION', `lost the connection to '${name}': ${e ? (e.code ?? e.message) : 'it was closed'}`, {
    cause: e,
  });
