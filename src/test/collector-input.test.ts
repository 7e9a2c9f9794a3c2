/** What an operator can get wrong, and what a crash leaves behind: the collector as a process. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, chmodSync, chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { captureEnd, captureStart, hello, onePacket, Peer } from './peer.ts';
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
import { resume } from './wire.ts';

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
    'on a disk that is full are said to be, keep what was acknowledged, and end one connection',
    { skip: lacksRoot || lacks('mount', 'python3') },
    async (t) => {
      const folder = smallDisk(t);
      if (!folder) return t.skip('needs permission to mount');
      const collector = await Collector.start(t, { folder, flags: ['--min-free', '0'] });
      const input = join(folder, 'input.pcap');
      const packets = somePackets(4000);
      writeFileSync(input, pcapBytes(packets));
      const { ended, counts } = await python(t, collector, input, 'full', ['--batch', '20', '--pause', '0.002']);
      assert.equal(ended.code, 1);
      assert.equal(counts.refused?.[0], 6);
      assert.match(counts.refused?.[1] ?? '', /could not write: no space left on device/);
      assert.match(collector.stderr, /could not write for full /);
      assert.ok(collector.running);
      assert.equal((await collector.stop()).code, 0);
      // Room again, and a restart.
      execFileSync('mount', ['-o', 'remount,size=64m', join(folder, 'captures')], { stdio: 'pipe' });
      const next = await Collector.start(t, { folder });
      await until('all to be published', () => !next.files().some((f) => /\.(part|journal)$/.test(f)));
      const files = next.published().toSorted(byFirstSequence);
      const found = Buffer.concat(files.map((f) => readFileSync(f).subarray(24)));
      // Whole batches from the first one on, each once, and all that were acknowledged.
      assert.ok(counts.acknowledged > 0);
      assert.ok(
        pcapBytes(packets)
          .subarray(24, 24 + found.length)
          .equals(found),
      );
      const written = files.reduce((sum, f) => sum + packetsIn(f), 0);
      assert.equal(written % 20, 0);
      assert.ok(written >= counts.acknowledged * 20, `${written} packets, ${counts.acknowledged} acknowledged batches`);
      assert.equal((await next.stop()).code, 0);
    },
  );
  it(
    'on a disk with little room are not written to; agents are told to wait',
    { skip: lacksRoot || lacks('mount') },
    async (t) => {
      const folder = smallDisk(t);
      if (!folder) return t.skip('needs permission to mount');
      const collector = await Collector.start(t, { folder });
      await collector.says(/warning: taking nothing more: .*\b1\.0 MiB are free .*--min-free/);
      const peer = await Peer.greeted(t, collector.port, await collector.token(), 'waiting');
      peer.send(captureStart(), onePacket(1));
      const status = await until('a Status', () => peer.answers.find((a) => a.status)?.status ?? undefined);
      assert.equal(status.behind, true);
      assert.match(status.reason ?? '', /disk/);
      assert.deepEqual([peer.acknowledged(), peer.closed], [0, false]);
      execFileSync('mount', ['-o', 'remount,size=2g', join(folder, 'captures')], { stdio: 'pipe' });
      await until('an acknowledgement', () => peer.acknowledged() === 1);
      await until('a Status', () => peer.answers.findLast((a) => a.status)?.status?.behind === false);
      assert.equal((await collector.stop()).code, 0);
      assert.equal(packetsIn(collector.published()[0]!), 1);
    },
  );
  it('on a disk with little room do not keep it from ending', { skip: lacksRoot || lacks('mount') }, async (t) => {
    const folder = smallDisk(t);
    if (!folder) return t.skip('needs permission to mount');
    const collector = await Collector.start(t, { folder });
    const peer = await Peer.greeted(t, collector.port, await collector.token(), 'waiting');
    peer.send(captureStart(), onePacket(1), captureEnd(1, 1));
    await until('a Status', () => peer.answers.some((a) => a.status));
    assert.equal((await collector.stop()).code, 0);
    assert.equal((await peer.refusal()).code, 'STOPPING');
    assert.deepEqual([peer.acknowledged(), collector.files()], [0, []]);
  });
});

/** A folder whose captures are on a disk of 1 MiB; nothing where that isn't allowed. */
function smallDisk(t: TestContext): string | undefined {
  const folder = temporaryFolder(t);
  const captures = join(folder, 'captures');
  mkdirSync(captures);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', captures], { stdio: 'pipe' });
  } catch {
    return undefined;
  }
  cleanUp(t, () => void execFileSync('umount', ['-l', captures]));
  return folder;
}
const byFirstSequence = (a: string, b: string) => sequenceIn(a) - sequenceIn(b);
const sequenceIn = (file: string) => Number(/_(\d+)\.pcap$/.exec(file)?.[1]);

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
  it('what is left is cut at the last acknowledged batch, published and said', async (t) => {
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
    // As if the machine had lost its power in the middle of a record, and of a line.
    appendFileSync(part, Buffer.alloc(21, 1));
    appendFileSync(part.replace('.pcap.part', '.journal'), '{"sequence":');
    // And others of which nothing was acknowledged, with a journal and without.
    const folder = join(part, '..');
    const [begun, alone] = ['x', 'y'].map((i) => join(folder, `victim_${i}_20260101T000000Z_aaaaaaaa-1_1`));
    writeFileSync(`${begun}.journal`, '{"format":"rcap');
    writeFileSync(`${begun}.pcap.part`, pcapBytes(packets.slice(0, 3)));
    writeFileSync(`${alone}.pcap.part`, pcapBytes([]).subarray(0, 10));

    const next = await Collector.start(t, { folder: collector.folder });
    const [, cut] = await next.says(/warning: recovered victim_file_\S+\.pcap: \d+ packets, (\d+) bytes cut\n/);
    assert.ok(Number(cut) >= 21);
    await until('all to be recovered', () => !next.files().some((f) => f.endsWith('.journal')));
    const [file, ...more] = next.published();
    assert.deepEqual(more, []);
    assert.ok(file);
    const found = packetsIn(file);
    assert.ok(found >= counts.acknowledged * 10 && found < 400 && found % 10 === 0, `${found} packets`);
    assert.ok(readFileSync(file).equals(pcapBytes(packets.slice(0, found))));
    const manifest = JSON.parse(readFileSync(file.replace('.pcap', '.json'), 'utf8')) as Record<string, unknown>;
    assert.equal(manifest['closedBy'], 'recovered');
    assert.equal(manifest['packets'], found);
    assert.equal(manifest['lastSequence'], found / 10);
    assert.equal(manifest['host'], 'victim');
    assert.equal(manifest['end'], null);
    assert.equal(manifest['sha256'], execFileSync('sha256sum', [file], { encoding: 'utf8' }).slice(0, 64));
    assert.deepEqual(
      next.files().filter((f) => !/\.(pcap|json)$/.test(f)),
      [`${alone}.pcap.part`.slice(collector.captures.length + 1)],
    );
    assert.equal((await next.stop()).code, 0);
  });

  it('an agent that comes back hears where its captures stand, and every packet is there once', async (t) => {
    let collector = await Collector.start(t, { flags: ['--sync-time', '1ms'] });
    const token = await collector.token();
    const run = randomBytes(16);
    let acknowledged = 0;
    for (let round = 0; round < 4; round++) {
      const peer = await Peer.connect(t, collector.port);
      const more = round > 0 ? resume(1, acknowledged + 1) : undefined;
      peer.send(hello({ token, host: 'back', run, ...(more && { more }) }));
      const welcome = await welcomed(peer);
      const durable = welcome.captures[0]?.lastSequence ?? 0;
      assert.ok(durable >= acknowledged, `${durable} is durable, but ${acknowledged} were acknowledged`);
      peer.send(captureStart(), ...Array.from({ length: 500 }, (_, i) => onePacket(durable + 1 + i)));
      await until('acknowledgements', () => peer.acknowledged() > durable + 100);
      collector.kill('SIGKILL');
      await collector.exited;
      acknowledged = peer.acknowledged();
      collector = await Collector.start(t, { folder: collector.folder, flags: ['--sync-time', '1ms'] });
    }
    const peer = await Peer.connect(t, collector.port);
    peer.send(hello({ token, host: 'back', run, more: resume(1, acknowledged + 1) }));
    const last = (await welcomed(peer)).captures[0]!.lastSequence;
    peer.send(captureStart(), captureEnd(1, last));
    await peer.ended();
    const files = collector.published().toSorted(byFirstSequence);
    const found = files.flatMap((f) =>
      [...readFileSync(f, 'latin1').matchAll(/packet (\d+)/g)].map((m) => Number(m[1])),
    );
    assert.deepEqual(
      found,
      Array.from({ length: last }, (_, i) => i + 1),
    );
    assert.ok(last > 400);
    assert.equal((await collector.stop()).code, 0);
    assert.deepEqual(
      collector.files().filter((f) => !/\.(pcap|json)$/.test(f)),
      [],
    );
  });
});

const welcomed = (peer: Peer) => until('Welcome', () => peer.answers[0]?.welcome ?? undefined);

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
