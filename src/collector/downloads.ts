/**
 * Hands packed agents out over HTTPS, each once, to who knows its link; everything else is 404, whatever it was. The port is
 * open only while there are links.
 */
import { type FileHandle, open } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { reasonOf, RcapError } from '../errors.ts';
import { type Piece, pieces } from '../formats/image.ts';
import { stamp } from '../formats/stamp.ts';
import type { Log } from '../log.ts';
import { type Address, formatAddress } from '../options/units.ts';
import { cut, imageOf } from './executables.ts';
import type { Link, Links } from './links.ts';
import { RequestServer } from './request-server.ts';

/** How often it is looked whether there are links. */
const LOOK_MS = 250;
/** Without a byte taken; Node may notice only after twice that. */
const IDLE_MS = 30_000;
/** For a whole file. */
const TRANSFER_MS = 30 * 60_000;

export interface DownloadsOptions {
  address: Address;
  key: string;
  certificate: string;
  links: Links;
  /** Whether a token, by its id, still admits anybody: without it the agent is worth nothing. */
  admits(tokenId: string): boolean;
  /**
   * Hears who (ADDRESS:PORT) was refused, and why. They have their answer at once: no rate of guessing finds 256 random bits,
   * and a good link is handed out whatever others at that address did, who may be behind the same NAT.
   */
  turnAway(peer: string, line: string): void;
  log: Log;
}

export class Downloads {
  readonly #options: DownloadsOptions;
  /** Links that are fetched now, and by whom. */
  readonly #busy = new Map<string, string>();
  #server: RequestServer | undefined;
  #failed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#look();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
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
    const server = new RequestServer({
      tls: { key, certificate },
      busy: () => this.#busy.values(),
      answer: (...asked) => this.#answer(...asked),
      failed: (e) => this.#fail(e),
    });
    this.#server = server;
    try {
      const port = await server.listen(address);
      this.#failed = false;
      log.info(`handing out packed agents on ${formatAddress({ host: address.host, port })}`, { port });
    } catch (e) {
      this.#server = undefined;
      this.#fail(e);
    }
  }

  #close(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  /** Captures go on without it; said once, tried again and again. */
  #fail(e: unknown): void {
    const { address, log } = this.#options;
    if (this.#failed) return;
    this.#failed = true;
    log.warning(`could not hand out agents on '${formatAddress(address)}': ${reasonOf(e)}`, '--downloads ADDR:PORT');
  }

  async #answer(request: IncomingMessage, response: ServerResponse, peer: string): Promise<void> {
    const { log } = this.#options;
    try {
      const wanted =
        request.method === 'GET' || request.method === 'HEAD' ? this.#wanted(request.url ?? '') : 'no link';
      if (typeof wanted === 'string') {
        this.#options.turnAway(peer, `links: refused ${peer}: ${wanted}`);
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
    if (counts) this.#busy.set(link.id, peer);
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
    const fields = { peer, link: short(link), token: link.tokenId };
    log.info(`links: ${peer} fetched ${link.name} by link ${fields.link}`, fields);
    links.done(link.id);
  }
}

const short = ({ id }: Link) => id.slice(0, 8);

async function* bytesOf(file: FileHandle, list: Piece[]): AsyncGenerator<Uint8Array> {
  for (const piece of cut(list)) {
    if (piece instanceof Uint8Array) {
      yield piece;
      continue;
    }
    for (let at = piece.from; at < piece.to;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(piece.to - at), 0, piece.to - at, at);
      if (bytesRead === 0) throw new Error('the file became shorter');
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  }
}
