import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { fileHeader } from '../formats/pcap.ts';
import { differs, FaultyDisk } from '../test/faulty-disk.ts';
import { fuzz } from '../test/fuzz.ts';
import { fastClock, Folders, memoryFolder, openStore, RUN, SERIES, TOKEN } from '../test/storage.ts';
import { capinfos, lacks, packetsIn, temporaryFolder, tshark, until } from '../test/support.ts';
import { records, type TestPacket } from '../test/wire.ts';
import { type Disk, systemDisk } from './disk.ts';
import type { Exclusions } from './exclusions.ts';
import { type Closing, type JournalText, type Point, readJournal } from './journal.ts';
import type { Manifest, ManifestGap, ManifestStart } from './manifest.ts';
import { leftovers, recover, type Recovered } from './recover.ts';
import { type Position, type Recorded, Runs } from './runs.ts';

/** A batch of one packet each: sequences 5 to 8. */
const PACKETS: TestPacket[] = [60, 1, 100, 0].map((length, i) => ({
  timestampNs: 1_700_000_000_000_000_000n + BigInt(i) * 1_234_567_891n,
  data: Buffer.alloc(length, i + 1),
  original: 200,
}));
const HEADER = fileHeader(1, 100, 'nano');
const SEGMENT = Buffer.concat([HEADER, records(PACKETS)]);
const STEM = 'web01_eth0_20261124T021500Z_00112233-1_5';
const START: ManifestStart = {
  ...SERIES,
  capture: 1,
  snaplen: 100,
  opened: '2026-11-24T02:15:00.000Z',
  firstSequence: 5,
  firstPacketNumber: 9,
};
const TIMES = [
  '2023-11-14T22:13:20.000000000Z',
  '2023-11-14T22:13:21.234567891Z',
  '2023-11-14T22:13:22.469135782Z',
  '2023-11-14T22:13:23.703703673Z',
];
const GAP: ManifestGap = {
  firstSequence: 5,
  lastSequence: 9,
  packets: 50,
  bytes: 500,
  firstPacketTime: TIMES[0]!,
  lastPacketTime: TIMES[3]!,
};
const END = { reason: 'count', counters: { capture: 1, captured: 12 } };

/** After so many of the batches. */
const pointAt = (batches: number, more: Partial<Point> = {}): Point => ({
  sequence: 4 + batches,
  packetNumber: 8 + batches,
  bytes: batches > 0 ? HEADER.length + records(PACKETS.slice(0, batches)).length : 0,
  packets: batches,
  packetBytes: PACKETS.slice(0, batches).reduce((n, p) => n + p.data.length, 0),
  firstPacketTime: batches > 0 ? TIMES[0]! : '',
  lastPacketTime: TIMES[batches - 1] ?? '',
  gapsFrom: 0,
  gaps: [],
  counters: { capture: 1, received: 99 },
  ...more,
});
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const closed = (closing: Closing = { closedBy: 'bytes', end: null }) =>
  pointAt(4, { closing: { ...closing, sha256: sha256(SEGMENT) } });
const journal = (points: Point[], start: ManifestStart = START) =>
  [start, ...points].map((line) => `${JSON.stringify(line)}\n`).join('');

type Files = Record<string, string | Uint8Array>;
const PART = `${STEM}.pcap.part`;
const FILE = `${STEM}.pcap`;
const JOURNAL = `${STEM}.journal`;
const MANIFEST = `${STEM}.json`;

/** A host's folder with these files. */
function left(t: TestContext, files: Files): Folders {
  const folders = new Folders(memoryFolder(t));
  mkdirSync(folders.host());
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folders.host(), name), content);
  return folders;
}

const openRuns = (folders: Folders, disk: Disk = new FaultyDisk()) =>
  Runs.open(disk, fastClock(1), join(folders.state, 'runs'), (file) => assert.fail(file));

/** As the store does, without saying it. */
const recordIn = (runs: Runs) => (start: ManifestStart, segment: Recorded) =>
  void runs.record(start.run, start.capture, segment);

