import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request, type RequestOptions } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { connect } from 'node:tls';
import { readStamp } from '../formats/stamp.ts';
import { Log } from '../log.ts';
import { bounded, cleanUp, temporaryFolder, until } from '../test/support.ts';
import { identityOf } from './authority.ts';
import { Downloads } from './downloads.ts';
import { Links } from './links.ts';

const BYTES = 12 << 20;
const PAYLOAD = Buffer.from('settings');

async function fresh(t: TestContext) {
  const state = temporaryFolder(t);
  const agent = randomBytes(BYTES);
  agent.write('\x7fELF', 'latin1');
  const path = join(state, 'agent');
  writeFileSync(path, agent);
  const { key, certificate } = await identityOf(state);
  const links = new Links(state);
  const said: string[] = [];
  const log = new Log('t', { write: (line) => void said.push(line) });
  const ended = new Set<string>();
  const admits = (id: string) => !ended.has(id);
  const turnedAway: string[] = [];
  const turnAway = (peer: string, line: string) => {
    turnedAway.push(peer);
    log.info(line);
  };
  const address = { host: '127.0.0.1', port: 0 };
  const downloads = new Downloads({ address, key, certificate, links, admits, turnAway, log });
  downloads.start();
  cleanUp(t, () => downloads.stop());
  const create = (expiresMs = 60_000) =>
    links.create({ expiresMs, path, name: 'rcap-agent', tokenId: '01234567', payload: PAYLOAD });
  const says = (pattern: RegExp) =>
    until(`${pattern}`, () => said.map((line) => pattern.exec(line)).find(Boolean) ?? undefined);
  const port = async () => Number((await says(/handing out packed agents on 127\.0\.0\.1:(\d+)/))[1]);
  return { agent, create, says, said, port, ended, turnedAway };
}

