/**
 * HTTP for strangers: each connection is for one request, every request is answered by one function, whatever kind it is,
 * and silence keeps nobody out. With a key it speaks TLS.
 */
import { once } from 'node:events';
import { createServer as createPlain, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { createServer as createSecure } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Address } from '../options/units.ts';
import { networkOf } from './doorkeeper.ts';

/** When there are more, one that is not being served goes: a stranger's silence keeps nobody out. */
const MAX_CONNECTIONS = 128;
/** To say what is wanted, TLS included. */
const REQUEST_MS = 10_000;
const MAX_HEADER_BYTES = 4096;

export interface RequestServerOptions {
  /** Left out: without TLS. */
  tls: { key: string; certificate: string } | undefined;
  /** Peers (ADDRESS:PORT) that are being served: they are not cut off for others. */
  busy(): Iterable<string>;
  answer(request: IncomingMessage, response: ServerResponse, peer: string): Promise<void>;
  /** After it listened. */
  failed(error: Error): void;
}

export class RequestServer {
  readonly #options: RequestServerOptions;
  readonly #server: Server;
  /** All connections by their peer, the oldest first. */
  readonly #sockets = new Map<string, Socket>();
  /** Connections that brought their request: each is for one. */
  readonly #asked = new WeakSet<Socket>();
  /** Known from the start: who resets is nobody any more. */
  readonly #peers = new WeakMap<Socket, string>();

  constructor(options: RequestServerOptions) {
    this.#options = options;
    const limits = {
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: 1000,
      maxHeaderSize: MAX_HEADER_BYTES,
      // Node would answer by itself.
      requireHostHeader: false,
    };
    const answer = (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response);
    const { tls } = options;
    // TLS 1.2 is allowed: PowerShell on Windows 10 and Server 2019 knows no 1.3.
    this.#server = tls
      ? createSecure(
          { ...limits, key: tls.key, cert: tls.certificate, minVersion: 'TLSv1.2', handshakeTimeout: REQUEST_MS },
          answer,
        )
      : createPlain(limits, answer);
    for (const event of ['checkContinue', 'checkExpectation'] as const) this.#server.on(event, answer);
    // Comes without a response. (An upgrade that nobody listens for is a request like any other.)
    this.#server.on('connect', (request: IncomingMessage) => {
      const response = new ServerResponse(request);
      response.assignSocket(request.socket);
      response.on('finish', () => request.socket.destroySoon());
      // Node takes its own listener off; it is closed then.
      request.socket.on('error', () => {});
      answer(request, response);
    });
    this.#server.on('connection', (socket: Socket) => this.#accepted(socket));
    this.#server.on('secureConnection', (socket: TLSSocket) => this.#peers.set(socket, peerOf(socket)));
    for (const event of ['tlsClientError', 'clientError']) {
      this.#server.on(event, (_e: Error, socket: Socket) => void socket.destroy());
    }
  }

  /** Resolves with the port; rejects with a system error. */
  async listen({ host, port }: Address): Promise<number> {
    this.#server.listen({ host, port });
    await once(this.#server, 'listening');
    this.#server.on('error', (e) => this.#options.failed(e));
    return (this.#server.address() as { port: number }).port;
  }

  close(): void {
    this.#server.close();
    for (const s of this.#sockets.values()) s.destroy();
  }

  #accepted(socket: Socket): void {
    const peer = peerOf(socket);
    if (this.#sockets.size >= MAX_CONNECTIONS && !this.#evict(peer)) {
      socket.destroy();
      return;
    }
    this.#sockets.set(peer, socket);
    this.#peers.set(socket, peer);
    socket.on('close', () => {
      if (this.#sockets.get(peer) === socket) this.#sockets.delete(peer);
    });
  }

  /**
   * Of those that aren't served the oldest goes of the network that has the most, with the newcomer: who opens many
   * connections loses his own. False: all are served.
   */
  #evict(newcomer: string): boolean {
    const served = new Set(this.#options.busy());
    const idle = [...this.#sockets.keys()].filter((peer) => !served.has(peer));
    const crowds = Map.groupBy([...idle, newcomer], networkOfPeer);
    const most = Math.max(...[...crowds.values()].map((c) => c.length));
    const peer = idle.find((p) => crowds.get(networkOfPeer(p))!.length === most);
    if (peer === undefined) return false;
    this.#sockets.get(peer)!.destroy();
    this.#sockets.delete(peer);
    return true;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    // Thousands may come in one go: nobody asks twice who means well.
    if (this.#asked.has(socket)) {
      socket.destroy();
      return;
    }
    this.#asked.add(socket);
    response.setHeader('Connection', 'close');
    void this.#options.answer(request, response, this.#peers.get(socket) ?? peerOf(socket));
  }
}

const peerOf = (socket: Socket) => `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? '?'}`;
const networkOfPeer = (peer: string) => networkOf(peer.slice(0, peer.lastIndexOf(':')));
