import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../clock.ts';
import { fileHeader } from '../formats/pcap.ts';
import { enteredStore, HandClock, RUN, SERIES, type StoreSetting } from '../test/storage.ts';
import { capinfos, lacks, packetsIn, until } from '../test/support.ts';
import { records, type TestPacket } from '../test/wire.ts';
import type { ExclusionEvent } from './exclusions.ts';
import type { Manifest, ManifestStart } from './manifest.ts';
import type { Point } from './journal.ts';
import type { Slab } from './segment.ts';
import type { SeriesStart, WriterLimits } from './writer.ts';

interface Ack {
  sequence: number;
  packets: number;
  ended: boolean;
}

/** A writer in a real store, and all that it said. */
async function writerIn(
  t: TestContext,
  limits: Partial<WriterLimits> = {},
  start: Partial<SeriesStart> = {},
  setting: StoreSetting = {},
) {
  const { store, folders, clock } = await enteredStore(t, { ...setting, options: limits });
  const folder = folders.host();
  const acks: Ack[] = [];
  const failures: Error[] = [];
  const published: [file: string, packets: number][] = [];
  const writer = store.writer(
    { ...SERIES, ...start },
    { sequence: 0, packets: 0 },
    {
      acknowledge: (sequence, packets, ended) => acks.push({ sequence, packets, ended }),
      idle: () => {},
      failed: (e) => failures.push(e),
      published: (file, packets) => published.push([file, packets]),
    },
  );
  let [sequence, packet] = [1, 1];
  let released = 0;
  /** Appends batches of two packets each, as one slab; returns its packets. */
  const append = (batches = 1): TestPacket[] => {
    const packets = Array.from({ length: 2 * batches }, (_, i) => ({
      timestampNs: 1_700_000_000_000_000_000n + BigInt(packet + i) * 1_000_000_001n,
      data: Buffer.alloc(100, packet + i),
      original: 150,
    }));
    const bytes = records(packets);
    const slab: Slab = {
      bytes,
      lastRecord: bytes.length - 116,
      packets: packets.length,
      packetBytes: 100 * packets.length,
      firstSequence: sequence,
      lastSequence: sequence + batches - 1,
      firstPacket: packet,
      arrivedMs: clock.now(),
      release: () => {
        released++;
        bytes.fill(0xee);
      },
    };
    writer.append(slab);
    sequence += batches;
    packet += packets.length;
    return packets;
  };
  const gap = (sequences: number, packets: number) => {
    writer.gap({
      firstSequence: sequence,
      lastSequence: sequence + sequences - 1,
      packets,
      bytes: packets * 10,
      firstPacketTime: timeOf(packet),
      lastPacketTime: timeOf(packet + packets),
    });
    sequence += sequences;
    packet += packets;
  };
  return {
    store,
    folder,
    state: folders.state,
    clock,
    writer,
    acks,
    failures,
    published,
    append,
    gap,
    names: (ending: string) => folders.names(ending),
    manifests: () => folders.manifests(),
    released: () => released,
  };
}
const timeOf = (packet: number) => `2023-11-14T22:13:20.${String(packet).padStart(9, '0')}Z`;
const END = { reason: 'stopped', counters: null };

/** Waits until its segment was published because it was idle, and recorded. */
async function idled(w: Awaited<ReturnType<typeof writerIn>>): Promise<void> {
  await until('its publication', () => {
    w.writer.tick();
    return w.published.length > 0;
  });
  await w.writer.finished();
}

/** Holds each manifest against the file beside it. */
function holdManifests(folder: string, manifests: Manifest[]): void {
  for (const m of manifests) {
    if (m.file === '') {
      assert.deepEqual([m.packets, m.packetBytes, m.fileBytes, m.sha256], [0, 0, 0, '']);
      continue;
    }
    const bytes = readFileSync(join(folder, m.file));
    assert.equal(m.sha256, createHash('sha256').update(bytes).digest('hex'));
    assert.equal(m.fileBytes, bytes.length);
    assert.ok(m.packets > 0);
    assert.equal(m.fileBytes, 24 + 16 * m.packets + m.packetBytes);
    if (lacks('capinfos')) continue;
    assert.equal(packetsIn(join(folder, m.file)), m.packets);
  }
}

