/** The agent's way to a collector: name, TCP, maybe a proxy, TLS, and who it is; as a Link. */
import { randomInt } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { connect } from 'node:tls';
import { RcapError } from '../errors.ts';
import { type Dial, type Link, type LinkEvents, type Server, serverText } from './link.ts';
import { LOOPBACK, type Proxy } from '../options/proxy.ts';
import { bypasses } from './proxy.ts';
import { addressesOf, reach } from './reach.ts';
import { lost, SocketLink } from './socket-link.ts';
import { connectOptions, type Trust, verifyPeer } from './tls.ts';
import { IS_PROXY, proxyError, tunnel } from './tunnel.ts';

/** How long a proxy may take for its part, ms: less than a login may, so that it is the one that is named. */
const PROXY_MS = 8000;
/** Ports that no service has (RFC 6335, section 6), and how many are tried until one is free. */
const EPHEMERAL = [49_152, 65_536] as const;
const PORTS_TRIED = 20;

/** Where one of our connections goes to, as packets show it. */
export interface Place {
  address: string;
  port: number;
  /** Our end: then exactly that connection is meant, else all to that address and port. */
  from?: { address?: string | undefined; port: number } | undefined;
}

/** Who is told where we connect to. */
export interface Attempts {
  /** Before the first packet goes to one of these; what it returns is waited for. */
  attempt(places: Place[]): Promise<unknown>;
  /** How that ended, always: with a collector verified there, or, without places, with none. */
  settle(verified: Place[]): void;
}

/** Whom to trust, and which way to go. */
export interface Route {
  trust: Trust;
  /** The local address to connect from. */
  source?: string | undefined;
  /** The proxy for a server, if there is to be one. */
  proxyFor?: ((server: Server) => Proxy | undefined) | undefined;
}

/** What a try needs. */
interface Try {
  server: Server;
  proxy: Proxy | undefined;
  source: string | undefined;
  attempts: Attempts | undefined;
  signal: AbortSignal;
  ports: Ports;
  warn: Warn;
}
/** Of something that a user should know of; the connection is made. */
export type Warn = (message: string, hint: string) => void;
/** The port of ours for the next connection through a proxy: the same until there was one, so that filters stay as they are. */
interface Ports {
  next: number;
}
const newPort = () => randomInt(...EPHEMERAL);
/** Bytes go both ways to where the server should be; nobody is verified yet. */
interface Way {
  socket: Socket;
  places: Place[];
}

/** Names are looked up at each try, and all addresses, IPv6 and IPv4, are tried. A proxy looks the server's name up. */
export function tlsDial(route: Route, attempts?: Attempts, warn: Warn = () => {}): Dial {
  const ports = { next: newPort() };
  const warned = new Set<string>();
  const warnOnce: Warn = (message, hint) => {
    if (!warned.has(message)) warn(message, hint);
    warned.add(message);
  };
  return async (server, events, signal) => {
    const proxy = route.proxyFor?.(server);
    const what: Try = { server, proxy, source: route.source, attempts, signal, ports, warn: warnOnce };
    let verified: Place[] = [];
    try {
      const { socket, places } = await (proxy ? through(proxy, what) : straight(what));
      const link = await handshake(socket, what, route.trust, events);
      verified = places;
      ports.next = newPort();
      return link;
    } finally {
      attempts?.settle(verified);
    }
  };
}

async function straight({ server, source, attempts, signal }: Try): Promise<Way> {
  const { port } = server;
  try {
    const addresses = await unless(signal, addressesOf(server, source));
    if (addresses.length === 0) throw wrongFamily(serverText(server), source!);
    if (attempts) await unless(signal, attempts.attempt(addresses.map((address) => ({ address, port }))));
    const socket = await reach(addresses, port, { address: source }, signal);
    return { socket, places: [{ address: remoteOf(socket), port }] };
  } catch (e) {
    throw explain(e, server, source);
  }
}

/**
 * A proxy carries others' connections, too, and those stay visible: only ours is left out of the captures, by our port, which
 * is chosen here before there is a connection.
 */
async function through(proxy: Proxy, { server, source, attempts, signal: whole, ports, warn }: Try): Promise<Way> {
  const { port } = proxy;
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(proxyError(proxy, `no answer within ${PROXY_MS / 1000} s`, IS_PROXY)),
    PROXY_MS,
  );
  const signal = AbortSignal.any([whole, late.signal]);
  try {
    const addresses = await unless(signal, addressesOf(proxy, source));
    if (addresses.length === 0) throw wrongFamily(serverText(proxy), source!);
    const beyond = attempts && addresses.some(isHere) ? await unless(signal, behindOwn(proxy, server, warn)) : [];
    for (let left = PORTS_TRIED; ; left--) {
      const from = { address: source, port: ports.next };
      const places = addresses.map((address) => ({ address, port, from }));
      if (attempts) await unless(signal, attempts.attempt([...places, ...beyond]));
      const raw = await reach(addresses, port, from, signal).catch((e: unknown) => {
        if (left > 1 && isTaken(e as NodeJS.ErrnoException)) return undefined;
        throw e;
      });
      if (!raw) {
        ports.next = newPort();
        continue;
      }
      const ours = { address: remoteOf(raw), port, from: { ...from, address: raw.localAddress } };
      return { socket: await tunnel(raw, proxy, server, signal), places: [ours, ...beyond] };
    }
  } catch (e) {
    throw explain(e, server, source, proxy);
  } finally {
    clearTimeout(timer);
  }
}

