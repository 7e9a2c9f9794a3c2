import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import type { Clock } from '../clock.ts';
import { type Disk, systemDisk } from './disk.ts';
import type { Deletion } from './deletion-record.ts';
import { deletionsDue, type Kept, Retention, type RetentionLimits } from './retention.ts';

const HOUR = 3_600_000;
const NOW = Date.parse('2026-11-24T12:00:00Z');

test('what is due: by age, by bytes, oldest first', () => {
  const kept = (hours: number, bytes: number): Kept => ({ file: `h/${hours}`, publishedMs: NOW - hours * HOUR, bytes });
  const segments = [kept(1, 10), kept(4, 40), kept(2, 20), kept(3, 30)];
  const due = (keepBytes?: number, keepAgeMs?: number) =>
    deletionsDue(segments, { keepBytes, keepAgeMs }, NOW).map((d) => `${d.segment.file} ${d.why}`);
  assert.deepEqual(due(), []);
  assert.deepEqual(due(100), []);
  assert.deepEqual(due(99), ['h/4 keep-bytes']);
  assert.deepEqual(due(60), ['h/4 keep-bytes']);
  assert.deepEqual(due(59), ['h/4 keep-bytes', 'h/3 keep-bytes']);
  assert.deepEqual(due(1), ['h/4 keep-bytes', 'h/3 keep-bytes', 'h/2 keep-bytes', 'h/1 keep-bytes']);
  assert.deepEqual(due(undefined, 3 * HOUR), ['h/4 keep-age']);
  assert.deepEqual(due(undefined, 3 * HOUR - 1), ['h/4 keep-age', 'h/3 keep-age']);
  assert.deepEqual(due(30, 3 * HOUR), ['h/4 keep-age', 'h/3 keep-bytes']);
  // A clock that was wrong: what was published in the future is the newest.
  assert.deepEqual(deletionsDue([kept(-5, 1)], { keepBytes: undefined, keepAgeMs: 1 }, NOW), []);
});

/** A captures and a state folder, files in it, and a retention whose clock is turned by hand. */
class Scene {
  readonly folder = mkdtempSync(join(tmpdir(), 'rcap-test-'));
  readonly captures = join(this.folder, 'captures');
  readonly state = join(this.folder, 'state');
  readonly record = join(this.state, 'deleted.jsonl');
  readonly deleted: string[] = [];
  readonly failed: string[] = [];
  readonly steps: string[] = [];
  now = NOW;
  timers: (() => void)[] = [];
  disk: Disk = systemDisk;

  constructor() {
    after(() => rmSync(this.folder, { recursive: true }));
    for (const folder of [this.captures, this.state]) mkdirSync(folder);
  }
  path = (file: string) => join(this.captures, file);
  has = (file: string) => existsSync(this.path(file));
  manifest(file: string, hours: number): object {
    const published = new Date(NOW - hours * HOUR).toISOString();
    const facts = { host: 'web', run: 'ab', capture: 1, firstSequence: 3, lastSequence: 9, packets: 2, fileBytes: 5 };
    return { format: 'rcap manifest 1', file: basename(file), published, ...facts, sha256: 'cd' };
  }
  /** Published so many hours ago. */
  segment(file: string, hours: number, bytes = 100, changes: object = {}): void {
    mkdirSync(join(this.path(file), '..'), { recursive: true });
    writeFileSync(this.path(file), Buffer.alloc(bytes));
    const manifest = { ...this.manifest(file, hours), ...changes };
    writeFileSync(this.path(file.replace(/\.pcap.*/, '.json')), JSON.stringify(manifest));
  }
  retention(limits: Partial<RetentionLimits>): Retention {
    const clock: Clock = {
      now: () => this.now,
      date: () => this.now,
      after: (ms, work) => {
        assert.equal(ms, 10_000);
        this.timers.push(work);
        return { cancel: () => (this.timers = this.timers.filter((t) => t !== work)) };
      },
    };
    const all = { keepBytes: undefined, keepAgeMs: undefined, ...limits };
    return new Retention({ captures: this.captures, state: this.state }, all, this.disk, clock, {
      deleted: (d) => this.deleted.push(`${d.file} ${d.why}`),
      failed: (file, e) => this.failed.push(`${file}: ${e.message}`),
    });
  }
  lines(): Deletion[] {
    const text = existsSync(this.record) ? readFileSync(this.record, 'utf8') : '';
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Deletion);
  }
}

