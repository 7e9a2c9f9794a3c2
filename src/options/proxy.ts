/** HTTP proxies, as they are written. */

export interface Proxy {
  host: string;
  port: number;
  /** TLS to the proxy itself (https://). */
  secure: boolean;
  /** For Proxy-Authorization (RFC 7617); a secret. */
  authorization: string | undefined;
}

const FORM = 'not http://HOST:PORT or http://USER:PASSWORD@HOST:PORT';
const PORTS: Record<string, number> = { 'http:': 80, 'https:': 443 };

/** Undefined for `none`. Throws a plain Error that holds nothing of the text: there may be a password in it. */
export function parseProxy(text: string): Proxy | undefined {
  if (text === 'none') return undefined;
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  if (!url?.hostname) throw new Error(FORM);
  const port = PORTS[url.protocol];
  if (port === undefined) throw new Error(`${url.protocol}// is none: an HTTP proxy is needed (http:// or https://)`);
  if (url.pathname !== '/' || url.search || url.hash) throw new Error(FORM);
  if (url.port === '0') throw new Error('port 0 is none to connect to');
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? port : Number(url.port),
    secure: url.protocol === 'https:',
    authorization: authorizationOf(url),
  };
}

function authorizationOf({ username, password }: URL): string | undefined {
  if (!username && !password) return undefined;
  let [user, secret] = [username, password];
  try {
    [user, secret] = [decodeURIComponent(username), decodeURIComponent(password)];
  } catch {
    throw new Error('a % in user or password is written %25');
  }
  if (user.includes(':')) throw new Error('a user of a proxy has no colon');
  return `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`;
}

/** For the option table: the reason to refuse a text, if there is one. */
export function refuseProxy(text: string): string | undefined {
  try {
    parseProxy(text);
    return undefined;
  } catch (e) {
    return (e as Error).message;
  }
}

/** This machine itself. */
export const LOOPBACK: readonly string[] = ['localhost', '127.0.0.0/8', '::1'];
