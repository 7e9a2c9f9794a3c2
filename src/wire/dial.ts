/** The agent's way to a collector: name, TCP, TLS, and who it is; as a Link. */
import { lookup } from 'node:dns/promises';
import { isIP, type LookupFunction, type TcpSocketConnectOpts } from 'node:net';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { type Dial, type Link, type LinkEvents, type Server, serverText } from './link.ts';
import { connectOptions, type Trust, verifyPeer } from './tls.ts';

/** Silence after which TCP asks whether the collector is still there, ms. */
const KEEP_ALIVE_MS = 10_000;
/**
 * How long one address is tried while there are others, ms. Node's own 250 ms cut off what is only far away: a satellite's
 * round trip is 600, and a first SYN that was lost is sent again after 1000.
 */
const ATTEMPT_MS = 2500;

type Addresses = { address: string; family: number }[];

/** Who is told where we connect to. */
export interface Attempts {
  /** Before the first packet goes to one of these; what it returns is waited for. */
  attempt(addresses: string[], port: number): Promise<unknown>;
  /** How that ended, always: with a collector verified at this address, or with none. */
  settle(verified: string | undefined, port: number): void;
}

/** A name is looked up at each try, and all its addresses, IPv6 and IPv4, are tried. */
export function tlsDial(trust: Trust, attempts?: Attempts): Dial {
  return async (server, events, signal) => {
    const { port } = server;
    const addresses = await unless(signal, addressesOf(server));
    let link: Link | undefined;
    try {
      if (attempts) await unless(signal, attempts.attempt(addresses.map((a) => a.address), port)); // prettier-ignore
      return (link = await verified(server, trust, addresses, events, signal));
    } finally {
      attempts?.settle(link?.remoteAddress, port);
    }
  };
}

async function addressesOf(server: Server): Promise<Addresses> {
  const { host } = server;
  const family = isIP(host);
  if (family) return [{ address: host, family }];
  touch('looked up', host, 'the way to a collector');
  try {
    return await lookup(host, { all: true, order: 'verbatim' });
  } catch (e) {
    throw explain(e as NodeJS.ErrnoException, server);
  }
}

/** The work's outcome, or the signal's reason if that comes first. */
function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop);
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** Connects; nothing is sent, and nothing that comes is taken, before the collector is verified. */
function verified(
  server: Server,
  trust: Trust,
  addresses: Addresses,
  events: LinkEvents,
  signal: AbortSignal,
): Promise<Link> {
  const name = serverText(server);
  const lookedUp = ((_host, _options, done) => done(null, addresses)) as LookupFunction;
  // Node tries all of them, both families in turn.
  const options: ConnectionOptions & TcpSocketConnectOpts = {
    ...connectOptions(server.host, trust),
    port: server.port,
    lookup: lookedUp,
    autoSelectFamilyAttemptTimeout: ATTEMPT_MS,
  };
  const socket = connect(options);
  return new Promise((resolve, reject) => {
    let link: SocketLink | undefined;
    const fail = (error: RcapError) => {
      signal.removeEventListener('abort', stop);
      if (link) link.over(error);
      else reject(error);
      socket.destroy();
    };
    const stop = () => fail(signal.reason as RcapError);
    signal.addEventListener('abort', stop);
    socket.on('secureConnect', () => {
      try {
        verifyPeer(socket, name, trust);
      } catch (e) {
        fail(e as RcapError);
        return;
      }
      signal.removeEventListener('abort', stop);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      link = new SocketLink(socket, events);
      resolve(link);
    });
    socket.on('error', (e: NodeJS.ErrnoException) => fail(link ? lost(name, e) : explain(e, server)));
    socket.on('close', () => fail(link ? lost(name) : closedEarly(name)));
  });
}

class SocketLink implements Link {
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly #socket: TLSSocket;
  readonly #events: LinkEvents;
  #over = false;

  constructor(socket: TLSSocket, events: LinkEvents) {
    this.#socket = socket;
    this.#events = events;
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

const lost = (name: string, e?: NodeJS.ErrnoException) =>
  new RcapError('CONNECTION', `lost the connection to '${name}': ${e ? (e.code ?? e.message) : 'it was closed'}`, {
    cause: e,
  });

const closedEarly = (name: string) =>
  new RcapError('CONNECTION', `could not connect to '${name}': it closed the connection before TLS was set up`, {
    hint: 'is that port a rcap-collector?',
  });

function explain(e: NodeJS.ErrnoException, server: Server): RcapError {
  const [reason, hint] = REASONS[e.code ?? ''] ?? [isTlsError(e) ? NOT_TLS : (e.code ?? e.message), IS_IT];
  return new RcapError('CONNECTION', `could not connect to '${serverText(server)}': ${reason}`, { hint, cause: e });
}
const isTlsError = (e: NodeJS.ErrnoException) => /^ERR_SSL_|EPROTO/.test(e.code ?? '');
const NOT_TLS = 'it does not speak TLS 1.3';
const IS_IT = 'is that the address and port of a rcap-collector?';
const ROUTE = process.platform === 'win32' ? "'route print' shows the ways" : "'ip route get ADDRESS' shows the way";
const REASONS: Record<string, [reason: string, hint: string]> = {
  ECONNREFUSED: [
    'connection refused',
    'is the collector running? does it listen on that address? (rcap-collector --listen 0.0.0.0:9000)',
  ],
  ECONNRESET: ['connection reset', IS_IT],
  ENOTFOUND: ['no such host', 'check the name in --server, or use an address'],
  EAI_AGAIN: ['its name could not be looked up', 'check the name server, or use an address in --server'],
  EHOSTUNREACH: ['no route to the host', ROUTE],
  ENETUNREACH: ['the network is unreachable', ROUTE],
  ETIMEDOUT: ['no answer', 'does a firewall stand between?'],
};
