import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { RcapError } from '../errors.ts';
import { fileHeader } from '../formats/pcap.ts';
import { FaultyDisk } from '../test/faulty-disk.ts';
import { fuzz } from '../test/fuzz.ts';
import {
  HandClock,
  type IntakeSetting,
  memoryFolder,
  openIntake,
  openStore,
  LiveClock,
  RUN as RUN_HEX,
  type StoreSetting,
} from '../test/storage.ts';
import { type Cleaner, filesUnder, until } from '../test/support.ts';
import * as wire from '../test/wire.ts';
import type { TestPacket } from '../test/wire.ts';
import { rcap } from '../wire/messages.js';
import { type Arrived, Assembler, NO_SETTINGS, type Sealed, sealDocument } from '../wire/settings.ts';
import { hostFolder } from './names.ts';

const RUN = Buffer.from(RUN_HEX, 'hex');
const { Code } = rcap.v1.Refusal;

/** An intake without a socket, on a real store. */
async function intakeIn(t: Cleaner, options: IntakeSetting & StoreSetting & { refuse?: RcapError } = {}) {
  const opened = await openStore(t, {
    folder: memoryFolder(t),
    ...options,
    options: { syncMs: 5, ...options.options },
  });
  /** Packets of each slab that a writer got. */
  const appended: number[] = [];
  const admitted: [token: string, host: string, run: string][] = [];
  const intake = openIntake(opened, {
    admit(token, host, run) {
      if (options.refuse) throw options.refuse;
      admitted.push([token, host, run]);
      return 'abcdef01';
    },
    onWriter: (writer) => {
      const append = writer.append.bind(writer);
      writer.append = (slab) => {
        appended.push(slab.packets);
        append(slab);
      };
    },
    ...options,
  });
  /** Pushes messages; after a Hello that comes first waits for its answer. */
  const say = async (...messages: Uint8Array[]): Promise<boolean> => {
    const greets = !intake.welcome() && messages[0]?.[0] === 0x0a;
    if (greets) {
      assert.ok(intake.intake.push(frames(messages.shift()!)));
      await intake.greeted();
    }
    return intake.intake.push(frames(...messages));
  };
  const { folders } = opened;
  return {
    ...intake,
    ...opened,
    say,
    appended,
    admitted,
    files: (ending = '.pcap') => folders.names(ending),
    manifests: () => folders.manifests(),
    bytes: (name: string) => folders.bytes(name),
  };
}

const frames = (...messages: Uint8Array[]) => Buffer.concat(messages.map(wire.frame));

interface HelloFields {
  protocol?: number;
  run?: Uint8Array;
  host?: string | Uint8Array;
  system?: string;
  agent?: string;
  token?: string;
  more?: Uint8Array[];
}
const hello = (h: HelloFields = {}) =>
  wire.bytes(
    1,
    Buffer.concat([
      wire.uint(1, h.protocol ?? 1),
      wire.bytes(2, h.run ?? RUN),
      wire.bytes(3, Buffer.concat([wire.bytes(1, h.host ?? 'web01'), wire.bytes(2, h.system ?? 'linux x64')])),
      wire.bytes(4, h.agent ?? 'a test'),
      wire.fixed64(5, 1_700_000_000_000_000_000n),
      wire.bytes(6, h.token ?? 'the token'),
      ...(h.more ?? []),
    ]),
  );

interface StartFields {
  capture?: number;
  linkType?: number;
  snaplen?: number;
  more?: Uint8Array[];
}
const captureStart = (s: StartFields = {}) =>
  wire.bytes(
    2,
    Buffer.concat([
      wire.uint(1, s.capture ?? 1),
      wire.bytes(2, 'eth0'),
      wire.uint(5, s.linkType ?? 1),
      wire.uint(6, s.snaplen ?? 1000),
      ...(s.more ?? []),
    ]),
  );
const gap = (
  capture: number,
  first: number,
  last: bigint | number,
  packets: bigint | number,
  bytes: bigint | number = 1,
) =>
  wire.bytes(
    4,
    Buffer.concat([
      wire.uint(1, capture),
      wire.uint(2, first),
      wire.uint(3, last),
      wire.uint(4, packets),
      wire.uint(5, bytes),
    ]),
  );
const counters = (capture: number, received: number) =>
  wire.bytes(5, Buffer.concat([wire.uint(1, capture), wire.uint(2, received)]));
const captureEnd = (capture: number, last: number, reason = 'count') =>
  wire.bytes(6, Buffer.concat([wire.uint(1, capture), wire.bytes(2, reason), wire.uint(4, last)]));

/** An event of exclusions, good but for what is given. */
const event = (number: number, e: { kind?: number; time?: bigint; more?: Uint8Array[] } = {}) =>
  wire.bytes(
    2,
    Buffer.concat([
      wire.uint(1, number),
      wire.fixed64(2, e.time ?? 1_700_000_000_000_000_000n),
      wire.uint(3, e.kind ?? 4),
      ...(e.more ?? [wire.bytes(7, 'example.com'), wire.bytes(8, '192.0.2.9')]),
    ]),
  );
const total = (name: string, packets: bigint | number) =>
  wire.bytes(3, Buffer.concat([wire.bytes(1, name), wire.uint(2, packets), wire.uint(3, 100)]));
const exclusions = (capture: number, ...parts: Uint8Array[]) =>
  wire.bytes(9, Buffer.concat([wire.uint(1, capture), ...parts]));
const state = (digest: Uint8Array, accepted: boolean, reason = '') =>
  wire.bytes(8, Buffer.concat([wire.bytes(1, digest), wire.uint(2, Number(accepted)), wire.bytes(3, reason)]));

const packetsOf = (count: number, seed = 0): TestPacket[] =>
  Array.from({ length: count }, (_, i) => ({
    timestampNs: 1_700_000_000_000_000_000n + BigInt(seed + i),
    data: Buffer.alloc((seed + i) % 90, seed + i),
    original: 100,
  }));
const batch = (capture: number, sequence: number, firstPacket: number, packets: TestPacket[]) =>
  wire.batch({ capture, sequence, firstPacket }, Buffer.concat(packets.map(wire.packet)));

const OPENED = [hello(), captureStart()];
const pcap = (packets: TestPacket[], linkType = 1, snaplen = 1000) =>
  Buffer.concat([fileHeader(linkType, snaplen, 'nano'), wire.records(packets)]);

/** Ends as the server does when the connection is over, and expects nothing left open. */
async function end(i: Awaited<ReturnType<typeof intakeIn>>): Promise<void> {
  await i.intake.end('disconnected');
  assert.deepEqual(i.files('.part'), []);
}

test('a whole capture becomes its file, its manifest and its acknowledgements', async (t) => {
  const i = await intakeIn(t);
  const [a, b] = [packetsOf(3), packetsOf(5, 3)];
  assert.ok(await i.say(...OPENED, batch(1, 1, 1, a), batch(1, 2, 4, b), counters(1, 99), captureEnd(1, 2)));
  await until('the end', () => i.acks().some((x) => x.ended));
  await end(i);
  assert.deepEqual(i.admitted, [['the token', 'web01', RUN.toString('hex')]]);
  const [welcome] = i.answers;
  assert.deepEqual([welcome!.welcome!.protocol, welcome!.welcome!.collector], [1, 'rcap-collector test']);
  assert.ok(i.bytes(i.files()[0]!).equals(pcap([...a, ...b])));
  const [m] = i.manifests();
  assert.deepEqual(
    [m!.host, m!.peer, m!.token, m!.run, m!.interface, m!.packets, m!.firstSequence, m!.lastSequence],
    ['web01', '192.0.2.1:5555', 'abcdef01', RUN.toString('hex'), 'eth0', 8, 1, 2],
  );
  // What was heard before is not what the end says.
  assert.deepEqual([m!.end!.reason, m!.end!.counters, m!.counters!.received], ['count', null, 99]);
  const last = i.acks().at(-1)!;
  assert.deepEqual([last.capture, last.sequence, last.ended], [1, 2, true]);
  assert.deepEqual(i.intake.received, { packets: 8, packetBytes: [...a, ...b].reduce((n, p) => n + p.data.length, 0) });
  assert.equal(i.refusal(), undefined);
});

