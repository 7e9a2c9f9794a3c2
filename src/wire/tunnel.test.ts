/** Through proxies of all kinds, most of them bad, to a collector that is real TLS. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import tls from 'node:tls';
import { RcapError } from '../errors.ts';
import { identity, selfSigned } from '../test/certificates.ts';
import { bounded, until } from '../test/support.ts';
import { type Attempts, type Place, tlsDial } from './dial.ts';
import type { LinkEvents } from './link.ts';
import { parseProxy } from '../options/proxy.ts';
import { TLS_OPTIONS } from './tls.ts';

const nobody: LinkEvents = { bytes() {}, closed() {} };
const never = new AbortController().signal;
const OK = 'HTTP/1.1 200 Connection established\r\n\r\n';
const ours = await identity();
const theirs = await selfSigned('CN=Inspection');

async function listening(t: TestContext, server: Server): Promise<number> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => open.add(socket.on('error', () => {})));
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}
const collector = (t: TestContext, onSocket = (socket: Socket) => void socket.pipe(socket)) =>
  listening(
    t,
    tls.createServer({ ...TLS_OPTIONS, ...ours }, (s) => onSocket(s.on('error', () => {}))),
  );

/** A proxy that does with a connection, and its request, what a test wants. */
async function proxy(t: TestContext, answer: (socket: Socket, asked: string) => void) {
  const asked: string[] = [];
  const from: number[] = [];
  const port = await listening(
    t,
    createServer((socket) => {
      from.push(socket.remotePort!);
      let text = '';
      const read = (chunk: Buffer) => {
        text += chunk.toString('latin1');
        if (!text.includes('\r\n\r\n')) return;
        socket.off('data', read);
        asked.push(text);
        answer(socket, text);
      };
      socket.on('data', read);
    }),
  );
  return { port, asked, from };
}
/** Joins it with what listens at this port, whatever was asked for. */
const join =
  (port: number, greeting = OK) =>
  (socket: Socket) => {
    const there = connect(port, '127.0.0.1').on('error', () => socket.destroy());
    socket.write(greeting);
    socket.pipe(there).pipe(socket);
  };

const dial = (port: number, options: { attempts?: Attempts; text?: string; signal?: AbortSignal } = {}) => {
  const proxyFor = () => parseProxy((options.text ?? 'http://127.0.0.1:PORT').replace('PORT', String(port)));
  const route = { trust: { pin: ours.pin }, proxyFor };
  return tlsDial(route, options.attempts)({ host: 'ir.invalid', port: 9000 }, nobody, options.signal ?? never);
};

const refused = (work: Promise<unknown>, message: RegExp, hint?: RegExp) =>
  assert.rejects(bounded('a refusal', work), (e) => {
    assert.ok(e instanceof RcapError, String(e));
    assert.match(e.message, message);
    assert.match(e.hint ?? '', hint ?? /./);
    const all = `${e.message} ${e.hint} ${JSON.stringify(e)} ${String((e.cause as Error | undefined)?.stack)}`;
    assert.ok(!/hunter2|aHVudGVyM|bWU6aHVudGVyMg/.test(all), all);
    return true;
  });

test('a link goes through; the proxy hears the name, and the password only if there is one', async (t) => {
  const target = await collector(t);
  const p = await proxy(t, join(target));
  for (const [text, authorization] of [
    ['http://127.0.0.1:PORT', undefined],
    ['http://me:hunter2@127.0.0.1:PORT', `Basic ${Buffer.from('me:hunter2').toString('base64')}`],
  ] as const) {
    const link = await dial(p.port, { text });
    assert.equal(link.remoteAddress, '127.0.0.1');
    const asked = p.asked.pop()!;
    assert.match(asked, /^CONNECT ir\.invalid:9000 HTTP\/1\.1\r\n/);
    assert.match(asked, /\r\nHost: ir\.invalid:9000\r\n/);
    assert.equal(/^Proxy-Authorization: (.*)\r$/m.exec(asked)?.[1], authorization);
    link.destroy();
  }
});

test('bytes go both ways, and the end is told', async (t) => {
  const p = await proxy(t, join(await collector(t)));
  const got: string[] = [];
  const ends: string[] = [];
  const events = {
    bytes: (b: Uint8Array) => got.push(Buffer.from(b).toString()),
    closed: (e: Error) => ends.push(e.message),
  };
  const proxyFor = () => parseProxy(`http://127.0.0.1:${p.port}`);
  const link = await tlsDial({ trust: { pin: ours.pin }, proxyFor })({ host: 'ir.invalid', port: 9000 }, events, never);
  await new Promise<void>((resolve) => link.write(Buffer.alloc(300_000, 'x'), resolve));
  await until('the echo', () => got.join('').length === 300_000);
  link.end();
  await until('the end', () => ends.length > 0);
  assert.match(ends[0]!, /^lost the connection to 'ir\.invalid:9000': /);
});

