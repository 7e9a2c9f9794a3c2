import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { FaultyDisk } from '../test/faulty-disk.ts';
import { fuzz } from '../test/fuzz.ts';
import { HandClock, SERIES } from '../test/storage.ts';
import { temporaryFolder } from '../test/support.ts';
import { records } from '../test/wire.ts';
import { systemDisk } from './disk.ts';
import type { ExclusionEvent } from './exclusions.ts';
import { Journal, JOURNAL, journalText, type JournalText, type Point, readJournal } from './journal.ts';
import type { ManifestGap, ManifestStart } from './manifest.ts';
import { Segment } from './segment.ts';

const START: ManifestStart = {
  ...SERIES,
  host: 'wéb01 "quoted" \n',
  opened: '2026-11-24T02:15:00.000Z',
  firstSequence: 5,
  firstPacketNumber: 9,
};
const gap = (sequence: number, packets = 2): ManifestGap => ({
  firstSequence: sequence,
  lastSequence: sequence,
  packets,
  bytes: 10 * packets,
  firstPacketTime: `first of ${sequence}`,
  lastPacketTime: `last of ${sequence}`,
});
const point = (sequence: number, more: Partial<Point> = {}): Point => ({
  sequence,
  packetNumber: 2 * sequence,
  bytes: 24 + 100 * sequence,
  packets: 2 * sequence,
  packetBytes: 68 * sequence,
  firstPacketTime: '2023-11-14T22:13:20.000000000Z',
  lastPacketTime: '2023-11-14T22:13:21.000000000Z',
  gapsFrom: 0,
  gaps: [],
  counters: null,
  ...more,
});
const POINTS = [point(5, { gaps: [gap(4)] }), point(7, { gapsFrom: 1, gaps: [gap(6)] }), point(8, { gapsFrom: 2 })];
const CLOSED = point(8, { gapsFrom: 2, closing: { closedBy: 'idle', end: null, sha256: 'ab'.repeat(32) } });

/** Not damaged. */
function read(text: string): JournalText | undefined {
  const journal = readJournal(text);
  assert.notEqual(journal, 'damaged');
  return journal as JournalText | undefined;
}

/** What a journal file holds after these points. */
async function written(t: Parameters<typeof temporaryFolder>[0], points: Point[]): Promise<string> {
  const path = join(temporaryFolder(t), `x${JOURNAL}`);
  const journal = await Journal.create(systemDisk, path, START);
  for (const p of points) await journal.add(p);
  await journal.close();
  return readFileSync(path, 'utf8');
}

test('a journal that is cut at any byte says what its last whole line does', async (t) => {
  const bytes = Buffer.from(await written(t, [...POINTS, CLOSED]));
  const expected = [
    { ...POINTS[0]!, gaps: [gap(4)] },
    { ...POINTS[1]!, gapsFrom: 0, gaps: [gap(4), gap(6)] },
    { ...POINTS[2]!, gapsFrom: 0, gaps: [gap(4), gap(6)] },
    { ...CLOSED, gapsFrom: 0, gaps: [gap(4), gap(6)] },
  ];
  let lines = 0;
  for (let cut = 0; cut <= bytes.length; cut++) {
    if (cut > 0 && bytes[cut - 1] === 0x0a) lines++;
    const journal = read(bytes.subarray(0, cut).toString());
    if (lines === 0) assert.equal(journal, undefined, `cut at ${cut}`);
    else assert.deepEqual(journal, { start: START, point: expected[lines - 2] }, `cut at ${cut}`);
  }
  assert.equal(lines, 5);
});

test('zeros or nonsense in place of the last line are not read', async (t) => {
  const text = await written(t, POINTS);
  const [start, first] = text.split(/(?<=\n)/);
  const good = read(start! + first!);
  assert.equal(good!.point!.sequence, 5);
  for (const torn of ['\0'.repeat(700), '\0'.repeat(700) + '\n', '{"sequence": 6', '{"sequence": 6\n', '\n']) {
    assert.deepEqual(read(start! + first! + torn), good, JSON.stringify(torn));
    // In place of the first point.
    assert.equal(read(start! + torn)?.point, undefined, JSON.stringify(torn));
    // Of both: they become durable together.
    assert.equal(read(torn), undefined, JSON.stringify(torn));
  }
  assert.equal(read(''), undefined);
  assert.deepEqual(read(start!), { start: START, point: undefined });
});