test('what comes first is written and acknowledged at once, what follows is gathered', async (t) => {
  const i = await intakeIn(t, { options: { syncMs: 60_000 } });
  const sets = [packetsOf(3), packetsOf(5, 3), packetsOf(2, 8)];
  await i.say(...OPENED, batch(1, 1, 1, sets[0]!));
  await until('the first acknowledgement', () => i.acks()[0]);
  assert.ok(i.bytes(i.files('.pcap.part')[0]!).equals(pcap(sets[0]!)));
  i.intake.push(frames(batch(1, 2, 4, sets[1]!)));
  i.intake.push(frames(batch(1, 3, 9, sets[2]!)));
  assert.deepEqual(i.appended, [3]);
  await end(i);
  assert.deepEqual(i.appended, [3, 7]);
  assert.ok(i.bytes(i.files()[0]!).equals(pcap(sets.flat())));
  assert.equal(i.acks().at(-1)!.sequence, 3);
});

test('what is gathered is written when its time has come, also if nothing follows', async (t) => {
  const i = await intakeIn(t, { options: { syncMs: 50 } });
  await i.say(...OPENED, batch(1, 1, 1, packetsOf(3)));
  await until('the first acknowledgement', () => i.acks()[0]);
  i.intake.push(frames(batch(1, 2, 4, packetsOf(5, 3))));
  await until('the second', () => i.acks().find((a) => a.sequence === 2));
  assert.ok(i.bytes(i.files('.pcap.part')[0]!).equals(pcap([...packetsOf(3), ...packetsOf(5, 3)])));
  await end(i);
});

test('a capture whose packets are still gathered is not idle', async (t) => {
  const i = await intakeIn(t, { options: { syncMs: 60_000, rotateIdleMs: 1000 } });
  const sets = [packetsOf(3), packetsOf(5, 3)];
  await i.say(...OPENED, batch(1, 1, 1, sets[0]!));
  await until('the first acknowledgement', () => i.acks()[0]);
  i.intake.push(frames(batch(1, 2, 4, sets[1]!)));
  await sleep(1100);
  i.intake.tick();
  await end(i);
  assert.equal(i.files().length, 1);
  assert.ok(i.bytes(i.files()[0]!).equals(pcap(sets.flat())));
});

test('the stream cut in two at every byte gives the same file', async (t) => {
  const [a, b] = [packetsOf(2), packetsOf(2, 2)];
  const first = frames(hello());
  const stream = frames(captureStart(), batch(1, 1, 1, a), batch(1, 2, 3, b), captureEnd(1, 2));
  for (let cut = 0; cut <= stream.length; cut++) {
    const i = await intakeIn(t);
    const helloCut = cut % (first.length + 1);
    i.intake.push(first.subarray(0, helloCut));
    if (helloCut < first.length) assert.equal(i.intake.host, '');
    i.intake.push(first.subarray(helloCut));
    await i.greeted();
    i.intake.push(stream.subarray(0, cut));
    i.intake.push(stream.subarray(cut));
    await end(i);
    assert.ok(i.bytes(i.files()[0]!).equals(pcap([...a, ...b])), `cut at ${cut}`);
    i.store.close();
  }
});

test('a connection that is cut publishes all whole batches, and no end mark', async (t) => {
  const i = await intakeIn(t);
  await i.say(...OPENED);
  i.intake.push(frames(batch(1, 1, 1, packetsOf(3)), batch(1, 2, 4, packetsOf(5))).subarray(0, -1));
  await end(i);
  assert.ok(i.bytes(i.files()[0]!).equals(pcap(packetsOf(3))));
  assert.deepEqual([i.manifests()[0]!.end, i.manifests()[0]!.closedBy], [null, 'disconnected']);
});

test('several captures of one connection, mixed, each go into their own file', async (t) => {
  const i = await intakeIn(t);
  const sets = new Map<number, TestPacket[]>([1, 2, 3].map((n) => [n, []]));
  await i.say(hello());
  const messages = [
    captureStart(),
    captureStart({ capture: 2, linkType: 113 }),
    captureStart({ capture: 3, linkType: 101 }),
  ];
  for (let n = 0; n < 60; n++) {
    const capture = 1 + (n % 3);
    const mine = sets.get(capture)!;
    const more = packetsOf(1 + (n % 7), n * 10);
    messages.push(batch(capture, 1 + Math.floor(n / 3), mine.length + 1, more));
    mine.push(...more);
  }
  messages.push(...[3, 1, 2].map((n) => captureEnd(n, 20)));
  await i.feed(frames(...messages));
  await end(i);
  const manifests = i.manifests().toSorted((a, b) => a.capture - b.capture);
  assert.deepEqual(
    manifests.map((m) => [m.capture, m.linkType]),
    [
      [1, 1],
      [2, 113],
      [3, 101],
    ],
  );
  for (const m of manifests) assert.ok(i.bytes(m.file).equals(pcap(sets.get(m.capture)!, m.linkType)));
  assert.equal(i.refusal(), undefined);
});

test('a batch that is there already is ignored, whatever is in it', async (t) => {
  const i = await intakeIn(t);
  const [a, b] = [packetsOf(3), packetsOf(2, 3)];
  await i.say(
    ...OPENED,
    batch(1, 1, 1, a),
    batch(1, 1, 1, packetsOf(9)),
    batch(1, 2, 4, b),
    batch(1, 1, 77, []),
    batch(1, 2, 4, b),
  );
  await end(i);
  assert.equal(i.refusal(), undefined);
  assert.ok(i.bytes(i.files()[0]!).equals(pcap([...a, ...b])));
});

test('a gap takes the place of its batches, and is written down', async (t) => {
  const i = await intakeIn(t);
  const [a, b] = [packetsOf(3), packetsOf(2, 3)];
  await i.say(...OPENED, batch(1, 1, 1, a), gap(1, 2, 5, 40, 1234), batch(1, 6, 44, b), captureEnd(1, 6));
  await end(i);
  assert.equal(i.refusal(), undefined);
  const [m] = i.manifests();
  const time = '1970-01-01T00:00:00.000000000Z';
  const times = { firstPacketTime: time, lastPacketTime: time };
  assert.deepEqual(m!.gaps, [{ firstSequence: 2, lastSequence: 5, packets: 40, bytes: 1234, ...times }]);
  assert.deepEqual([m!.packets, m!.lastSequence], [5, 6]);
  assert.ok(i.bytes(m!.file).equals(pcap([...a, ...b])));
});