test('the file and its manifest go, after a line that says what they were', async () => {
  const s = new Scene();
  s.segment('web/old.pcap', 5);
  s.segment('db/older.pcap.linktype-189', 6);
  s.segment('web/new.pcap', 1);
  await s.retention({ keepAgeMs: 2 * HOUR }).pass();
  assert.deepEqual(s.deleted, ['db/older.pcap.linktype-189 keep-age', 'web/old.pcap keep-age']);
  assert.deepEqual(s.failed, []);
  for (const gone of ['web/old.pcap', 'web/old.json', 'db/older.pcap.linktype-189', 'db/older.json'])
    assert.ok(!s.has(gone), gone);
  for (const left of ['web/new.pcap', 'web/new.json']) assert.ok(s.has(left), left);
  const facts = { host: 'web', run: 'ab', capture: 1, firstSequence: 3, lastSequence: 9, packets: 2, fileBytes: 5 };
  const time = '2026-11-24T12:00:00.000Z';
  assert.deepEqual(s.lines()[1], { time, file: 'web/old.pcap', ...facts, sha256: 'cd', why: 'keep-age' });
});

test('bytes are those of the files as they are', async () => {
  const s = new Scene();
  for (const hours of [1, 2, 3]) s.segment(`web/${hours}.pcap`, hours, 1000);
  const retention = s.retention({ keepBytes: 2000 });
  await retention.pass();
  assert.deepEqual(s.deleted, ['web/3.pcap keep-bytes']);
  s.segment('db/0.pcap', 0, 1001);
  await retention.pass();
  assert.deepEqual(s.deleted.slice(1), ['web/2.pcap keep-bytes', 'web/1.pcap keep-bytes']);
});

test('what is not ours, not published or a link is never touched', async () => {
  const s = new Scene();
  s.segment('web/real.pcap', 9);
  s.segment('web/other-format.pcap', 9, 100, { format: 'somebody else' });
  s.segment('web/no-time.pcap', 9, 100, { published: 'yesterday' });
  s.segment('web/other-file.pcap', 9, 100, { file: 'x.pcap' });
  s.segment('web/open.pcap.part', 9);
  s.segment('web/deep/er.pcap', 9);
  s.segment('top.pcap', 9);
  writeFileSync(s.path('web/alone.pcap'), 'x');
  writeFileSync(s.path('web/broken.pcap'), 'x');
  writeFileSync(s.path('web/broken.json'), '{"format": "rcap manifest 1"');
  writeFileSync(s.path('web/null.pcap'), 'x');
  writeFileSync(s.path('web/null.json'), 'null');
  const elsewhere = join(s.folder, 'elsewhere');
  mkdirSync(elsewhere);
  writeFileSync(join(elsewhere, 'a.pcap'), 'x');
  writeFileSync(join(elsewhere, 'a.json'), JSON.stringify(s.manifest('a.pcap', 9)));
  symlinkSync(elsewhere, s.path('link'));
  symlinkSync(join(elsewhere, 'a.pcap'), s.path('web/a.pcap'));
  writeFileSync(s.path('web/a.json'), JSON.stringify(s.manifest('a.pcap', 9)));
  writeFileSync(s.path('web/b.pcap'), 'x');
  symlinkSync(join(elsewhere, 'a.json'), s.path('web/b.json'));
  const names = () => systemDisk.list(s.path('web')).then((list) => list.map((e) => e.name).toSorted());
  const before = await names();
  const retention = s.retention({ keepAgeMs: 1, keepBytes: 1 });
  for (let i = 0; i < 3; i++) await retention.pass();
  assert.deepEqual(s.deleted, ['web/real.pcap keep-age']);
  const left = before.filter((name) => !name.startsWith('real'));
  assert.deepEqual(await names(), left);
  assert.ok(existsSync(join(elsewhere, 'a.pcap')) && s.has('top.pcap') && s.has('web/deep/er.pcap'));
  // A link is said once, not each time.
  assert.deepEqual(s.failed.map((f) => f.replace(/:.*/, '')).toSorted(), ['web/a.pcap', 'web/b.pcap']);
});

