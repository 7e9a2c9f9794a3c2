import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileHeader } from '../formats/pcap.ts';
import { capinfos, lacks, packetsIn, temporaryFolder, until } from '../test/support.ts';
import { records, type TestPacket } from '../test/wire.ts';
import type { Manifest, ManifestStart } from './manifest.ts';
import { folderMade } from './publish.ts';
import type { Slab } from './segment.ts';
import { CaptureWriter, type SeriesStart, type WriterLimits } from './writer.ts';

const START: SeriesStart = {
  format: 'rcap manifest 1',
  host: 'web01',
  system: 'linux x64',
  agent: 'rcap-agent test',
  peer: '192.0.2.1:1234',
  token: 'abcdef01',
  run: '00112233445566778899aabbccddeeff',
  capture: 3,
  interface: 'eth0',
  friendlyName: '',
  addresses: ['192.0.2.1'],
  linkType: 1,
  snaplen: 1000,
  effectiveFilter: 'tcp',
  promiscuous: true,
  source: 'live',
  sourceFile: '',
  timestamps: 'nano',
  clockOffsetMs: 5,
  collector: 'rcap-collector test',
};
const NEVER: WriterLimits = { rotateBytes: 1e9, rotateAgeMs: 1e9, rotateIdleMs: 1e9, syncBytes: 1e9, syncMs: 1 };

interface Ack {
  sequence: number;
  ended: boolean;
}

