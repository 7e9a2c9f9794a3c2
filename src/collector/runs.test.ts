import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setImmediate as soon } from 'node:timers/promises';
import { FaultyDisk } from '../test/faulty-disk.ts';
import { HandClock, memoryFolder, RUN } from '../test/storage.ts';
import type { Disk } from './disk.ts';
import { NO_PACKETS, type Position, type Recorded, Runs, type Tally } from './runs.ts';

const OTHER = 'ffeeddccbbaa99887766554433221100';
const HOUR = 3_600_000;
const at = (sequence: number, more: Partial<Position> = {}): Position => ({
  sequence,
  packets: 10 * sequence,
  recorded: 0,
  ended: false,
  files: NO_PACKETS,
  gaps: NO_PACKETS,
  ...more,
});
const tally = (packets: number, bytes: number): Tally => ({ packets, bytes });
/** A segment that ends at `sequence`. */
const segment = (sequence: number, files: Tally, gaps = NO_PACKETS, ended = false): Recorded => ({
  sequence,
  packets: 10 * sequence,
  ended,
  files,
  gaps,
});

/** Runs in a folder, opened again and again. */
function runsIn(t: TestContext) {
  const folder = join(memoryFolder(t), 'runs');
  const clock = new HandClock();
  const said: string[] = [];
  return {
    folder,
    clock,
    said,
    open: (disk: Disk = new FaultyDisk()) => Runs.open(disk, clock, folder, (file) => said.push(file)),
    files: () => readdirSync(folder).toSorted(),
    file: (run = RUN) => JSON.parse(readFileSync(join(folder, `${run}.json`), 'utf8')) as unknown,
  };
}

test('what is saved is there again, and what is not is not', async (t) => {
  const r = runsIn(t);
  const runs = await r.open();
  runs.claim(RUN, 'abcdef01');
  runs.record(RUN, 1, segment(4, tally(3, 400)));
  runs.advance(RUN, 1, at(5));
  runs.record(RUN, 65_535, segment(0, NO_PACKETS, NO_PACKETS, true));
  await runs.save(RUN);
  runs.advance(RUN, 1, at(9));
  const again = await r.open();
  assert.deepEqual(again.captures(RUN), [
    [1, at(5, { recorded: 4, files: tally(3, 400) })],
    [65_535, at(0, { ended: true })],
  ]);
  assert.deepEqual(again.position(RUN, 1), at(5, { recorded: 4, files: tally(3, 400) }));
  assert.deepEqual(again.position(RUN, 2), at(0));
  assert.deepEqual([again.captures(OTHER), again.position(OTHER, 1)], [[], at(0)]);
  assert.equal(statSync(join(r.folder, `${RUN}.json`)).mode & 0o777, 0o600);
  assert.deepEqual([r.files(), r.said], [[`${RUN}.json`], []]);
});

test('a run belongs to the token that began it, after a restart, too', async (t) => {
  const r = runsIn(t);
  const runs = await r.open();
  runs.claim(RUN, 'abcdef01');
  runs.claim(RUN, 'abcdef01');
  const other = { code: 'TOKEN', message: 'this run began with another token' };
  assert.throws(() => runs.claim(RUN, '00000000'), other);
  runs.advance(RUN, 1, at(1));
  await runs.save(RUN);
  assert.throws(() => runs.claim(RUN, '00000000'), other);
  const again = await r.open();
  assert.throws(() => again.claim(RUN, '00000000'), other);
  again.claim(RUN, 'abcdef01');
  again.claim(OTHER, '00000000');
});

test('who leaves without anything durable is forgotten, with something is not', async (t) => {
  const r = runsIn(t);
  const runs = await r.open();
  runs.claim(RUN, 'abcdef01');
  runs.leave(RUN);
  runs.claim(RUN, '00000000');
  runs.advance(RUN, 1, at(1));
  runs.leave(RUN);
  assert.throws(() => runs.claim(RUN, 'abcdef01'), { code: 'TOKEN' });
  assert.deepEqual(r.files(), []);
});