interface Answer {
  status: number | undefined;
  headers: Record<string, unknown>;
  body: Buffer;
}
async function ask(port: number, path: string, options: RequestOptions = {}): Promise<Answer> {
  const asked = request({ host: '127.0.0.1', port, path, rejectUnauthorized: false, agent: false, ...options }).end();
  const [response] = (await once(asked, 'response')) as [import('node:http').IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
}

test('no port is open as long as there is no link', async (t) => {
  const { said, create, port } = await fresh(t);
  assert.deepEqual(said, []);
  create();
  assert.ok((await port()) > 0);
});

test('a link hands the stamped agent out once, whole; then it is like any other path', async (t) => {
  const { agent, create, port, says } = await fresh(t);
  const path = `/${create()}`;
  const at = await port();
  const head = await ask(at, path, { method: 'HEAD' });
  assert.equal(head.status, 200);
  const { status, body } = await ask(at, path, { maxVersion: 'TLSv1.2' });
  assert.equal(status, 200);
  assert.equal(String(body.length), head.headers['content-length']);
  assert.ok(body.subarray(0, BYTES).equals(agent));
  assert.equal(Buffer.from(readStamp(body.subarray(-65_536))!).toString(), 'settings');
  await says(/127\.0\.0\.1:\d+ fetched rcap-agent by link [0-9a-f]{8}/);
  const [again, other, post] = [await ask(at, path), await ask(at, '/'), await ask(at, path, { method: 'POST' })];
  for (const answer of [again, other, post]) {
    delete answer.headers['date'];
    assert.deepEqual(answer, {
      status: 404,
      headers: { 'content-length': '0', connection: 'close' },
      body: Buffer.alloc(0),
    });
  }
  await says(/refused 127\.0\.0\.1:\d+: link [0-9a-f]{8} is over: it was used at/);
  await says(/refused 127\.0\.0\.1:\d+: no link/);
});

test('one that broke off may be fetched again; two at once may not', async (t) => {
  const { create, port, says } = await fresh(t);
  const path = `/${create()}`;
  const at = await port();
  const slow = request({ host: '127.0.0.1', port: at, path, rejectUnauthorized: false, agent: false }).end();
  slow.on('error', () => {});
  const [response] = (await once(slow, 'response')) as [import('node:http').IncomingMessage];
  response.on('error', () => {});
  assert.equal((await ask(at, path)).status, 404);
  await says(/is being fetched/);
  slow.destroy();
  await says(/warning: links: 127\.0\.0\.1:\d+: link [0-9a-f]{8}: the transfer broke off/);
  assert.equal((await ask(at, path)).status, 200);
});

test('an expired link, and one whose token is revoked, say so in the log only', async (t) => {
  const { create, port, says, ended } = await fresh(t);
  const path = `/${create(1)}`;
  const revoked = `/${create()}`;
  ended.add('01234567');
  const at = await port();
  assert.equal((await ask(at, path)).status, 404);
  assert.equal((await ask(at, revoked)).status, 404);
  await says(/is over: it expired at/);
  await says(/is over: its token 01234567 is/);
});

/** With TLS or without. */
const silent = async (t: TestContext, port: number, tls: boolean, localAddress = '127.0.0.1') => {
  const to = { host: '127.0.0.1', port, localAddress };
  const socket = tls ? connect({ ...to, rejectUnauthorized: false }) : connectTcp(to);
  socket.on('error', () => {});
  socket.resume();
  cleanUp(t, () => void socket.destroy());
  await once(socket, tls ? 'secureConnect' : 'connect');
  return socket;
};

test('thousands of requests on one connection: the first is refused, the connection is over', async (t) => {
  const { create, port, turnedAway } = await fresh(t);
  const path = `/${create()}`;
  const at = await port();
  const socket = connect({ host: '127.0.0.1', port: at, rejectUnauthorized: false });
  socket.on('error', () => {});
  socket.write('GET /x HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(5000));
  socket.resume();
  await new Promise((resolve) => socket.on('close', resolve));
  assert.equal(turnedAway.length, 1);
  assert.equal((await ask(at, path)).status, 200);
});

/** All that comes until the other side closes. */
async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  socket.on('error', () => {});
  socket.write(bytes);
  let said = '';
  socket.setEncoding('latin1').on('data', (text: string) => (said += text));
  await bounded(`the end of ${bytes.slice(0, 60)}`, once(socket, 'close'));
  return said;
}

test('whatever kind of request it is, its answer is 404, the only one there, and the log has who asked', async (t) => {
  const { create, port, turnedAway } = await fresh(t);
  const path = `/${create()}`;
  const at = await port();
  const requests = [
    'GET /x HTTP/1.1\r\n\r\n',
    'GET /x HTTP/1.0\r\n\r\n',
    'GET /x HTTP/1.1\r\nHost: a\r\nExpect: foo\r\n\r\n',
    'POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n',
    'GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n',
  ];
  for (const [n, request] of requests.entries()) {
    for (const times of [1, 50]) {
      const said = await exchange(at, request.repeat(times));
      // Of many in one go the second ends the connection, maybe before the first has its answer.
      if (times === 1 || said !== '') assert.match(said, /^HTTP\/1\.1 404 Not Found\r\nConnection: close\r\n/);
      assert.ok(said.split('HTTP/').length <= 2, said);
    }
    assert.equal(turnedAway.length, 2 * n + 2, request);
  }
  for (let n = 0; n < 50; n++) {
    const raw = connectTcp({ host: '127.0.0.1', port: at });
    const gone = connect({ socket: raw, rejectUnauthorized: false });
    for (const s of [raw, gone]) s.on('error', () => {});
    await once(gone, 'secureConnect');
    await new Promise((resolve) => gone.write(requests[5]!, resolve));
    raw.resetAndDestroy();
  }
  assert.equal((await ask(at, path, { headers: { Expect: 'foo' } })).status, 200);
});

test('connections that say nothing keep nobody out, and nobody ends a transfer', async (t) => {
  const { create, port, agent } = await fresh(t);
  const [path, other] = [`/${create()}`, `/${create()}`];
  const at = await port();
  const slow = request({ host: '127.0.0.1', port: at, path, rejectUnauthorized: false, agent: false }).end();
  const [response] = (await once(slow, 'response')) as [import('node:http').IncomingMessage];
  const sockets: Socket[] = [];
  for (let n = 0; n < 150; n++) sockets.push(await silent(t, at, n < 10));
  assert.equal((await ask(at, other)).status, 200);
  for (const n of [0, 9, 10]) await until('the oldest are gone', () => sockets[n]!.destroyed || undefined);
  assert.equal(sockets.at(-1)!.destroyed, false);
  let bytes = 0;
  for await (const chunk of response) bytes += (chunk as Buffer).length;
  assert.ok(bytes > agent.length);
});

test('one address that opens many connections loses its own, not those of others', async (t) => {
  const { create, port } = await fresh(t);
  const path = `/${create()}`;
  const at = await port();
  const early = await silent(t, at, true);
  const others: Socket[] = [];
  for (let n = 0; n < 300; n++) others.push(await silent(t, at, false, '127.0.0.2'));
  await until('the oldest are gone', () => others.slice(0, 300 - 128).every((s) => s.destroyed));
  let said = '';
  early.on('data', (bytes: Buffer) => (said += bytes.subarray(0, 100).toString('latin1')));
  early.write(`GET ${path} HTTP/1.1\r\n\r\n`);
  await until('an answer', () => said.startsWith('HTTP/1.1 200 OK') || early.destroyed);
  assert.ok(said.startsWith('HTTP/1.1 200 OK'), said);
});

test('headers without end and bytes that are no HTTP end the connection', async (t) => {
  const { create, port } = await fresh(t);
  create();
  const at = await port();
  for (const bytes of [`GET / HTTP/1.1\r\nX: ${'x'.repeat(10_000)}`, 'hello\r\n\r\n']) {
    const socket = connect({ host: '127.0.0.1', port: at, rejectUnauthorized: false });
    socket.on('error', () => {});
    socket.write(bytes);
    socket.resume();
    await once(socket, 'close');
  }
});
