/** The judge of chaos is judged: each thing that may go wrong in the files is found. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Manifest } from '../../collector/manifest.ts';
import { emptyLedger } from '../../ledger.ts';
import { temporaryFolder } from '../support.ts';
import { Random } from './random.ts';
import { writeTraffic } from './traffic.ts';
import * as verify from './verify.ts';

const TIMES = { firstPacketTime: '', lastPacketTime: '' };

/** Three segments of 10 packets each, and the file that they are of; `changed` may spoil any of it before it is written. */
class Scene {
  readonly folder: string;
  readonly captures: string;
  readonly input: string;
  readonly segments: { manifest: Partial<Manifest>; records: Buffer[] }[] = [];
  readonly #header: Buffer;

  constructor(t: Parameters<typeof temporaryFolder>[0]) {
    this.folder = temporaryFolder(t);
    this.captures = join(this.folder, 'captures');
    mkdirSync(join(this.captures, 'h'), { recursive: true });
    this.input = join(this.folder, 'input.pcap');
    writeTraffic(this.input, new Random(1), { packets: 30, least: 60, most: 90 });
    const bytes = readFileSync(this.input);
    this.#header = bytes.subarray(0, 24);
    const records: Buffer[] = [];
    for (let at = 24; at < bytes.length; at += records.at(-1)!.length)
      records.push(bytes.subarray(at, at + 16 + bytes.readUInt32LE(at + 8)));
    for (const i of [0, 1, 2]) {
      const place = { firstSequence: 2 * i + 1, lastSequence: 2 * i + 2, firstPacketNumber: 10 * i + 1 };
      const manifest = {
        ...place,
        run: 'ab',
        capture: 1,
        gaps: [],
        end: i === 2 ? { reason: '', counters: null } : null,
      };
      this.segments.push({ manifest, records: records.slice(10 * i, 10 * i + 10) });
    }
  }