test('a file whose manifest comes later is known from then on', async () => {
  const s = new Scene();
  mkdirSync(s.path('web'));
  writeFileSync(s.path('web/x.pcap'), 'x');
  const retention = s.retention({ keepAgeMs: HOUR });
  await retention.pass();
  assert.deepEqual(s.deleted, []);
  s.segment('web/x.pcap', 2);
  await retention.pass();
  assert.deepEqual(s.deleted, ['web/x.pcap keep-age']);
});

test('a file whose journal is still there is not touched', async () => {
  const s = new Scene();
  s.segment('web/x.pcap', 2);
  writeFileSync(s.path('web/x.journal'), '');
  const retention = s.retention({ keepAgeMs: HOUR });
  await retention.pass();
  assert.deepEqual(s.deleted, []);
  unlinkSync(s.path('web/x.journal'));
  await retention.pass();
  assert.deepEqual(s.deleted, ['web/x.pcap keep-age']);
});

test('a manifest is read once, then again before its file goes', async () => {
  const s = new Scene();
  for (let i = 0; i < 5; i++) s.segment(`web/${i}.pcap`, i);
  let opened = 0;
  s.disk = {
    ...systemDisk,
    open: (path, access) => {
      opened++;
      return systemDisk.open(path, access);
    },
  };
  const retention = s.retention({ keepBytes: 500 });
  for (let i = 0; i < 3; i++) await retention.pass();
  assert.equal(opened, 10);
  unlinkSync(s.path('web/4.pcap'));
  await retention.pass();
  assert.deepEqual([s.deleted, s.failed, opened], [[], [], 10]);
});

/** A disk on which a step fails as long as `when` says so. */
function failing(step: 'remove' | 'open' | 'create' | 'list', when: (path: string) => boolean): Disk {
  const failed = () => Promise.reject(Object.assign(new Error(`${step} failed`), { code: 'EIO' }));
  const real = systemDisk[step] as (...words: unknown[]) => Promise<unknown>;
  return { ...systemDisk, [step]: (path: string, ...rest: unknown[]) => (when(path) ? failed() : real(path, ...rest)) };
}

test("one file's error is said once and doesn't stop the others; its line is written once", async () => {
  const s = new Scene();
  for (const i of [1, 2, 3]) s.segment(`web/${i}.pcap`, i);
  let broken = true;
  s.disk = failing('remove', (path) => broken && path.endsWith('3.pcap'));
  const retention = s.retention({ keepAgeMs: HOUR });
  for (let i = 0; i < 3; i++) await retention.pass();
  assert.deepEqual(s.failed, ['web/3.pcap: remove failed']);
  assert.deepEqual(s.deleted, ['web/2.pcap keep-age']);
  assert.ok(s.has('web/3.json'), 'what is left is still ours');
  broken = false;
  await retention.pass();
  assert.deepEqual(s.deleted, ['web/2.pcap keep-age', 'web/3.pcap keep-age']);
  assert.deepEqual(
    s.lines().map((l) => l.file),
    ['web/3.pcap', 'web/2.pcap'],
  );
});

test("a folder that can't be read doesn't stop the others", async () => {
  const s = new Scene();
  s.segment('a/1.pcap', 1);
  s.segment('b/1.pcap', 1);
  s.disk = failing('list', (path) => path.endsWith('/a'));
  await s.retention({ keepAgeMs: 1 }).pass();
  assert.deepEqual([s.failed, s.deleted], [['a: list failed'], ['b/1.pcap keep-age']]);
});