test('a capture that ends is one file with exactly its packets, and a manifest that fits it', async (t) => {
  const w = await writerIn(t);
  const packets = [...w.append(), ...w.append(3)];
  w.writer.end({ reason: 'count', counters: { capture: 3, captured: 8 } });
  await w.writer.finished();
  const [file] = w.names('.pcap');
  const bytes = Buffer.concat([fileHeader(1, 1000, 'nano'), records(packets)]);
  assert.ok(readFileSync(join(w.folder, file!)).equals(bytes));
  assert.match(file!, /^web01_eth0_\d{8}T\d{6}Z_00112233-3_1\.pcap$/);
  const [m, ...more] = w.manifests();
  assert.deepEqual(more, []);
  holdManifests(w.folder, [m!]);
  const { opened, published, sha256, ...rest } = m!;
  assert.ok(Date.parse(opened) <= Date.parse(published) && sha256);
  assert.deepEqual(rest, {
    ...SERIES,
    firstSequence: 1,
    firstPacketNumber: 1,
    file,
    lastSequence: 4,
    packets: 8,
    packetBytes: 800,
    fileBytes: bytes.length,
    firstPacketTime: '2023-11-14T22:13:21.000000001Z',
    lastPacketTime: '2023-11-14T22:13:28.000000008Z',
    closedBy: 'end',
    gaps: [],
    counters: { capture: 3, captured: 8 },
    end: { reason: 'count', counters: { capture: 3, captured: 8 } },
  });
  assert.deepEqual(w.acks.at(-1), { sequence: 4, packets: 8, ended: true });
  assert.deepEqual(readdirSync(w.folder).length, 2);
  assert.equal(w.released(), 2);
});

test('what is synchronised is acknowledged, while the file is still open', async (t) => {
  const w = await writerIn(t);
  w.append();
  await until('an acknowledgement', () => w.acks.length > 0);
  assert.deepEqual(w.acks, [{ sequence: 1, packets: 2, ended: false }]);
  assert.deepEqual([w.names('.pcap'), w.names('.json')], [[], []]);
  assert.equal(w.names('.pcap.part').length, 1);
  w.append(2);
  await until('another', () => w.acks.length > 1);
  assert.deepEqual(w.acks[1], { sequence: 3, packets: 6, ended: false });
  await w.writer.close('stopped');
});

test('beside an open segment lies its journal: what is known about it, and how far it is durable', async (t) => {
  const w = await writerIn(t);
  w.append();
  await until('an acknowledgement', () => w.acks.length > 0);
  w.gap(2, 5);
  w.writer.counters = { capture: 3, received: 9 };
  await until('another', () => w.acks.length > 1);
  assert.deepEqual(w.names('.json'), []);
  const [name, ...more] = w.names('.journal');
  assert.deepEqual(more, []);
  const lines = readFileSync(join(w.folder, name!), 'utf8').trimEnd().split('\n');
  const [start, ...points] = lines.map((line) => JSON.parse(line) as unknown) as [ManifestStart, ...Point[]];
  assert.deepEqual([start.host, start.firstSequence, start.run], ['web01', 1, RUN]);
  assert.deepEqual(
    points.map((p) => [p.sequence, p.packetNumber, p.bytes, p.packets, p.packetBytes, p.gapsFrom, p.gaps.length]),
    [
      [1, 2, 24 + 232, 2, 200, 0, 0],
      [3, 7, 24 + 232, 2, 200, 0, 1],
    ],
  );
  await w.writer.close('stopped');
  assert.deepEqual([w.names('.part'), w.names('.journal')], [[], []]);
  assert.deepEqual(w.manifests()[0]!.counters, { capture: 3, received: 9 });
});