test('a broken line that further ones follow is damage, not a crash', async (t) => {
  const lines = (await written(t, POINTS)).split(/(?<=\n)/);
  for (let n = 0; n < lines.length - 1; n++) {
    for (const broken of [
      '\n',
      '{}\n',
      'null\n',
      lines[n]!.slice(1),
      lines[n]!.replace('"gaps', '"caps').replace('"format', '"f'),
    ]) {
      assert.equal(readJournal(lines.with(n, broken).join('')), 'damaged', `${n}: ${broken}`);
    }
  }
  const later = JSON.stringify({ ...START, format: 'rcap manifest 2' });
  assert.equal(readJournal([later + '\n', ...lines.slice(1)].join('')), 'damaged');
});

test('whatever a crash leaves behind the last durable line, all before it is read, and nothing invented', async (t) => {
  const text = await written(t, POINTS);
  const ends = [...text.matchAll(/\n/g)].map((m) => m.index + 1).slice(1);
  const tail = fc.oneof(
    fc.nat(5000).map((n) => Buffer.alloc(n)),
    // A line has one end.
    fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b.filter((byte) => byte !== 0x0a))),
  );
  await fuzz(
    fc.property(fc.nat(2), fc.nat(400), tail, (durable, more, torn) => {
      const end = Math.min(ends[durable]! + more, text.length);
      const journal = read(Buffer.concat([Buffer.from(text.slice(0, end)), torn]).toString())!;
      assert.deepEqual(journal.start, START);
      const whole = ends.filter((e) => e <= end).length - 1;
      assert.equal(journal.point!.sequence, [5, 7, 8][whole]);
    }),
    2000,
  );
});

test('a line has only the gaps that are new; where one grew, from that one on', () => {
  const lines = [
    point(1, { gaps: [gap(1), gap(2)] }),
    point(3, { gapsFrom: 2, gaps: [gap(3)] }),
    point(4, { gapsFrom: 2, gaps: [gap(3, 7)] }),
    point(5, { gapsFrom: 3, gaps: [gap(5)] }),
    point(6, { gapsFrom: 4, gaps: [] }),
  ];
  const text =
    journalText(START, lines[0]!) +
    lines
      .slice(1)
      .map((p) => `${JSON.stringify(p)}\n`)
      .join('');
  assert.deepEqual(read(text)!.point!.gaps, [gap(1), gap(2), gap(3, 7), gap(5)]);
});

test('of a thousand gaps the last one grows, and the journal says exactly what the manifest will', async (t) => {
  const folder = temporaryFolder(t);
  const place = { disk: systemDisk, clock: new HandClock(), made: new Map<string, number>(), folder };
  const segment = await Segment.open(place, 'stem', { ...START, firstSequence: 1, firstPacketNumber: 1 });
  const point = () => read(readFileSync(join(folder, `stem${JOURNAL}`), 'utf8'))!.point!;
  let lengthBefore = 0;
  for (let sequence = 1; sequence <= 1500; sequence++) {
    segment.gap(gap(sequence, 1 + (sequence % 3)));
    // Sometimes several at a time, so that the one that grows is in some lines and not in others.
    if (sequence % 7 !== 0 && sequence !== 1500) continue;
    await segment.sync(null, undefined);
    const length = readFileSync(join(folder, `stem${JOURNAL}`)).length;
    assert.ok(length - lengthBefore < 8 * 300, 'a line has more than what is new');
    lengthBefore = length;
    const { gaps } = point();
    assert.equal(gaps.length, Math.min(sequence, 1000));
    assert.equal(gaps.at(-1)!.lastSequence, sequence);
    const sum = (of: (g: ManifestGap) => number) => gaps.reduce((n, g) => n + of(g), 0);
    const expected = Array.from({ length: sequence }, (_, i) => 1 + ((i + 1) % 3)).reduce((a, b) => a + b, 0);
    assert.deepEqual([sum((g) => g.packets), sum((g) => g.bytes)], [expected, 10 * expected]);
  }
  const { gaps } = point();
  assert.deepEqual([gaps[999]!.firstSequence, gaps[999]!.firstPacketTime], [1000, 'first of 1000']);
  assert.deepEqual([gaps[999]!.lastSequence, gaps[999]!.lastPacketTime], [1500, 'last of 1500']);
  const sealed = await segment.seal(null, undefined, { closedBy: 'end', end: null });
  const manifest = await segment.record(sealed);
  assert.deepEqual(manifest.gaps, gaps);
  await segment.forget();
});

const event = (number: number): ExclusionEvent => ({ number, time: 'then', kind: 'learned', name: 'a', address: 'b' });