test('a position never goes back', async (t) => {
  const runs = await runsIn(t).open();
  runs.claim(RUN, 'abcdef01');
  runs.advance(RUN, 1, at(5));
  runs.advance(RUN, 1, at(3));
  assert.deepEqual(runs.position(RUN, 1), at(5));
  runs.record(RUN, 1, segment(3, NO_PACKETS));
  assert.deepEqual(runs.position(RUN, 1), at(5, { recorded: 3 }));
  runs.advance(RUN, 1, at(6));
  assert.deepEqual(runs.position(RUN, 1), at(6, { recorded: 3 }));
  runs.record(RUN, 1, segment(6, NO_PACKETS, NO_PACKETS, true));
  runs.record(RUN, 1, segment(6, NO_PACKETS));
  assert.deepEqual(runs.position(RUN, 1), at(6, { recorded: 6, ended: true }));
});

test('what is recorded counts once, whoever records it again', async (t) => {
  const r = runsIn(t);
  let runs = await r.open();
  runs.claim(RUN, 'abcdef01');
  const first = segment(3, tally(30, 3000));
  const second = segment(5, tally(7, 100), tally(13, 900));
  const all = { files: tally(37, 3100), gaps: tally(13, 900) };
  assert.deepEqual(runs.record(RUN, 1, first), at(3, { recorded: 3, files: first.files }));
  assert.deepEqual(runs.record(RUN, 1, first), at(3, { recorded: 3, files: first.files }));
  runs.record(RUN, 1, second);
  runs.record(RUN, 2, segment(1, tally(1, 1), NO_PACKETS, true));
  assert.deepEqual(runs.totals, { ended: 1, files: tally(38, 3101), gaps: tally(13, 900) });
  await runs.save(RUN);
  // A crash came before the journal was removed.
  runs = await r.open();
  runs.record(RUN, 1, second);
  runs.record(RUN, 1, segment(5, NO_PACKETS, NO_PACKETS, true));
  assert.deepEqual(runs.position(RUN, 1), at(5, { recorded: 5, ended: true, ...all }));
  assert.deepEqual(runs.totals, { ended: 1, files: NO_PACKETS, gaps: NO_PACKETS });
});

/** A disk that renames only when it is let. */
function heldDisk(): { disk: Disk; renames: (() => void)[] } {
  const disk = new FaultyDisk();
  const renames: (() => void)[] = [];
  const rename: Disk['rename'] = async (from, to) => {
    await new Promise<void>((resolve) => void renames.push(resolve));
    await disk.rename(from, to);
  };
  return { disk: Object.assign(Object.create(disk) as Disk, { rename }), renames };
}
const waiting = async (list: unknown[], count: number) => {
  while (list.length < count) await soon();
};

test('who saves while one is being written shares the next write, which has all that was advanced', async (t) => {
  const r = runsIn(t);
  const { disk, renames } = heldDisk();
  const runs = await r.open(disk);
  runs.claim(RUN, 'abcdef01');
  const done: number[] = [];
  const save = (n: number) => {
    runs.advance(RUN, 1, at(n));
    void runs.save(RUN).then(() => done.push(n));
  };
  save(1);
  await waiting(renames, 1);
  for (const n of [2, 3, 4]) save(n);
  await soon();
  assert.deepEqual([renames.length, done], [1, []]);
  renames[0]!();
  await waiting(renames, 2);
  // The first is durable, what came later is not yet.
  assert.deepEqual(done, [1]);
  assert.deepEqual((r.file() as { captures: unknown }).captures, { 1: at(1) });
  save(5);
  renames[1]!();
  await waiting(renames, 3);
  assert.deepEqual(done, [1, 2, 3, 4]);
  assert.deepEqual((r.file() as { captures: unknown }).captures, { 1: at(4) });
  renames[2]!();
  await waiting(done, 5);
  assert.deepEqual((r.file() as { captures: unknown }).captures, { 1: at(5) });
  assert.equal(renames.length, 3);
  // Runs don't wait for one another.
  runs.claim(OTHER, 'abcdef01');
  save(6);
  runs.advance(OTHER, 1, at(7));
  const other = runs.save(OTHER);
  await waiting(renames, 5);
  for (const go of renames.slice(3)) go();
  await other;
  await waiting(done, 6);
});

test('a write that fails is said to those who shared it, and to nobody else', async (t) => {
  const r = runsIn(t);
  const plain = new FaultyDisk();
  await r.open(plain);
  const steps = plain.steps.length;
  for (let more = 1; more <= 6; more++) {
    const disk = new FaultyDisk({ at: steps + more, code: 'ENOSPC' });
    const runs = await r.open(disk);
    runs.claim(RUN, 'abcdef01');
    runs.advance(RUN, 1, at(1));
    const first = runs.save(RUN);
    runs.advance(RUN, 1, at(2));
    const [second, third] = [runs.save(RUN), runs.save(RUN)];
    await assert.rejects(first, { code: 'ENOSPC' }, disk.failed);
    await second;
    await third;
    assert.deepEqual((r.file() as { captures: unknown }).captures, { 1: at(2) });
    // The next run of this loop begins as this one did.
    await disk.remove(join(r.folder, `${RUN}.json`));
  }
});

