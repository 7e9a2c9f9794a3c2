/**
 * Hands packed agents out over HTTPS, each once, to who knows its link; everything else is 404, whatever it was. TLS 1.2 is
 * allowed: PowerShell on Windows 10 and Server 2019 knows no 1.3. The port is open only while there are links.
 */
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { reasonOf, RcapError } from '../errors.ts';
import { type Piece, pieces } from '../formats/image.ts';
import { stamp } from '../formats/stamp.ts';
import type { Log } from '../log.ts';
import { type Address, formatAddress } from '../options/units.ts';
import { imageOf } from './executables.ts';
import type { Link, Links } from './links.ts';

/** How often it is looked whether there are links. */
const LOOK_MS = 250;
const MAX_CONNECTIONS = 64;
/** What one address may ask in vain within a minute; then its connections are closed unheard for the rest of it. */
const MAX_REFUSED = 30;
/** Addresses that are counted; beyond that all begin anew. */
const MAX_ADDRESSES = 10_000;
const MINUTE_MS = 60_000;
/** To say what is wanted, TLS included. */
const REQUEST_MS = 10_000;
/** Without a byte taken; Node may notice only after twice that. */
const IDLE_MS = 30_000;
/** For a whole file. */
const TRANSFER_MS = 30 * MINUTE_MS;
const MAX_HEADER_BYTES = 4096;
const CHUNK_BYTES = 1 << 18;

export interface DownloadsOptions {
  address: Address;
  key: string;
  certificate: string;
  links: Links;
  /** Whether a token, by its id, still admits anybody: without it the agent is worth nothing. */
  admits(tokenId: string): boolean;
  log: Log;
}