const p = packetsOf(2);
const long = 'x'.repeat(256);
const REFUSED: [what: string, messages: Uint8Array[], words: RegExp, code?: rcap.v1.Refusal.Code][] = [
  ['a first message that is no Hello', [captureStart()], /first message must be Hello/],
  ['a Batch before Hello', [batch(1, 1, 1, p)], /first message must be Hello/],
  ['a second Hello', [...OPENED, hello()], /second Hello/],
  ['another protocol version', [hello({ protocol: 2 })], /version 2, this collector 1/, Code.VERSION],
  ['a run of 15 bytes', [hello({ run: RUN.subarray(1) })], /16 bytes/],
  ['a run of 17 bytes', [hello({ run: Buffer.alloc(17) })], /16 bytes/],
  ['an empty host name', [hello({ host: '' })], /host name is empty/],
  ['a host name that is too long', [hello({ host: long })], /host name is longer than 255/],
  ['a host name of 10,000 bytes', [hello({ host: 'é'.repeat(5000) })], /host name is longer/],
  ['a token that is too long', [hello({ token: 'x'.repeat(257) })], /token is longer/],
  ['a system that is too long', [hello({ system: long })], /system is longer/],
  ['an agent that is too long', [hello({ agent: long })], /agent is longer/],
  ['a Hello of 70,000 bytes', [Buffer.concat([hello({ system: 'x'.repeat(70_000) })])], /Hello is longer/],
  ['a Batch before its CaptureStart', [hello(), batch(1, 1, 1, p)], /capture 1 is not open/],
  ['a Batch of another capture', [...OPENED, batch(2, 1, 1, p)], /capture 2 is not open/],
  ['a Gap before its CaptureStart', [hello(), gap(1, 1, 1, 1)], /capture 1 is not open/],
  ['Counters before their CaptureStart', [hello(), counters(1, 1)], /capture 1 is not open/],
  ['a CaptureEnd before its CaptureStart', [hello(), captureEnd(1, 0)], /capture 1 is not open/],
  ['capture 0', [hello(), captureStart({ capture: 0 })], /capture 0 is out of range/],
  ['capture 65,536', [hello(), captureStart({ capture: 65_536 })], /capture 65536 is out of range/],
  ['a second CaptureStart', [...OPENED, captureStart()], /started already/],
  ['a CaptureStart after its end', [...OPENED, captureEnd(1, 0), captureStart()], /started already/],
  [
    '257 captures',
    [hello(), ...Array.from({ length: 257 }, (_, n) => captureStart({ capture: n + 1 }))],
    /more than 256/,
    Code.LIMIT,
  ],
  ['link type 65,536', [hello(), captureStart({ linkType: 65_536 })], /link type 65536/],
  ['FCS bits in the link type', [hello(), captureStart({ linkType: 0x1400_0001 })], /link type/],
  ['snaplen 0', [hello(), captureStart({ snaplen: 0 })], /snaplen 0 is/],
  ['snaplen 262,145', [hello(), captureStart({ snaplen: 262_145 })], /snaplen 262145/],
  ['an interface that is too long', [hello(), captureStart({ more: [wire.bytes(2, long)] })], /interface is longer/],
  [
    'a friendly name that is too long',
    [hello(), captureStart({ more: [wire.bytes(3, long)] })],
    /friendly name is longer/,
  ],
  [
    'an address that is too long',
    [hello(), captureStart({ more: [wire.bytes(4, 'x'.repeat(65))] })],
    /address is longer/,
  ],
  [
    '257 addresses',
    [hello(), captureStart({ more: Array.from({ length: 257 }, () => wire.bytes(4, '::')) })],
    /too many addresses/,
  ],
  [
    'a filter that is too long',
    [hello(), captureStart({ more: [wire.bytes(7, 'x'.repeat(65_537))] })],
    /filter is longer/,
  ],
  [
    'a source that is too long',
    [hello(), captureStart({ more: [wire.bytes(10, 'x'.repeat(17))] })],
    /source is longer/,
  ],
  ['a file name that is too long', [hello(), captureStart({ more: [wire.bytes(11, long)] })], /file is longer/],
  ['a hole', [...OPENED, batch(1, 1, 1, p), batch(1, 3, 3, p)], /goes on at sequence 3, but 1 was the last/],
  ['a first sequence of 2', [...OPENED, batch(1, 2, 1, p)], /goes on at sequence 2/],
  ['sequence 0', [...OPENED, batch(1, 0, 1, p)], /count from 1/],
  ['a sequence of 2^53', [...OPENED, wire.batch({ sequence: 2n ** 53n }, wire.packet(p[0]!))], /out of range/],
  ['first_packet too low', [...OPENED, batch(1, 1, 1, p), batch(1, 2, 2, p)], /first_packet is 2, not 3/],
  ['first_packet too high', [...OPENED, batch(1, 1, 2, p)], /first_packet is 2, not 1/],
  ['a batch without packets', [...OPENED, batch(1, 1, 1, [])], /batch is empty/],
  [
    'a packet longer than the snaplen',
    [hello(), captureStart({ snaplen: 9 }), batch(1, 1, 1, [{ timestampNs: 1n, data: Buffer.alloc(10) }])],
    /longer than the snaplen 9/,
  ],
  [
    'captured more than there was',
    [...OPENED, batch(1, 1, 1, [{ timestampNs: 1n, data: Buffer.alloc(10), original: 9 }])],
    /below the captured length/,
  ],
  [
    'a time after 2106',
    [...OPENED, batch(1, 1, 1, [{ timestampNs: 2n ** 32n * 1_000_000_000n, data: Buffer.alloc(1) }])],
    /after 2106/,
  ],
  [
    '65,537 packets',
    [...OPENED, wire.batch({}, Buffer.concat(Array.from({ length: 65_537 }, () => Buffer.from([0x22, 0]))))],
    /more than 65536 packets|longer than 1048576/,
  ],
  [
    'a batch that grows beyond 1 MiB as records',
    [
      ...OPENED,
      wire.batch({}, Buffer.concat(Array.from({ length: 65_536 }, () => Buffer.from([0x22, 3, 0x1a, 1, 7])))),
    ],
    /longer than 1048576 bytes/,
  ],
  [
    'a batch with something behind it',
    [...OPENED, Buffer.concat([batch(1, 1, 1, p), counters(1, 1)])],
    /something else/,
  ],
  ['two kinds in one message', [...OPENED, Buffer.concat([counters(1, 1), batch(1, 1, 1, p)])], /more than one/],
  ['a kind that there is not', [...OPENED, wire.bytes(10, 'x')], /unknown kind/],
  ['a message of nonsense', [...OPENED, Buffer.from([0x12, 0x02, 0x0a, 0x7f])], /can't be decoded/],
  ['a message that is no field', [...OPENED, Buffer.alloc(5, 0xff)], /envelope/],
  ['a gap that leaves a hole', [...OPENED, gap(1, 2, 3, 1)], /goes on at sequence 2/],
  ['a gap that is known in part', [...OPENED, batch(1, 1, 1, p), gap(1, 1, 2, 1)], /goes on at sequence 1/],
  ['a gap from sequence 0', [...OPENED, gap(1, 0, 0, 1)], /goes on at sequence 0/],
  ['a gap that ends before it begins', [...OPENED, gap(1, 1, 0, 1)], /gap is out of range/],
  ['a gap of 2^60 packets', [...OPENED, gap(1, 1, 1, 2n ** 60n)], /gap is out of range/],
  ['a gap up to 2^52', [...OPENED, gap(1, 1, 2n ** 52n, 1)], /gap is out of range/],
  ['a gap of 2^52 bytes', [...OPENED, gap(1, 1, 1, 1, 2n ** 52n)], /gap is out of range/],
  [
    'gaps of 2^52 bytes together',
    [...OPENED, gap(1, 1, 1, 1, 2n ** 51n), gap(1, 2, 2, 1, 2n ** 51n)],
    /gap is out of range/,
  ],
  ['exclusions of a capture that is not open', [...OPENED, exclusions(2, event(1))], /capture 2 is not open/],
  [
    '1,001 events',
    [...OPENED, exclusions(1, ...Array.from({ length: 1001 }, (_, i) => event(i + 1)))],
    /more than 1000 events/,
  ],
  [
    '1,001 names',
    [...OPENED, exclusions(1, ...Array.from({ length: 1001 }, (_, i) => total(`${i}`, 1)))],
    /more than 1000 events or names/,
  ],
  ['an event without a number', [...OPENED, exclusions(1, event(0))], /no kind that there is, or no number/],
  ['an event of no kind', [...OPENED, exclusions(1, event(1, { kind: 0 }))], /no kind that there is/],
  ['an event of a kind that there is not', [...OPENED, exclusions(1, event(1, { kind: 8 }))], /no kind that there is/],
  ['a list without a digest', [...OPENED, exclusions(1, event(1, { kind: 1 }))], /a digest has not 32 bytes/],
  [
    'a digest of 31 bytes',
    [...OPENED, exclusions(1, event(1, { more: [wire.bytes(4, Buffer.alloc(31))] }))],
    /a digest has not 32 bytes/,
  ],
  ['an event after 2106', [...OPENED, exclusions(1, event(1, { time: 2n ** 63n }))], /time is out of range/],
  [
    'words that are too long',
    [...OPENED, exclusions(1, event(1, { more: [wire.bytes(6, 'x'.repeat(1001))] }))],
    /event's words is longer than 1000/,
  ],
  [
    'a name that is too long',
    [...OPENED, exclusions(1, event(1, { more: [wire.bytes(7, long)] }))],
    /name of an exception is longer than 255/,
  ],
  [
    'an excluded address that is too long',
    [...OPENED, exclusions(1, event(1, { more: [wire.bytes(8, 'x'.repeat(65))] }))],
    /address is longer than 64/,
  ],
  ['a total of a name that is too long', [...OPENED, exclusions(1, total(long, 1))], /name of an exception is longer/],
  ['a total of 2^53', [...OPENED, exclusions(1, total('a', 2n ** 53n))], /counter is out of range|can't be decoded/],
  ['a digest in the Hello that is none', [hello({ more: [wire.bytes(9, 'x')] })], /a digest has not 32 bytes/],
  ['a state of settings without a digest', [hello(), state(Buffer.alloc(0), true)], /a digest has not 32 bytes/],
  [
    'a reason that settings were refused that is too long',
    [hello(), state(Buffer.alloc(32), false, 'x'.repeat(4097))],
    /reason is longer than 4096/,
  ],
  ['an end before the last batch', [...OPENED, batch(1, 1, 1, p), captureEnd(1, 0)], /goes on at sequence 0/],
  ['an end after a batch that never came', [...OPENED, captureEnd(1, 1)], /goes on at sequence 1/],
  ['a reason that is too long', [...OPENED, captureEnd(1, 0, 'x'.repeat(4097))], /reason is longer/],
  ['a Batch after the end', [...OPENED, captureEnd(1, 0), batch(1, 1, 1, p)], /capture 1 is not open/],
  ['a second end', [...OPENED, captureEnd(1, 0), captureEnd(1, 0)], /capture 1 is not open/],
];
for (const [what, messages, words, code = Code.PROTOCOL] of REFUSED) {
  test(`refused: ${what}`, async (t) => {
    const i = await intakeIn(t);
    assert.ok(await i.say(...messages));
    assert.match(i.refusal()?.message ?? 'nothing was refused', words);
    assert.deepEqual([i.refusal()!.code, i.closed()], [code, 1]);
    // What comes behind is not looked at.
    const answers = i.answers.length;
    assert.ok(i.intake.push(frames(hello(), captureStart({ capture: 99 }))));
    assert.equal(i.answers.length, answers);
    await end(i);
  });
}

test('lengths that no message can have are refused', async (t) => {
  for (const bytes of [wire.varint(524_289), wire.varint(2 ** 32), Buffer.alloc(11, 0xff), wire.varint(0)]) {
    const i = await intakeIn(t);
    i.intake.push(bytes);
    assert.equal(i.refusal()!.code, Code.PROTOCOL);
  }
});

test('limits are limits: what is just allowed is taken', async (t) => {
  const i = await intakeIn(t);
  const start = captureStart({
    capture: 65_535,
    linkType: 65_535,
    snaplen: 262_144,
    more: [
      wire.bytes(2, 'x'.repeat(255)),
      wire.bytes(3, 'x'.repeat(255)),
      ...Array.from({ length: 256 }, () => wire.bytes(4, 'x'.repeat(64))),
      wire.bytes(7, 'x'.repeat(65_536)),
      wire.bytes(11, 'x'.repeat(255)),
    ],
  });
  const longest = [
    { timestampNs: 2n ** 32n * 1_000_000_000n - 1n, data: Buffer.alloc(262_144, 5), original: 0xffff_ffff },
    { timestampNs: 0n, data: Buffer.alloc(1) },
  ];
  const host = 'é'.repeat(127) + 'x';
  await i.say(
    hello({ host, token: 'x'.repeat(256) }),
    start,
    batch(65_535, 1, 1, longest),
    captureEnd(65_535, 1, 'x'.repeat(4096)),
  );
  await end(i);
  assert.equal(i.refusal(), undefined);
  const folder = hostFolder(host);
  const [m] = i.folders.manifests(folder);
  assert.equal(m!.host, host);
  assert.ok(i.folders.bytes(m!.file, folder).equals(pcap(longest, 65_535, 262_144)));
});

test('as many empty packets as a batch may have are taken', async (t) => {
  const i = await intakeIn(t);
  const many = Array.from({ length: 65_536 }, () => Buffer.from([0x22, 0]));
  await i.say(
    ...OPENED,
    wire.batch({}, Buffer.concat(many)),
    wire.batch({ sequence: 2, firstPacket: 65_537 }, Buffer.concat(many)),
  );
  await end(i);
  assert.equal(i.refusal(), undefined);
  assert.equal(i.intake.received.packets, 2 * 65_536);
  assert.equal(i.bytes(i.files()[0]!).length, 24 + 2 * 65_536 * 16);
});

test('captures that ended make room for others: 256 at once, and thousands one after the other', async (t) => {
  const i = await intakeIn(t);
  await i.say(hello());
  for (let n = 1; n <= 1000; n++) {
    i.intake.push(frames(captureStart({ capture: n }), captureEnd(n, 0)));
    if (n % 200 === 0) await until('their ends', () => i.acks().length === n);
  }
  assert.equal(i.refusal(), undefined);
  await end(i);
});

test('a refused token says so, and nothing is made', async (t) => {
  const i = await intakeIn(t, { refuse: new RcapError('TOKEN', 'the token is used up', { hint: 'make one' }) });
  await i.say(...OPENED, batch(1, 1, 1, p));
  assert.deepEqual(
    [i.refusal()!.code, i.refusal()!.message, i.refusal()!.hint],
    [Code.TOKEN, 'the token is used up', 'make one'],
  );
  assert.equal(i.intake.host, '');
  await end(i);
  assert.deepEqual(filesUnder(i.folders.folder), []);
});

test('who has no token and is over their allowance waits for the answer', async (t) => {
  const turned: [peer: string, line: string][] = [];
  const turnAway = (peer: string, line: string) => {
    turned.push([peer, line]);
    return 50;
  };
  const i = await intakeIn(t, { refuse: new RcapError('TOKEN', 'the token is not known'), turnAway });
  await i.say(hello());
  assert.deepEqual([i.refusal(), i.closed()], [undefined, 0]);
  await until('the answer', () => i.closed() === 1);
  assert.equal(i.refusal()!.code, Code.TOKEN);
  const peer = '192.0.2.1:5555';
  assert.deepEqual([turned, i.log], [[[peer, `refused ${peer}: the token is not known`]], []]);
  await end(i);
  // What is no token isn't made to wait: there is nothing to guess.
  const other = await intakeIn(t, { turnAway });
  await other.say(captureStart());
  assert.equal(other.refusal()!.code, Code.PROTOCOL);
  assert.equal(turned.length, 2);
  await end(other);
});

test('a token that is revoked ends its connection; one that expires first asks for the end, and then does', async (t) => {
  let standing: 'valid' | 'expired' | 'revoked' = 'valid';
  const asked: string[] = [];
  const open = async () => {
    standing = 'valid';
    const i = await intakeIn(t, {
      standing: (token) => {
        asked.push(token);
        return standing;
      },
    });
    await i.say(...OPENED, batch(1, 1, 1, p));
    return {
      ...i,
      at: (ms: number) => {
        (i.clock as LiveClock).skip(ms);
        i.intake.tick();
        return i.answers.flatMap((a) => (a.stop ? [`stop: ${a.stop.reason}`] : a.refusal ? [a.refusal.message] : []));
      },
    };
  };
  const revoked = await open();
  assert.deepEqual(revoked.at(0), []);
  standing = 'revoked';
  assert.deepEqual(revoked.at(1000), [], 'it is looked at every 2 s');
  assert.deepEqual(revoked.at(1001), ['the token is revoked']);
  assert.deepEqual([new Set(asked), asked.length], [new Set(['abcdef01']), 2]);
  await end(revoked);
  assert.ok(revoked.bytes(revoked.files()[0]!).equals(pcap(p)));

  const expired = await open();
  standing = 'expired';
  const stop = 'stop: its token has expired';
  assert.deepEqual(expired.at(2001), [stop]);
  assert.deepEqual(expired.at(29_000), [stop]);
  assert.deepEqual(expired.at(2001), [stop, 'the token is expired']);
  await end(expired);
});

test('a host name may hold anything; the log shows none of it raw', async (t) => {
  for (const host of ['../../etc', '\u001b[2J\0\n', '🦈']) {
    const i = await intakeIn(t);
    await i.say(hello({ host }), captureStart(), batch(1, 1, 1, p));
    await end(i);
    for (const line of [...i.log, ...i.said]) assert.match(line, /^[ -~]+$/);
    const files = filesUnder(i.folders.captures);
    assert.equal(files.length, 2);
    assert.ok(files.every((f) => /^[A-Za-z0-9_][A-Za-z0-9._-]*\/[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(f)));
    assert.deepEqual(
      i.folders.manifests(hostFolder(host)).map((m) => m.host),
      [host],
    );
  }
});

test('a refusal does not lose what came before it', async (t) => {
  const i = await intakeIn(t);
  await i.say(...OPENED, batch(1, 1, 1, p), batch(1, 2, 3, packetsOf(3, 2)), batch(1, 9, 9, p));
  assert.match(i.refusal()!.message, /goes on at sequence 9/);
  await end(i);
  assert.ok(i.bytes(i.files()[0]!).equals(pcap([...p, ...packetsOf(3, 2)])));
});

test('a batch that is wrong at its end leaves nothing of itself behind', async (t) => {
  const i = await intakeIn(t);
  const wrong = [...packetsOf(3), { timestampNs: 1n, data: Buffer.alloc(10), original: 9 }];
  await i.say(...OPENED, batch(1, 1, 1, p), batch(1, 2, 3, wrong));
  await end(i);
  assert.ok(i.bytes(i.files()[0]!).equals(pcap(p)));
  assert.equal(i.intake.received.packets, 2);
});

test('an end that is refused still publishes what came before it', async (t) => {
  const i = await intakeIn(t);
  await i.say(...OPENED, batch(1, 1, 1, p), captureEnd(1, 1, 'x'.repeat(5000)));
  assert.match(i.refusal()!.message, /reason is longer/);
  await end(i);
  assert.equal(i.files().length, 1);
  assert.equal(i.manifests()[0]!.end, null);
});

test('when the disk can not keep up, push says so, and ready when it can; nothing is lost meanwhile', async (t) => {
  const i = await intakeIn(t);
  const data = Buffer.alloc(1000, 7);
  const packets = Array.from({ length: 400 }, (_, n) => ({ timestampNs: BigInt(n), data }));
  const body = Buffer.concat(packets.map(wire.packet));
  assert.ok(await i.say(...OPENED));
  let waited = 0;
  for (let n = 0; n < 40; n++) {
    if (await i.feed(wire.frame(wire.batch({ sequence: n + 1, firstPacket: n * 400 + 1 }, body)))) waited++;
  }
  assert.ok(waited > 0, 'it never had to wait');
  await i.feed(frames(captureEnd(1, 40)));
  await end(i);
  assert.equal(i.refusal(), undefined);
  const all = Array.from({ length: 40 }, () => wire.records(packets));
  assert.ok(i.bytes(i.files()[0]!).equals(Buffer.concat([fileHeader(1, 1000, 'nano'), ...all])));
});

test('when the disk fails the agent is told without our paths', async (t) => {
  const i = await intakeIn(t);
  await i.say(...OPENED);
  rmSync(i.folders.host(), { recursive: true });
  i.intake.push(frames(batch(1, 1, 1, p)));
  await until('the refusal', () => i.refusal());
  assert.equal(i.refusal()!.code, Code.STORAGE);
  assert.ok(!JSON.stringify(i.refusal()).includes(i.folders.folder));
  await i.intake.end('disconnected');
  assert.deepEqual(i.acks(), []);
});

/** Holds an intake against any stream: it never throws, answers only what it should, and closes once when it refuses. */
async function holdAgainst(t: Cleaner, chunks: Uint8Array[]): Promise<void> {
  const i = await intakeIn(t);
  for (const c of chunks) {
    await i.feed(c);
    await i.greeted();
  }
  i.intake.tick();
  await i.intake.end('disconnected');
  const refusals = i.answers.filter((a) => a.refusal);
  assert.ok(refusals.length <= 1);
  assert.equal(i.closed(), refusals.length);
  if (refusals.length > 0) assert.notEqual(i.refusal()!.code, Code.UNKNOWN);
  // Everything that is there is whole and named as it should be.
  for (const name of filesUnder(i.folders.captures)) {
    assert.match(name, /^[A-Za-z0-9_][A-Za-z0-9._-]*\/[A-Za-z0-9_][A-Za-z0-9._-]*\.(pcap|pcap\.linktype-\d+|json)$/);
  }
  // No inner error of the code was taken for a broken rule.
  assert.ok(!i.log.some((line) => /could not handle a message/.test(line)), i.log.join('\n'));
  i.store.close();
  rmSync(i.folders.folder, { recursive: true });
}

test('random bytes, before and after a Hello, are refused or waited for', async (t) => {
  await fuzz(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 4 }),
      fc.integer({ min: 0, max: 2 }),
      (chunks, how) => holdAgainst(t, [frames(...OPENED.slice(0, how)), ...chunks]),
    ),
    300,
  );
});