/** Recovers all that is left, as the store does; what it said. */
async function recovered(folders: Folders, disk: Disk = new FaultyDisk()): Promise<Recovered[]> {
  const runs = await openRuns(folders, disk);
  const place = { disk, clock: fastClock(1), made: new Map<string, number>(), folder: folders.host() };
  const said: Recovered[] = [];
  for (const stem of await leftovers(place)) said.push((await recover(place, stem, runs, recordIn(runs)))!);
  return said;
}

/** What the state folder says of the capture. */
function position(folders: Folders): unknown {
  const run = JSON.parse(readFileSync(join(folders.state, 'runs', `${RUN}.json`), 'utf8')) as {
    token: string;
    captures: Record<string, unknown>;
  };
  assert.equal(run.token, TOKEN);
  return run.captures['1'];
}

/** Where a capture stands, recorded up to there: its first `packets` packets of the segment are in files. */
const stood = (sequence: number, number: number, packets: number, more: Partial<Position> = {}): Position => ({
  sequence,
  packets: number,
  recorded: sequence,
  ended: false,
  files: { packets, bytes: pointAt(packets).packetBytes },
  gaps: { packets: 0, bytes: 0 },
  ...more,
});

/** Nothing but a file and its manifest, which fits. */
function published(folders: Folders, bytes: Uint8Array, file = FILE): Manifest {
  assert.deepEqual(folders.names().toSorted(), [MANIFEST, file].toSorted());
  assert.ok(folders.bytes(file).equals(bytes), 'the file has other bytes');
  const [m] = folders.manifests();
  assert.deepEqual([m!.file, m!.sha256, m!.fileBytes], [file, sha256(bytes), bytes.length]);
  return m!;
}

test('a journal without a point: nothing was acknowledged, and nothing stays', async (t) => {
  const whole = journal([]);
  for (const text of ['', whole.slice(0, 1), whole.slice(0, -1), whole, whole + '{"sequence":', '\0'.repeat(500)]) {
    for (const part of [undefined, Buffer.alloc(0), HEADER, SEGMENT]) {
      const folders = left(t, { [JOURNAL]: text, ...(part && { [PART]: part }) });
      assert.deepEqual(await recovered(folders), [{ file: STEM, packets: 0, cut: part?.length ?? 0, missing: 0 }]);
      assert.deepEqual(folders.names(), []);
      assert.deepEqual(readdirSync(join(folders.state, 'runs')), []);
    }
  }
});

test('a file that is longer than its last point is cut there, and published with the right record', async (t) => {
  for (let batches = 1; batches <= 4; batches++) {
    const point = pointAt(batches, { gaps: [{ ...GAP, firstSequence: 1, lastSequence: 4 }] });
    const tails = [SEGMENT.subarray(point.bytes), SEGMENT.subarray(point.bytes, -1), Buffer.alloc(8192), Buffer.of(1)];
    for (const tail of tails) {
      const kept = SEGMENT.subarray(0, point.bytes);
      const points = Array.from({ length: batches }, (_, i) => (i + 1 < batches ? pointAt(i + 1) : point));
      const folders = left(t, { [JOURNAL]: journal(points), [PART]: Buffer.concat([kept, tail]) });
      const said = [{ file: FILE, packets: batches, cut: tail.length, missing: 0 }];
      assert.deepEqual(await recovered(folders), said);
      const { published: when, ...m } = published(folders, kept);
      assert.ok(Math.abs(Date.parse(when) - Date.now()) < 60_000);
      const { sequence: lastSequence, bytes: fileBytes, packetNumber: _, gapsFrom: __, ...same } = point;
      const closing = { closedBy: 'recovered', end: null, sha256: sha256(kept) };
      assert.deepEqual(m, { ...START, ...same, lastSequence, fileBytes, file: FILE, ...closing });
      const gaps = { packets: GAP.packets, bytes: GAP.bytes };
      assert.deepEqual(position(folders), stood(lastSequence, 8 + batches, batches, { gaps }));
    }
  }
});