/** One that was reset already has no address any more. */
function remoteOf({ remoteAddress }: Socket): string {
  if (remoteAddress === undefined) throw Object.assign(new Error('reset'), { code: 'ECONNRESET' });
  return remoteAddress;
}

/** The port is somebody else's. (That the address isn't ours says `bind`, too.) */
const isTaken = ({ code, syscall }: NodeJS.ErrnoException): boolean =>
  code === 'EADDRINUSE' || code === 'EACCES' || (code === 'EADDRNOTAVAIL' && syscall !== 'bind');

function isHere(address: string): boolean {
  const own = Object.values(networkInterfaces()).flatMap((list) => list?.map((a) => a.address) ?? []);
  return bypasses([...LOOPBACK, ...own], { host: address, port: 0 });
}

/**
 * A proxy on this host sends what we send once more: that would be captured, sent, and captured again, for ever. So here, and
 * only here, the server's name is looked up although a proxy is used. Whether it goes there at all, or to another proxy, can't
 * be known here.
 */
async function behindOwn(proxy: Proxy, server: Server, warn: Warn): Promise<Place[]> {
  const name = serverText(server);
  let addresses;
  try {
    addresses = await addressesOf(server, undefined);
  } catch (cause) {
    const why = `it runs on this host, and where it connects to can't be left out of the capture: '${server.host}' can't be looked up here`;
    throw proxyError(proxy, why, `use the collector's address in --server; ${UPSTREAM}`, cause);
  }
  const straight = `what it sends is left out of the captures only if it connects to '${name}' by itself`;
  warn(`proxy '${serverText(proxy)}' runs on this host: ${straight}`, UPSTREAM);
  return addresses.map((address) => ({ address, port: server.port }));
}
const UPSTREAM =
  "if it goes on through another proxy, add the filter 'not host UPSTREAM', that proxy's address: else all that is sent is captured and sent again";

/** The work's outcome, or the signal's reason if that comes first. */
function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop);
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** TLS; nothing is sent, and nothing that comes is taken, before the collector is verified. */
function handshake(raw: Socket, { server, proxy, signal }: Try, trust: Trust, events: LinkEvents): Promise<Link> {
  const name = serverText(server);
  const socket = connect({ ...connectOptions(server.host, trust), socket: raw });
  return new Promise((resolve, reject) => {
    let link: SocketLink | undefined;
    const fail = (error: RcapError) => {
      signal.removeEventListener('abort', stop);
      if (link) link.over(error);
      else reject(error);
      socket.destroy();
      raw.destroy();
    };
    const stop = () => fail(signal.reason as RcapError);
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
    socket.on('secureConnect', () => {
      try {
        verifyPeer(socket, name, trust, proxy !== undefined);
      } catch (e) {
        fail(e as RcapError);
        return;
      }
      signal.removeEventListener('abort', stop);
      link = new SocketLink(socket, events);
      resolve(link);
    });
    socket.on('error', (e: NodeJS.ErrnoException) => fail(link ? lost(name, e) : explain(e, server, undefined)));
    socket.on('close', () => fail(link ? lost(name) : closedEarly(name)));
  });
}

const closedEarly = (name: string) =>
  new RcapError('CONNECTION', `could not connect to '${name}': it closed the connection before TLS was set up`, {
    hint: 'is that port a rcap-collector?',
  });

function wrongFamily(name: string, source: string): RcapError {
  const [theirs, ours] = isIP(source) === 6 ? ['IPv6', 'IPv4'] : ['IPv4', 'IPv6'];
  const hint = `leave out --source, or give an ${ours} address of this host`;
  return new RcapError(
    'SOURCE',
    `could not connect to '${name}': it has no ${theirs} address, and --source ${source} is one`,
    { hint },
  );
}

/** In words, whatever it was; what says it all already comes through. */
function explain(error: unknown, server: Server, source: string | undefined, proxy?: Proxy): RcapError {
  if (error instanceof RcapError) return error;
  const e = error as NodeJS.ErrnoException;
  if (source !== undefined && (e.syscall === 'bind' || e.code === 'EINVAL')) return unusable(e, source);
  const [reason, hint] = REASONS[e.code ?? ''] ?? [isTlsError(e) ? NOT_TLS : (e.code ?? e.message), IS_IT];
  if (proxy) return proxyError(proxy, reason, IS_PROXY, e);
  return new RcapError('CONNECTION', `could not connect to '${serverText(server)}': ${reason}`, { hint, cause: e });
}

function unusable(cause: NodeJS.ErrnoException, source: string): RcapError {
  const reason =
    cause.code === 'EADDRNOTAVAIL'
      ? 'this host has no such address'
      : cause.code === 'EINVAL'
        ? 'from there no way leads to the server'
        : (cause.code ?? cause.message);
  return new RcapError('SOURCE', `could not use --source ${source}: ${reason}`, {
    hint: "'rcap-agent -D' lists this host's addresses",
    cause,
  });
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
