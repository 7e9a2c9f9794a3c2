/** A client that shares no line with ours, written from proto/README.md, against a real collector. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { pcapBytes, somePackets, type TestFile, type TestPacket } from './pcap-bytes.ts';
import { cleaner, Collector, lacks, PYTHON_CLIENT, rewritten, run, temporaryFolder, tshark } from './support.ts';

const packets: TestPacket[] = [
  ...somePackets(300),
  { seconds: 0, nanoseconds: 1000, data: Buffer.from('empty times: 1970') },
  { seconds: 0xffff_ffff, nanoseconds: 999_999_000, data: Buffer.from('and 2106') },
  { seconds: 1_700_000_100, nanoseconds: 123_456_000, data: Buffer.alloc(0) },
  { seconds: 1_700_000_100, nanoseconds: 123_457_000, data: Buffer.alloc(1, 0xff) },
  { seconds: 1_700_000_101, nanoseconds: 0, data: Buffer.alloc(96, 7), original: 9000 },
  { seconds: 1_700_000_101, nanoseconds: 0, data: Buffer.alloc(65_536, 1) },
  { seconds: 1_700_000_099, nanoseconds: 5000, data: Buffer.alloc(262_144, 2) },
];

/** What tshark should say of a packet: time, length on the wire, captured length. */
function row({ seconds, nanoseconds, data, original = data.length }: TestPacket, micro = false): string[] {
  const fraction = micro ? nanoseconds - (nanoseconds % 1000) : nanoseconds;
  return [`${seconds}.${String(fraction).padStart(9, '0')}`, String(original), String(data.length)];
}

