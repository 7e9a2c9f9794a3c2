/**
 * rcap descends from a tool that had these defects. Each is a test that would fail on it; those about live capture
 * (packets kept, the user's filter, publishing before the stream ends) are in live.test.ts.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { cleaner, Collector, lacks, lacksAddon, packetsIn, runAgent, temporaryFolder } from './support.ts';

const skip = lacksAddon || lacks('capinfos');

describe('unlike the tool that it descends from, rcap', { skip }, () => {
  const suite = cleaner();
  let collector: Collector;
  let token: string;
  let folder: string;

  test.before(async () => {
    collector = await Collector.start(suite);
    token = await collector.token('--host', '*');
    folder = temporaryFolder(suite);
  });
  const options = () => ({ env: { RCAP_TOKEN: token } });
  const input = (name: string, bytes: Uint8Array) => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  const filesOf = (host: string) => collector.published().filter((f) => f.includes(`/${host}/`));

  test('speaks TLS or nothing: a plain connection gets no answer', async () => {
    const socket = connect(collector.port, '127.0.0.1');
    const got = await new Promise<string>((resolve) => {
      let all = '';
      socket.on('data', (d) => (all += d.toString('latin1')));
      socket.on('close', () => resolve(all));
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    });
    assert.ok(!/HTTP|rcap/i.test(got), 'at most a TLS alert');
  });

  test('sends packets without a network or transport layer', async (t) => {
    const frames = ['0806', '88cc', '0001', '86dd', '0800'].map((type) =>
      Buffer.from(`ffffffffffff020000000001${type}`, 'hex'),
    );
    const file = input('layers.pcap', pcapBytes(frames.map((data, i) => ({ seconds: i, nanoseconds: 0, data }))));
    const end = await runAgent(t, [...collector.address, '-r', file, '--host-name', 'layers'], options());
    assert.equal(end.code, 0, end.stderr);
    assert.deepEqual(readFileSync(filesOf('layers')[0]!), readFileSync(file));
  });

  test('ends at its limit with everything sent', async (t) => {
    const file = input('limit.pcap', pcapBytes(somePackets(3000)));
    for (const count of [1, 499, 500, 501, 2999]) {
      const host = `limit${count}`;
      const end = await runAgent(
        t,
        [...collector.address, '-r', file, '-c', String(count), '--host-name', host],
        options(),
      );
      assert.equal(end.code, 0, end.stderr);
      assert.equal(packetsIn(filesOf(host)[0]!), count);
    }
  });

  test('writes the true link type and snaplen into the header', async (t) => {
    const file = input('raw.pcap', pcapBytes(somePackets(5), { linkType: 101, snaplen: 96_000 }));
    await runAgent(t, [...collector.address, '-r', file, '--host-name', 'header'], options());
    const header = readFileSync(filesOf('header')[0]!);
    assert.deepEqual([header.readUInt32LE(16), header.readUInt32LE(20)], [96_000, 101]);
  });

  test('keeps two hosts behind one address apart, under names without spaces or colons', async (t) => {
    const file = input('two.pcap', pcapBytes(somePackets(10)));
    for (const host of ['left', 'right', 'a b:c']) {
      const end = await runAgent(t, [...collector.address, '-r', file, '--host-name', host], options());
      assert.equal(end.code, 0, end.stderr);
    }
    for (const folderName of ['left', 'right', 'a_b_c']) {
      const [published] = filesOf(folderName);
      assert.match(basename(published!), /^[A-Za-z0-9._-]+_\d{8}T\d{6}Z_[0-9a-f]{8}-1_1\.pcap$/);
      assert.equal(packetsIn(published!), 10);
    }
  });

  test('adds a few bytes to a packet, and logs no line for each', async (t) => {
    const packets = somePackets(20_000);
    const file = input('many.pcap', pcapBytes(packets));
    let carried = 0;
    const proxy = createServer((client) => {
      const server = connect(collector.port, '127.0.0.1');
      client.on('data', (d) => (carried += d.length));
      client.on('error', () => server.destroy()).pipe(server);
      server.on('error', () => client.destroy()).pipe(client);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    t.after(() => proxy.close());
    const { port } = proxy.address() as { port: number };
    const before = collector.stderr.length;
    const args = ['--server', `127.0.0.1:${port}`, '--pin', collector.pin, '-r', file, '--host-name', 'cheap'];
    const end = await runAgent(t, args, options());
    assert.equal(end.code, 0, end.stderr);
    const each = (carried - packets.reduce((n, p) => n + p.data.length, 0)) / packets.length;
    assert.ok(each < 20, `${each.toFixed(1)} bytes for each packet beside its own`);
    assert.ok(end.stderr.split('\n').length < 10, end.stderr);
    assert.ok(collector.stderr.slice(before).split('\n').length < 10);
  });
});