test('what comes first is made durable at once, what follows when it has the bytes, long before its time', async (t) => {
  const w = await writerIn(t, { syncBytes: 500, syncMs: 1e8 });
  assert.ok(w.writer.patience! <= 0);
  w.append();
  await until('an acknowledgement', () => w.acks.length > 0);
  w.append();
  assert.equal(w.writer.patience, undefined);
  await w.writer.finished();
  assert.ok(w.writer.patience! > 0);
  assert.deepEqual(w.acks, [{ sequence: 1, packets: 2, ended: false }]);
  w.append(2);
  await until('another', () => w.acks.length > 1);
  assert.deepEqual(w.acks[1], { sequence: 4, packets: 8, ended: false });
  await w.writer.close('stopped');
});

test('sequences are acknowledged in order up to the last, and segments follow one another without a hole', async (t) => {
  const w = await writerIn(t, { rotateBytes: 3000, syncBytes: 300 });
  for (let i = 0; i < 40; i++) {
    w.append(1 + (i % 3));
    if (i % 7 === 0) await sleep(1);
  }
  w.writer.end(END);
  await w.writer.finished();
  const sequences = w.acks.map((a) => a.sequence);
  assert.deepEqual(
    sequences,
    sequences.toSorted((a, b) => a - b),
  );
  assert.equal(sequences.at(-1), 79);
  assert.deepEqual(
    w.acks.filter((a) => a.ended),
    [w.acks.at(-1)],
  );
  const manifests = w.manifests();
  holdManifests(w.folder, manifests);
  let next = 1;
  let packet = 1;
  for (const m of manifests) {
    assert.deepEqual([m.firstSequence, m.firstPacketNumber], [next, packet]);
    next = m.lastSequence + 1;
    packet += m.packets;
  }
  assert.deepEqual([next, packet], [80, 159]);
});

test('a segment is closed before it would grow too long, and one write always fits', async (t) => {
  const w = await writerIn(t, { rotateBytes: 24 + 2 * 232 });
  w.append();
  w.append();
  w.append();
  w.append(9);
  w.append();
  await w.writer.close('disconnected');
  const manifests = w.manifests();
  holdManifests(w.folder, manifests);
  assert.deepEqual(
    manifests.map((m) => [m.firstSequence, m.lastSequence, m.closedBy]),
    [
      [1, 2, 'bytes'],
      [3, 3, 'bytes'],
      [4, 12, 'bytes'],
      [13, 13, 'disconnected'],
    ],
  );
  assert.ok(manifests.every((m) => m.end === null));
  assert.deepEqual(
    w.published.map(([, n]) => n),
    [4, 2, 18, 2],
  );
});

for (const [closedBy, limits] of [
  ['age', { rotateAgeMs: 50 }],
  ['idle', { rotateIdleMs: 50 }],
] as const) {
  test(`a segment is closed by ${closedBy} at a tick, and not before`, async (t) => {
    const w = await writerIn(t, limits);
    w.writer.tick();
    w.append();
    await w.writer.finished();
    await until('its publication', () => {
      w.writer.tick();
      return w.published.length > 0;
    });
    await w.writer.finished();
    const [m] = w.manifests();
    assert.equal(m!.closedBy, closedBy);
    assert.ok(Date.parse(m!.published) - Date.parse(m!.opened) >= 49);
    // Nothing more is published from then on.
    w.writer.tick();
    await w.writer.close('stopped');
    assert.equal(w.manifests().length, 1);
  });
}

test('an end mark that comes after the last segment was published gets into its manifest, counters too', async (t) => {
  const w = await writerIn(t, { rotateIdleMs: 1 });
  w.append();
  await idled(w);
  const [before] = w.manifests();
  w.writer.end({ reason: 'duration', counters: { capture: 3, sent: 2 } });
  await w.writer.finished();
  const [m, ...more] = w.manifests();
  assert.deepEqual(more, []);
  assert.deepEqual(m, {
    ...before,
    counters: { capture: 3, sent: 2 },
    end: { reason: 'duration', counters: { capture: 3, sent: 2 } },
  });
  assert.deepEqual(w.acks.at(-1), { sequence: 1, packets: 2, ended: true });
  assert.equal(w.names('.pcap').length, 1);
  holdManifests(w.folder, w.manifests());
});