test('random messages in whole frames are refused or taken', async (t) => {
  const message = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 60 }),
    fc
      .tuple(fc.integer({ min: 1, max: 7 }), fc.uint8Array({ maxLength: 60 }))
      .map(([kind, body]) => wire.bytes(kind, body)),
  );
  await fuzz(
    fc.asyncProperty(
      fc.array(message, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 0, max: 2 }),
      (messages, how) => holdAgainst(t, [frames(...OPENED.slice(0, how), ...messages)]),
    ),
    300,
  );
});

test('a good stream with damaged bytes is refused or taken, cut anywhere', async (t) => {
  const good = frames(
    captureStart(),
    batch(1, 1, 1, packetsOf(3)),
    gap(1, 2, 3, 4),
    counters(1, 5),
    batch(1, 4, 8, p),
    captureEnd(1, 4),
  );
  const harm = fc.record({
    at: fc.nat(good.length),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 0x7f, 0x80, 0xff)),
    kind: fc.nat(2),
  });
  await fuzz(
    fc.asyncProperty(fc.array(harm, { minLength: 1, maxLength: 4 }), fc.nat(good.length), (list, cut) => {
      let b = Buffer.from(good);
      for (const { at, byte, kind } of list) {
        if (kind === 0) b = Buffer.concat([b.subarray(0, at), Buffer.from([byte]), b.subarray(at)]);
        else if (kind === 1) b = Buffer.concat([b.subarray(0, at), b.subarray(at + 1)]);
        else if (at < b.length) b[at] = byte;
      }
      return holdAgainst(t, [frames(hello()), b.subarray(0, cut), b.subarray(cut)]);
    }),
    300,
  );
});