test('a run is forgotten 30 days after it was last seen, also if it has ended, and not while it is used', async (t) => {
  const r = runsIn(t);
  const ended = OTHER;
  const runs = await r.open();
  for (const run of [RUN, ended]) {
    runs.claim(run, 'abcdef01');
    runs.record(run, 1, segment(3, NO_PACKETS, NO_PACKETS, true));
  }
  runs.advance(RUN, 2, at(3));
  for (const run of [RUN, ended]) await runs.save(run);
  const both = [`${RUN}.json`, `${ended}.json`];
  r.clock.turn(30 * 24 * HOUR);
  await runs.prune(() => false);
  assert.deepEqual(r.files(), both);
  r.clock.turn(1);
  // Who is used is seen.
  await runs.prune((run) => run === RUN);
  assert.deepEqual(r.files(), [`${RUN}.json`]);
  r.clock.turn(30 * 24 * HOUR);
  await runs.prune(() => false);
  assert.deepEqual(r.files(), [`${RUN}.json`]);
  assert.deepEqual(runs.captures(ended), []);
  r.clock.turn(30 * 24 * HOUR + 1);
  // At the start, too.
  const again = await r.open();
  assert.deepEqual([r.files(), again.captures(RUN)], [[], []]);
});

test('a damaged file is said, and stands in nobody’s way', async (t) => {
  const captures = ['null', '7', '"x"', '{"1": null}', '{"1": {"sequence": 1}}', '{"1": {"files": {}}}'];
  const texts = [
    '',
    '{',
    'null',
    '7',
    '[]',
    '"x"',
    '{"token": 1, "captures": {}}',
    '{"token": "x"}',
    '\0'.repeat(90),
    ...captures.map((c) => `{"token": "x", "captures": ${c}}`),
  ];
  for (const text of texts) {
    const r = runsIn(t);
    mkdirSync(r.folder, { recursive: true });
    writeFileSync(join(r.folder, `${OTHER}.json`), text);
    const before = await r.open();
    before.claim(RUN, 'abcdef01');
    before.advance(RUN, 1, at(1));
    await before.save(RUN);
    const runs = await r.open();
    assert.deepEqual(r.said, [`${OTHER}.json`, `${OTHER}.json`], text);
    assert.deepEqual(runs.captures(RUN), [[1, at(1)]]);
    await runs.load(OTHER);
    runs.claim(OTHER, '00000000');
    runs.advance(OTHER, 1, at(2));
    await runs.save(OTHER);
    assert.deepEqual((await r.open()).captures(OTHER), [[1, at(2)]]);
  }
});

test('files of others stay, what was half written goes', async (t) => {
  const r = runsIn(t);
  mkdirSync(r.folder, { recursive: true });
  for (const name of ['notes.txt', 'short.json', `${RUN}.json.new`]) writeFileSync(join(r.folder, name), '{');
  await r.open();
  assert.deepEqual([r.files(), r.said], [['notes.txt', 'short.json'], []]);
});

test('a run whose file the disk does not give yet is not taken for a new one', async (t) => {
  const r = runsIn(t);
  const first = await r.open();
  first.claim(RUN, 'abcdef01');
  first.advance(RUN, 1, at(5));
  await first.save(RUN);
  const plain = new FaultyDisk();
  await r.open(plain);
  const reading = plain.steps.indexOf(`readText ${RUN}.json`) + 1;
  const disk = new FaultyDisk({ at: reading, lasting: 2 });
  const runs = await r.open(disk);
  assert.deepEqual(r.said, [`${RUN}.json`]);
  await assert.rejects(runs.load(RUN), { code: 'EIO' });
  await runs.load(RUN);
  assert.deepEqual(runs.captures(RUN), [[1, at(5)]]);
  assert.throws(() => runs.claim(RUN, '00000000'), { code: 'TOKEN' });
  assert.ok(existsSync(join(r.folder, `${RUN}.json`)));
});
