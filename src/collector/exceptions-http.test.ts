import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as plain, type IncomingMessage } from 'node:http';
import { request as secure, type RequestOptions } from 'node:https';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { connect } from 'node:tls';
import { RcapError } from '../errors.ts';
import { Log } from '../log.ts';
import { fastClock } from '../test/storage.ts';
import { bounded, cleanUp, temporaryFolder, until } from '../test/support.ts';
import { identityOf } from './authority.ts';
import { Doorkeeper } from './doorkeeper.ts';
import { ExceptionsHttp, isLoopback } from './exceptions-http.ts';
import { Tokens } from './tokens.ts';

/** Everything but 127.0.0.1 and its like is beyond loopback; so this is, and reaches this machine. */
const BEYOND = '0.0.0.0';

async function served(t: TestContext, host = '127.0.0.1', port = 0, given = true) {
  const state = temporaryFolder(t);
  const { key, certificate } = await identityOf(state);
  const tokens = new Tokens(state);
  const said: string[] = [];
  const clock = fastClock(20);
  const doorkeeper = new Doorkeeper(clock, (line) => said.push(line));
  const http = new ExceptionsHttp({
    address: { host, port },
    given,
    key,
    certificate,
    clock,
    exceptions: (host) => Buffer.from(`for ${host ?? 'all'}\n`),
    hostOf: (token) => tokens.hostOf(token),
    turnAway: (...who) => doorkeeper.turnAway(...who),
    log: new Log('t', { write: (line) => void said.push(line) }),
  });
  await http.start();
  cleanUp(t, () => http.stop());
  const at = Number(said.map((line) => /:(\d+)\/exceptions\.list/.exec(line)?.[1]).find(Boolean));
  const token = (bound: string | undefined) =>
    tokens.create({ label: '', host: bound, expiresMs: undefined, uses: undefined });
  return { at, said, tokens, token };
}

