/**
 * A way through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6). Node's own HTTP client speaks to it: its parser is made for
 * strangers' bytes. What comes behind the header belongs to TLS.
 */
import { request, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import * as tls from 'node:tls';
import { RcapError } from '../errors.ts';
import { type Server, serverText } from './link.ts';
import { systemCas } from './system-cas.ts';
import type { Proxy } from '../options/proxy.ts';

/** The answer's header, bytes. */
const MAX_HEADER = 16_384;
/** Of what the proxy calls its answer, characters. */
const MAX_REASON = 100;

/**
 * Over a connection to the proxy, one to the server, whose name the proxy looks up. Rejects with an RcapError, or with the
 * signal's reason; then the socket is destroyed. No password is in any message.
 */
export async function tunnel(raw: Socket, proxy: Proxy, server: Server, signal: AbortSignal): Promise<Socket> {
  const stop = () => raw.destroy();
  signal.addEventListener('abort', stop);
  try {
    signal.throwIfAborted();
    return await ask(proxy.secure ? await secured(raw, proxy) : raw, proxy, server);
  } catch (e) {
    raw.destroy();
    signal.throwIfAborted();
    throw e;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** An https:// proxy is trusted as any web server is: by the system's CAs. It sees no more than an http:// one. */
function secured(socket: Socket, proxy: Proxy): Promise<Socket> {
  const { host } = proxy;
  const outer = tls.connect({
    socket,
    host,
    ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
    ca: systemCas(),
    rejectUnauthorized: true,
  });
  return new Promise((resolve, reject) => {
    outer.on('secureConnect', () => resolve(outer));
    outer.on('error', (e: NodeJS.ErrnoException) => {
      reject(proxyError(proxy, `no TLS with it: ${e.code ?? e.message}`, 'an http:// proxy has no TLS of its own', e));
    });
    outer.on('close', () => reject(proxyError(proxy, 'it closed the connection')));
  });
}

function ask(socket: Socket, proxy: Proxy, server: Server): Promise<Socket> {
  const target = serverText(server);
  const asked = request({
    method: 'CONNECT',
    path: target,
    headers: {
      Host: target,
      'User-Agent': 'rcap-agent',
      ...(proxy.authorization && { 'Proxy-Authorization': proxy.authorization }),
    },
    createConnection: () => socket,
    maxHeaderSize: MAX_HEADER,
  });
  return new Promise((resolve, reject) => {
    // A CONNECT's answer comes here whatever it says.
    asked.on('connect', (answer, _, behind: Buffer) => {
      if (answer.statusCode! < 200 || answer.statusCode! > 299) {
        reject(refusal(answer, proxy, target));
        return;
      }
      if (behind.length > 0) socket.unshift(behind);
      resolve(socket);
    });
    asked.on('error', (e: NodeJS.ErrnoException) =>
      reject(proxyError(proxy, WORDS[e.code ?? ''] ?? NOT_HTTP, IS_PROXY, e)),
    );
    asked.end();
  });
}

export const IS_PROXY =
  'is that the address and port of an HTTP proxy, and may it connect there? --proxy none connects without one';
const NOT_HTTP = 'its answer is not HTTP';
const WORDS: Record<string, string> = {
  ECONNRESET: 'it closed the connection without an answer',
  HPE_HEADER_OVERFLOW: `its answer is longer than ${MAX_HEADER} bytes`,
  EPIPE: 'it closed the connection without an answer',
};

function refusal(answer: IncomingMessage, proxy: Proxy, target: string): RcapError {
  const status = answer.statusCode!;
  const said = `${status} ${(answer.statusMessage ?? '').slice(0, MAX_REASON)}`.trim();
  const [words, hint] =
    status === 407
      ? login(answer, proxy)
      : status >= 500
        ? [`it could not reach '${target}': ${said}`, 'is the collector running? does the proxy know that name?']
        : [
            `it refused a connection to '${target}': ${said}`,
            `ask for CONNECT to ${target} to be allowed; proxies mostly allow port 443 (rcap-collector --listen 0.0.0.0:443)`,
          ];
  return proxyError(proxy, words, hint);
}

function login(answer: IncomingMessage, proxy: Proxy): [words: string, hint: string] {
  const offered = (answer.headers['proxy-authenticate'] ?? '').slice(0, MAX_REASON);
  const hint = `HTTPS_PROXY=http://USER:PASSWORD@${serverText(proxy)} (as a flag, others on this host could see it)`;
  if (offered && !/\bbasic\b/i.test(offered)) {
    return [
      `it wants a login by ${offered.split(/[\s,]/)[0]}`,
      'only Basic is supported: ask for that, or for an exception',
    ];
  }
  return [proxy.authorization ? 'it did not accept this user and password' : 'it wants a user and a password', hint];
}

export const proxyError = (proxy: Proxy, reason: string, hint?: string, cause?: unknown): RcapError =>
  new RcapError('PROXY', `could not connect through proxy '${serverText(proxy)}': ${reason}`, { hint, cause });