test('a gap that comes after the last segment was published has a manifest of its own, end mark or not', async (t) => {
  for (const ends of [true, false]) {
    const w = await writerIn(t, { rotateIdleMs: 1 });
    w.append();
    await idled(w);
    const [before] = w.manifests();
    w.gap(2, 7);
    if (ends) {
      w.writer.end(END);
      await w.writer.finished();
    } else await w.writer.close('disconnected');
    const [first, second, ...more] = w.manifests();
    assert.deepEqual([first, more], [before, []]);
    assert.deepEqual(
      [second!.file, second!.firstSequence, second!.lastSequence, second!.firstPacketNumber, second!.packets],
      ['', 2, 3, 3, 0],
    );
    assert.deepEqual(
      [second!.gaps.map((g) => [g.firstSequence, g.lastSequence, g.packets, g.bytes]), second!.end],
      [[[2, 3, 7, 70]], ends ? END : null],
    );
    holdManifests(w.folder, [second!]);
    assert.deepEqual(w.acks.at(-1), { sequence: 3, packets: 9, ended: ends });
    assert.deepEqual([w.names('.part'), w.names('.journal')], [[], []]);
  }
});

const learned = (number: number): ExclusionEvent => ({
  number,
  time: timeOf(1),
  kind: 'learned',
  name: 'a',
  address: 'b',
});
const excluded = (packets: number) => ({ packets, bytes: 10 * packets });

test('exclusions are in the manifest of the segment that they came before the end of, each event once', async (t) => {
  const w = await writerIn(t, { rotateIdleMs: 0, syncMs: 0 });
  w.writer.exclusions({ events: [learned(1), learned(2)], names: { a: excluded(1) } });
  assert.deepEqual(w.names(''), [], 'they are no reason to begin a file');
  w.append();
  await idled(w);
  w.writer.exclusions({ events: [learned(2), learned(3)], names: { a: excluded(5), b: excluded(1) } });
  w.append();
  w.writer.exclusions({ events: [learned(4)], names: { a: excluded(6) } });
  w.writer.end(END);
  await w.writer.finished();
  assert.deepEqual(
    w.manifests().map((m) => m.exclusions),
    [
      { events: [learned(1), learned(2)], names: { a: excluded(1) } },
      { events: [learned(3), learned(4)], names: { a: excluded(6), b: excluded(1) } },
    ],
  );
});

test('exclusions are journalled before the segment is closed', async (t) => {
  const w = await writerIn(t, { syncMs: 0 });
  w.append();
  await until('its acknowledgement', () => w.acks.length > 0);
  w.writer.exclusions({ events: [learned(1)], names: { a: excluded(1) } });
  const journalled = () =>
    readFileSync(join(w.folder, w.names('.journal')[0]!), 'utf8').includes('"exclusions":{"events":[{');
  await until('the journal', journalled);
  await w.writer.close('stopped');
});

test('exclusions that come after the last segment was published get into its manifest with the end mark', async (t) => {
  const w = await writerIn(t, { rotateIdleMs: 0, syncMs: 0 });
  w.writer.exclusions({ events: [learned(1)], names: { a: excluded(1) } });
  w.append();
  await idled(w);
  w.writer.exclusions({ events: [learned(2)], names: { a: excluded(9) } });
  w.writer.end(END);
  await w.writer.finished();
  assert.deepEqual(
    w.manifests().map((m) => [m.end?.reason, m.exclusions]),
    [['stopped', { events: [learned(1), learned(2)], names: { a: excluded(9) } }]],
  );
});

test('a capture of which everything was left out has a manifest that says so', async (t) => {
  const w = await writerIn(t);
  w.writer.exclusions({ events: [learned(1)], names: { a: excluded(9) } });
  w.writer.end(END);
  await w.writer.finished();
  assert.deepEqual(
    w.manifests().map((m) => [m.file, m.packets, m.firstSequence, m.lastSequence, m.end?.reason, m.exclusions]),
    [['', 0, 1, 0, 'stopped', { events: [learned(1)], names: { a: excluded(9) } }]],
  );
  assert.deepEqual(w.acks.at(-1), { sequence: 0, packets: 0, ended: true });
});