test('a file that is shorter than its last point keeps its whole records; what is missing is said', async (t) => {
  const ends = PACKETS.map((_, i) => pointAt(i + 1).bytes);
  for (let length = 0; length < SEGMENT.length; length++) {
    const folders = left(t, { [JOURNAL]: journal([pointAt(4)]), [PART]: SEGMENT.subarray(0, length) });
    const whole = ends.filter((end) => end <= length);
    const kept = whole.at(-1) ?? 0;
    const said = { packets: whole.length, cut: length - kept, missing: 4 - whole.length };
    assert.deepEqual(await recovered(folders), [{ file: FILE, ...said }], `${length} bytes`);
    const [m] = folders.manifests();
    if (kept > 0) published(folders, SEGMENT.subarray(0, kept));
    else assert.deepEqual([folders.names(), m!.file, m!.sha256], [[MANIFEST], '', '']);
    assert.deepEqual(
      [m!.packets, m!.packetBytes, m!.firstPacketTime, m!.lastPacketTime, m!.lastSequence],
      [
        whole.length,
        pointAt(whole.length).packetBytes,
        whole.length > 0 ? TIMES[0] : '',
        TIMES[whole.length - 1] ?? '',
        8,
      ],
    );
    // It was acknowledged: the agent has it no more.
    assert.deepEqual(position(folders), stood(8, 12, whole.length));
  }
});

test('zeros in place of records that a lying disk lost are no packets', async (t) => {
  const kept = pointAt(2).bytes;
  const part = Buffer.concat([SEGMENT.subarray(0, kept), Buffer.alloc(50)]);
  assert.ok(part.length < SEGMENT.length);
  const folders = left(t, { [JOURNAL]: journal([pointAt(4)]), [PART]: part });
  assert.deepEqual(await recovered(folders), [{ file: FILE, packets: 2, cut: 50, missing: 2 }]);
  published(folders, SEGMENT.subarray(0, kept));
});

test('a file that the disk lost is said; its journal becomes a manifest', async (t) => {
  const folders = left(t, { [JOURNAL]: journal([pointAt(4)]) });
  assert.deepEqual(await recovered(folders), [{ file: FILE, packets: 0, cut: 0, missing: 4 }]);
  assert.deepEqual(folders.names(), [MANIFEST]);
  const [m] = folders.manifests();
  assert.deepEqual([m!.file, m!.packets, m!.fileBytes, m!.sha256, m!.lastSequence], ['', 0, 0, '', 8]);
});

for (const end of [null, END]) {
  const closing = { closedBy: end ? 'end' : 'bytes', end };
  const position8 = stood(8, 12, 4, { ended: end !== null });
  const words = end ? 'with an end mark' : 'without one';

  test(`closed ${words}, but not renamed: it is published, as it was closed`, async (t) => {
    const folders = left(t, { [JOURNAL]: journal([pointAt(2), closed(closing)]), [PART]: SEGMENT });
    assert.deepEqual(await recovered(folders), [{ file: FILE, packets: 4, cut: 0, missing: 0 }]);
    const m = published(folders, SEGMENT);
    assert.deepEqual([m.closedBy, m.end, m.packets], [closing.closedBy, end, 4]);
    assert.deepEqual(position(folders), position8);
  });

  test(`renamed ${words}, but not recorded: its manifest is written`, async (t) => {
    const folders = left(t, { [JOURNAL]: journal([pointAt(2), closed(closing)]), [FILE]: SEGMENT });
    assert.deepEqual(await recovered(folders), [{ file: FILE, packets: 4, cut: 0, missing: 0 }]);
    const m = published(folders, SEGMENT);
    assert.deepEqual([m.closedBy, m.end, m.lastPacketTime], [closing.closedBy, end, TIMES[3]]);
    assert.deepEqual(position(folders), position8);
  });

  test(`recorded ${words}, but its journal is there: the manifest stays as it is`, async (t) => {
    const folders = left(t, { [JOURNAL]: journal([closed(closing)]), [FILE]: SEGMENT, [MANIFEST]: '{"as": "it was"}' });
    await recovered(folders);
    assert.deepEqual(folders.names().toSorted(), [MANIFEST, FILE].toSorted());
    assert.equal(folders.bytes(MANIFEST).toString(), '{"as": "it was"}');
    assert.deepEqual(position(folders), position8);
  });

  test(`recorded ${words}, and then both were taken away: nothing comes back`, async (t) => {
    const folders = left(t, { [JOURNAL]: journal([closed(closing)]) });
    const runs = await openRuns(folders);
    runs.claim(RUN, TOKEN);
    runs.record(RUN, 1, position8);
    await runs.save(RUN);
    await recovered(folders);
    assert.deepEqual(folders.names(), []);
    assert.deepEqual(position(folders), position8);
  });
}

