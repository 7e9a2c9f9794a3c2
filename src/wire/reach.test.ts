import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { test, type TestContext } from 'node:test';
import { refuseSource } from '../options/refuse.ts';
import { addressesOf, reach } from './reach.ts';

const never = new AbortController().signal;

async function listening(t: TestContext, host: string): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => socket.on('error', () => {}).end());
  t.after(() => server.close());
  await once(server.listen(0, host), 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

test('an address is its own; with a source only what is of its family', async () => {
  const of = (host: string, source?: string) => addressesOf({ host, port: 1 }, source);
  assert.deepEqual(await of('192.0.2.1'), ['192.0.2.1']);
  assert.deepEqual(await of('192.0.2.1', '10.0.0.1'), ['192.0.2.1']);
  assert.deepEqual(await of('192.0.2.1', '2001:db8::1'), []);
  assert.deepEqual(await of('2001:db8::1', '2001:db8::2'), ['2001:db8::1']);
  assert.deepEqual(await of('2001:db8::1', '10.0.0.1'), []);
  assert.deepEqual(await of('localhost', '10.0.0.1'), ['127.0.0.1']);
  await assert.rejects(of('nosuch.invalid'), { syscall: 'getaddrinfo' });
  assert.deepEqual(['10.0.0.1', '::1', 'fe80::1%eth0'].map(refuseSource), [undefined, undefined, undefined]);
  for (const text of ['', 'eth0', '10.0.0', '10.0.0.1:80', '[::1]', 'localhost']) assert.ok(refuseSource(text), text);
});

test('the first that answers is taken, from the address and port that were asked for', async (t) => {
  const { server, port } = await listening(t, '127.0.0.1');
  const from = { address: '127.0.0.3', port: 50_000 + (process.pid % 10_000) };
  const connection = once(server, 'connection') as Promise<[{ remoteAddress: string; remotePort: number }]>;
  const socket = await reach(['127.0.0.2', '127.0.0.1'], port, from, never);
  const [there] = await connection;
  assert.deepEqual([there.remoteAddress, there.remotePort], [from.address, from.port]);
  assert.equal(socket.remoteAddress, '127.0.0.1');
  socket.destroy();
});

test('of several errors the telling one is told', async (t) => {
  const { server, port } = await listening(t, '127.0.0.1');
  server.close();
  // No way leads to a documentation address from loopback, or it isn't there at all.
  for (const list of [
    ['2001:db8::1', '127.0.0.1'],
    ['127.0.0.1', '2001:db8::1'],
  ]) {
    await assert.rejects(reach(list, port, {}, never), { code: 'ECONNREFUSED' });
  }
  const elsewhere = { code: 'EADDRNOTAVAIL', syscall: 'bind' };
  await assert.rejects(reach(['127.0.0.1'], port, { address: '192.0.2.77' }, never), elsewhere);
  await assert.rejects(reach([], port, {}, never));
});

test('a signal ends it, before and meanwhile', async () => {
  const reason = new Error('enough');
  await assert.rejects(reach(['127.0.0.1'], 1, {}, AbortSignal.abort(reason)), reason);
  const late = new AbortController();
  const work = reach(['192.0.2.1', '192.0.2.2'], 9, { address: '127.0.0.1' }, late.signal);
  late.abort(reason);
  await assert.rejects(work, reason);
});