test('a damaged Hello is refused or taken, cut anywhere', async (t) => {
  const good = frames(hello({ more: [wire.resume(1, 3, 7), wire.resume(2, 1)] }));
  await fuzz(
    fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, byte, cut) => {
      const b = Buffer.from(good);
      b[at] = byte;
      return holdAgainst(t, [b.subarray(0, cut), b.subarray(cut), frames(captureStart())]);
    }),
    300,
  );
});

const durable = (i: Awaited<ReturnType<typeof intakeIn>>) =>
  i.welcome()!.captures.map((d) => [d.capture, d.lastSequence, d.ended ?? false]);

for (const [what, more, words] of [
  ['sequence 0', [wire.resume(1, 0, 1)], /out of range/],
  ['first packet 0', [wire.resume(1, 1, 0)], /out of range/],
  ['sequence 2^52', [wire.resume(1, 2n ** 52n, 1)], /out of range/],
  ['first packet 2^52', [wire.resume(1, 1, 2n ** 52n)], /out of range/],
  ['sequence 2^64 - 1', [wire.resume(1, 2n ** 64n - 1n, 1)], /out of range/],
  ['nothing at all', [wire.bytes(7, '')], /out of range/],
  ['capture 0', [wire.resume(0, 1)], /out of range/],
  ['capture 65,536', [wire.resume(65_536, 1)], /out of range/],
  ['the same capture twice', [wire.resume(7, 1), wire.resume(8, 1), wire.resume(7, 1)], /resumed twice/],
  ['257 captures', Array.from({ length: 257 }, (_, n) => wire.resume(n + 1, 1)), /too many captures to resume/],
  ['70,000 captures', Array.from({ length: 70_000 }, (_, n) => wire.resume(n % 65_535, 1)), /longer than/],
  ['8,000 captures', Array.from({ length: 8000 }, (_, n) => wire.resume(n + 1, 1)), /Hello is longer than/],
] as const) {
  test(`a Hello that resumes ${what} is refused, and leaves nothing behind`, async (t) => {
    const i = await intakeIn(t);
    await i.say(hello({ more: [...more] }));
    assert.match(i.refusal()?.message ?? 'nothing was refused', words);
    assert.deepEqual([i.refusal()!.code, i.closed(), i.welcome()], [Code.PROTOCOL, 1, undefined]);
    await end(i);
    // Nobody holds the run.
    const next = openIntake(i);
    next.intake.push(frames(hello()));
    await next.greeted();
    assert.ok(next.welcome());
    await next.intake.end('disconnected');
  });
}