test('recorded, but its end mark is not: the manifest is written', async (t) => {
  const folders = left(t, { [JOURNAL]: journal([closed({ closedBy: 'end', end: END })]), [FILE]: SEGMENT });
  const runs = await openRuns(folders);
  runs.claim(RUN, TOKEN);
  runs.record(RUN, 1, stood(8, 12, 4));
  await runs.save(RUN);
  await recovered(folders);
  assert.deepEqual(published(folders, SEGMENT).end, END);
});

test('gaps alone, and an end mark alone, are recorded without a file', async (t) => {
  const lost = pointAt(0, { sequence: 9, packetNumber: 58, gaps: [GAP] });
  const closing = { closedBy: 'end', end: END, sha256: '' };
  // The end mark of a capture that other segments hold: no sequence of its own.
  const endOnly = pointAt(0, { closing });
  const states: [points: Point[], gaps: ManifestGap[], end: unknown, closedBy: string][] = [
    [[lost], [GAP], null, 'recovered'],
    [[lost, { ...lost, gapsFrom: 1, gaps: [], closing }], [GAP], END, 'end'],
    [[endOnly], [], END, 'end'],
  ];
  for (const [points, gaps, end, closedBy] of states) {
    // A header may be there: its packets came after the last point.
    for (const part of [undefined, Buffer.alloc(0), HEADER, SEGMENT]) {
      if (part && end) continue;
      const folders = left(t, { [JOURNAL]: journal(points), ...(part && { [PART]: part }) });
      const [said] = await recovered(folders);
      assert.deepEqual([said!.packets, said!.missing, said!.cut], [0, 0, part?.length ?? 0]);
      assert.deepEqual(folders.names(), [MANIFEST]);
      const [m] = folders.manifests();
      assert.deepEqual([m!.file, m!.gaps, m!.end, m!.closedBy, m!.sha256], ['', gaps, end, closedBy, '']);
      const { sequence, packetNumber } = points[0]!;
      const lost = { packets: gaps[0]?.packets ?? 0, bytes: gaps[0]?.bytes ?? 0 };
      assert.deepEqual(position(folders), stood(sequence, packetNumber, 0, { ended: end !== null, gaps: lost }));
    }
  }
});

const EXCLUSIONS: Exclusions = {
  events: [{ number: 7, time: TIMES[0]!, kind: 'learned', name: 'example.com', address: '192.0.2.1' }],
  names: { 'example.com': { packets: 3, bytes: 300 } },
};

test('exclusions are recovered, from all lines, and which was the last event', async (t) => {
  const later = {
    events: [{ ...EXCLUSIONS.events[0]!, number: 8 }],
    names: { 'example.com': { packets: 4, bytes: 400 } },
  };
  const points = [pointAt(1, { exclusions: EXCLUSIONS }), pointAt(2, { exclusions: later }), pointAt(3)];
  const exclusions = { events: [...EXCLUSIONS.events, ...later.events], names: later.names };
  const disk = new FaultyDisk();
  // Also when it is cut off once, behind the new journal and before the manifest.
  for (const at of [Infinity, 1, 4, 8, 12, 16]) {
    const folders = left(t, { [JOURNAL]: journal(points), [PART]: SEGMENT });
    await recovered(folders, new FaultyDisk({ at })).catch(() => {});
    await recovered(folders, disk);
    const [m] = folders.manifests();
    assert.deepEqual([m!.packets, m!.exclusions], [3, exclusions], `at ${at}`);
    assert.deepEqual(position(folders), stood(7, 11, 3, { events: 8 }));
  }
});

