/** A TCP connection to a name or address, from a local address and port if need be. */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { connect, isIP, type Socket } from 'node:net';
import { RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { type Server, serverText } from './link.ts';

/**
 * How long one address is tried while there are others, ms. A satellite's round trip is 600, and a first SYN that was lost
 * is sent again after 1000.
 */
const ATTEMPT_MS = 2500;

export interface From {
  address?: string | undefined;
  port?: number | undefined;
}

/** What says less than another address's error: this host has no way of that family. */
const NO_WAY = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'EADDRNOTAVAIL', 'EAFNOSUPPORT']);

/**
 * All addresses of a name, both families in turn; with a source those of its family only. A name is looked up at each call.
 * Rejects with the system's error; empty when there is none of that family.
 */
export async function addressesOf({ host }: Server, source: string | undefined): Promise<string[]> {
  if (!isIP(host)) touch('looked up', host, 'the way to a collector');
  const found = isIP(host) ? [host] : (await lookup(host, { all: true, order: 'verbatim' })).map((a) => a.address);
  const family = isIP(source ?? '');
  const first = isIP(found[0] ?? '');
  const [ones, others] = [found.filter((a) => isIP(a) === first), found.filter((a) => isIP(a) !== first)];
  const turns = ones.flatMap((a, i) => [a, ...others.slice(i, i + 1)]).concat(others.slice(ones.length));
  return family === 0 ? turns : turns.filter((a) => isIP(a) === family);
}

/** How long a name server has, ms, where the address of a name is only a better guess. */
const GUESS_MS = 2000;
/** Addresses that nobody has (RFC 5737, RFC 3849): the way to them is the one to everywhere. */
const EVERYWHERE = ['192.0.2.1', '2001:db8::1'];
/** Nothing is sent there. */
const DISCARD = 9;

/**
 * The address that this host would connect from to the first of these that it knows, as its routes are now; nothing is sent
 * there. Rejects with an RcapError where no way leads anywhere.
 */
export async function localAddressTo(servers: readonly Server[]): Promise<string> {
  const late = new Promise<string[]>((resolve) => setTimeout(resolve, GUESS_MS, []).unref());
  const known = servers.map((server) => Promise.race([addressesOf(server, undefined).catch(() => []), late]));
  for (const address of [...(await Promise.all(known)).flat(), ...EVERYWHERE]) {
    const found = await sourceOf(address);
    if (found !== undefined) return found;
  }
  const names = servers.map((server) => `'${serverText(server)}'`).join(' or ');
  throw new RcapError('NO_SUCH_INTERFACE', `could not choose an interface: no way leads to ${names}`, {
    hint: "name one with -i; 'rcap-agent -D' lists them",
  });
}

function sourceOf(address: string): Promise<string | undefined> {
  const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4');
  return new Promise<string | undefined>((resolve) => {
    socket.on('error', () => resolve(undefined));
    socket.connect(DISCARD, address, (error?: Error) => {
      if (!error) touch('route', address, 'which interface leads there; nothing is sent');
      resolve(error ? undefined : socket.address().address);
    });
  }).finally(() => socket.close());
}

/** The first that answers. Rejects with the most telling of the system's errors, or the signal's reason. */
export async function reach(addresses: string[], port: number, from: From, signal: AbortSignal): Promise<Socket> {
  const errors: NodeJS.ErrnoException[] = [];
  for (const [i, address] of addresses.entries()) {
    try {
      return await attempt(address, port, from, signal, i < addresses.length - 1 ? ATTEMPT_MS : undefined);
    } catch (e) {
      signal.throwIfAborted();
      errors.push(e as NodeJS.ErrnoException);
    }
  }
  throw errors.find((e) => !NO_WAY.has(e.code ?? '')) ?? errors[0] ?? new Error('no address');
}

function attempt(host: string, port: number, from: From, signal: AbortSignal, ms: number | undefined): Promise<Socket> {
  const options = { localAddress: from.address, localPort: from.port, noDelay: true };
  const socket = connect({ host, port, ...defined(options) });
  return new Promise((resolve, reject) => {
    const over = (error: Error) => {
      settled();
      socket.destroy();
      reject(error);
    };
    const stop = () => over(signal.reason as Error);
    const connected = () => {
      settled();
      resolve(socket);
    };
    const timer = ms === undefined ? undefined : setTimeout(() => over(late()), ms);
    const settled = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      socket.off('connect', connected);
      socket.off('error', over);
      socket.on('error', () => {}); // whoever takes it over has their own
    };
    signal.addEventListener('abort', stop);
    socket.on('connect', connected);
    socket.on('error', over);
    if (signal.aborted) stop();
  });
}

const late = () => Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' });

/** Node takes an undefined local address for a wrong one. */
const defined = <T extends object>(options: T): Partial<T> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