test('as many captures as may be open are resumed, each once, in their order', async (t) => {
  const i = await intakeIn(t);
  const resumes = Array.from({ length: 256 }, (_, n) => [65_535 - n, n + 1] as const);
  await i.say(hello({ more: resumes.map(([capture, first]) => wire.resume(capture, first, 1)) }));
  assert.equal(i.refusal(), undefined);
  assert.deepEqual(
    durable(i),
    resumes.map(([capture, first]) => [capture, first - 1, false]),
  );
  await i.intake.end('disconnected');
});

test('between Hello and Welcome nothing may come, in the same bytes or later', async (t) => {
  for (const together of [true, false]) {
    const i = await intakeIn(t);
    const messages = [hello(), captureStart()];
    if (together) i.intake.push(frames(...messages));
    else for (const m of messages) i.intake.push(frames(m));
    assert.match(i.refusal()!.message, /between Hello and Welcome/);
    await end(i);
    assert.equal(i.welcome(), undefined);
  }
  // A part of one may lie there already.
  const i = await intakeIn(t);
  const start = frames(captureStart());
  i.intake.push(Buffer.concat([frames(hello()), start.subarray(0, -1)]));
  await i.greeted();
  i.intake.push(start.subarray(-1));
  assert.equal(i.refusal(), undefined);
  await i.intake.end('disconnected');
});

test('a gap that is known is ignored, whatever it says', async (t) => {
  const i = await intakeIn(t);
  await i.say(...OPENED, batch(1, 1, 1, p), gap(1, 2, 4, 9), gap(1, 2, 4, 9), gap(1, 1, 1, 999), gap(1, 3, 4, 1));
  await i.say(batch(1, 5, 12, p), captureEnd(1, 5));
  await end(i);
  assert.equal(i.refusal(), undefined);
  const [m] = i.manifests();
  assert.deepEqual(
    m!.gaps.map((g) => [g.firstSequence, g.lastSequence, g.packets]),
    [[2, 4, 9]],
  );
  assert.equal(m!.lastSequence, 5);
});

test('a gap that overlaps what is there is refused, and what is there stays', async (t) => {
  const i = await intakeIn(t);
  await i.say(...OPENED, batch(1, 1, 1, p), batch(1, 2, 3, p), gap(1, 2, 4, 9));
  assert.match(i.refusal()!.message, /goes on at sequence 2, but 2 was the last/);
  await end(i);
  const [m] = i.manifests();
  assert.deepEqual([m!.lastSequence, m!.packets, m!.gaps], [2, 4, []]);
});

test('an agent goes on where it was, resending what it likes', async (t) => {
  const folder = memoryFolder(t);
  const first = await intakeIn(t, { folder });
  await first.say(...OPENED, batch(1, 1, 1, p), batch(1, 2, 3, p), gap(1, 3, 5, 10));
  await end(first);
  const second = openIntake(first);
  second.intake.push(frames(hello({ more: [wire.resume(1, 2, 3)] })));
  await second.greeted();
  const [at] = second.welcome()!.captures;
  assert.deepEqual([at!.capture, at!.lastSequence, at!.ended], [1, 5, false]);
  // It may send again what is there.
  second.intake.push(
    frames(captureStart(), batch(1, 2, 3, p), gap(1, 3, 5, 10), batch(1, 6, 15, packetsOf(1)), captureEnd(1, 6)),
  );
  await second.intake.end('disconnected');
  assert.equal(second.refusal(), undefined);
  const manifests = first.manifests();
  assert.deepEqual(
    manifests.map((m) => [m.firstSequence, m.lastSequence, m.firstPacketNumber, m.packets, m.closedBy, m.end?.reason]),
    [
      [1, 5, 1, 4, 'disconnected', undefined],
      [6, 6, 15, 1, 'end', 'count'],
    ],
  );
  // And after its end nothing.
  const third = openIntake(first);
  third.intake.push(frames(hello({ more: [wire.resume(1, 7, 16)] })));
  await third.greeted();
  assert.equal(third.welcome()!.captures[0]!.ended, true);
  third.intake.push(frames(captureStart()));
  assert.match(third.refusal()!.message, /started already/);
  await third.intake.end('disconnected');
});