test('a link type that Arkime does not read keeps the name that Arkime passes over', async (t) => {
  const start = { ...START, linkType: 147 };
  const bytes = Buffer.concat([fileHeader(147, 100, 'nano'), records(PACKETS)]);
  const name = `${FILE}.linktype-147`;
  const longer = { [JOURNAL]: journal([pointAt(4)], start), [`${name}.part`]: Buffer.concat([bytes, Buffer.alloc(9)]) };
  const folders = left(t, longer);
  assert.deepEqual(await recovered(folders), [{ file: name, packets: 4, cut: 9, missing: 0 }]);
  assert.match(published(folders, bytes, name).notForArkime!, /147/);
  const nothing = left(t, { [JOURNAL]: journal([], start), [`${name}.part`]: bytes });
  await recovered(nothing);
  assert.deepEqual(nothing.names(), []);
});

test('a journal that is damaged is set aside with its file, and said', async (t) => {
  const lines = journal([pointAt(1), pointAt(2), pointAt(3)]).split(/(?<=\n)/);
  for (const n of [0, 1, 2]) {
    const text = lines.with(n, 'damaged\n').join('');
    const folders = left(t, { [JOURNAL]: text, [PART]: SEGMENT });
    const [said] = await recovered(folders);
    assert.match(said!.left!, /damaged/);
    assert.deepEqual(folders.names().toSorted(), [`${JOURNAL}.damaged`, PART].toSorted());
    assert.equal(folders.bytes(`${JOURNAL}.damaged`).toString(), text);
    assert.ok(folders.bytes(PART).equals(SEGMENT));
    assert.deepEqual(await recovered(folders), []);
  }
});

test('microseconds stay microseconds', async (t) => {
  const bytes = Buffer.concat([fileHeader(1, 100, 'micro'), records(PACKETS, 1_000_000n)]);
  const start: ManifestStart = { ...START, timestamps: 'micro' };
  const folders = left(t, { [JOURNAL]: journal([pointAt(4)], start), [PART]: bytes.subarray(0, -1) });
  await recovered(folders);
  const [m] = folders.manifests();
  assert.deepEqual([m!.timestamps, m!.lastPacketTime], ['micro', '2023-11-14T22:13:22.469135Z']);
});

test('what is published is read by capinfos and tshark', { skip: lacks('capinfos', 'tshark') }, async (t) => {
  const folders = left(t, { [JOURNAL]: journal([pointAt(2)]), [PART]: SEGMENT });
  await recovered(folders);
  const file = join(folders.host(), FILE);
  assert.equal(packetsIn(file), 2);
  assert.equal(capinfos(file).get('File encapsulation'), 'ether');
  assert.deepEqual(tshark(file, 'frame.cap_len', 'frame.len', 'frame.time_epoch'), [
    ['60', '200', '1700000000.000000000'],
    ['1', '200', '1700000001.234567891'],
  ]);
});

test('a segment longer than what is read at once, shorter than its point or longer', async (t) => {
  const many = Array.from({ length: 40_000 }, (_, i) => ({
    timestampNs: BigInt(i + 1),
    data: Buffer.alloc(i % 101, i),
    original: 200,
  }));
  const bytes = Buffer.concat([HEADER, records(many)]);
  assert.ok(bytes.length > 2 << 20);
  const point: Point = { ...pointAt(0), sequence: 44, bytes: bytes.length, packets: 40_000 };
  const longer = left(t, { [JOURNAL]: journal([point]), [PART]: Buffer.concat([bytes, bytes]) });
  const said = { file: FILE, packets: 40_000, cut: bytes.length, missing: 0 };
  assert.deepEqual(await recovered(longer), [said]);
  published(longer, bytes);
  const whole = Buffer.concat([HEADER, records(many.slice(0, 30_000))]);
  const shorter = left(t, { [JOURNAL]: journal([point]), [PART]: bytes.subarray(0, whole.length + 15) });
  assert.deepEqual(await recovered(shorter), [{ file: FILE, packets: 30_000, cut: 15, missing: 10_000 }]);
  assert.equal(published(shorter, whole).packetBytes, whole.length - 24 - 16 * 30_000);
});