test('an end mark of a capture of which earlier connections wrote everything has a manifest of its own', async (t) => {
  const w = await writerIn(t);
  const acks: unknown[] = [];
  const events = { idle() {}, failed: assert.fail, published: () => assert.fail('a file without packets') };
  const acknowledge = (...ack: unknown[]) => void acks.push(ack);
  const later = w.store.writer(SERIES, { sequence: 7, packets: 70 }, { ...events, acknowledge });
  later.end(END);
  await later.finished();
  const [m, ...more] = w.manifests();
  assert.deepEqual(more, []);
  assert.deepEqual(
    [m!.file, m!.firstSequence, m!.lastSequence, m!.firstPacketNumber, m!.end, m!.closedBy],
    ['', 8, 7, 71, END, 'end'],
  );
  assert.deepEqual(acks.at(-1), [7, 70, true]);
});

test('a gap is in the manifest of the segment that it came before the end of, and of no other', async (t) => {
  const w = await writerIn(t, { rotateBytes: 300 });
  w.append();
  w.gap(3, 5);
  w.append();
  w.append();
  w.writer.end(END);
  await w.writer.finished();
  const manifests = w.manifests();
  assert.deepEqual(
    manifests.map((m) => [m.firstSequence, m.firstPacketNumber, m.gaps.map((g) => g.firstSequence)]),
    [
      [1, 1, [2]],
      [5, 8, []],
      [6, 10, []],
    ],
  );
});

test('thousands of gaps stay a manifest of ordinary length, and no packet of them is forgotten', async (t) => {
  const w = await writerIn(t);
  w.append();
  for (let i = 0; i < 5000; i++) w.gap(1, 2);
  w.writer.end(END);
  await w.writer.finished();
  const [m] = w.manifests();
  assert.ok(m!.gaps.length <= 1000);
  assert.equal(
    m!.gaps.reduce((n, g) => n + g.packets, 0),
    10_000,
  );
  assert.equal(m!.gaps.at(-1)!.lastSequence, 5001);
});

test('a capture without packets leaves no file, and its end is acknowledged', async (t) => {
  const w = await writerIn(t);
  w.writer.tick();
  w.writer.end(END);
  await w.writer.finished();
  assert.deepEqual([readdirSync(w.folder), w.acks], [[], [{ sequence: 0, packets: 0, ended: true }]]);
  const lost = await writerIn(t);
  lost.gap(4, 9);
  lost.writer.end(END);
  await lost.writer.finished();
  assert.deepEqual(lost.acks.at(-1), { sequence: 4, packets: 9, ended: true });
  const [m] = lost.manifests();
  assert.deepEqual([m!.file, m!.lastSequence, m!.gaps.length, m!.end], ['', 4, 1, END]);
  assert.equal(readdirSync(lost.folder).length, 1);
});

test(
  'a link type that Arkime does not know gets another ending, and the manifest says why',
  { skip: lacks('capinfos') },
  async (t) => {
    const w = await writerIn(t, {}, { linkType: 147 });
    w.append();
    w.writer.end(END);
    await w.writer.finished();
    const [m] = w.manifests();
    assert.match(m!.file, /\.pcap\.linktype-147$/);
    assert.match(m!.notForArkime!, /link type 147/);
    assert.equal(capinfos(join(w.folder, m!.file)).get('Number of packets'), '2');
  },
);

test('microseconds are in header and manifest', { skip: lacks('capinfos') }, async (t) => {
  const w = await writerIn(t, {}, { timestamps: 'micro' });
  w.append();
  await w.writer.close('stopped');
  const [m] = w.manifests();
  assert.match(capinfos(join(w.folder, m!.file)).get('File timestamp precision')!, /^microseconds/);
  assert.match(m!.firstPacketTime, /\.\d{6}Z$/);
});