export class Downloads {
  readonly #options: DownloadsOptions;
  readonly #sockets = new Set<Socket>();
  /** Links that somebody fetches now. */
  readonly #busy = new Set<string>();
  /** Refusals within this minute, by address. */
  #refused = new Map<string, number>();
  #server: Server | undefined;
  #failed = false;
  #timers: NodeJS.Timeout[] = [];

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#look();
    this.#timers = [
      setInterval(() => this.#look(), LOOK_MS),
      setInterval(() => (this.#refused = new Map()), MINUTE_MS),
    ];
  }

  stop(): void {
    for (const t of this.#timers) clearInterval(t);
    this.#close();
  }

  #look(): void {
    try {
      const { any } = this.#options.links;
      if (any && !this.#server) void this.#open();
      if (!any && this.#server && this.#busy.size === 0) this.#close();
    } catch (e) {
      this.#fail(e);
    }
  }

  async #open(): Promise<void> {
    const { address, key, certificate, log } = this.#options;
    const server = createServer(
      {
        key,
        cert: certificate,
        minVersion: 'TLSv1.2',
        handshakeTimeout: REQUEST_MS,
        headersTimeout: REQUEST_MS,
        requestTimeout: REQUEST_MS,
        connectionsCheckingInterval: 1000,
        maxHeaderSize: MAX_HEADER_BYTES,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server = server;
    server.maxConnections = MAX_CONNECTIONS;
    server.on('connection', (socket: Socket) => this.#accepted(socket));
    server.on('error', (e) => this.#fail(e));
    for (const event of ['tlsClientError', 'clientError'] as const) {
      server.on(event, (_e: Error, socket: Socket) => {
        this.#count(socket.remoteAddress);
        socket.destroy();
      });
    }
    try {
      server.listen({ host: address.host, port: address.port });
      await once(server, 'listening');
      this.#failed = false;
      const { port } = server.address() as { port: number };
      log.info(`handing out packed agents on ${formatAddress({ host: address.host, port })}`, { port });
    } catch (e) {
      this.#server = undefined;
      this.#fail(e);
    }
  }

  #close(): void {
    this.#server?.close();
    for (const s of this.#sockets) s.destroy();
    this.#server = undefined;
  }

  /** Captures go on without it; said once, tried again and again. */
  #fail(e: unknown): void {
    const { address, log } = this.#options;
    if (this.#failed) return;
    this.#failed = true;
    log.warning(`could not hand out agents on '${formatAddress(address)}': ${reasonOf(e)}`, '--downloads ADDR:PORT');
  }

  #accepted(socket: Socket): void {
    if ((this.#refused.get(socket.remoteAddress ?? '') ?? 0) >= MAX_REFUSED) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #count(address = ''): void {
    if (this.#refused.size >= MAX_ADDRESSES) this.#refused.clear();
    const count = (this.#refused.get(address) ?? 0) + 1;
    this.#refused.set(address, count);
    if (count === MAX_REFUSED)
      this.#options.log.warning(`links: ${address} is not heard for a minute: too many refusals`);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { log } = this.#options;
    const peer = `${request.socket.remoteAddress ?? '?'}:${request.socket.remotePort ?? '?'}`;
    response.setHeader('Connection', 'close');
    try {
      const wanted =
        request.method === 'GET' || request.method === 'HEAD' ? this.#wanted(request.url ?? '') : 'no link';
      if (typeof wanted === 'string') {
        log.warning(`links: refused ${peer}: ${wanted}`);
        this.#count(request.socket.remoteAddress);
        response.writeHead(404, { 'Content-Length': 0 }).end();
        return;
      }
      await this.#send(wanted, request, response, peer);
    } catch (e) {
      log.warning(`links: ${peer}: ${e instanceof RcapError ? e.message : reasonOf(e)}`);
      response.destroy();
    }
  }

  /** The link, or why there is none. */
  #wanted(url: string): Link | string {
    const link = this.#options.links.find(url.slice(1));
    if (!link) return 'no link';
    if (link.over !== undefined) return `link ${short(link)} is over: ${link.over}`;
    if (!this.#options.admits(link.tokenId)) return `link ${short(link)} is over: its token ${link.tokenId} is`;
    if (this.#busy.has(link.id)) return `link ${short(link)} is being fetched`;
    return link;
  }

  async #send(link: Link, request: IncomingMessage, response: ServerResponse, peer: string): Promise<void> {
    const counts = request.method === 'GET';
    if (counts) this.#busy.add(link.id);
    try {
      const file = await open(link.path, 'r');
      try {
        const stamped = stamp(imageOf(file.fd, link.path), link.payload);
        response.writeHead(200, {
          'Content-Type': 'application/octet-stream',
          'Content-Length': stamped.size,
          'Content-Disposition': `attachment; filename="${link.name}"`,
          'Cache-Control': 'no-store',
        });
        if (counts) await this.#transfer(link, bytesOf(file, pieces(stamped)), response, peer);
        else response.end();
      } finally {
        await file.close();
      }
    } finally {
      if (counts) this.#busy.delete(link.id);
    }
  }

  async #transfer(link: Link, bytes: AsyncIterable<Uint8Array>, response: ServerResponse, peer: string): Promise<void> {
    const { links, log } = this.#options;
    const { socket } = response;
    links.begin(link.id);
    socket?.setTimeout(IDLE_MS, () => socket.destroy());
    try {
      await pipeline(bytes, response, { signal: AbortSignal.timeout(TRANSFER_MS) });
    } catch (cause) {
      throw new RcapError('TRANSFER', `link ${short(link)}: the transfer broke off: ${reasonOf(cause)}`, { cause });
    }
    links.done(link.id);
    const fields = { peer, link: short(link), token: link.tokenId };
    log.info(`links: ${peer} fetched ${link.name} by link ${fields.link}`, fields);
  }
}

const short = ({ id }: Link) => id.slice(0, 8);

async function* bytesOf(file: FileHandle, list: Piece[]): AsyncGenerator<Uint8Array> {
  for (const piece of list) {
    if (piece instanceof Uint8Array) {
      yield piece;
      continue;
    }
    for (let at = piece.from; at < piece.to;) {
      const length = Math.min(CHUNK_BYTES, piece.to - at);
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, at);
      if (bytesRead === 0) throw new Error('the file became shorter');
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  }
}
