/** What an operator can get wrong, and what a crash leaves behind: the collector as a process. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { captureStart, onePacket, Peer } from './peer.ts';
import {
  bounded,
  cleanUp,
  Collector,
  COLLECTOR,
  filesUnder,
  lacks,
  lacksRoot,
  packetsIn,
  Program,
  PYTHON_CLIENT,
  run,
  runCollector,
  temporaryFolder,
  until,
} from './support.ts';

const TIMEOUT = { timeout: 300_000 };
const LISTEN = ['--listen', '127.0.0.1:0'];
const places = (folder: string, captures = join(folder, 'captures')) => [
  ...LISTEN,
  '--state',
  join(folder, 'state'),
  '--captures',
  captures,
];

/** Starts a collector that must not start: its message and hint. */
async function refused(t: TestContext, args: string[], code = 1, prefix: string[] = []): Promise<string> {
  const ended = await run(t, process.execPath, [COLLECTOR, ...args], { prefix });
  assert.equal(ended.code, code, ended.stderr);
  assert.match(ended.stderr, /^rcap-collector: error: could not /m);
  assert.doesNotMatch(ended.stderr, /\n +at /, 'a stack');
  return ended.stderr;
}

describe('wrong usage ends with exit code 2', TIMEOUT, () => {
  const cases: [string[], RegExp][] = [
    [['--lisen', '127.0.0.1:0'], /did you mean --listen/],
    [['--listen', 'nonsense:port'], /--listen/],
    [['--listen', '127.0.0.1:70000'], /--listen/],
    [['--rotate-bytes', '12Q'], /--rotate-bytes/],
    [['--rotate-bytes', '-1'], /--rotate-bytes/],
    [['--rotate-age', 'soon'], /--rotate-age/],
    [['--timestamps', 'pico'], /nano/],
    [['--max-connections', '0'], /--max-connections/],
    [['--max-connections', '1e9'], /--max-connections/],
    [['--tls-cert', 'x'], /--tls-key/],
    [['--verbose', '--quiet'], /--quiet/],
    [['--captures'], /--captures/],
    [['--captures', 'x', '--state', 'x/state'], /in the captures folder/],
    [['--captures', 'x', '--state', './x'], /in the captures folder/],
    [['serv'], /did you mean serve/],
    [['serve', 'now'], /'now'/],
    [['token'], /token new/],
    [['token', 'frobnicate'], /no such command/],
    [['token', 'revoke'], /ID/],
    [['token', 'new', '--uses', 'many'], /--uses/],
    [['token', 'new', '--host', 'x'.repeat(10_000)], /255 bytes/],
    [['token', 'list', '--listen', '127.0.0.1:0'], /--listen/],
  ];
  for (const [args, message] of cases) {
    it(args.join(' ').slice(0, 60), async (t) => {
      const stderr = await refused(t, args, 2);
      assert.match(stderr, message);
    });
  }
});