test('without its line nothing is deleted', async () => {
  const s = new Scene();
  s.segment('web/1.pcap', 1);
  let full = true;
  s.disk = failing('create', () => full);
  const retention = s.retention({ keepAgeMs: 1 });
  await retention.pass();
  assert.deepEqual([s.deleted, s.has('web/1.pcap'), s.failed], [[], true, ['web/1.pcap: create failed']]);
  full = false;
  await retention.pass();
  assert.deepEqual([s.deleted.length, s.has('web/1.pcap'), s.lines().length], [1, false, 1]);
});

test('a line that a crash cut short is replaced, and further ones are appended', async () => {
  const s = new Scene();
  const first = '{"file":"web/0.pcap"}\n';
  writeFileSync(s.record, `${first}{"time":"2026-`);
  s.segment('web/1.pcap', 1);
  s.segment('web/2.pcap', 2);
  await s.retention({ keepAgeMs: 1 }).pass();
  assert.ok(readFileSync(s.record, 'utf8').startsWith(`${first}{"time":"2026-11-24`));
  assert.deepEqual(
    s.lines().map((l) => l.file),
    ['web/0.pcap', 'web/2.pcap', 'web/1.pcap'],
  );
});

test('a crash between the steps is finished at the next start', async () => {
  for (const crash of ['before the file', 'before the manifest']) {
    const s = new Scene();
    s.segment('web/1.pcap', 1);
    s.disk = failing('remove', (path) => crash === 'before the file' || path.endsWith('.json'));
    const retention = s.retention({ keepAgeMs: 1 });
    for (let i = 0; i < 2; i++) await retention.pass();
    assert.equal(s.failed.length, 1);
    assert.equal(s.has('web/1.json'), true, crash);
    assert.equal(s.has('web/1.pcap'), crash === 'before the file');
    s.disk = systemDisk;
    const next = s.retention({ keepAgeMs: 1 });
    next.start();
    while (s.timers.length === 0) await new Promise(setImmediate);
    await next.stop();
    assert.deepEqual([s.has('web/1.pcap'), s.has('web/1.json')], [false, false], crash);
    assert.ok(s.lines().every((l) => l.file === 'web/1.pcap'));
  }
});

test('a manifest that could not be removed goes at the next look', async () => {
  const s = new Scene();
  s.segment('web/1.pcap', 1);
  let broken = true;
  s.disk = failing('remove', (path) => broken && path.endsWith('.json'));
  const retention = s.retention({ keepAgeMs: 1 });
  await retention.pass();
  assert.deepEqual([s.has('web/1.pcap'), s.has('web/1.json'), s.deleted], [false, true, []]);
  broken = false;
  await retention.pass();
  assert.deepEqual([s.has('web/1.json'), s.deleted, s.lines().length], [false, ['web/1.pcap keep-age'], 1]);
});

test('the manifest of a file that somebody else moved away stays, and a record cannot lead out of the folder', async () => {
  const s = new Scene();
  s.segment('web/1.pcap', 1);
  unlinkSync(s.path('web/1.pcap'));
  writeFileSync(join(s.folder, 'x.json'), 'x');
  writeFileSync(s.record, '{"file":"../x.pcap"}\n');
  const retention = s.retention({ keepAgeMs: 1 });
  retention.start();
  while (s.timers.length === 0) await new Promise(setImmediate);
  await retention.stop();
  assert.ok(s.has('web/1.json') && existsSync(join(s.folder, 'x.json')));
});

test('it looks again every 10 seconds, until it is stopped; without a limit it never looks', async () => {
  const s = new Scene();
  s.retention({}).start();
  const retention = s.retention({ keepAgeMs: HOUR });
  retention.start();
  while (s.timers.length === 0) await new Promise(setImmediate);
  s.segment('web/1.pcap', 0);
  s.now += 2 * HOUR;
  const [timer] = s.timers.splice(0);
  timer!();
  while (s.timers.length === 0) await new Promise(setImmediate);
  assert.deepEqual(s.deleted, ['web/1.pcap keep-age']);
  await retention.stop();
  assert.equal(s.timers.length, 0);
});