/** An intake whose clock is turned by hand, welcomed. */
async function turned(t: Cleaner, options: Parameters<typeof intakeIn>[1] = {}) {
  const clock = new HandClock();
  const i = await intakeIn(t, { ...options, clock });
  await i.say(hello());
  const tick = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 250) {
      clock.turn(250);
      i.intake.tick();
    }
  };
  /** Turns the clock, without ticks, until that is so. */
  const turnUntil = async (condition: () => unknown) => {
    for (let turns = 0; !condition(); turns++) {
      assert.ok(turns < 1000, 'in vain');
      clock.turn(100);
      await sleep(1);
    }
  };
  return { ...i, clock, tick, turnUntil };
}

test('a Status goes out every 5 seconds, and at once when it changes', async (t) => {
  const disk = new FaultyDisk();
  const i = await turned(t, { disk, options: { minFreeBytes: 1000 } });
  assert.deepEqual(i.statuses(), []);
  i.tick(4750);
  assert.deepEqual(i.statuses(), []);
  i.tick(250);
  assert.equal(i.statuses().length, 1);
  assert.deepEqual([i.statuses()[0]!.behind, i.statuses()[0]!.reason], [false, '']);
  i.tick(10_000);
  assert.equal(i.statuses().length, 3);
  disk.room = 999;
  await i.turnUntil(() => i.store.full);
  i.tick(250);
  assert.equal(i.statuses().length, 4);
  assert.equal(i.statuses()[3]!.behind, true);
  assert.match(i.statuses()[3]!.reason ?? '', /nearly full/);
  disk.room = 1100; // some more than what is to be kept free
  await i.turnUntil(() => !i.store.full);
  i.tick(250);
  assert.equal(i.statuses().length, 5);
  assert.deepEqual([i.statuses()[4]!.behind, i.statuses()[4]!.reason], [false, '']);
  await i.intake.end('disconnected');
  i.tick(10_000);
  assert.equal(i.statuses().length, 5);
});

test('before its Welcome an agent hears no Status', async (t) => {
  const clock = new HandClock();
  const i = await intakeIn(t, { clock });
  clock.turn(6000);
  i.intake.tick();
  i.intake.push(frames(hello()));
  i.intake.tick();
  assert.deepEqual(i.answers, []);
  await i.greeted();
  await i.intake.end('disconnected');
});

test('an agent that says nothing for 60 seconds is closed, whose signs of life come is not', async (t) => {
  const i = await turned(t);
  for (let n = 0; n < 20; n++) {
    i.tick(10_000);
    assert.ok(i.intake.push(frames(wire.ALIVE)));
  }
  assert.equal(i.closed(), 0);
  i.tick(60_000);
  assert.equal(i.closed(), 0);
  i.tick(250);
  assert.equal(i.closed(), 1);
  assert.equal(i.refusal(), undefined);
  i.tick(750);
  const said = i.log.filter((line) => /heard nothing/.test(line));
  assert.equal(said.length, 1, said.join('\n'));
  await end(i);
});

test('the silence of a stream that is paused counts for nothing; it is behind', async (t) => {
  const disk = new FaultyDisk();
  const i = await turned(t, { disk, options: { minFreeBytes: 1000 } });
  disk.room = 0;
  await i.turnUntil(() => i.store.full);
  const data = Buffer.alloc(1000);
  const packets = Array.from({ length: 400 }, (_, n) => wire.packet({ timestampNs: BigInt(n), data }));
  const body = Buffer.concat(packets);
  i.intake.push(frames(captureStart()));
  let paused = false;
  for (let n = 0; n < 20 && !paused; n++) {
    paused = !i.intake.push(wire.frame(wire.batch({ sequence: n + 1, firstPacket: n * 400 + 1 }, body)));
  }
  assert.ok(paused);
  i.tick(300_000);
  assert.equal(i.closed(), 0);
  assert.ok(i.statuses().every((s) => s.behind));
  assert.deepEqual([i.acks(), i.files('')], [[], []], 'something was written');
  // Room again: it is read on, and then silence counts.
  disk.room = 1e9;
  await i.turnUntil(() => !i.store.full);
  await i.turnUntil(() => i.ready() > 0);
  i.tick(60_250);
  assert.equal(i.closed(), 1);
  const ending = i.intake.end('disconnected');
  let over = false;
  void ending.then(() => (over = true));
  await i.turnUntil(() => over);
  assert.equal(i.manifests().reduce((n, m) => n + m.packets, 0) % 400, 0);
  assert.ok(i.acks().length > 0);
});

test('who superseded it hears of it, and what was sent before is published', async (t) => {
  const i = await intakeIn(t);
  await i.say(...OPENED, batch(1, 1, 1, p));
  const next = openIntake(i);
  next.intake.push(frames(hello({ more: [wire.resume(1, 1)] })));
  await next.greeted();
  assert.deepEqual([i.refusal()!.code, i.closed()], [Code.SUPERSEDED, 1]);
  assert.equal(i.answers.findIndex((a) => a.refusal) < i.answers.length, true);
  assert.equal(next.welcome()!.captures[0]!.lastSequence, 1);
  assert.deepEqual(
    i.manifests().map((m) => [m.closedBy, m.packets]),
    [['superseded', 2]],
  );
  // Nothing is taken from it any more.
  i.intake.push(frames(batch(1, 2, 3, p)));
  next.intake.push(frames(captureStart(), batch(1, 2, 3, p), captureEnd(1, 2)));
  await next.intake.end('disconnected');
  await end(i);
  assert.deepEqual(
    i.manifests().map((m) => m.packets),
    [2, 2],
  );
});

const hexOf = ({ digest }: Sealed) => Buffer.from(digest).toString('hex');
const documentOf = (text: string) => sealDocument({ exceptions: [{ name: 'exceptions.list', text }] });
const settingsIn = (i: Awaited<ReturnType<typeof intakeIn>>) =>
  i.answers.flatMap((a) => (a.settings ? [a.settings] : []));
/** The last document that came whole. */
function arrived(i: Awaited<ReturnType<typeof intakeIn>>): Arrived | undefined {
  const assembler = new Assembler();
  return settingsIn(i)
    .map((piece) => assembler.take(piece))
    .findLast(Boolean);
}
const textIn = (it: Arrived | undefined) => it?.document?.exceptions[0]?.text;

test('settings follow the Welcome that names them, and again when they change', async (t) => {
  let now = documentOf('192.0.2.1\n');
  const asked: string[] = [];
  const i = await intakeIn(t, {
    settings: (host) => {
      asked.push(host);
      return now;
    },
  });
  await i.say(hello({ host: 'web 01' }));
  assert.deepEqual(
    i.answers.map((a) => a.kind),
    ['welcome', 'settings'],
  );
  assert.deepEqual(i.welcome()!.settingsDigest, now.digest);
  assert.equal(textIn(arrived(i)), '192.0.2.1\n');
  assert.deepEqual(i.intake.view?.settings, { digest: hexOf(now), state: 'sent', reason: '' });
  await i.say(state(now.digest, true, 'a longer snaplen can not be'));
  assert.deepEqual(i.intake.view?.settings, {
    digest: hexOf(now),
    state: 'accepted',
    reason: 'a longer snaplen can not be',
  });
  // The same under another name is not sent again.
  now = documentOf('192.0.2.1\n');
  i.intake.tick();
  assert.equal(settingsIn(i).length, 1);
  now = documentOf('192.0.2.2\n');
  i.intake.tick();
  i.intake.tick();
  assert.equal(settingsIn(i).length, 2);
  assert.equal(textIn(arrived(i)), '192.0.2.2\n');
  await i.say(state(now.digest, false, 'covers the collector'));
  assert.equal(i.intake.view?.settings.state, 'refused');
  now = NO_SETTINGS;
  i.intake.tick();
  const last = settingsIn(i).at(-1)!;
  assert.deepEqual([last.digest.length, last.length, last.piece.length], [0, 0, 0]);
  assert.equal(i.intake.view?.settings.state, 'none');
  assert.ok(asked.every((host) => host === 'web 01'));
  assert.deepEqual(
    i.log.filter((line) => line.includes('settings')).map((line) => line.replace(/[0-9a-f]{12}/, 'DIGEST')),
    [
      'web_01 (192.0.2.1:5555): took settings DIGEST: a longer snaplen can not be',
      'warning: web_01 (192.0.2.1:5555): REFUSED settings DIGEST: covers the collector',
    ],
  );
});