describe("the collector's folders", TIMEOUT, () => {
  it('are made when they are missing, not for everyone to read', async (t) => {
    const folder = temporaryFolder(t);
    const collector = await Collector.start(t, { folder: join(folder, 'a', 'b') });
    assert.equal(statSync(collector.state).mode & 0o777, 0o700);
    assert.equal(statSync(collector.captures).mode & 0o007, 0);
    assert.equal(statSync(join(collector.state, 'key.pem')).mode & 0o777, 0o600);
    assert.equal((await collector.stop()).code, 0);
  });
  it('must be folders', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'captures'), '');
    assert.match(await refused(t, places(folder)), /could not use captures folder '.*captures': /);
    assert.match(await refused(t, places(folder, '/dev/null/x')), /could not use captures folder '\/dev\/null\/x': /);
  });
  it('must be writable', { skip: lacksRoot || lacks('setpriv') }, async (t) => {
    const folder = temporaryFolder(t);
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const probe = await run(t, process.execPath, [COLLECTOR, '--version'], { prefix: nobody });
    if (probe.code !== 0) return t.skip('needs sources that any user can read');
    for (const name of ['state', 'captures']) {
      mkdirSync(join(folder, name));
      chownSync(join(folder, name), 65_534, 65_534);
    }
    chmodSync(folder, 0o755);
    chmodSync(join(folder, 'captures'), 0o555);
    assert.match(await refused(t, places(folder), 1, nobody), /captures folder '.*captures': permission denied/);
    chmodSync(join(folder, 'captures'), 0o755);
    chmodSync(join(folder, 'state'), 0o555);
    assert.match(await refused(t, places(folder), 1, nobody), /state folder '.*state': permission denied/);
  });
  it('belong to one collector at a time', async (t) => {
    const collector = await Collector.start(t);
    const other = temporaryFolder(t);
    const sameState = [...LISTEN, '--state', collector.state, '--captures', join(other, 'captures')];
    assert.match(await refused(t, sameState), /state folder '.*': another rcap-collector does/);
    assert.match(
      await refused(t, places(other, collector.captures)),
      /captures folder '.*': another rcap-collector does/,
    );
    assert.ok(collector.running);
    assert.equal((await collector.stop()).code, 0);
    // Whoever ended has let go.
    const next = await Collector.start(t, { folder: collector.folder });
    assert.equal(next.pin, collector.pin);
    assert.equal((await next.stop()).code, 0);
  });
  it(
    'full disks are said, keep what was acknowledged, and end one connection',
    { skip: lacksRoot || lacks('mount', 'python3') },
    async (t) => {
      const folder = temporaryFolder(t);
      mkdirSync(join(folder, 'captures'));
      try {
        execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', join(folder, 'captures')], { stdio: 'pipe' });
      } catch {
        return t.skip('needs permission to mount');
      }
      cleanUp(t, () => void execFileSync('umount', ['-l', join(folder, 'captures')]));
      const collector = await Collector.start(t, { folder });
      const input = join(folder, 'input.pcap');
      writeFileSync(input, pcapBytes(somePackets(4000)));
      const { ended, counts } = await python(t, collector, input, 'full', ['--batch', '20', '--pause', '0.002']);
      assert.equal(ended.code, 1);
      assert.equal(counts.refused?.[0], 6);
      assert.match(counts.refused?.[1] ?? '', /could not write: no space left on device/);
      assert.match(collector.stderr, /could not write for full /);
      assert.ok(collector.running);
      const { code } = await collector.stop();
      assert.equal(code, 0);
      // Room again, and a restart.
      const captures = join(folder, 'captures');
      execFileSync('mount', ['-o', 'remount,size=64m', captures], { stdio: 'pipe' });
      const next = await Collector.start(t, { folder });
      const files = next.published();
      const found = files.reduce((sum, f) => sum + packetsIn(f), 0);
      assert.ok(
        found >= counts.acknowledged * 20,
        `${found} packets, but ${counts.acknowledged} batches were acknowledged`,
      );
      assert.equal((await next.stop()).code, 0);
    },
  );
});

describe('listening', TIMEOUT, () => {
  it('says when the port is in use', async (t) => {
    const server = createServer();
    t.after(() => void server.close());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const args = [...places(temporaryFolder(t)), '--listen', `127.0.0.1:${port}`].slice(2);
    assert.match(await refused(t, args), /could not listen on '127.0.0.1:\d+': the port is in use\n.*hint: 'ss -ltnp'/);
  });
  it('says when the address is not ours', async (t) => {
    const args = [...places(temporaryFolder(t)).slice(2), '--listen', '192.0.2.1:0'];
    assert.match(await refused(t, args), /this host has no such address/);
  });
  it('refuses connections beyond --max-connections, and has room again later', async (t) => {
    const collector = await Collector.start(t, { flags: ['--max-connections', '2'] });
    const token = await collector.token('--host', '*');
    const peers = [
      await Peer.greeted(t, collector.port, token, 'a'),
      await Peer.greeted(t, collector.port, token, 'b'),
    ];
    const third = await Peer.connect(t, collector.port);
    const refusal = await third.refusal();
    assert.equal(refusal.code, 'LIMIT');
    assert.match(refusal.message, /more than 2 connections/);
    peers[0]!.end();
    await until('it to be closed', () => peers[0]!.closed);
    await Peer.greeted(t, collector.port, token, 'c');
  });
});