test('the longest packets are recovered, shorter or longer', async (t) => {
  const long = Array.from({ length: 9 }, (_, i) => ({ timestampNs: BigInt(i + 1), data: Buffer.alloc(262_144, i) }));
  const bytes = Buffer.concat([fileHeader(1, 262_144, 'nano'), records(long)]);
  const start = { ...START, snaplen: 262_144 };
  const point: Point = { ...pointAt(0), sequence: 13, bytes: bytes.length, packets: 9 };
  const whole = left(t, { [JOURNAL]: journal([point], start), [PART]: bytes });
  assert.equal((await recovered(whole))[0]!.packets, 9);
  published(whole, bytes);
  const shorter = left(t, { [JOURNAL]: journal([point], start), [PART]: bytes.subarray(0, -1) });
  assert.deepEqual(await recovered(shorter), [{ file: FILE, packets: 8, cut: 262_159, missing: 1 }]);
});

test('a symbolic link under the name of a segment is refused, and what it points to stays as it is', async (t) => {
  for (const points of [[], [pointAt(2)]]) {
    const folders = left(t, { [JOURNAL]: journal(points) });
    const victim = join(temporaryFolder(t), 'victim');
    writeFileSync(victim, SEGMENT);
    symlinkSync(victim, join(folders.host(), PART));
    await assert.rejects(recovered(folders), { code: 'ELOOP' });
    assert.ok(readFileSync(victim).equals(SEGMENT));
    assert.deepEqual(folders.names().toSorted(), [JOURNAL, PART].toSorted());
  }
});

test('files of others stay as they are, a .part without a journal too; a second time there is nothing to do', async (t) => {
  const others: Files = {
    'x.pcap': SEGMENT,
    'x.json': '{}',
    'notes.txt': 'n',
    'y.part': 'p',
    'z.pcap.part.bak': 'b',
    'alone_20261124T021500Z_00112233-1_1.pcap.part': SEGMENT,
    // The same beginning, and yet another segment.
    [`${STEM}0.pcap.part`]: SEGMENT,
  };
  const folders = left(t, { ...others, [JOURNAL]: journal([]), [PART]: SEGMENT });
  await recovered(folders);
  assert.deepEqual(folders.names().toSorted(), Object.keys(others).toSorted());
  assert.deepEqual(await recovered(folders), []);
  for (const [name, content] of Object.entries(others)) assert.ok(folders.bytes(name).equals(Buffer.from(content)));
});

test('what was half replaced is removed', async (t) => {
  const folders = left(t, { [`${MANIFEST}.new`]: '{"half', [`${JOURNAL}.new`]: '{', 'x.new': 'of another' });
  assert.deepEqual(await recovered(folders), []);
  assert.deepEqual(folders.names(), ['x.new']);
});

