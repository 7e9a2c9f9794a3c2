/**
 * How `rcap-collector agents` and its like speak with the collector that runs: HTTP over a socket in --state that only its
 * own user may use.
 */
import { closeSync, openSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import { RcapError, reasonOf } from '../errors.ts';
import type { AgentView } from './agents.ts';
import { type HostPattern, patternOf } from './public/pattern.ts';

const SOCKET = 'control';
/** For an answer, ms. */
const ANSWER_MS = 10_000;
/** Longest answer: of the most connections that may be, with long reasons. */
const MAX_ANSWER_BYTES = 1 << 29;

export interface ControlHost {
  /** Its absolute path. */
  publicFolder: string;
  agents(): AgentView[];
  /** Asks those of matching hosts to end, and returns them. */
  stop(pattern: HostPattern): AgentView[];
}

/** By descriptor: the folder's own path may be too long for a socket's. */
const pathBy = (fd: number) => `/proc/self/fd/${fd}/${SOCKET}`;

/** Who calls has the folder's lock, so what lies there is a dead collector's. Returns what closes it. */
export async function openControl(state: string, host: ControlHost): Promise<() => void> {
  const fd = openSync(state, 'r');
  const path = pathBy(fd);
  const server = createServer((asked, response) => answer(host, asked, response));
  try {
    rmSync(path, { force: true });
    // The socket is made in `listen` itself, at once.
    const before = process.umask(0o177);
    try {
      server.listen(path);
    } finally {
      process.umask(before);
    }
    await once(server, 'listening');
  } catch (cause) {
    closeSync(fd);
    throw new RcapError('CONTROL', `could not listen on '${state}/${SOCKET}': ${reasonOf(cause)}`, { cause });
  }
  server.on('error', () => {});
  return () => {
    // By the open folder: another one may be called so by now.
    rmSync(path, { force: true });
    server.closeAllConnections();
    server.close(() => closeSync(fd));
  };
}

const CALLS: Record<string, (host: ControlHost, query: URLSearchParams) => unknown> = {
  'GET /public': (host) => host.publicFolder,
  'GET /agents': (host) => host.agents(),
  'POST /stop': (host, query) => host.stop(patternOf(query.get('host') ?? '')),
};

function answer(host: ControlHost, asked: IncomingMessage, response: ServerResponse): void {
  try {
    const { pathname, searchParams } = new URL(asked.url ?? '', 'http://collector');
    const call = CALLS[`${asked.method} ${pathname}`];
    if (!call) {
      response.writeHead(404).end();
      return;
    }
    const said = JSON.stringify(call(host, searchParams));
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(said);
  } catch (e) {
    response.writeHead(400).end(reasonOf(e));
  }
}

/** What the collector that runs with this state folder says. Throws an RcapError: NO_COLLECTOR when there is none. */
export async function ask<T = AgentView[]>(state: string, method: 'GET' | 'POST', path: string): Promise<T> {
  let fd: number | undefined;
  try {
    fd = openSync(state, 'r');
    const asked = request({ socketPath: pathBy(fd), method, path, timeout: ANSWER_MS, agent: false });
    asked.on('timeout', () => void asked.destroy(new Error('it does not answer'))).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_ANSWER_BYTES) throw new Error('it says too much');
      chunks.push(chunk);
    }
    const text = Buffer.concat(chunks).toString();
    if (response.statusCode !== 200) throw new Error(text || `it is of another version (${response.statusCode})`);
    return JSON.parse(text) as T;
  } catch (cause) {
    throw explained(state, cause as NodeJS.ErrnoException);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function explained(state: string, cause: NodeJS.ErrnoException): RcapError {
  const what = `could not ask the collector with state folder '${state}'`;
  if (['ENOENT', 'ENOTDIR', 'ECONNREFUSED'].includes(cause.code ?? '')) {
    const hint = '--state DIR, as the one that runs was started with';
    return new RcapError('NO_COLLECTOR', `${what}: none is running`, { hint, cause });
  }
  const hint = cause.code === 'EACCES' ? 'run this as the user that it runs as' : undefined;
  return new RcapError('CONTROL', `${what}: ${reasonOf(cause)}`, { hint, cause });
}
