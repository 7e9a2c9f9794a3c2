import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server as NetServer, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { setImmediate as immediate } from 'node:timers/promises';
import tls from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { RcapError } from '../errors.ts';
import { identity } from '../test/certificates.ts';
import { bounded, until } from '../test/support.ts';
import { type Attempts, type Place, tlsDial } from './dial.ts';
import { type LinkEvents, serverText } from './link.ts';
import { TLS_OPTIONS } from './tls.ts';

const { key, cert, pin } = await identity();

async function listen(t: TestContext, server: NetServer, host = '127.0.0.1'): Promise<number> {
  const open = new Set<{ destroy(): void }>();
  server.on('connection', (socket) => {
    open.add(socket);
    socket.on('error', () => {});
  });
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  server.listen(0, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
const collector = (onSocket: (socket: tls.TLSSocket) => void) =>
  tls.createServer({ ...TLS_OPTIONS, cert, key }, (socket) => {
    socket.on('error', () => {});
    onSocket(socket);
  });

const nobody: LinkEvents = { bytes: () => assert.fail('bytes'), closed: () => assert.fail('closed') };
const never = new AbortController().signal;
const refused = (work: Promise<unknown>, message: RegExp, hint?: RegExp) =>
  assert.rejects(bounded('a refusal', work), (e) => {
    assert.ok(e instanceof RcapError, String(e));
    assert.match(e.message, message);
    if (hint) assert.match(e.hint ?? '', hint);
    return true;
  });

test('bytes go both ways, one write after another, and its end is told once', async (t) => {
  const got: string[] = [];
  const port = await listen(
    t,
    collector((socket) => {
      socket.on('data', (chunk) => socket.write(chunk));
      socket.on('end', () => socket.end());
    }),
  );
  const said: string[] = [];
  const events = {
    bytes: (chunk: Uint8Array) => got.push(Buffer.from(chunk).toString()),
    closed: (e: RcapError) => said.push(e.message),
  };
  const link = await tlsDial({ trust: { pin } })({ host: '127.0.0.1', port }, events, never);
  assert.deepEqual([link.localAddress, link.remoteAddress], ['127.0.0.1', '127.0.0.1']);
  for (const word of ['one ', 'two ']) {
    let turn = true;
    await new Promise<void>((resolve) => {
      link.write(Buffer.from(word), () => {
        assert.equal(turn, false);
        resolve();
      });
      turn = false;
    });
  }
  await until('the echo', () => got.join('') === 'one two ');
  link.end();
  await until('the end', () => said.length > 0);
  await immediate();
  assert.deepEqual(said, [`lost the connection to '127.0.0.1:${port}': it was closed`]);
});

test('a connection that breaks is told once; after destroy nothing is', async (t) => {
  const server = collector(() => {});
  const port = await listen(t, server);
  const sockets: Socket[] = [];
  server.on('connection', (socket: Socket) => sockets.push(socket));
  const said: string[] = [];
  const dial = tlsDial({ trust: { pin } });
  await dial({ host: '127.0.0.1', port }, { ...nobody, closed: (e) => said.push(e.message) }, never);
  sockets[0]!.resetAndDestroy();
  await until('the end', () => said.length === 1);
  assert.match(said[0]!, /^lost the connection to '127\.0\.0\.1:\d+': (ECONNRESET|it was closed)$/);
  assert.equal(said.length, 1);
  const link = await dial({ host: '127.0.0.1', port }, nobody, never);
  link.write(Buffer.from('x'), () => assert.fail('done'));
  link.destroy();
  sockets[1]!.resetAndDestroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
});

test('the addresses are told, and waited for, before anything is sent there', async (t) => {
  let connections = 0;
  const server = collector(() => {});
  const port = await listen(t, server);
  server.on('connection', () => connections++);
  const told: [Place[], number][] = [];
  const settled: unknown[] = [];
  const attempts: Attempts = {
    async attempt(places) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      told.push([places, connections]);
    },
    settle: (verified) => settled.push(verified),
  };
  const link = await tlsDial({ trust: { pin } }, attempts)({ host: 'localhost', port }, nobody, never);
  link.destroy();
  assert.equal(told.length, 1);
  const here = { address: '127.0.0.1', port };
  assert.ok(told[0]![0].some((place) => isDeepStrictEqual(place, here)));
  assert.equal(told[0]![1], 0);
  assert.deepEqual(settled.splice(0), [[here]]);
  // Nobody there is a collector of ours.
  const other = tlsDial({ trust: { pin: `sha256/${'A'.repeat(43)}=` } }, attempts);
  await assert.rejects(other({ host: '127.0.0.1', port }, nobody, never), { code: 'CERTIFICATE' });
  await assert.rejects(tlsDial({ trust: { pin } }, attempts)({ host: '127.0.0.1', port: 1 }, nobody, never));
  assert.deepEqual(settled, [[], []]);
});

test('of several addresses one that answers is enough', async (t) => {
  // localhost is ::1 as well, on most systems, where nobody listens.
  const port = await listen(t, collector(() => {})); // prettier-ignore
  const link = await tlsDial({ trust: { pin } })({ host: 'localhost', port }, nobody, never);
  assert.equal(link.remoteAddress, '127.0.0.1');
  link.destroy();
});

test('who is not trusted gets not a byte', async (t) => {
  let bytes = 0;
  const port = await listen(t, collector((socket) => void socket.on('data', (chunk) => (bytes += chunk.length)))); // prettier-ignore
  await refused(
    tlsDial({ trust: { pin: `sha256/${'A'.repeat(43)}=` } })({ host: '127.0.0.1', port }, nobody, never),
    /^could not trust '127\.0\.0\.1:\d+': its pin is sha256/,
    new RegExp(pin.replaceAll('+', '\\+')),
  );
  assert.equal(bytes, 0);
});

test('what can be in the way, and what to do about it', async (t) => {
  const dial = tlsDial({ trust: { pin } });
  const server = createServer();
  const port = await listen(t, server);
  server.close();
  await refused(dial({ host: '127.0.0.1', port }, nobody, never), /^could not connect to '127\.0\.0\.1:\d+': connection refused$/, /is the collector running/); // prettier-ignore
  await refused(dial({ host: 'nosuch.invalid', port }, nobody, never), /^could not connect to 'nosuch\.invalid:\d+': /, /address/); // prettier-ignore
  const silent = createServer((socket) => socket.end());
  await refused(dial({ host: '127.0.0.1', port: await listen(t, silent) }, nobody, never), /it closed the connection before TLS was set up|connection reset/, /rcap-collector/); // prettier-ignore
  const other = createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'));
  await refused(dial({ host: '127.0.0.1', port: await listen(t, other) }, nobody, never), /it does not speak TLS 1\.3/, /rcap-collector/); // prettier-ignore
});

test('a signal ends the attempt, wherever it is', async (t) => {
  const reason = new RcapError('TIMEOUT', 'too long');
  const silent = createServer(() => {});
  const port = await listen(t, silent);
  const aborted = (dial: ReturnType<typeof tlsDial>) =>
    refused(dial({ host: '127.0.0.1', port }, nobody, AbortSignal.abort(reason)), /^too long$/);
  await aborted(tlsDial({ trust: { pin } }));
  const late = new AbortController();
  const work = refused(tlsDial({ trust: { pin } })({ host: '127.0.0.1', port }, nobody, late.signal), /^too long$/);
  await once(silent, 'connection');
  late.abort(reason);
  await work;
  const waiting = new AbortController();
  const settled: unknown[] = [];
  const attempts: Attempts = { attempt: () => new Promise(() => {}), settle: (verified) => settled.push(verified) };
  const told = refused(
    tlsDial({ trust: { pin } }, attempts)({ host: '127.0.0.1', port }, nobody, waiting.signal),
    /^too long$/,
  );
  await immediate();
  waiting.abort(reason);
  await told;
  assert.deepEqual(settled, [[]]);
});

test('a server in a message is what was typed', () => {
  assert.equal(serverText({ host: 'ir.corp', port: 9000 }), 'ir.corp:9000');
  assert.equal(serverText({ host: '2001:db8::1', port: 443 }), '[2001:db8::1]:443');
});
