/** Agents in the wrong hands, over real TLS against a real collector: each ends its own connection and nothing else. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { afterEach, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { fuzz } from './fuzz.ts';
import { captureEnd, captureStart, gap, hello, onePacket, Peer } from './peer.ts';
import {
  bounded,
  type Cleaner,
  cleaner,
  cleanUp,
  Collector,
  filesUnder,
  lacks,
  packetsIn,
  run,
  until,
} from './support.ts';
import { ALIVE, batch, bytes, fixed64, frame, packet, resume, uint, varint } from './wire.ts';

const NANOSECONDS = 1_700_000_000_000_000_000n;
const small = (data: Uint8Array | string = 'data') =>
  packet({ timestampNs: NANOSECONDS, data: Buffer.from(data as string) });
/** A field that nobody knows, as a group. */
const group = Buffer.concat([varint(900 * 8 + 3), uint(1, 1), varint(900 * 8 + 4)]);

describe('a hostile agent', { skip: lacks('capinfos'), timeout: 600_000 }, () => {
  const suite = cleaner();
  let collector: Collector;
  let token: string;
  let steady: Steady;
  let over = false;

  before(async () => {
    collector = await Collector.start(suite, { flags: ['--rotate-age', '3s'] });
    token = await collector.token('--host', '*');
    steady = await Steady.start(suite, collector.port, token);
  });
  afterEach(() => {
    if (over) return;
    assert.ok(collector.running, collector.stderr);
    assert.ok(!steady.peer.closed, 'another agent lost its connection');
  });

  /** A new peer that was welcomed. */
  const greeted = (t: Cleaner, host = 'hostile') => Peer.greeted(t, collector.port, token, host);

  describe('without a good Hello', () => {
    const cases: [name: string, bytes: () => Uint8Array, code: string, message: RegExp][] = [
      ['an empty message', () => Buffer.of(0), 'PROTOCOL', /is empty/],
      ['a message of 4 GiB', () => varint(2n ** 32n), 'PROTOCOL', /more than 4 bytes/],
      ['a message longer than allowed', () => varint(524_289), 'PROTOCOL', /longer than 524288/],
      ['a negative length', () => varint(2n ** 64n - 1n), 'PROTOCOL', /more than 4 bytes/],
      ['a length that never ends', () => Buffer.alloc(100_000, 0x80), 'PROTOCOL', /more than 4 bytes/],
      [
        'plain HTTP inside TLS',
        () => Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.padEnd(200)),
        'PROTOCOL',
        /must be Hello/,
      ],
      ['a batch first', () => frame(onePacket(1)), 'PROTOCOL', /must be Hello/],
      [
        'a batch of nothing but packets first',
        () => frame(bytes(3, Buffer.from('2200'.repeat(200_000), 'hex'))),
        'PROTOCOL',
        /must be Hello/,
      ],
      ['an unknown kind first', () => frame(bytes(15, 'x')), 'PROTOCOL', /must be Hello/],
      ['a Hello that ends early', () => frame(hello().subarray(0, -3)), 'PROTOCOL', /envelope/],
      ['a Hello whose field ends early', () => frame(bytes(1, Buffer.of(0x12, 0x7f))), 'PROTOCOL', /decoded/],
      ['two messages in one envelope', () => frame(Buffer.concat([hello(), hello()])), 'PROTOCOL', /envelope/],
      [
        'a Hello of 100 KB',
        () => frame(hello({ more: bytes(900, Buffer.alloc(100_000)) })),
        'PROTOCOL',
        /longer than 65536/,
      ],
      ['version 0', () => frame(hello({ version: 0 })), 'VERSION', /version 0/],
      ['version 2', () => frame(hello({ version: 2 })), 'VERSION', /version 2/],
      ['a negative version', () => frame(hello({ version: 2n ** 64n - 1n })), 'VERSION', /version/],
      [
        'a version that never ends',
        () => frame(bytes(1, Buffer.concat([Buffer.of(8), Buffer.alloc(50, 0xff)]))),
        'PROTOCOL',
        /decoded/,
      ],
      ['a run id of 15 bytes', () => frame(hello({ run: Buffer.alloc(15) })), 'PROTOCOL', /16 bytes/],
      ['no host name', () => frame(hello({ host: '' })), 'PROTOCOL', /host name is empty/],
      [
        'a host name of 10,000 characters',
        () => frame(hello({ host: 'x'.repeat(10_000) })),
        'PROTOCOL',
        /longer than 255/,
      ],
      ['a host name of 100 emoji', () => frame(hello({ host: '🦈'.repeat(100) })), 'PROTOCOL', /longer than 255/],
      [
        'a token of 10,000 characters',
        () => frame(hello({ token: 'x'.repeat(10_000) })),
        'PROTOCOL',
        /longer than 256/,
      ],
      ['no token', () => frame(hello()), 'TOKEN', /is needed/],
      ['nonsense for a token', () => frame(hello({ token: '../../../etc/passwd' })), 'TOKEN', /not the form/],
      ['an unknown token', () => frame(hello({ token: `rcap_00000000_${'A'.repeat(43)}` })), 'TOKEN', /not known/],
      [
        'a known token with another secret',
        () => frame(hello({ token: token.slice(0, -43) + 'A'.repeat(43) })),
        'TOKEN',
        /not known/,
      ],
    ];
    for (const [name, data, code, message] of cases) {
      it(`${name}: ${code}`, async (t) => {
        const peer = await Peer.connect(t, collector.port);
        peer.write(data());
        const refusal = await peer.refusal();
        assert.equal(refusal.code, code);
        assert.match(refusal.message, message);
      });
    }

    it('groups in groups, 30,000 deep, end nothing', async (t) => {
      const peer = await Peer.connect(t, collector.port);
      const deep = Buffer.concat([Buffer.alloc(30_000, 0x0b), Buffer.alloc(30_000, 0x0c)]);
      peer.send(hello({ token, more: deep }));
      await until('an answer', () => peer.answers[0]);
    });
  });

  it('tokens that are expired, revoked, used up or for another host are refused', async (t) => {
    const refusal = async (used: string, host: string) => {
      const peer = await Peer.connect(t, collector.port);
      peer.send(hello({ token: used, host }));
      return peer.refusal();
    };
    const own = await collector.token('--host', 'alpha');
    assert.deepEqual(await refusal(own, 'beta'), {
      code: 'TOKEN',
      message: "the token is for host 'alpha', not 'beta'",
    });
    const first = await collector.token('--uses', '1');
    (await Peer.greeted(t, collector.port, first, 'alpha')).end();
    assert.deepEqual(await refusal(first, 'alpha'), { code: 'TOKEN', message: 'the token is used up' });
    const unbound = await collector.token();
    (await Peer.greeted(t, collector.port, unbound, 'alpha')).end();
    assert.match((await refusal(unbound, 'gamma')).message, /for host 'alpha'/);
    const expired = await collector.token('--expires', '1ms');
    assert.deepEqual(await refusal(expired, 'alpha'), { code: 'TOKEN', message: 'the token is expired' });
    const revoked = await collector.token('--label', 'to be revoked');
    const { code } = await run(t, process.execPath, revoke(collector, revoked));
    assert.equal(code, 0);
    assert.deepEqual(await refusal(revoked, 'alpha'), { code: 'TOKEN', message: 'the token is revoked' });
    for (const secret of [own, first, expired, revoked, token])
      assert.ok(!collector.stderr.includes(secret.slice(-43)));
  });

  it('host names never lead out of the captures folder', async (t) => {
    const names: [said: string, folder: string][] = [
      ['../../etc', '__.._etc'],
      ['..', '_'],
      ['.', '_'],
      ['/etc/cron.d', '_etc_cron.d'],
      ['a\0b', 'a_b'],
      ['🦈', '__'],
      ['-rf', '_rf'],
      ['.hidden', '_hidden'],
      ['new\nline', 'new_line'],
      ['x'.repeat(255), 'x'.repeat(64)],
      ['a'.repeat(62) + '../..', 'a'.repeat(62) + '..'],
    ];
    for (const [said] of names) {
      const peer = await greeted(t, said);
      peer.send(captureStart(1, { name: '../../../tmp/\0evil' }), onePacket(1), captureEnd(1, 1));
      await peer.ended();
    }
    const files = collector.files();
    for (const [said, folder] of names)
      assert.ok(
        files.some((f) => f.startsWith(`${folder}/`)),
        said,
      );
    assert.ok(
      files.every((f) => /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\/[A-Za-z0-9._-]+$/.test(f)),
      files.join('\n'),
    );
    // Nobody writes lines of their own into the log.
    assert.ok(collector.stderr.split('\n').every((line) => line === '' || line.startsWith('rcap-collector: ')));
  });

  describe('after its Hello', () => {
    const start = captureStart();
    const many = (count: number) => Buffer.concat(Array<Buffer>(count).fill(bytes(4, '')));
    const time = (ns: bigint) => packet({ timestampNs: ns, data: Buffer.from('x') });
    const cases: [name: string, messages: Uint8Array[], message: RegExp, code?: string][] = [
      ['a second Hello', [hello()], /second Hello/],
      ['settings, as only a collector has', [bytes(10, bytes(3, '192.0.2.1'))], /unknown kind/],
      ['exclusions of no capture', [bytes(9, uint(1, 7))], /capture 7 is not open/],
      ['a state of settings with half a digest', [bytes(8, bytes(1, Buffer.alloc(16)))], /a digest has not 32 bytes/],
      ['an unknown kind', [bytes(14, 'x')], /unknown kind/],
      ['a kind that is a number', [uint(2, 1)], /decoded|unknown kind/],
      ['a kind that is a group', [group], /envelope/],
      ['a batch without a capture', [onePacket(1)], /not open/],
      ['counters without a capture', [bytes(5, uint(1, 7))], /not open/],
      [
        'counters of 2^64',
        [start, bytes(5, Buffer.concat([uint(1, 1), uint(2, 2n ** 64n - 1n)]))],
        /counter is out of range/,
      ],
      ['a gap without a capture', [gap(3, 1, 1)], /not open/],
      ['an end without a capture', [captureEnd(3, 0)], /not open/],
      ['capture 0', [captureStart(0)], /out of range/],
      ['capture 65,536', [captureStart(65_536)], /out of range/],
      ['a negative capture', [captureStart(2n ** 64n - 1n)], /out of range/],
      ['a capture twice', [start, start], /started already/],
      ['a capture again after its end', [start, captureEnd(1, 0), start], /started already/],
      [
        'more than 256 open captures',
        Array.from({ length: 257 }, (_, i) => captureStart(i + 1)),
        /more than 256/,
        'LIMIT',
      ],
      ['snaplen 0', [captureStart(1, { snaplen: 0 })], /snaplen 0/],
      ['snaplen 262,145', [captureStart(1, { snaplen: 262_145 })], /snaplen 262145/],
      ['a link type with FCS bits', [captureStart(1, { linkType: 0x2400_0001 })], /link type/],
      ['an interface name of 300 characters', [captureStart(1, { name: 'i'.repeat(300) })], /longer than 255/],
      [
        '1000 addresses',
        [bytes(2, Buffer.concat([start.subarray(2), ...Array<Buffer>(1000).fill(bytes(4, '::1'))]))],
        /addresses/,
      ],
      ['sequence 0', [start, onePacket(0)], /count from 1/],
      ['a hole in the sequences', [start, onePacket(1), onePacket(3)], /1 was the last/],
      ['a sequence that begins at 2', [start, onePacket(2)], /0 was the last/],
      ['a negative sequence', [start, batch({ sequence: 2n ** 64n - 1n }, small())], /out of range/],
      [
        'a sequence that never ends',
        [start, bytes(3, Buffer.concat([uint(1, 1), Buffer.of(0x10), Buffer.alloc(20, 0xff)]))],
        /does not end/,
      ],
      ['a wrong first_packet', [start, batch({ firstPacket: 2 }, small())], /first_packet is 2, not 1/],
      ['a batch without packets', [start, batch({}, Buffer.alloc(0))], /empty/],
      ['a batch of 65,537 packets', [start, batch({}, many(65_537))], /65536 packets|longer than/],
      [
        'a packet longer than the snaplen',
        [start, batch({}, small(Buffer.alloc(2001)))],
        /longer than the snaplen 2000/,
      ],
      [
        'captured > original',
        [start, batch({}, packet({ timestampNs: NANOSECONDS, data: Buffer.alloc(10), original: 9 }))],
        /below the captured/,
      ],
      [
        'an original length beyond 32 bits',
        [start, batch({}, bytes(4, Buffer.concat([fixed64(1, 1n), uint(2, 2n ** 40n), bytes(3, 'x')])))],
        /32-bit/,
      ],
      ['a time after 2106', [start, batch({}, time(4_294_967_296_000_000_000n))], /after 2106/],
      ['the last time of all', [start, batch({}, time(2n ** 64n - 1n))], /after 2106/],
      ['a packet that runs past its batch', [start, batch({}, Buffer.of(0x22, 0x7f, 1))], /runs past/],
      ['data that runs past its packet', [start, batch({}, Buffer.of(0x22, 3, 0x1a, 0x7f, 1))], /runs past/],
      ['a group among the packets', [start, batch({}, Buffer.concat([small(), group]))], /wire type 3/],
      ['a group in a packet', [start, batch({}, bytes(4, group))], /wire type 3/],
      [
        'header fields after packets',
        [start, bytes(3, Buffer.concat([small(), uint(1, 1)]))],
        /before the packets|not open/,
      ],
      [
        'an envelope that holds a batch and more',
        [start, Buffer.concat([onePacket(1), bytes(5, uint(1, 1))])],
        /envelope/,
      ],
      ['a gap in the wrong place', [start, gap(1, 2, 2)], /0 was the last/],
      ['a gap that ends before it begins', [start, gap(1, 1, 0)], /out of range/],
      ['a gap up to 2^64', [start, gap(1, 1, 2n ** 64n - 1n)], /out of range/],
      ['a gap of 2^64 packets', [start, gap(1, 1, 1, 2n ** 64n - 1n)], /out of range/],
      ['an end at another sequence', [start, onePacket(1), captureEnd(1, 2)], /1 was the last/],
      ['a batch after the end', [start, onePacket(1), captureEnd(1, 1), onePacket(2)], /not open/],
      ['a gap after the end', [start, captureEnd(1, 0), gap(1, 1, 1)], /not open/],
      ['counters after the end', [start, captureEnd(1, 0), bytes(5, uint(1, 1))], /not open/],
    ];
    for (const [name, messages, message, code = 'PROTOCOL'] of cases) {
      it(`${name}: ${code}`, async (t) => {
        const peer = await greeted(t);
        peer.send(...messages);
        const refusal = await peer.refusal();
        assert.match(refusal.message, message);
        assert.equal(refusal.code, code);
      });
    }
  });

  it('what is unusual but allowed arrives', async (t) => {
    const peer = await greeted(t, 'allowed');
    const times = [0n, 1n, 4_294_967_295_999_999_999n];
    const unknown = Buffer.concat([uint(900, 2n ** 64n - 1n), bytes(901, 'x'), fixed64(902, 1n)]);
    peer.send(
      captureStart(65_535, { snaplen: 262_144, linkType: 189 }),
      // Sequences that the collector has already are ignored.
      onePacket(1, 65_535),
      onePacket(1, 65_535),
      batch(
        { capture: 65_535, sequence: 2, firstPacket: 2 },
        Buffer.concat(times.map((timestampNs) => packet({ timestampNs, data: Buffer.from('time') }))),
      ),
      batch(
        { capture: 65_535, sequence: 3, firstPacket: 5 },
        Buffer.concat([unknown, packet({ timestampNs: 5n, data: Buffer.alloc(262_144) }), unknown]),
      ),
      batch({ capture: 65_535, sequence: 4, firstPacket: 6 }, Buffer.concat(Array<Buffer>(65_536).fill(bytes(4, '')))),
      gap(65_535, 5, 7, 30),
      batch({ capture: 65_535, sequence: 8, firstPacket: 65_572 }, small()),
      captureEnd(65_535, 8),
    );
    await peer.ended(65_535);
    const [file] = collector.published().filter((f) => f.includes('/allowed/'));
    assert.ok(file !== undefined && file.endsWith('.pcap.linktype-189'), file);
    assert.equal(packetsIn(file), 1 + 3 + 1 + 65_536 + 1);
  });

  it('4096 captures one after another are fine, and no more, on another connection of the run neither', async (t) => {
    const run = randomBytes(16);
    const peer = await Peer.connect(t, collector.port);
    peer.send(hello({ token, host: 'many', run }));
    await until('Welcome', () => peer.answers[0]?.welcome);
    for (let first = 1; first <= 4096; first += 256) {
      const numbers = Array.from({ length: 256 }, (_, i) => first + i);
      peer.send(...numbers.flatMap((n) => [captureStart(n), captureEnd(n, 0)]));
      await Promise.all(numbers.map((n) => peer.ended(n)));
    }
    peer.send(captureStart(4097));
    const limit = { code: 'LIMIT', message: 'more than 4096 captures of one run' };
    assert.deepEqual(await peer.refusal(), limit);
    const again = await Peer.connect(t, collector.port);
    again.send(hello({ token, host: 'many', run }));
    await until('Welcome', () => again.answers[0]?.welcome);
    again.send(captureStart(65_535));
    assert.deepEqual(await again.refusal(), limit);
    const used = await Peer.connect(t, collector.port);
    used.send(hello({ token, host: 'many', run }));
    await until('Welcome', () => used.answers[0]?.welcome);
    used.send(captureStart(4096));
    assert.match((await used.refusal()).message, /started already/);
  });

  describe('that resumes', () => {
    const cases: [name: string, more: Uint8Array[], message: RegExp][] = [
      ['sequence 0', [resume(1, 0, 1)], /out of range/],
      ['sequence 2^53', [resume(1, 2n ** 53n, 1)], /out of range/],
      ['a negative sequence', [resume(1, 2n ** 64n - 1n, 1)], /out of range/],
      ['packet 0', [resume(1, 1, 0)], /out of range/],
      ['packet 2^53', [resume(1, 1, 2n ** 53n)], /out of range/],
      ['capture 0', [resume(0, 1)], /out of range/],
      ['nothing', [bytes(7, '')], /out of range/],
      ['one capture twice', [resume(1, 1), resume(1, 1)], /resumed twice/],
      ['70,000 captures', Array.from({ length: 70_000 }, (_, n) => resume(n, 1)), /longer than/],
    ];
    for (const [name, more, message] of cases) {
      it(`${name}: PROTOCOL`, async (t) => {
        const peer = await Peer.connect(t, collector.port);
        peer.send(hello({ token, host: 'resumer', more: Buffer.concat(more) }));
        const refusal = await peer.refusal();
        assert.equal(refusal.code, 'PROTOCOL');
        assert.match(refusal.message, message);
      });
    }
  });

  it("another's run is taken neither over nor on with", async (t) => {
    const run = randomBytes(16);
    const own = await Peer.connect(t, collector.port);
    own.send(hello({ token, host: 'owner', run }));
    await until('Welcome', () => own.answers[0]?.welcome);
    own.send(captureStart(), onePacket(1));
    await until('an acknowledgement', () => own.acknowledged() === 1);
    const stranger = await Peer.connect(t, collector.port);
    stranger.send(hello({ token: await collector.token(), host: 'owner', run, more: resume(1, 1) }));
    assert.deepEqual(await stranger.refusal(), { code: 'TOKEN', message: 'this run began with another token' });
    own.send(onePacket(2), captureEnd(1, 2));
    await own.ended();
    assert.ok(!own.closed);
    // Its own token takes it over, and all that was sent stays.
    const again = await Peer.connect(t, collector.port);
    again.send(hello({ token, host: 'owner', run, more: resume(1, 1) }));
    const welcome = await until('Welcome', () => again.answers[0]?.welcome ?? undefined);
    assert.deepEqual([welcome.captures[0]!.lastSequence, welcome.captures[0]!.ended], [2, true]);
    assert.equal((await own.refusal()).code, 'SUPERSEDED');
    again.end();
  });

  it('a hundred connections of one run, all at once, leave one', async (t) => {
    const run = randomBytes(16);
    const peers = await Promise.all(Array.from({ length: 100 }, () => Peer.connect(t, collector.port)));
    for (const p of peers) p.send(hello({ token, host: 'crowd', run }));
    await until('the others to be closed', () => peers.filter((p) => p.closed).length === 99);
    for (const p of peers.filter((p) => p.closed)) assert.equal((await p.refusal()).code, 'SUPERSEDED');
    const [last] = peers.filter((p) => !p.closed);
    await until('Welcome', () => last!.answers[0]?.welcome);
    last!.send(captureStart(), onePacket(1), captureEnd(1, 1));
    await last!.ended();
  });

  it('who says more before the Welcome is refused', async (t) => {
    const peer = await Peer.connect(t, collector.port);
    peer.send(hello({ token, host: 'hasty' }), captureStart());
    assert.deepEqual(await peer.refusal(), {
      code: 'PROTOCOL',
      message: 'a message came between Hello and Welcome',
    });
  });

  it('signs of life are nothing else, and a Status comes every 5 seconds', async (t) => {
    const peer = await greeted(t, 'alive');
    for (let n = 0; n < 1000; n++) peer.send(ALIVE);
    const statuses = () => peer.answers.filter((a) => a.status);
    const began = performance.now();
    await until('two of them', () => statuses().length === 2);
    const ms = performance.now() - began;
    assert.ok(ms > 9000, `after ${ms} ms`);
    assert.deepEqual([peer.closed, statuses()[0]!.status!.behind ?? false], [false, false]);
    peer.end();
  });

  it('small TLS records that arrive faster than the disk takes them are not mixed up', async (t) => {
    const peer = await greeted(t, 'records');
    peer.send(captureStart(1), captureStart(2));
    // The collector sleeps, and then finds many records at once.
    collector.kill('SIGSTOP');
    // Each change of captures is a write of its own, so that it must often wait.
    for (let sequence = 1; sequence <= 3000; sequence++) {
      for (const capture of [1, 2]) await peer.written(onePacket(sequence, capture));
    }
    collector.kill('SIGCONT');
    peer.send(captureEnd(1, 3000), captureEnd(2, 3000));
    await Promise.all([peer.ended(1), peer.ended(2)]);
    const files = collector.published().filter((f) => f.includes('/records/'));
    const found = files.flatMap((f) =>
      [...readFileSync(f, 'latin1').matchAll(/packet (\d+)/g)].map((m) => Number(m[1])),
    );
    const expected = [1, 2].flatMap(() => Array.from({ length: 3000 }, (_, i) => i + 1));
    assert.deepEqual(
      found.toSorted((a, b) => a - b),
      expected.toSorted((a, b) => a - b),
    );
  });

  it('no TLS, plain HTTP and TLS 1.2 are closed', async (t) => {
    const plain = (data: string) => {
      const socket = tcp(t, collector.port);
      socket.write(data);
      return closed(socket);
    };
    await Promise.all([
      plain('GET / HTTP/1.1\r\n\r\n'),
      plain('\0'.repeat(70_000)),
      plain('\x16\x03\x01\xff\xff' + 'A'.repeat(70_000)),
    ]);
    const old = connectTls({
      port: collector.port,
      host: '127.0.0.1',
      maxVersion: 'TLSv1.2',
      rejectUnauthorized: false,
    });
    const [error] = (await once(old, 'error')) as [NodeJS.ErrnoException];
    assert.match(error.code ?? '', /ALERT_PROTOCOL_VERSION/);
  });

  it('leaving at every step ends nothing, in order or by reset', async (t) => {
    tcp(t, collector.port).end();
    tcp(t, collector.port).once('connect', function (this: Socket) {
      this.resetAndDestroy();
    });
    // The first bytes of a TLS handshake, which then goes no further.
    tcp(t, collector.port).end(Buffer.from('16030100b4010000b00303', 'hex'));
    const session = Buffer.concat(
      [hello({ token, host: 'leaver' }), captureStart(), onePacket(1), onePacket(2), captureEnd(1, 2)].map(frame),
    );
    const steps = Array.from({ length: 25 }, (_, i) => Math.ceil((session.length * i) / 24));
    for (const leave of ['end', 'reset'] as const) {
      for (const step of steps) {
        const peer = await Peer.connect(t, collector.port);
        peer.write(session.subarray(0, step));
        if (step > 150) await until('an answer', () => peer.answers[0] ?? peer.closed);
        peer[leave]();
      }
    }
  });

  it('a reset in the middle of a batch keeps the whole batches before it', async (t) => {
    const peer = await greeted(t, 'cut-off');
    peer.send(captureStart(), onePacket(1), onePacket(2));
    peer.write(frame(onePacket(3)).subarray(0, -3));
    await until('acknowledgements', () => peer.acknowledged() === 2);
    peer.reset();
    const file = await until('its file', () => collector.published().find((f) => f.includes('/cut-off/')));
    assert.equal(packetsIn(file), 2);
    const manifest = await until('its manifest', () => manifestOf(file));
    assert.equal(manifest['end'], null);
    assert.equal(manifest['closedBy'], 'disconnected');
  });

  it('a bad end mark costs no packet', async (t) => {
    const peer = await greeted(t, 'bad-end');
    const counters = bytes(3, Buffer.concat([uint(1, 1), uint(2, 2n ** 64n - 1n)]));
    peer.send(captureStart(), onePacket(1), bytes(6, Buffer.concat([uint(1, 1), counters, uint(4, 1)])));
    assert.match((await peer.refusal()).message, /counter is out of range/);
    const file = await until('its file', () => collector.published().find((f) => f.includes('/bad-end/')));
    assert.equal(packetsIn(file), 1);
  });

  it('who says no Hello, or takes for ever, is closed', async (t) => {
    const silent = await Peer.connect(t, collector.port);
    const slow = await Peer.connect(t, collector.port);
    const drops = setInterval(() => !slow.closed && slow.write(Buffer.of(0x80)), 4000);
    t.after(() => clearInterval(drops));
    slow.write(varint(1000));
    const noTls = tcp(t, collector.port);
    const halfTls = tcp(t, collector.port);
    halfTls.write(Buffer.from('16030100b4010000b00303', 'hex'));
    const gone = [noTls, halfTls].map(closed);
    assert.match((await silent.refusal()).message, /no Hello within 10 s/);
    assert.match((await slow.refusal()).message, /no Hello within 10 s/);
    await Promise.all(gone);
  });

  it('random changes to a good session end nothing else', async (t) => {
    const messages = (run: Uint8Array) => [
      hello({ token, host: 'fuzzed', run }),
      captureStart(),
      onePacket(1),
      batch({ sequence: 2, firstPacket: 2 }, Buffer.concat([small(), small(Buffer.alloc(300)), small('')])),
      gap(1, 3, 4, 10),
      bytes(5, Buffer.concat([uint(1, 1), uint(2, 100)])),
      batch({ sequence: 5, firstPacket: 15 }, small()),
      captureEnd(1, 5),
    ];
    const change = fc.record({ at: fc.nat(), remove: fc.nat(12), insert: fc.uint8Array({ maxLength: 12 }) });
    const changes = fc.tuple(fc.boolean(), fc.array(change, { minLength: 1, maxLength: 4 }));
    await fuzz(
      fc.asyncProperty(changes, async ([inHello, list]) => {
        const [first, ...rest] = messages(randomBytes(16)).map(frame);
        let session = Buffer.concat(rest);
        if (inHello) session = Buffer.concat([first!, session]);
        for (const c of list) {
          const at = c.at % session.length;
          session = Buffer.concat([session.subarray(0, at), c.insert, session.subarray(at + c.remove)]);
        }
        const peer = await Peer.connect(t, collector.port);
        peer.write(inHello ? session : Buffer.concat([first!, session]));
        await until('an answer', () => peer.answers[0] ?? peer.closed, 15_000);
        peer.end();
        await until('the end of the connection', () => peer.closed, 15_000);
        assert.ok(collector.running && !steady.peer.closed);
      }),
      300,
    );
  });

  it('at the end the other agent has lost nothing, and only published files are left', async (t) => {
    await steady.finish();
    over = true;
    // Whoever left has their files published soon after.
    await until('every file to be published', () => !collector.files().some((f) => /\.(part|new|journal)$/.test(f)));
    const mebibytes = Math.round(collector.residentBytes / 2 ** 20);
    t.diagnostic(`the collector's resident memory: ${mebibytes} MiB`);
    assert.ok(mebibytes < 600, `${mebibytes} MiB`);
    const { code, stderr } = await collector.stop();
    assert.equal(code, 0, stderr);
    const published = collector.published();
    const said = execFileSync('capinfos', ['-c', '-M', ...published], { encoding: 'utf8', maxBuffer: 1 << 26 });
    const counts = [...said.matchAll(/^Number of packets:\s+(\d+)$/gm)].map((m) => Number(m[1]));
    assert.deepEqual(
      counts,
      published.map((f) => manifestOf(f)!['packets']),
    );
    assert.ok(counts.every((n) => n > 0));
    const steadyPackets = published.flatMap((f, i) => (f.includes('/steady/') ? [counts[i]!] : []));
    assert.equal(
      steadyPackets.reduce((a, b) => a + b, 0),
      steady.sent,
    );
    assert.deepEqual(readdirSync(collector.folder).toSorted(), ['captures', 'state']);
    const known = /^(tokens\/[0-9a-f]{8}\.(json|use|revoked)|runs\/[0-9a-f]{32}\.json)$/;
    const state = filesUnder(collector.state).filter((f) => !known.test(f));
    assert.deepEqual(state, ['cert.pem', 'key.pem']);
  });
});

