/**
 * GET /exceptions.list: the exceptions for scripts. In plain HTTP on a loopback address; on any other over TLS with the
 * collector's key, and to who shows a token, of whose host they are. It changes nothing.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import { type Clock, sleep } from '../clock.ts';
import { RcapError, reasonOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Address, formatAddress } from '../options/units.ts';
import { hostFolder } from './names.ts';
import { RequestServer } from './request-server.ts';

const PATH = '/exceptions.list';
/** Without a byte taken; and for all of an answer. */
const IDLE_MS = 30_000;
const TRANSFER_MS = 60_000;
/** Lists on their way at a time, to all and to the owner of one token: TLS holds what its peer doesn't take. */
const MAX_BUSY = 32;
const MAX_BUSY_EACH = 4;
const PIECE_BYTES = 65_536;

export interface ExceptionsHttpOptions {
  address: Address;
  /** Somebody chose this address: not to have it is an error. */
  given: boolean;
  key: string;
  certificate: string;
  clock: Clock;
  /** Those of a host; undefined: those of all hosts. */
  exceptions: (host: string | undefined) => Uint8Array;
  /** The host of a token: '*' for any, undefined before its first use. Throws an RcapError TOKEN for one that isn't good. */
  hostOf: (token: string) => string | undefined;
  /** As in the doorkeeper: how long the answer is to wait, ms. */
  turnAway: (peer: string, line: string) => number;
  log: Log;
}

interface Answer {
  status: number;
  headers?: Record<string, string>;
  body: Uint8Array;
  /** Of a list: whose token asked for it. */
  owner?: string;
}
const words = (status: number, text: string, headers: Record<string, string> = {}): Answer => ({
  status,
  headers,
  body: Buffer.from(`${text}\n`),
});

function* piecesOf(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127\.[\d.]+$/.test(host);

export class ExceptionsHttp {
  readonly #options: ExceptionsHttpOptions;
  readonly #server: RequestServer;
  readonly #plain: boolean;
  /** Whose token (the host's name) each peer has. */
  readonly #busy = new Map<string, string>();

  constructor(options: ExceptionsHttpOptions) {
    const { address, key, certificate } = options;
    this.#options = options;
    this.#plain = isLoopback(address.host);
    this.#server = new RequestServer({
      tls: this.#plain ? undefined : { key, certificate },
      busy: () => this.#busy.keys(),
      answer: (...asked) => this.#serve(...asked),
      failed: (e) => options.log.warning(`http: ${reasonOf(e)}`),
    });
  }

  /** Throws an RcapError when an address that was chosen can't be had. */
  async start(): Promise<void> {
    const { address, given, log } = this.#options;
    try {
      const port = await this.#server.listen(address);
      const scheme = this.#plain ? 'http' : 'https';
      log.info(`exceptions at ${scheme}://${formatAddress({ ...address, port })}${PATH}`, { http: port });
    } catch (cause) {
      const hint = '--http ADDR:PORT chooses another, --http none does without';
      const message = `could not listen on '${formatAddress(address)}' for HTTP: ${reasonOf(cause)}`;
      if (given) throw new RcapError('LISTEN', message, { hint, cause });
      log.warning(message, hint);
    }
  }

  stop(): void {
    this.#server.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse, peer: string): Promise<void> {
    const { socket } = request;
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    response.on('close', () => void this.#busy.delete(peer));
    let answer: Answer;
    try {
      answer = await this.#answer(request, peer);
    } catch (e) {
      this.#options.log.warning(`http: ${peer}: ${reasonOf(e)}`);
      answer = words(500, 'it can not be told now');
    }
    if (answer.owner !== undefined && !this.#admits(answer.owner))
      answer = words(503, 'too many lists are on their way');
    const { status, headers, body, owner } = answer;
    if (response.destroyed) return;
    if (owner !== undefined) {
      // Who is answered isn't cut off for a newcomer; nor may they stay for ever.
      this.#busy.set(peer, owner);
      const late = setTimeout(() => socket.destroy(), TRANSFER_MS);
      response.on('close', () => clearTimeout(late));
    }
    response.writeHead(status, {
      'Content-Type': 'text/plain; charset=utf-8',
      'Content-Length': body.length,
      'Cache-Control': 'no-store',
      ...headers,
    });
    if (request.method === 'HEAD') response.end();
    else Readable.from(piecesOf(body)).pipe(response);
  }

  #admits(owner: string): boolean {
    const own = [...this.#busy.values()].filter((o) => o === owner).length;
    return this.#busy.size < MAX_BUSY && (this.#plain || own < MAX_BUSY_EACH);
  }

  async #answer(request: IncomingMessage, peer: string): Promise<Answer> {
    const { exceptions, hostOf, turnAway, clock } = this.#options;
    let url: URL;
    let own: string | undefined = '*';
    try {
      if (this.#plain) refuseForeign(request.headers.host);
      else own = hostOf(/^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '');
    } catch (e) {
      if (!(e instanceof RcapError) || (e.code !== 'TOKEN' && e.code !== 'FOREIGN')) throw e;
      const wait = turnAway(peer, `http: refused ${peer}: ${e.message}`);
      if (wait > 0) await sleep(clock, wait);
      if (e.code === 'FOREIGN') return words(403, e.message);
      return words(401, 'a valid token is needed: Authorization: Bearer TOKEN', { 'WWW-Authenticate': 'Bearer' });
    }
    try {
      url = new URL(request.url ?? '', 'http://collector');
    } catch {
      return words(400, 'this is not an address');
    }
    if (url.pathname !== PATH) return words(404, `there is ${PATH}`);
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return words(405, 'it can be read only', { Allow: 'GET, HEAD' });
    const asked = url.searchParams.get('host');
    const host = asked === null ? undefined : hostFolder(asked);
    if (own === '*') return { status: 200, owner: own, body: exceptions(host) };
    if (host !== undefined && host.toLowerCase() !== own?.toLowerCase())
      return words(403, 'the token is not for this host');
    return { status: 200, owner: own ?? '', body: exceptions(own) };
  }
}

/** A page in a browser on this machine may reach us by a name of its own making, but not by ours. */
function refuseForeign(host: string | undefined): void {
  const name = (host ?? 'localhost').replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1');
  if (name.toLowerCase() !== 'localhost' && isIP(name) === 0)
    throw new RcapError('FOREIGN', 'it is asked for by another name than localhost or an address');
}