/** A writer on a real folder, and all that it said. */
function writerIn(t: TestContext, limits: Partial<WriterLimits> = {}, start: Partial<SeriesStart> = {}) {
  const folder = temporaryFolder(t);
  const acks: Ack[] = [];
  const failures: Error[] = [];
  const published: [file: string, packets: number][] = [];
  const writer = new CaptureWriter(
    folder,
    { ...START, ...start },
    { ...NEVER, ...limits },
    {
      acknowledge: (sequence, ended) => acks.push({ sequence, ended }),
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
      arrivedMs: performance.now(),
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
    writer.gap({ firstSequence: sequence, lastSequence: sequence + sequences - 1, packets, bytes: packets * 10 });
    sequence += sequences;
    packet += packets;
  };
  const names = (ending: string) =>
    readdirSync(folder)
      .filter((n) => n.endsWith(ending))
      .toSorted(byFirstSequence);
  const manifests = () => names('.json').map((n) => JSON.parse(readFileSync(join(folder, n), 'utf8')) as Manifest);
  return { folder, writer, acks, failures, published, append, gap, names, manifests, released: () => released };
}
const byFirstSequence = (a: string, b: string) => Number(/_(\d+)\./.exec(a)?.[1]) - Number(/_(\d+)\./.exec(b)?.[1]);
const END = { reason: 'stopped', counters: null };

/** Holds each manifest against the file beside it. */
function holdManifests(folder: string, manifests: Manifest[]): void {
  for (const m of manifests) {
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
  const w = writerIn(t);
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
    ...START,
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
  assert.deepEqual(w.acks.at(-1), { sequence: 4, ended: true });
  assert.deepEqual(readdirSync(w.folder).length, 2);
  assert.equal(w.released(), 2);
  assert.deepEqual(w.writer.written, { packets: 8, packetBytes: 800, segments: 1 });
});

test('what is synchronised is acknowledged, while the file is still open', async (t) => {
  const w = writerIn(t);
  w.append();
  await until('an acknowledgement', () => w.acks.length > 0);
  assert.deepEqual(w.acks, [{ sequence: 1, ended: false }]);
  assert.deepEqual([w.names('.pcap'), w.names('.json')], [[], []]);
  assert.equal(w.names('.pcap.part').length, 1);
  w.append(2);
  await until('another', () => w.acks.length > 1);
  assert.deepEqual(w.acks[1], { sequence: 3, ended: false });
  await w.writer.close('stopped');
});

test('beside an open segment lies what is known about it', async (t) => {
  const w = writerIn(t);
  w.append();
  await until('the segment', () => w.names('.json.part')[0]);
  const start = JSON.parse(readFileSync(join(w.folder, w.names('.json.part')[0]!), 'utf8')) as ManifestStart;
  assert.deepEqual([start.host, start.firstSequence, start.run], ['web01', 1, START.run]);
  await w.writer.close('stopped');
  assert.deepEqual(w.names('.part'), []);
});

test('what comes first is made durable at once, what follows when it has the bytes, long before its time', async (t) => {
  const w = writerIn(t, { syncBytes: 500, syncMs: 1e8 });
  assert.ok(w.writer.patience! <= 0);
  w.append();
  await until('an acknowledgement', () => w.acks.length > 0);
  w.append();
  assert.equal(w.writer.patience, undefined);
  await w.writer.finished();
  assert.ok(w.writer.patience! > 0);
  assert.deepEqual(w.acks, [{ sequence: 1, ended: false }]);
  w.append(2);
  await until('another', () => w.acks.length > 1);
  assert.deepEqual(w.acks[1], { sequence: 4, ended: false });
  await w.writer.close('stopped');
});

test('sequences are acknowledged in order up to the last, and segments follow one another without a hole', async (t) => {
  const w = writerIn(t, { rotateBytes: 3000, syncBytes: 300 });
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
  const w = writerIn(t, { rotateBytes: 24 + 2 * 232 });
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
    const w = writerIn(t, limits);
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

test('an end mark that comes after the last segment was published gets into its manifest, counters and gaps too', async (t) => {
  const w = writerIn(t, { rotateIdleMs: 1 });
  w.append();
  await until('its publication', () => {
    w.writer.tick();
    return w.published.length > 0;
  });
  const before = await until('its manifest', () => w.manifests()[0]);
  w.gap(2, 7);
  w.writer.end({ reason: 'duration', counters: { capture: 3, sent: 2 } });
  await w.writer.finished();
  const [m] = w.manifests();
  assert.deepEqual(m, {
    ...before,
    gaps: [{ firstSequence: 2, lastSequence: 3, packets: 7, bytes: 70 }],
    counters: { capture: 3, sent: 2 },
    end: { reason: 'duration', counters: { capture: 3, sent: 2 } },
  });
  assert.deepEqual(w.acks.at(-1), { sequence: 3, ended: true });
  assert.equal(w.names('.pcap').length, 1);
  holdManifests(w.folder, w.manifests());
});

test('a gap that comes after the last segment was published is written down, end mark or not', async (t) => {
  const w = writerIn(t, { rotateIdleMs: 1 });
  w.append();
  await until('its publication', () => {
    w.writer.tick();
    return w.published.length > 0;
  });
  w.gap(1, 4);
  await w.writer.close('disconnected');
  const [m] = w.manifests();
  assert.deepEqual([m!.gaps.length, m!.end], [1, null]);
});

test('a gap is in the manifest of the segment that it came before the end of, and of no other', async (t) => {
  const w = writerIn(t, { rotateBytes: 300 });
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
  const w = writerIn(t);
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
  const w = writerIn(t);
  w.writer.tick();
  w.writer.end(END);
  await w.writer.finished();
  assert.deepEqual([readdirSync(w.folder), w.acks], [[], [{ sequence: 0, ended: true }]]);
  const lost = writerIn(t);
  lost.gap(4, 9);
  lost.writer.end(END);
  await lost.writer.finished();
  assert.deepEqual([readdirSync(lost.folder), lost.acks.at(-1)], [[], { sequence: 4, ended: true }]);
});

test(
  'a link type that Arkime does not know gets another ending, and the manifest says why',
  { skip: lacks('capinfos') },
  async (t) => {
    const w = writerIn(t, {}, { linkType: 147 });
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
  const w = writerIn(t, {}, { timestamps: 'micro' });
  w.append();
  await w.writer.close('stopped');
  const [m] = w.manifests();
  assert.match(capinfos(join(w.folder, m!.file)).get('File timestamp precision')!, /^microseconds/);
  assert.match(m!.firstPacketTime, /\.\d{6}Z$/);
});

test("files are readable by the folder's group, and by nobody else", async (t) => {
  const before = process.umask(0o022);
  t.after(() => void process.umask(before));
  const w = writerIn(t);
  w.append();
  await until('the segment', () => w.names('.json.part').length > 0);
  for (const name of readdirSync(w.folder)) assert.equal(statSync(join(w.folder, name)).mode & 0o777, 0o640, name);
  await w.writer.close('stopped');
  for (const name of readdirSync(w.folder)) assert.equal(statSync(join(w.folder, name)).mode & 0o777, 0o640, name);
});

test('in a folder that is new nothing is published before Arkime can have noticed it', async (t) => {
  const w = writerIn(t);
  folderMade(w.folder);
  const made = performance.now();
  w.append();
  await w.writer.close('stopped');
  assert.ok(performance.now() - made >= 500);
  assert.equal(w.names('.pcap').length, 1);
});

test('a segment is never written over another file', async (t) => {
  const w = writerIn(t);
  w.append();
  await w.writer.close('stopped');
  const [file] = w.names('.pcap');
  const before = readFileSync(join(w.folder, file!));
  // The same run, capture and sequence, within the same second or not.
  for (let second = 0; second < 3; second++) {
    const time = new Date(Date.now() + second * 1000).toISOString().slice(0, 19).replace(/[-:]/g, '');
    writeFileSync(join(w.folder, file!.replace(/\d{8}T\d{6}/, time)), before);
  }
  const failures: Error[] = [];
  const again = new CaptureWriter(w.folder, START, NEVER, {
    acknowledge: () => assert.fail('it acknowledged'),
    idle: () => {},
    failed: (e) => failures.push(e),
    published: () => assert.fail('it published'),
  });
  again.append({
    bytes: Buffer.alloc(16),
    lastRecord: 0,
    packets: 1,
    packetBytes: 0,
    firstSequence: 1,
    lastSequence: 1,
    firstPacket: 1,
    arrivedMs: performance.now(),
    release() {},
  });
  await again.close('stopped');
  assert.match(failures[0]!.message, /it exists/);
  assert.ok(w.names('.pcap').every((n) => readFileSync(join(w.folder, n)).equals(before)));
});

test('when the disk fails that is said once, nothing more is acknowledged, and slabs come back', async (t) => {
  const w = writerIn(t, { syncMs: 1e8 });
  w.append();
  await until('an acknowledgement', () => w.acks.length > 0);
  rmSync(w.folder, { recursive: true });
  w.append();
  w.writer.end(END);
  await w.writer.finished();
  await w.writer.close('disconnected');
  assert.equal(w.failures.length, 1);
  assert.deepEqual(w.acks, [{ sequence: 1, ended: false }]);
  assert.equal(w.released(), 2);
});

test('a folder that can not be written to fails the first segment', async (t) => {
  const w = writerIn(t);
  rmSync(w.folder, { recursive: true });
  writeFileSync(w.folder, 'a file');
  w.append();
  await w.writer.close('stopped');
  assert.equal(w.failures.length, 1);
  assert.deepEqual([w.acks, w.released()], [[], 1]);
  rmSync(w.folder);
  mkdirSync(w.folder);
});