test("files are readable by the folder's group, and by nobody else", async (t) => {
  const before = process.umask(0o022);
  t.after(() => void process.umask(before));
  const w = await writerIn(t);
  w.append();
  await until('an acknowledgement', () => w.acks.length > 0);
  assert.equal(readdirSync(w.folder).length, 2);
  for (const name of readdirSync(w.folder)) assert.equal(statSync(join(w.folder, name)).mode & 0o777, 0o640, name);
  await w.writer.close('stopped');
  for (const name of readdirSync(w.folder)) assert.equal(statSync(join(w.folder, name)).mode & 0o777, 0o640, name);
});

test('in a folder that is new nothing is published before Arkime can have noticed it', async (t) => {
  // A clock that isn't put forward, so that the folder is as new as it is.
  const w = await writerIn(t, {}, {}, { clock: systemClock });
  const made = statSync(w.folder).birthtimeMs;
  w.append();
  await w.writer.close('stopped');
  const [m] = w.manifests();
  assert.ok(Date.parse(m!.published) - made >= 500, `${Date.parse(m!.published) - made} ms`);
  // The next one needn't wait.
  const begun = performance.now();
  const other = w.store.writer({ ...SERIES, capture: 4 }, { sequence: 0, packets: 0 }, NO_EVENTS);
  other.append(oneRecord(w.clock.now()));
  await other.close('stopped');
  assert.equal(w.names('.pcap').length, 2);
  assert.ok(performance.now() - begun < 500);
});

const NO_EVENTS = { acknowledge() {}, idle() {}, failed: assert.fail, published() {} };
const oneRecord = (arrivedMs: number): Slab => ({
  bytes: records([{ timestampNs: 1n, data: Buffer.alloc(1) }]),
  lastRecord: 0,
  packets: 1,
  packetBytes: 1,
  firstSequence: 1,
  lastSequence: 1,
  firstPacket: 1,
  arrivedMs,
  release() {},
});

test('a segment is never written over another file, nor beside another journal', async (t) => {
  const clock = new HandClock();
  const w = await writerIn(t, { syncMs: 0 }, {}, { clock });
  clock.turn(1000);
  w.append();
  await w.writer.close('stopped');
  const [file] = w.names('.pcap');
  for (const ending of ['.pcap', '.pcap.part', '.journal']) {
    const name = file!.replace('.pcap', ending);
    writeFileSync(join(w.folder, name), 'what was there');
    if (ending !== '.pcap') rmSync(join(w.folder, file!));
    const failures: Error[] = [];
    const refuses = () => assert.fail('it acknowledged or published');
    const again = w.store.writer(
      SERIES,
      { sequence: 0, packets: 0 },
      { acknowledge: refuses, published: refuses, idle() {}, failed: (e) => failures.push(e) },
    );
    // The same run, capture and sequence, within the same second.
    again.append(oneRecord(clock.now()));
    await again.close('stopped');
    assert.equal(failures.length, 1);
    assert.match(failures[0]!.message, /exist/);
    assert.equal(readFileSync(join(w.folder, name), 'utf8'), 'what was there', ending);
    for (const left of readdirSync(w.folder)) rmSync(join(w.folder, left));
    writeFileSync(join(w.folder, file!), '');
  }
});

test('when the disk fails that is said once, nothing more is acknowledged, and slabs come back', async (t) => {
  const w = await writerIn(t, { syncMs: 1e8 });
  w.append();
  await until('an acknowledgement', () => w.acks.length > 0);
  rmSync(w.folder, { recursive: true });
  w.append();
  w.writer.end(END);
  await w.writer.finished();
  await w.writer.close('disconnected');
  assert.equal(w.failures.length, 1);
  assert.deepEqual(
    w.acks.filter((a) => a.sequence > 2 || a.ended),
    [],
  );
  assert.equal(w.released(), 2);
});

test('a folder that can not be written to fails the first segment', async (t) => {
  const w = await writerIn(t);
  rmSync(w.folder, { recursive: true });
  writeFileSync(w.folder, 'a file');
  w.append();
  await w.writer.close('stopped');
  assert.equal(w.failures.length, 1);
  assert.deepEqual([w.acks, w.released()], [[], 1]);
});