test('wherever recovery is cut off, the next one comes to the same end', async (t) => {
  const lost = pointAt(0, { sequence: 9, packetNumber: 58, gaps: [GAP] });
  const states: Record<string, Files> = {
    'no point': { [JOURNAL]: journal([]), [PART]: SEGMENT },
    longer: { [JOURNAL]: journal([pointAt(1), pointAt(2)]), [PART]: SEGMENT },
    shorter: { [JOURNAL]: journal([pointAt(4)]), [PART]: SEGMENT.subarray(0, -20) },
    'without records': { [JOURNAL]: journal([pointAt(4)]), [PART]: SEGMENT.subarray(0, 30) },
    lost: { [JOURNAL]: journal([pointAt(4)]) },
    closed: { [JOURNAL]: journal([closed({ closedBy: 'end', end: END })]), [PART]: SEGMENT },
    renamed: { [JOURNAL]: journal([closed()]), [FILE]: SEGMENT },
    recorded: { [JOURNAL]: journal([closed()]), [FILE]: SEGMENT, [MANIFEST]: 'as it was' },
    gaps: { [JOURNAL]: journal([lost]), [PART]: HEADER },
    'link type': {
      [JOURNAL]: journal([pointAt(3)], { ...START, linkType: 147 }),
      [`${FILE}.linktype-147.part`]: SEGMENT,
    },
  };
  for (const [name, files] of Object.entries(states)) {
    const whole = left(t, files);
    const { steps } = await recoveredBy(new FaultyDisk(), whole);
    const expected = contents(whole);
    for (const fault of ['before', 'after', 'torn', 'killed before', 'killed after'] as const) {
      for (let at = 1; at <= steps.length; at++) {
        if (!differs(fault, steps[at - 1]!)) continue;
        const folders = left(t, files);
        const disk = await recoveredBy(new FaultyDisk({ at, fault }), folders);
        assert.equal(disk.failed, steps[at - 1]);
        await recovered(folders);
        assert.deepEqual(contents(folders), expected, `${name}: ${fault} ${disk.failed}, step ${at}`);
        rmSync(folders.folder, { recursive: true });
      }
    }
  }
});

/** As far as the disk lets it. */
async function recoveredBy(disk: FaultyDisk, folders: Folders): Promise<FaultyDisk> {
  await Promise.race([recovered(folders, disk).catch(() => {}), disk.dead]);
  await disk.closeAll();
  return disk;
}

/** All files of a host and of the runs, without what differs each time. */
function contents(folders: Folders): Record<string, string> {
  const all: Record<string, string> = {};
  for (const folder of [folders.host(), join(folders.state, 'runs')]) {
    for (const name of readdirSync(folder)) {
      const text = readFileSync(join(folder, name), 'latin1');
      all[name] = text.replace(/"(published)": ?"[^"]*"|"(seen)":\d+/, '$1$2');
    }
  }
  return all;
}

test('of several segments of a capture all are recorded, in whatever order they are found', async (t) => {
  // The first was published, and the next begun, before the first was recorded.
  const next = 'web01_eth0_20261124T021500Z_00112233-1_9';
  const nextStart = { ...START, firstSequence: 9, firstPacketNumber: 13 };
  const nextPoint = { ...pointAt(4), sequence: 12, packetNumber: 16 };
  const folders = left(t, {
    [JOURNAL]: journal([closed()]),
    [FILE]: SEGMENT,
    [`${next}.journal`]: journal([nextPoint], nextStart),
    [`${next}.pcap.part`]: SEGMENT,
  });
  const copy = new Folders(memoryFolder(t));
  cpSync(folders.folder, copy.folder, { recursive: true });
  for (const [where, backwards] of [
    [folders, false],
    [copy, true],
  ] as const) {
    const order = (a: { name: string }, b: { name: string }) => (a.name < b.name === backwards ? 1 : -1);
    const disk: Disk = { ...systemDisk, list: async (f) => (await systemDisk.list(f)).toSorted(order) };
    const { store } = await openStore(t, { folder: where.folder, disk, clock: fastClock(50) });
    await until('their recovery', () => where.names('.journal').length === 0);
    store.close();
    assert.deepEqual(
      where.manifests().map((m) => [m.firstSequence, m.lastSequence, m.packets]),
      [
        [5, 8, 4],
        [9, 12, 4],
      ],
      backwards ? 'newest first' : 'oldest first',
    );
    const { packetBytes } = pointAt(4);
    assert.deepEqual(position(where), stood(12, 16, 4, { files: { packets: 8, bytes: 2 * packetBytes } }));
    assert.ok(existsSync(join(where.host(), `${next}.pcap`)));
  }
});

/** Changes a journal's text, or one value in a line of it. */
const damage = fc.oneof(
  fc.tuple(
    fc.nat(3000),
    fc.nat(8),
    fc.string({ maxLength: 8, unit: fc.constantFrom(...'0123456789-.e",:[]{}\n\0x'.split('')) }),
  ),
  fc.tuple(fc.nat(2), fc.nat(40), fc.jsonValue({ maxDepth: 2 })),
);
type Damage = [number, number, fc.JsonValue];