test('an agent that has the settings, or is to have none, is not sent them', async (t) => {
  const now = documentOf('192.0.2.1\n');
  const has = await intakeIn(t, { settings: () => now });
  await has.say(hello({ more: [wire.bytes(9, now.digest)] }));
  assert.deepEqual(
    has.answers.map((a) => a.kind),
    ['welcome'],
  );
  assert.deepEqual(has.welcome()!.settingsDigest, now.digest);
  assert.equal(has.intake.view?.settings.state, 'kept');
  const none = await intakeIn(t, { settings: () => NO_SETTINGS });
  await none.say(hello({ more: [wire.bytes(9, now.digest)] }));
  assert.deepEqual(
    none.answers.map((a) => a.kind),
    ['welcome'],
  );
  assert.equal(none.welcome()!.settingsDigest.length, 0);
  assert.equal(none.intake.view?.settings.state, 'none');
});

test('a piece goes out when the one before is taken; a change begins another document', async (t) => {
  let now = documentOf('192.0.2.1\n'.repeat(30_000));
  const waiting: (() => void)[] = [];
  const i = await intakeIn(t, { settings: () => now, taken: (taken) => waiting.push(taken) });
  await i.say(hello());
  for (let n = 0; n < 5; n++) i.intake.tick();
  assert.equal(settingsIn(i).length, 1);
  waiting.shift()!();
  assert.equal(settingsIn(i).length, 2);
  assert.equal(waiting.length, 1);
  now = documentOf('192.0.2.2\n'.repeat(30_000));
  i.intake.tick();
  assert.equal(settingsIn(i).length, 2);
  while (waiting.length > 0) waiting.shift()!();
  assert.equal(textIn(arrived(i)), '192.0.2.2\n'.repeat(30_000));
  assert.equal(settingsIn(i).length, 2 + Math.ceil(now.bytes.length / 60_000));
});

test('only the first answer to what it was told last counts, and is logged', async (t) => {
  const now = documentOf('192.0.2.1\n');
  const i = await intakeIn(t, { settings: () => now });
  await i.say(hello());
  const said = Array.from({ length: 50 }, () => state(Buffer.alloc(32, 7), false, 'x'));
  await i.say(...said, state(now.digest, true), ...Array.from({ length: 50 }, () => state(now.digest, false, 'no')));
  assert.equal(i.intake.view?.settings.state, 'accepted');
  assert.equal(i.log.filter((line) => line.includes('settings')).length, 1);
});

test('where nobody knows the settings of a host it is refused, and told why; who is connected keeps them', async (t) => {
  const trouble = new RcapError('SETTINGS', 'could not put together the settings');
  let troubled = false;
  const settings = () => {
    if (troubled) throw trouble;
    return documentOf('192.0.2.1\n');
  };
  const i = await intakeIn(t, { settings });
  await i.say(hello());
  troubled = true;
  i.intake.tick();
  assert.deepEqual([i.closed(), settingsIn(i).length], [0, 1]);
  const late = await intakeIn(t, { settings });
  await late.say(hello());
  await until('its refusal', () => late.refusal());
  assert.deepEqual([late.refusal()!.code, late.refusal()!.message], [Code.LIMIT, trouble.message]);
});

test('exclusions get into the manifest, each event once, also on the next connection', async (t) => {
  const opened = await openStore(t, { options: { syncMs: 1 } });
  const first = openIntake(opened);
  first.intake.push(frames(hello()));
  await first.greeted();
  const digest = Buffer.alloc(32, 0xab);
  const list = event(1, { kind: 1, more: [wire.bytes(4, digest), wire.uint(5, 3), wire.bytes(6, 'from a file')] });
  first.intake.push(
    frames(captureStart(), exclusions(1, list, event(2), total('example.com', 5)), batch(1, 1, 1, packetsOf(1))),
  );
  await until('its acknowledgement', () => first.acks().length > 0);
  first.intake.push(frames(exclusions(1, total('example.com', 7), total('10.0.0.0/8', 1))));
  await first.intake.end('disconnected');
  const second = openIntake(opened);
  second.intake.push(
    frames(hello({ more: [wire.bytes(7, Buffer.concat([wire.uint(1, 1), wire.uint(2, 2), wire.uint(3, 2)]))] })),
  );
  await second.greeted();
  second.intake.push(
    frames(
      captureStart(),
      exclusions(1, list, event(2), event(3, { kind: 5 })),
      batch(1, 2, 2, packetsOf(1, 1)),
      captureEnd(1, 2),
    ),
  );
  await until('the end', () => second.acks().some((a) => a.ended));
  await second.intake.end('disconnected');
  const time = '2023-11-14T22:13:20.000000000Z';
  const named = { time, name: 'example.com', address: '192.0.2.9' };
  const [a, b] = opened.folders.manifests();
  assert.deepEqual(a!.exclusions, {
    events: [
      { number: 1, time, kind: 'list', digest: digest.toString('hex'), entries: 3, words: 'from a file' },
      { number: 2, kind: 'learned', ...named },
    ],
    names: { 'example.com': { packets: 7, bytes: 100 }, '10.0.0.0/8': { packets: 1, bytes: 100 } },
  });
  assert.deepEqual(b!.exclusions, { events: [{ number: 3, kind: 'expired', ...named }], names: {} });
});

test('a flood of exclusions takes no more room than what a manifest has', async (t) => {
  const i = await intakeIn(t);
  await i.say(...OPENED);
  const flood = (from: number) =>
    exclusions(
      1,
      ...Array.from({ length: 400 }, (_, n) => event(from + n, { more: [wire.bytes(6, 'x'.repeat(900))] })),
      ...Array.from({ length: 400 }, (_, n) => total(`${from + n}${'y'.repeat(200)}`, 1)),
    );
  for (let n = 0; n < 30; n++) await i.feed(frames(flood(1 + 400 * n)));
  await i.say(captureEnd(1, 0));
  await until('the end', () => i.acks().some((a) => a.ended));
  const [m] = i.manifests();
  assert.ok(JSON.stringify(m).length < 400_000, `${JSON.stringify(m).length}`);
  const { events, names, omitted } = m!.exclusions!;
  assert.equal(events.length + Object.keys(names).length + omitted!, 30 * 800);
});

test('an agent is shown with what it sends, and asked to stop', async (t) => {
  const i = await intakeIn(t);
  assert.equal(i.intake.view, undefined);
  await i.say(...OPENED, batch(1, 1, 1, packetsOf(3)));
  const counted = wire.bytes(5, Buffer.concat([wire.uint(1, 1), wire.uint(2, 10), wire.uint(13, 4)]));
  await i.say(counted);
  const { since, ...view } = i.intake.view!;
  assert.ok(Math.abs(Date.parse(since) - Date.now()) < 60_000);
  assert.deepEqual(view, {
    host: 'web01',
    peer: '192.0.2.1:5555',
    captures: 1,
    packets: 3,
    bytes: 3,
    excluded: 4,
    received: 10,
    settings: { digest: '', state: 'none', reason: '' },
  });
  i.intake.ask('enough');
  assert.equal(i.answers.findLast((a) => a.stop)?.stop?.reason, 'enough');
});
