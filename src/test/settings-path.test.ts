/** Settings with an attacker on the path: who reads all bytes, changes some, or ends TLS with a key of his own. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { createServer as createTlsServer, connect as connectTls } from 'node:tls';
import { identity } from './certificates.ts';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { AGENT, type Cleaner, cleaner, Collector, lacksAddon, Program, runCollector, temporaryFolder } from './support.ts'; // prettier-ignore

const SECRET = '203.0.113.77';
const FILTER = 'not tcp port 47119';
/** More than one piece: many TLS records. */
const LIST = `${SECRET}\n${Array.from({ length: 20_000 }, (_, n) => `198.18.${n >> 8}.${n & 255}\n`).join('')}`;

type Alter = (fromCollector: boolean, at: number, chunk: Buffer, connection: number) => Buffer;

describe('an attacker on the path to the collector', { skip: lacksAddon, timeout: 300_000 }, () => {
  const suite = cleaner();
  const folder = temporaryFolder(suite);
  let collector: Collector;
  let token: string;
  let digest: string;
  const input = join(folder, 'input.pcap');

  before(async () => {
    mkdirSync(join(folder, 'public'));
    writeFileSync(join(folder, 'public/exceptions.list'), LIST);
    writeFileSync(join(folder, 'public/filter.txt'), FILTER);
    writeFileSync(input, pcapBytes(somePackets(10)));
    const flags = ['--public', join(folder, 'public'), '--http', 'none'];
    collector = await Collector.start(suite, { folder, flags });
    token = await collector.token('--host', 'victim');
    const shown = await runCollector(suite, ['settings', 'victim', '--state', collector.state, '--public', join(folder, 'public')]); // prettier-ignore
    digest = /victim gets ([0-9a-f]{12})/.exec(shown.stdout)![1]!;
  });

  /** Passes bytes on, as he likes. */
  async function path(t: Cleaner, alter: Alter): Promise<{ port: number; seen: Buffer[] }> {
    const seen: Buffer[] = [];
    let connections = 0;
    const server = createServer((agent) => {
      const connection = ++connections;
      const there = connect(collector.port, '127.0.0.1');
      const pass = (from: Socket, to: Socket, fromCollector: boolean) => {
        let at = 0;
        from.on('data', (chunk: Buffer) => {
          seen.push(chunk);
          to.write(alter(fromCollector, at, chunk, connection));
          at += chunk.length;
        });
        from.on('error', () => {}).on('close', () => to.destroy());
      };
      pass(agent, there, false);
      pass(there, agent, true);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => void server.close());
    return { port: (server.address() as { port: number }).port, seen };
  }
  const agent = (t: Cleaner, port: number, ...more: string[]) =>
    new Program(t, process.execPath, [AGENT, '--server', `127.0.0.1:${port}`, '--pin', collector.pin, '--host-name', 'victim', '-r', input, ...more], {
      env: { RCAP_TOKEN: token },
    }); // prettier-ignore
  const inForce = (stderr: string) =>
    [...stderr.matchAll(/settings (\w+) of the collector count now/g)].map((m) => m[1]);

  test('reads nothing of them', async (t) => {
    const { port, seen } = await path(t, (_, __, chunk) => chunk);
    const { code, stderr } = await agent(t, port).end();
    assert.equal(code, 0, stderr);
    assert.deepEqual(inForce(stderr), [digest]);
    const all = Buffer.concat(seen);
    assert.ok(all.length > LIST.length);
    for (const secret of [SECRET, FILTER, 'exceptions.list', '198.18.1', token])
      assert.ok(!all.includes(secret), secret);
  });

  // The first bytes are the handshake's; then come Welcome and settings.
  for (const at of [5, 700, 1500, 3000, 20_000, 150_000, 250_000]) {
    test(`changes none: byte ${at} of what the collector says`, async (t) => {
      let altered = false;
      const { port } = await path(t, (fromCollector, begin, chunk, connection) => {
        if (!fromCollector || connection > 1 || at < begin || at >= begin + chunk.length) return chunk;
        altered = true;
        const other = Buffer.from(chunk);
        other[at - begin]! ^= 1;
        return other;
      });
      const { stderr } = await agent(t, port, '--give-up', '60s').end();
      assert.ok(altered, 'nothing was changed');
      // Those of the second connection, where nobody changed anything; nothing of the first.
      assert.deepEqual(inForce(stderr), [digest], stderr);
      assert.match(stderr, /warning: (lost|could not)[^]*count now/);
    });
  }

  test('leaves out what the collector says: nothing is captured before its settings are there', async (t) => {
    // He lets the Welcome pass, and holds back what follows.
    const { port } = await path(t, (fromCollector, begin, chunk) =>
      fromCollector && begin > 4000 ? Buffer.alloc(0) : chunk,
    );
    const held = agent(t, port);
    await held.says(/lost the connection to '.*': (it announced settings and does not send them|nothing heard)/);
    assert.doesNotMatch(held.stderr, /reading from file/);
    held.kill('SIGINT');
    await held.end();
  });

  test('ends TLS himself, with a key of his own, and learns nothing, neither settings nor the token', async (t) => {
    const own = await identity();
    const heard: Buffer[] = [];
    const server = createTlsServer({ key: own.key, cert: own.cert, minVersion: 'TLSv1.3' }, (victim) => {
      const there = connectTls({ port: collector.port, host: '127.0.0.1', rejectUnauthorized: false });
      victim.on('data', (chunk: Buffer) => {
        heard.push(chunk);
        there.write(chunk);
      });
      there.on('data', (chunk: Buffer) => victim.write(chunk));
      for (const s of [victim, there]) s.on('error', () => {});
      victim.on('close', () => there.destroy());
    }).on('tlsClientError', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => void server.close());
    const { code, stderr } = await agent(t, (server.address() as { port: number }).port).end();
    assert.equal(code, 1);
    assert.ok(stderr.includes(own.pin), stderr);
    assert.deepEqual(inForce(stderr), []);
    assert.equal(Buffer.concat(heard).length, 0);
  });
});