function damaged(text: string, [where, what, value]: Damage): string {
  if (typeof value === 'string') return text.slice(0, where) + value + text.slice(where + what);
  const lines = text.split('\n');
  try {
    const line = JSON.parse(lines[where]!) as Record<string, unknown>;
    const keys = Object.keys(line);
    line[keys[what % keys.length]!] = value;
    return lines.with(where, JSON.stringify(line)).join('\n');
  } catch {
    return text; // it is damaged already
  }
}

const pointIn = (text: string) => (readJournal(text) as JournalText | undefined)?.point;

test('whatever a journal and a file hold, recovery ends, and the run goes on', async (t) => {
  const texts = [
    journal([pointAt(1), pointAt(3)]),
    journal([pointAt(2), closed({ closedBy: 'end', end: END })]),
    journal([pointAt(4, { gaps: [GAP], exclusions: EXCLUSIONS })]),
  ];
  const folders = left(t, {});
  mkdirSync(join(folders.state, 'runs'), { recursive: true });
  const input = fc.record({
    text: fc.constantFrom(...texts),
    damages: fc.array(damage, { minLength: 1, maxLength: 3 }),
    name: fc.constantFrom(PART, FILE),
    cut: fc.nat(SEGMENT.length),
    more: fc.uint8Array({ maxLength: 40 }),
  });
  await fuzz(
    fc.asyncProperty(input, async ({ text, damages, name, cut, more }) => {
      for (const where of [folders.host(), join(folders.state, 'runs')])
        for (const file of readdirSync(where)) rmSync(join(where, file));
      const damagedText = damages.reduce((s, d) => damaged(s, d as Damage), text);
      const bytes = Buffer.concat([SEGMENT.subarray(0, cut), more]);
      writeFileSync(join(folders.host(), JOURNAL), damagedText);
      writeFileSync(join(folders.host(), name), bytes);
      const runs = await openRuns(folders);
      const place = { disk: systemDisk, clock: fastClock(1), made: new Map<string, number>(), folder: folders.host() };
      await recover(place, STEM, runs, recordIn(runs));
      const names = folders.names();
      assert.ok(!names.includes(JOURNAL), 'it would be recovered again');
      // What a crash doesn't do is for people to look at: nothing of it goes.
      if (names.includes(`${JOURNAL}.damaged`)) assert.ok(folders.bytes(name).equals(bytes));
      else if (pointIn(damagedText)) assert.ok(names.includes(MANIFEST));
      for (const n of names)
        assert.match(n, /^web01_eth0_20261124T021500Z_00112233-1_5\.(journal\.damaged|json|pcap(\.part)?)$/);
      const [m] = folders.manifests();
      if (m?.file && name === PART) published(folders, folders.bytes(m.file));
      assert.deepEqual(readdirSync(folders.folder).toSorted(), ['captures', 'state']);
      for (const file of readdirSync(join(folders.state, 'runs'))) assert.match(file, /^[0-9a-f]{32}\.json$/);
      // What was saved of the run can be read again.
      await openRuns(folders);
    }),
    1000,
  );
});

test('a journal that no text can hold is left for people to look at, like a damaged one', async (t) => {
  const folder = temporaryFolder(t);
  const journal = join(folder, `${STEM}.journal`);
  writeFileSync(journal, '');
  truncateSync(journal, (256 << 20) + 1); // no byte of it is on the disk
  const place = { disk: systemDisk, clock: fastClock(1), made: new Map<string, number>(), folder };
  const runs = await Runs.open(systemDisk, fastClock(1), join(folder, 'runs'), (file) => assert.fail(file));
  const left = await recover(place, STEM, runs, () => {});
  assert.equal(left?.left, 'its journal is damaged');
  assert.ok(existsSync(`${journal}.damaged`) && !existsSync(journal));
});