  capture(): verify.Capture {
    for (const { manifest, records } of this.segments) {
      const bytes = Buffer.concat([this.#header, ...records]);
      const file = `${manifest.firstSequence}.pcap`;
      const packetBytes = bytes.length - 24 - 16 * records.length;
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      const facts = { file, packets: records.length, packetBytes, fileBytes: bytes.length, sha256 };
      const whole = { format: 'rcap manifest 1', ...facts, ...manifest };
      if (whole.file !== '') writeFileSync(join(this.captures, 'h', file), bytes);
      else rmSync(join(this.captures, 'h', file), { force: true });
      writeFileSync(join(this.captures, 'h', `${manifest.firstSequence}.json`), JSON.stringify(whole));
    }
    return verify.readCapture(this.captures);
  }
}

test('what is right passes', (t) => {
  const s = new Scene(t);
  const capture = s.capture();
  assert.deepEqual([capture.packets, capture.segments.length, capture.gapPackets], [30, 3, 0]);
  verify.checkReplay(capture, s.input);
  verify.checkEnd(capture);
  verify.checkTidy(s.captures);
  assert.deepEqual(verify.checkNumbered({ ...capture, segments: [] }, 3).missing, [[0, 2]]);
});

const WRONG: Record<string, [change: (s: Scene) => void, message: RegExp]> = {
  'a packet missing': [(s) => s.segments[1]!.records.splice(3, 1), /record 3 is at \d+ in the input, \d+ bytes off/],
  'a packet twice': [
    (s) => s.segments[1]!.records.splice(3, 0, s.segments[1]!.records[3]!),
    /record 4 is at .*-\d+ bytes/,
  ],
  'two packets in the wrong order': [
    (s) => s.segments[1]!.records.push(s.segments[1]!.records.shift()!),
    /record 0 is at/,
  ],
  'a bit changed': [
    (s) => (s.segments[2]!.records[9] = Buffer.from(s.segments[2]!.records[9]!).fill(0, 70)),
    /record 9 is nowhere in the input/,
  ],
  'a segment missing at the end': [(s) => s.segments.pop(), /bytes of records are missing at the end/],
};
for (const [name, [change, message]] of Object.entries(WRONG)) {
  test(`a file with ${name}`, (t) => {
    const s = new Scene(t);
    change(s);
    // Numbers that fit what is there, so that contents alone tell.
    for (const [i, { manifest }] of s.segments.entries())
      manifest.firstPacketNumber = 1 + s.segments.slice(0, i).reduce((n, { records }) => n + records.length, 0);
    assert.throws(() => verify.checkReplay(s.capture(), s.input), message);
  });
}

const INCONSISTENT: Record<string, [change: Partial<Manifest>, message: RegExp]> = {
  'another sum': [{ sha256: '00' }, /sha256/],
  'another number of packets': [{ packets: 11 }, /packets/],
  'another length': [{ fileBytes: 11 }, /fileBytes/],
  'another name': [{ file: '4.pcap' }, /4\.pcap/],
  'sequences that leave a hole': [{ firstSequence: 4 }, /firstSequence/],
  'sequences that an earlier file has': [{ firstSequence: 2 }, /firstSequence/],
  'sequences that end too early': [{ lastSequence: 3 }, /firstSequence/],
  'packet numbers that leave a hole': [{ firstPacketNumber: 12 }, /firstPacketNumber/],
  'a gap that numbers leave no room for': [
    { gaps: [{ firstSequence: 4, lastSequence: 4, packets: 5, bytes: 50, ...TIMES }] },
    /firstPacketNumber/,
  ],
  'a gap of an earlier segment': [
    { gaps: [{ firstSequence: 2, lastSequence: 2, packets: 5, bytes: 50, ...TIMES }] },
    /"firstSequence":2/,
  ],
  'another run': [{ run: 'cd' }, /is of another run/],
};
for (const [name, [change, message]] of Object.entries(INCONSISTENT)) {
  test(`a manifest with ${name}`, (t) => {
    const s = new Scene(t);
    Object.assign(s.segments[1]!.manifest, change);
    assert.throws(() => s.capture(), message);
  });
}

test('a gap in a segment, one without packets, one at the end', (t) => {
  const s = new Scene(t);
  const [, middle, last] = s.segments;
  const gap = { firstSequence: 3, lastSequence: 4, packets: 10, bytes: 500, ...TIMES };
  Object.assign(middle!.manifest, { gaps: [gap], file: '', packets: 0 });
  middle!.records = [];
  Object.assign(last!.manifest, { lastSequence: 9, gaps: [{ ...gap, firstSequence: 7, lastSequence: 9 }] });
  const capture = s.capture();
  assert.deepEqual([capture.packets, capture.gapPackets, capture.gaps.length], [20, 20, 2]);
  last!.manifest.gaps = [gap];
  assert.throws(() => s.capture(), /"firstSequence":3/);
  middle!.manifest.gaps = [{ ...gap, packets: 9 }];
  assert.throws(() => s.capture(), /firstPacketNumber/);
  middle!.manifest.gaps = [];
  assert.throws(() => s.capture(), /is for nothing/);
});

test('an end mark that is missing or early', (t) => {
  const s = new Scene(t);
  s.segments[2]!.manifest.end = null;
  assert.throws(() => verify.checkEnd(s.capture()), /end mark/);
  s.segments[1]!.manifest.end = { reason: '', counters: null };
  assert.throws(() => verify.checkEnd(s.capture()), /end mark/);
});

test('what is left over, a file that is cut, a file without a manifest', (t) => {
  const s = new Scene(t);
  s.capture();
  writeFileSync(join(s.captures, 'h', 'x.pcap.part'), '');
  assert.throws(() => verify.checkTidy(s.captures), /left over/);
  rmSync(join(s.captures, 'h', 'x.pcap.part'));
  const [record] = s.segments[0]!.records;
  s.segments[0]!.records[0] = record!.subarray(0, 20);
  assert.throws(() => s.capture());
  for (const name of readdirSync(join(s.captures, 'h')).filter((n) => n === '1.json'))
    rmSync(join(s.captures, 'h', name));
  assert.throws(() => verify.readCapture(s.captures), /files without a manifest/);
});

test('numbered frames: missing, twice, changed', () => {
  const frame = (number: number, length = 64): Buffer => {
    const record = Buffer.alloc(16 + length);
    record.writeUInt32LE(length, 8);
    record.writeUInt32BE(number, 16 + 18);
    for (let i = 22; i < length; i++) record[16 + i] = number + i - 22;
    return record;
  };
  const check = (sent: number, ...frames: Buffer[]) =>
    verify.checkNumbered(
      { segments: [{ path: 'x', manifest: {} as Manifest, records: () => Buffer.concat(frames) }] } as verify.Capture,
      sent,
    );
  assert.deepEqual(check(300, frame(0), frame(1, 1514), frame(299)), { packets: 3, missing: [[2, 298]] });
  assert.throws(() => check(3, frame(0), frame(0)), /frame 0 where 1/);
  assert.throws(() => check(3, frame(1), frame(0)), /frame 0 where 2/);
  assert.throws(() => check(3, frame(3)), /frame 3 where 0 of 3/);
  const changed = frame(1);
  changed[79] = 0xff;
  assert.throws(() => check(3, changed), /frame 1 was changed/);
});

test("the agent's counters and exit code", (t) => {
  const capture = new Scene(t).capture();
  const end = (code: number, changes: object) => {
    const done = { ...emptyLedger(), captured: 30, sent: 30, acknowledged: 30, lost: 0, ...changes };
    return { code, signal: null, stdout: '', stderr: `${JSON.stringify({ message: 'done', ...done })}\n` };
  };
  verify.checkLedger(capture, end(0, {}));
  verify.checkLedger(capture, end(3, { droppedByKernel: 2, lost: 2 }));
  verify.checkLedger(capture, end(0, { captured: 35, discarded: 5 }));
  assert.throws(() => verify.checkLedger(capture, end(3, {})));
  assert.throws(() => verify.checkLedger(capture, end(0, { droppedByKernel: 2, lost: 2 })));
  assert.throws(() => verify.checkLedger(capture, end(0, { acknowledged: 29 })), /counts something else/);
  assert.throws(() => verify.checkLedger(capture, end(0, { captured: 31 })));
  assert.throws(() => verify.checkLedger(capture, end(3, { droppedBySpool: 1, lost: 1 })), /counts something else/);
});

test("the collector's report", (t) => {
  const capture = new Scene(t).capture();
  const tally = { packets: 30, bytes: capture.segments.reduce((n, { manifest }) => n + manifest.packetBytes, 0) };
  const nothing = { packets: 0, bytes: 0 };
  const done = { ...emptyLedger(), captured: 30, sent: 30, acknowledged: 30, lost: 0 };
  const { acknowledged: __, lost: ___, ...counters } = done;
  const report = { message: 'ended (stopped)', files: tally, gaps: nothing, elsewhere: 0, complete: true, counters };
  const totals = { message: 'stopped: 1 capture ended', files: tally, gaps: nothing };
  const text = (...lines: object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  const check = (...collectors: string[]) => verify.checkReports(capture, done, collectors);
  check(text(report, totals));
  check('', text(totals));
  check('', text(report, report));
  const wrong: [object, object][] = [
    [{ ...report, files: { ...tally, packets: 29 } }, totals],
    [{ ...report, files: { ...tally, bytes: 1 } }, totals],
    [{ ...report, gaps: { packets: 1, bytes: 1 } }, totals],
    [{ ...report, elsewhere: 1 }, totals],
    [{ ...report, complete: false }, totals],
    [{ ...report, counters: { ...counters, sent: 31 } }, totals],
    [report, { ...totals, files: nothing }],
  ];
  for (const lines of wrong) assert.throws(() => check(text(...lines)), assert.AssertionError, JSON.stringify(lines));
  const { received: _, ...fewer } = counters;
  assert.throws(() => check(text({ ...report, counters: fewer }, totals)), /the counters of its end/);
  assert.throws(() => check(text(totals)), /no report/);
});