describe('certificates', { ...TIMEOUT, skip: lacks('openssl') }, () => {
  const make = (folder: string, name: string) => {
    const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
    const subject = ['-subj', '/CN=collector.example', '-addext', 'subjectAltName=DNS:collector.example'];
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, ...subject],
      { stdio: 'pipe' },
    );
    return { key, cert };
  };
  it("may be one's own", { skip: lacks('python3') }, async (t) => {
    const folder = temporaryFolder(t);
    const { key, cert } = make(folder, 'own');
    const collector = await Collector.start(t, { folder, flags: ['--tls-cert', cert, '--tls-key', key] });
    const input = join(folder, 'input.pcap');
    writeFileSync(input, pcapBytes(somePackets(5)));
    const { ended } = await python(t, collector, input, 'own', ['--ca', cert, '--name', 'collector.example']);
    assert.equal(ended.code, 0, ended.stderr);
    assert.deepEqual(
      filesUnder(collector.state).filter((f) => f.endsWith('.pem')),
      [],
    );
  });
  it('that cannot be used are said', async (t) => {
    const folder = temporaryFolder(t);
    const [a, b] = [make(folder, 'a'), make(folder, 'b')];
    writeFileSync(join(folder, 'nonsense'), 'nonsense');
    const start = (cert: string, key: string) => refused(t, [...places(folder), '--tls-cert', cert, '--tls-key', key]);
    assert.match(await start(join(folder, 'missing'), a.key), /could not read '.*missing': no such file or directory/);
    assert.match(await start(join(folder, 'nonsense'), a.key), /could not use certificate '.*nonsense'/);
    assert.match(await start(a.cert, join(folder, 'nonsense')), /could not use /);
    assert.match(await start(a.cert, b.key), /the key is not the one of this certificate/);
    assert.match(await start(folder, a.key), /could not read/);
  });
});

describe('after kill -9', { ...TIMEOUT, skip: lacks('python3', 'capinfos') }, () => {
  it('what is left is cut to whole records, published and said', async (t) => {
    const collector = await Collector.start(t);
    const input = join(collector.folder, 'input.pcap');
    const packets = somePackets(400);
    writeFileSync(input, pcapBytes(packets));
    const client = python(t, collector, input, 'victim', ['--batch', '10', '--pause', '0.05', '--no-end']);
    const part = await until('a file of some size', () => {
      const found = collector.files().find((f) => f.endsWith('.pcap.part'));
      const path = found && join(collector.captures, found);
      return path && statSync(path).size > 100_000 ? path : undefined;
    });
    collector.kill('SIGKILL');
    await collector.exited;
    const { counts } = await client;
    assert.ok(counts.acknowledged > 0);
    // As if the machine had lost its power in the middle of a record.
    appendFileSync(part, Buffer.alloc(21, 1));
    // And a second one that holds no packet, and one with its header cut off.
    const folder = join(part, '..');
    writeFileSync(join(folder, 'victim_x_20260101T000000Z_aaaaaaaa-1_1.pcap.part'), pcapBytes([]));
    writeFileSync(join(folder, 'victim_y_20260101T000000Z_aaaaaaaa-1_1.pcap.part'), pcapBytes([]).subarray(0, 10));

    const next = await Collector.start(t, { folder: collector.folder });
    assert.match(next.stderr, /salvaged victim_file_\S+\.pcap: \d+ packets, \d+ bytes cut/);
    const [file, ...more] = next.published();
    assert.deepEqual(more, []);
    assert.ok(file);
    const found = packetsIn(file);
    assert.ok(found >= counts.acknowledged * 10 && found < 400, `${found} packets`);
    assert.ok(readFileSync(file).equals(pcapBytes(packets.slice(0, found))));
    const manifest = JSON.parse(readFileSync(file.replace('.pcap', '.json'), 'utf8')) as Record<string, unknown>;
    assert.equal(manifest['closedBy'], 'salvaged');
    assert.equal(manifest['packets'], found);
    assert.equal(manifest['host'], 'victim');
    assert.equal(manifest['end'], null);
    assert.equal(manifest['sha256'], execFileSync('sha256sum', [file], { encoding: 'utf8' }).slice(0, 64));
    assert.deepEqual(
      next.files().filter((f) => !/\.(pcap|json)$/.test(f)),
      [],
    );
    assert.equal((await next.stop()).code, 0);
  });
});