test('a line has only the exclusions that are new; read back all are there, with the last totals', () => {
  const total = (packets: number) => ({ packets, bytes: 9 * packets });
  const lines = [
    point(1, { exclusions: { events: [event(1)], names: { a: total(1), b: total(2) } } }),
    point(2),
    point(3, { exclusions: { events: [event(2), event(3)], names: { a: total(7) }, omitted: 2 } }),
  ];
  const text = [START, ...lines].map((line) => `${JSON.stringify(line)}\n`).join('');
  const exclusions = { events: [1, 2, 3].map(event), names: { a: total(7), b: total(2) }, omitted: 2 };
  assert.deepEqual(read(text)!.point!.exclusions, exclusions);
  // The last line alone says nothing of them: they are there all the same.
  assert.deepEqual(read(`${text}${JSON.stringify(point(4))}\n`)!.point!.exclusions, exclusions);
  // Journals of before had none.
  assert.ok(!('exclusions' in read(journalText(START, point(1)))!.point!));
});

test('a point is written behind what it covers: file, its name, then the line, each durable before the next', async (t) => {
  const folder = temporaryFolder(t);
  const disk = new FaultyDisk();
  const place = { disk, clock: new HandClock(), made: new Map<string, number>(), folder };
  const segment = await Segment.open(place, 'stem', START);
  const bytes = records([{ timestampNs: 1n, data: Buffer.alloc(9) }]);
  const slab = { bytes, lastRecord: 0, packets: 1, packetBytes: 9, firstSequence: 5, lastSequence: 5, firstPacket: 9 };
  await segment.append({ ...slab, arrivedMs: 0, release() {} });
  const before = disk.steps.length;
  await segment.sync(null, undefined);
  assert.deepEqual(disk.steps.slice(before), [
    'datasync stem.pcap.part',
    `syncFolder ${folder.split('/').at(-1)}`,
    'write stem.journal',
    'datasync stem.journal',
  ]);
  // Nothing new in the file, and no new name: the line alone.
  segment.gap(gap(6));
  const again = disk.steps.length;
  await segment.sync(null, undefined);
  assert.deepEqual(disk.steps.slice(again), ['write stem.journal', 'datasync stem.journal']);
  // Closed in the journal, renamed while it is open, its name durable; then the manifest, and the journal last.
  const closing = disk.steps.length;
  const sealed = await segment.seal(null, undefined, { closedBy: 'idle', end: null });
  await segment.publish();
  await segment.record(sealed);
  await segment.forget();
  const name = folder.split('/').at(-1)!;
  assert.deepEqual(disk.steps.slice(closing), [
    'write stem.journal',
    'datasync stem.journal',
    'rename stem.pcap.part',
    `syncFolder ${name}`,
    'close stem.pcap.part',
    'remove stem.json.new',
    'create stem.json.new',
    'write stem.json.new',
    'datasync stem.json.new',
    'close stem.json.new',
    'rename stem.json.new',
    `syncFolder ${name}`,
    'close stem.journal',
    'remove stem.journal',
  ]);
});

test('a whole line that says what it can not is damage, wherever it stands', () => {
  const text = (start: object, ...points: object[]) => [start, ...points].map((l) => `${JSON.stringify(l)}\n`).join('');
  const { friendlyName: _, ...fewer } = START;
  const starts = [{ ...START, clockOffsetMs: 1.5 }, { ...START, run: '../x' }, fewer, [], { ...START, host: null }];
  const points = [
    point(5, { counters: { received: -1 } }),
    point(5, { gaps: [null as never] }),
    { ...point(5), closing: {} },
    { ...point(5), exclusions: {} },
    { ...point(5), exclusions: { events: [{}], names: {} } },
    {},
    'x',
    { ...point(5), bytes: 2 ** 53 },
    [],
    7,
    null,
  ];
  for (const start of starts) {
    for (const rest of [[], [point(5)], [point(5), point(6)]])
      assert.equal(readJournal(text(start, ...rest)), 'damaged', text(start, ...rest));
  }
  for (const wrong of points as Point[]) {
    for (const lines of [[wrong], [point(5), wrong], [wrong, point(6)]])
      assert.equal(readJournal(text(START, ...lines)), 'damaged', text(START, ...lines));
  }
  // Half a line is what a crash leaves.
  const whole = text(START, point(5));
  assert.equal(read(`${whole}{"sequence": 6\n`)!.point!.sequence, 5);
});