describe('an agent that never reads', { timeout: 600_000 }, () => {
  it('is cut off before the collector remembers much for it', async (t) => {
    const collector = await Collector.start(t, { flags: ['--sync-time', '1ms'] });
    const token = await collector.token('--host', '*');
    const peer = await Peer.greeted(t, collector.port, token, 'deaf');
    peer.pause();
    const rssBefore = collector.residentBytes;
    const captures = Array.from({ length: 200 }, (_, i) => i + 1);
    peer.send(...captures.map((c) => captureStart(c)));
    for (let n = 201, sequence = 1; !peer.closed; sequence++) {
      // Each of these is answered.
      peer.send(...captures.map((c) => gap(c, sequence, sequence)));
      for (const end = Math.min(n + 500, 65_536); n < end; n++) peer.send(captureStart(n), captureEnd(n, 0));
      await peer.drained();
      await sleep(1);
      assert.ok(collector.residentBytes < rssBefore + 300 * 2 ** 20, 'its memory grows');
    }
    assert.ok(collector.running);
    const other = await Peer.greeted(t, collector.port, token, 'other');
    other.end();
    assert.equal((await collector.stop()).code, 0);
  });
});

const revoke = (c: Collector, token: string) => [
  join(import.meta.dirname, '../collector.ts'),
  'token',
  'revoke',
  token.slice(5, 13),
  '--state',
  c.state,
];

function tcp(t: Cleaner, port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => {});
  t.after(() => void socket.destroy());
  return socket;
}

const closed = (socket: Socket) =>
  bounded('the collector to close', new Promise((resolve) => void socket.resume().on('close', resolve)));

function manifestOf(file: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(readFileSync(file.replace(/\.pcap(\.linktype-\d+)?$/, '.json'), 'utf8')) as Record<
      string,
      unknown
    >;
  } catch {
    return undefined;
  }
}

/** A good agent that sends a packet now and then, all the while. */
class Steady {
  sent = 0;
  readonly peer: Peer;
  readonly #timer: NodeJS.Timeout;

  private constructor(peer: Peer) {
    this.peer = peer;
    peer.send(captureStart());
    this.#timer = setInterval(() => peer.send(onePacket(++this.sent)), 20);
  }

  static async start(t: Cleaner, port: number, token: string): Promise<Steady> {
    const steady = new Steady(await Peer.greeted(t, port, token, 'steady'));
    cleanUp(t, () => clearInterval(steady.#timer));
    return steady;
  }

  async finish(): Promise<void> {
    clearInterval(this.#timer);
    this.peer.send(captureEnd(1, this.sent));
    await this.peer.ended();
    this.peer.end();
  }
}