describe('SIGTERM', TIMEOUT, () => {
  it('publishes what there is, tells the agents, and exits with 0', async (t) => {
    const collector = await Collector.start(t);
    const token = await collector.token('--host', '*');
    const peer = await Peer.greeted(t, collector.port, token, 'told');
    peer.send(captureStart(), onePacket(1), onePacket(2));
    await until('acknowledgements', () => peer.acknowledged() === 2);
    const silent = await Peer.connect(t, collector.port);
    const { code } = await collector.stop();
    assert.equal(code, 0);
    assert.deepEqual(await peer.refusal(), { code: 'STOPPING', message: 'the collector is stopping' });
    await until('the other connection to be closed', () => silent.closed);
    const [file] = collector.published();
    assert.equal(packetsIn(file!), 2);
    assert.deepEqual(
      collector.files().filter((f) => f.endsWith('.part')),
      [],
    );
    const manifest = JSON.parse(readFileSync(file!.replace('.pcap', '.json'), 'utf8')) as Record<string, unknown>;
    assert.equal(manifest['closedBy'], 'stopped');
  });
  it('before anyone connected does too, as does SIGINT', async (t) => {
    assert.equal((await (await Collector.start(t)).stop()).code, 0);
    const collector = await Collector.start(t);
    collector.kill('SIGINT');
    assert.equal((await collector.end()).code, 0);
  });
});

it('commands on a folder that is not there make what they need, or say why not', TIMEOUT, async (t) => {
  const folder = temporaryFolder(t);
  const inside = (...words: string[]) => runCollector(t, [...words, '--state', join(folder, 'new')]);
  const pin = await inside('pin');
  assert.equal(pin.code, 0, pin.stderr);
  assert.match(pin.stdout, /^sha256\/[A-Za-z0-9+/]{43}=\n$/);
  assert.equal((await inside('pin')).stdout, pin.stdout);
  assert.match((await inside('token', 'new')).stdout, /^rcap_[0-9a-f]{8}_[A-Za-z0-9_-]{43}\n$/);
  const revoked = await inside('token', 'revoke', '00000000');
  assert.equal(revoked.code, 1);
  assert.match(revoked.stderr, /there is none/);
  const nowhere = await runCollector(t, ['token', 'new', '--state', '/dev/null/x']);
  assert.equal(nowhere.code, 1);
  assert.match(nowhere.stderr, /^rcap-collector: error: could not /);
});

interface Counts {
  acknowledged: number;
  refused: [code: number, message: string] | null;
}

/** Sends a file with the Python client. */
async function python(t: TestContext, collector: Collector, file: string, host: string, args: string[]) {
  const token = await collector.token('--host', host);
  const to = ['--server', `127.0.0.1:${collector.port}`, '--token', token, '--host-name', host];
  const trust = args.includes('--ca') ? [] : ['--pin', collector.pin];
  const client = new Program(t, 'python3', [PYTHON_CLIENT, ...to, ...trust, ...args, file]);
  const ended = await bounded('the client', client.exited);
  return { ended, counts: JSON.parse(ended.stdout || '{}') as Counts };
}