interface Answer {
  status: number | undefined;
  headers: Record<string, unknown>;
  body: string;
}
async function ask(port: number, path: string, options: RequestOptions & { tls?: boolean } = {}): Promise<Answer> {
  const { tls, ...rest } = options;
  const asked = (tls ? secure : plain)({
    host: '127.0.0.1',
    port,
    path,
    rejectUnauthorized: false,
    agent: false,
    ...rest,
  });
  const [response] = (await once(asked.end(), 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk as string;
  return { status: response.statusCode, headers: response.headers, body };
}
const bearer = (token: string): RequestOptions & { tls: boolean } => ({
  tls: true,
  headers: { Authorization: `Bearer ${token}` },
});

test('on loopback it serves everybody there, without TLS', async (t) => {
  const { at } = await served(t);
  const { status, headers, body } = await ask(at, '/exceptions.list');
  assert.deepEqual([status, headers['content-type'], body], [200, 'text/plain; charset=utf-8', 'for all\n']);
  assert.equal((await ask(at, '/exceptions.list?host=web%2F1')).body, 'for web_1\n');
  const head = await ask(at, '/exceptions.list', { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length'], head.body], [200, '8', '']);
});

test('any other path or method is refused, and changes nothing', async (t) => {
  const { at } = await served(t);
  for (const path of ['/', '/exceptions.list/', '/../exceptions.list/x', '/agents', '//x/exceptions.lis'])
    assert.equal((await ask(at, path)).status, 404, path);
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE']) {
    const { status, headers } = await ask(at, '/exceptions.list', { method });
    assert.deepEqual([status, headers['allow']], [405, 'GET, HEAD'], method);
  }
});

test('a page in a browser that calls this machine by a name of its own is refused', async (t) => {
  const { at, said } = await served(t);
  for (const host of ['evil.example', 'evil.example:8080', 'localhost.evil.example'])
    assert.equal((await ask(at, '/exceptions.list', { headers: { Host: host } })).status, 403, host);
  for (const host of ['localhost', `LOCALHOST:${at}`, '127.0.0.1:1', '[::1]:8080'])
    assert.equal((await ask(at, '/exceptions.list', { headers: { Host: host } })).status, 200, host);
  assert.ok(said.some((line) => /refused 127\.0\.0\.1:\d+: it is asked for by another name/.test(line)));
});

test('beyond loopback it speaks TLS only, and to who shows a token, of whose host the list is', async (t) => {
  const { at, token, tokens, said } = await served(t, BEYOND);
  await assert.rejects(ask(at, '/exceptions.list'));
  const [one, any, fresh] = [token('web-1'), token('*'), token(undefined)];
  assert.equal((await ask(at, '/exceptions.list', bearer(one))).body, 'for web-1\n');
  assert.equal((await ask(at, '/exceptions.list?host=WEB-1', bearer(one))).body, 'for web-1\n');
  assert.equal((await ask(at, '/exceptions.list?host=web-2', bearer(one))).status, 403);
  assert.equal((await ask(at, '/exceptions.list?host=web-2', bearer(any))).body, 'for web-2\n');
  assert.equal((await ask(at, '/exceptions.list', bearer(fresh))).body, 'for all\n');
  assert.equal((await ask(at, '/exceptions.list?host=web-2', bearer(fresh))).status, 403);
  tokens.admit(fresh, 'db', '00');
  assert.equal((await ask(at, '/exceptions.list', bearer(fresh))).body, 'for db\n');
  const wrong = one.slice(0, -1) + (one.endsWith('A') ? 'B' : 'A');
  tokens.revoke(any.slice(5, 13));
  for (const it of [wrong, any, 'x', '', `rcap_00000000_${'A'.repeat(43)}`]) {
    const answer = await ask(at, '/exceptions.list', bearer(it));
    assert.deepEqual([answer.status, answer.headers['www-authenticate']], [401, 'Bearer'], it);
    assert.ok(!answer.body.includes('for '));
  }
  for (const options of [{ tls: true }, { tls: true, headers: { Authorization: `Basic ${one}` } }])
    assert.equal((await ask(at, '/exceptions.list', options)).status, 401);
  // Who has no token learns nothing of what there is.
  for (const options of [{ tls: true, method: 'POST' }, { tls: true }])
    assert.equal((await ask(at, '/nothing', options)).status, 401);
  assert.ok(said.some((line) => /http: refused 127\.0\.0\.1:\d+: could not use the token/.test(line)));
  assert.ok(!said.join().includes(one.slice(14)), 'a secret is in the log');
});

test('guesses are turned away by the doorkeeper: the log stays readable, a good token passes', async (t) => {
  const { at, token, said } = await served(t, BEYOND);
  const guesses = Array.from({ length: 30 }, (_, n) => ask(at, '/exceptions.list', bearer(`x${n}`)));
  for (const { status } of await Promise.all(guesses)) assert.equal(status, 401);
  assert.ok(said.filter((line) => line.includes('http: refused')).length < 30);
  assert.equal((await ask(at, '/exceptions.list', bearer(token('a')))).status, 200);
});

/** All that comes until the other side closes. */
async function exchange(socket: Socket, bytes: string): Promise<string> {
  socket.on('error', () => {});
  socket.write(bytes);
  let said = '';
  socket.setEncoding('latin1').on('data', (text: string) => (said += text));
  await bounded(`the end of ${bytes.slice(0, 60)}`, once(socket, 'close'));
  return said;
}

test('whatever kind of request it is, it has one answer, and its connection ends', async (t) => {
  for (const host of ['127.0.0.1', BEYOND]) {
    const { at } = await served(t, host);
    const requests: [bytes: string, loopback: number][] = [
      ['GET /exceptions.list HTTP/1.1\r\n\r\n', 200],
      ['GET /exceptions.list HTTP/1.0\r\n\r\n', 200],
      ['GET /exceptions.list HTTP/1.1\r\nHost: localhost\r\nExpect: foo\r\n\r\n', 200],
      ['GET /exceptions.list HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n', 200],
      ['POST /exceptions.list HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n', 405],
      ['CONNECT a:443 HTTP/1.1\r\nHost: localhost\r\n\r\n', 404],
      ['OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n', 404],
      ['GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n', 400],
    ];
    for (const [bytes, loopback] of requests) {
      const to = { host: '127.0.0.1', port: at };
      const open = () => (host === BEYOND ? connect({ ...to, rejectUnauthorized: false }) : connectTcp(to));
      const said = await exchange(open(), bytes);
      assert.match(said, new RegExp(`^HTTP/1.1 ${host === BEYOND ? 401 : loopback} `), bytes);
      assert.ok((await exchange(open(), bytes.repeat(50))).split('HTTP/').length <= 2, bytes);
    }
    for (const bytes of [`GET / HTTP/1.1\r\nX: ${'x'.repeat(10_000)}`, 'hello\r\n\r\n', '\0'.repeat(100)]) {
      const raw = connectTcp({ host: '127.0.0.1', port: at });
      await exchange(raw, bytes);
    }
  }
});

test('a port that was given must be free; for the usual one a warning does', async (t) => {
  const other = createServer().listen(0, '127.0.0.1');
  cleanUp(t, () => void other.close());
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  await assert.rejects(served(t, '127.0.0.1', port), (e: RcapError) => {
    assert.equal(e.message, `could not listen on '127.0.0.1:${port}' for HTTP: address already in use`);
    assert.match(e.hint!, /--http none/);
    return true;
  });
  const { said } = await served(t, '127.0.0.1', port, false);
  await until('a warning', () => said.some((line) => /warning: could not listen on .* for HTTP/.test(line)));
});

test('what loopback is', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) assert.ok(isLoopback(host), host);
  for (const host of ['0.0.0.0', '::', '128.0.0.1', '127.evil', 'ir.corp', '127']) assert.ok(!isLoopback(host), host);
});