describe('a client in Python', { skip: lacks('python3', 'tshark', 'tcpdump', 'openssl'), timeout: 600_000 }, () => {
  const suite = cleaner();
  let collector: Collector;
  let folder: string;
  let token: string;
  let serial = 0;

  before(async () => {
    folder = temporaryFolder(suite);
    collector = await Collector.start(suite);
    token = await collector.token('--host', '*');
  });

  /** Sends a file; returns what the client printed, the input and the files that came out. */
  async function send(t: TestContext, file: Uint8Array, args: string[] = [], port = collector.port) {
    const input = join(folder, `${++serial}.pcap`);
    writeFileSync(input, file);
    const before = new Set(collector.published());
    const to = ['--server', `127.0.0.1:${port}`, '--token', token, '--host-name', 'python'];
    const trust = args.includes('--ca') ? [] : ['--pin', collector.pin];
    const ended = await run(t, 'python3', [PYTHON_CLIENT, ...to, ...trust, ...args, input]);
    return { input, ended, outputs: collector.published().filter((f) => !before.has(f)) };
  }
  type Sent = Awaited<ReturnType<typeof send>>;

  function assertSame({ input, ended, outputs: [output, ...more] }: Sent, sent: TestPacket[], micro?: boolean) {
    assert.equal(ended.code, 0, ended.stderr + ended.stdout);
    assert.ok(output);
    assert.deepEqual(more, []);
    const rows = sent.map((p) => row(p, micro));
    assert.deepEqual(tshark(output, 'frame.time_epoch', 'frame.len', 'frame.cap_len'), rows);
    // Every byte, file header included.
    assert.ok(readFileSync(output).equals(rewritten(input)));
  }

  const forms: TestFile[] = [{}, { micro: true }, { bigEndian: true }, { bigEndian: true, micro: true }];
  for (const form of forms) {
    it(`sends a file in ${form.bigEndian ? 'big' : 'little'} endian, ${form.micro ? 'micro' : 'nano'}seconds`, async (t) => {
      const sent = await send(t, pcapBytes(packets, form));
      assertSame(sent, packets, form.micro);
      const bytes = packets.reduce((sum, p) => sum + p.data.length, 0);
      assert.deepEqual(JSON.parse(sent.ended.stdout), {
        packets: packets.length,
        bytes,
        batches: 3,
        acknowledged: 3,
        ended: true,
        refused: null,
      });
    });
  }

  for (const [linkType, name] of [
    [101, 'raw IP'],
    [113, 'Linux cooked'],
    [127, 'radiotap'],
    [189, 'USB, which Arkime does not know'],
  ] as const) {
    it(`keeps link type ${linkType}: ${name}`, async (t) =>
      assertSame(await send(t, pcapBytes(somePackets(10), { linkType, snaplen: 2000 })), somePackets(10)));
  }

  it('is understood in unusual but legal encodings', async (t) => {
    assertSame(await send(t, pcapBytes(packets), ['--odd']), packets);
  });
  it('may send a packet a batch', async (t) => {
    const sent = await send(t, pcapBytes(packets), ['--batch', '1']);
    assertSame(sent, packets);
    assert.equal(JSON.parse(sent.ended.stdout).acknowledged, packets.length);
  });
  it('may send a byte a TLS record', async (t) => {
    assertSame(
      await send(t, pcapBytes(packets.slice(0, 20)), ['--piece', '1', '--odd', '--batch', '3']),
      packets.slice(0, 20),
    );
  });
  it('may reach the collector a byte a TCP segment', async (t) => {
    const port = await byteByByte(t, collector.port);
    assertSame(await send(t, pcapBytes(packets.slice(0, 10)), ['--batch', '3'], port), packets.slice(0, 10));
  });
  it('may send a capture without packets, which makes no file', async (t) => {
    const { ended, outputs } = await send(t, pcapBytes([]));
    assert.equal(ended.code, 0, ended.stderr + ended.stdout);
    assert.deepEqual(outputs, []);
  });

  it("computes the pin as openssl does, and refuses another's", async (t) => {
    const key = execFileSync('openssl', [
      'pkey',
      '-in',
      join(collector.state, 'key.pem'),
      '-pubout',
      '-outform',
      'DER',
    ]);
    const hash = execFileSync('openssl', ['dgst', '-sha256', '-binary'], { input: key });
    assert.equal(collector.pin, `sha256/${hash.toString('base64')}`);
    const { ended, outputs } = await send(t, pcapBytes(packets), [
      '--pin',
      `sha256/${Buffer.alloc(32).toString('base64')}`,
    ]);
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /another key: sha256\//);
    assert.deepEqual(outputs, []);
  });
  it('verifies a certificate by its CA file and name', async (t) => {
    const ca = ['--ca', join(collector.state, 'cert.pem')];
    assertSame(await send(t, pcapBytes(packets), [...ca, '--name', 'rcap-collector']), packets);
    const { ended } = await send(t, pcapBytes(packets), [...ca, '--name', 'another.example']);
    assert.match(ended.stderr, /CERTIFICATE_VERIFY_FAILED/);
  });
  it('says that it takes no settings, and sends what it has', async (t) => {
    const place = join(temporaryFolder(t), 'public');
    mkdirSync(place);
    writeFileSync(join(place, 'exceptions.list'), '192.0.2.1\n'.repeat(20_000));
    const other = await Collector.start(t, { flags: ['--public', place] });
    const input = join(place, 'in.pcap');
    writeFileSync(input, pcapBytes(packets));
    const to = ['--server', `127.0.0.1:${other.port}`, '--pin', other.pin, '--token', await other.token()];
    const { code, stdout } = await run(t, 'python3', [PYTHON_CLIENT, ...to, '--host-name', 'python', input]);
    assert.equal(code, 0, stdout);
    await other.says(/warning: python \(.*\): REFUSED settings [0-9a-f]{12}: this client takes no settings/);
  });
  it('hears why it is refused', async (t) => {
    const { ended } = await send(t, pcapBytes(packets), ['--token', 'nonsense']);
    assert.equal(ended.code, 1);
    assert.deepEqual(JSON.parse(ended.stdout).refused, [2, 'the token has not the form of one']);
  });
});

/** Passes bytes on one write at a time, towards the collector. */
async function byteByByte(t: TestContext, port: number): Promise<number> {
  const sockets: Socket[] = [];
  const server = createServer((client) => {
    const onward = connect({ port, host: '127.0.0.1', noDelay: true });
    sockets.push(client, onward);
    for (const s of [client, onward]) s.on('error', () => {});
    onward.pipe(client);
    client.on('data', (chunk) => {
      for (const byte of chunk) onward.write(Buffer.of(byte));
    });
    client.on('end', () => onward.end());
  });
  t.after(() => {
    server.close();
    for (const s of sockets) s.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as { port: number }).port;
}