test('our end is told before there is a connection; a port that is taken is left to others', async (t) => {
  const p = await proxy(t, join(await collector(t)));
  const told: [Place[], number][] = [];
  const settled: Place[][] = [];
  const attempts: Attempts = {
    attempt: async (places) => told.push([places, p.from.length]),
    settle: (places) => settled.push(places),
  };
  // The proxy is on this host: so the server must be known here, too.
  await refused(dial(p.port, { attempts }), /runs on this host.*'ir\.invalid' can't be looked up here/, /address.*'not host UPSTREAM'/); // prettier-ignore
  assert.deepEqual([told.length, settled.splice(0)], [0, [[]]]);
  const proxyFor = () => parseProxy(`127.0.0.1:${p.port}`);
  const warned: string[][] = [];
  const dialled = tlsDial({ trust: { pin: ours.pin }, proxyFor }, attempts, (...words) => warned.push(words));
  const link = await dialled({ host: '192.0.2.9', port: 9000 }, nobody, never);
  assert.match(
    warned[0]!.join(),
    /runs on this host.*if it connects to '192\.0\.2\.9:9000' by itself.*'not host UPSTREAM'/,
  );
  const [[places, connections]] = told as [(typeof told)[0]];
  assert.equal(connections, 0);
  const port = places[0]!.from!.port;
  assert.ok(port >= 49_152 && port < 65_536);
  assert.deepEqual(p.from, [port]);
  const beyond = { address: '192.0.2.9', port: 9000 };
  assert.deepEqual(places, [{ address: '127.0.0.1', port: p.port, from: { address: undefined, port } }, beyond]);
  assert.deepEqual(settled, [[{ address: '127.0.0.1', port: p.port, from: { address: '127.0.0.1', port } }, beyond]]);
  link.destroy();
});

test('each connection has a port of its own; a try that fails keeps its for the next', async (t) => {
  const target = await collector(t);
  let mood = 'no';
  const p = await proxy(t, (socket, asked) => {
    if (mood === 'no') socket.end('HTTP/1.1 503 No\r\n\r\n');
    else join(target)(socket);
    assert.ok(asked);
  });
  const told: number[] = [];
  const attempts: Attempts = {
    attempt: async ([place]) => told.push(place!.from!.port),
    settle: () => {},
  };
  const proxyFor = () => parseProxy(`127.0.0.1:${p.port}`);
  const dial = tlsDial({ trust: { pin: ours.pin }, proxyFor }, attempts);
  const server = { host: '192.0.2.9', port: 9000 };
  await refused(dial(server, nobody, never), /503 No/);
  mood = 'yes';
  const links = [await dial(server, nobody, never), await dial(server, nobody, never)];
  for (const link of links) link.destroy();
  assert.ok(p.from.every((port) => told.includes(port)));
  assert.equal(told[1], told[0]);
  assert.notEqual(told.at(-1), told[0]);
});

test('what comes right behind the header belongs to TLS', async (t) => {
  const target = await collector(t);
  // It asks the collector with what TLS says first, and answers with header and TLS in one.
  const p = await proxy(t, (socket) => {
    socket.write('HTTP/1.1 200');
    setTimeout(() => socket.write(' OK\r\nVia: x\r\n\r'), 10);
    setTimeout(() => join(target, '\n')(socket), 20);
  });
  (await dial(p.port)).destroy();
  const bad = await proxy(t, (socket) => socket.write(`${OK}SSH-2.0-OpenSSH\r\n`));
  await refused(dial(bad.port), /could not connect to 'ir\.invalid:9000': it does not speak TLS 1\.3/);
});

const BEGIN = /^could not connect through proxy '127\.0\.0\.1:\d+': /;
const cases: [name: string, answer: (socket: Socket) => void, message: RegExp, hint?: RegExp][] = [
  ['wants a login', (s) => s.end('HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm="x"\r\n\r\nbody'), /wants a user and a password/, /HTTPS_PROXY=http:\/\/USER:PASSWORD@127/],
  ['wants another login', (s) => s.end('HTTP/1.1 407 Who\r\nProxy-Authenticate: Negotiate\r\n\r\n'), /wants a login by Negotiate/, /Basic/],
  ['forbids it', (s) => s.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody'), /refused a connection to 'ir\.invalid:9000': 403 Forbidden$/, /443/],
  ['can not reach it', (s) => s.end('HTTP/1.0 502 Bad Gateway\r\n\r\n'), /could not reach 'ir\.invalid:9000': 502 Bad Gateway$/, /running/],
  ['sends elsewhere', (s) => s.end('HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n'), /302 Found$/],
  ['only continues', (s) => s.write('HTTP/1.1 100 Continue\r\n\r\n'), /100 Continue$/],
  ['says more than one needs to know', (s) => s.end(`HTTP/1.1 403 ${'x'.repeat(10_000)}\r\n\r\n`), /403 x{100}$/],
  ['speaks something else', (s) => s.end('SSH-2.0-OpenSSH_9.6\r\n'), /its answer is not HTTP$/, /--proxy none/],
  ['has no end of headers', (s) => flood(s, 'X-A: aaaaaaaaaaaaaaaaaaaaaaaa\r\n'), /longer than 16384 bytes$/],
  ['has no end of one header', (s) => flood(s, 'a'), /longer than 16384 bytes$/],
  ['hangs up', (s) => s.end(), /closed the connection without an answer/],
  ['resets', (s) => void s.resetAndDestroy(), /closed the connection without an answer/],
  ['hangs up in the middle', (s) => s.end('HTTP/1.1 200 Conn'), /closed the connection without an answer|not HTTP/],
  ['hangs up in the middle of headers', (s) => s.end('HTTP/1.1 200 OK\r\nVia: '), /closed the connection without an answer|not HTTP/],
]; // prettier-ignore

function flood(socket: Socket, line: string): void {
  socket.write('HTTP/1.1 200 OK\r\nX: ');
  const more = () => {
    while (!socket.destroyed && socket.write(line.repeat(1000)));
  };
  socket.on('drain', more);
  more();
}

for (const [name, answer, message, hint] of cases) {
  test(`a proxy that ${name}`, async (t) => {
    const p = await proxy(t, answer);
    const work = dial(p.port, {
      text: name.includes('wants a login') ? '127.0.0.1:PORT' : 'http://me:hunter2@127.0.0.1:PORT',
    });
    await refused(work, new RegExp(BEGIN.source + (message.source.startsWith('^') ? '' : '.*') + message.source), hint);
  });
}

test('a password that is not accepted is not said', async (t) => {
  const p = await proxy(t, (s) => s.end('HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n'));
  await refused(dial(p.port, { text: 'http://me:hunter2@127.0.0.1:PORT' }), /did not accept this user and password/);
});

test('a proxy that says nothing is the one that is named; a signal ends the wait', async (t) => {
  const p = await proxy(t, () => {});
  await refused(
    dial(p.port),
    /^could not connect through proxy '127\.0\.0\.1:\d+': no answer within 8 s$/,
    /--proxy none/,
  );
  const late = new AbortController();
  const work = refused(dial(p.port, { signal: late.signal }), /^enough$/, /^$/);
  await until('the request', () => p.asked.length === 2);
  late.abort(new RcapError('TIMEOUT', 'enough'));
  await work;
});

test('no proxy there', async (t) => {
  const server = createServer();
  const port = await listening(t, server);
  server.close();
  await refused(dial(port), new RegExp(`${BEGIN.source}connection refused$`), /--proxy none/);
  await refused(
    dial(port, { text: 'http://nosuch.invalid:PORT' }),
    /^could not connect through proxy 'nosuch\.invalid:\d+': /,
  );
});

test('a proxy that intercepts TLS is refused, and gets not a byte', async (t) => {
  const seen: Buffer[] = [];
  const inspected = await listening(
    t,
    tls.createServer({ ...TLS_OPTIONS, ...theirs }, (socket) => {
      socket.on('error', () => {}).on('data', (chunk: Buffer) => seen.push(chunk));
    }),
  );
  let ended = false;
  const p = await proxy(t, (socket) => {
    socket.on('close', () => (ended = true));
    join(inspected)(socket);
  });
  await refused(
    dial(p.port),
    /^could not trust 'ir\.invalid:9000': the certificate is not the collector's: it was issued by 'CN=Inspection', .*a proxy that intercepts TLS seems to be in the way/,
    /ask for an exception from TLS inspection for ir\.invalid:9000/,
  );
  await until('the end', () => ended);
  assert.equal(Buffer.concat(seen).length, 0);
});

test('an https:// proxy must be one that the system trusts, before it hears a password', async (t) => {
  const asked: Buffer[] = [];
  const server = tls.createServer({ ...theirs }, (socket) => {
    socket.on('error', () => {}).on('data', (chunk: Buffer) => asked.push(chunk));
  });
  server.on('tlsClientError', () => {});
  const port = await listening(t, server);
  await refused(
    dial(port, { text: 'https://me:hunter2@127.0.0.1:PORT' }),
    /no TLS with it: DEPTH_ZERO_SELF_SIGNED_CERT/,
  );
  assert.equal(asked.length, 0);
});
