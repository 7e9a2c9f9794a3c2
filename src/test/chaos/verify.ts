/**
 * What is on the collector's disk against what was sent, by content, with a reader of its own: every packet once, in order,
 * or written down as lost; files, manifests and the agent's closing counters tell the same. Throws at the first difference.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Deletion, RECORD } from '../../collector/deletion-record.ts';
import type { Manifest, ManifestGap } from '../../collector/manifest.ts';
import type { Report } from '../../collector/report.ts';
import { emptyLedger, type Ledger } from '../../ledger.ts';
import type { Finished } from '../support.ts';

export interface Segment {
  /** Of its manifest. */
  path: string;
  manifest: Manifest;
  /** Reads the records, without the file's header: there may be more of them than memory holds. */
  records: () => Buffer;
}

export interface Capture {
  /** Some may have gaps or an end, but no packets. */
  segments: Segment[];
  packets: number;
  gaps: ManifestGap[];
  gapPackets: number;
}

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const PUBLISHED = /\.pcap(\.linktype-\d+)?$/;

/** The one capture that is in these folders, checked for what it says of itself. */
export function readCapture(...folders: string[]): Capture {
  const paths = folders.flatMap(filesUnder);
  const segments = paths.filter((path) => path.endsWith('.json')).map(readSegment);
  segments.sort((a, b) => a.manifest.firstSequence - b.manifest.firstSequence);
  const named = segments.map(({ path, manifest }) => join(dirname(path), manifest.file));
  const alone = paths.filter((path) => PUBLISHED.test(path) && !named.includes(path));
  assert.deepEqual(alone, [], 'files without a manifest');
  checkSeries(segments);
  const gaps = segments.flatMap((s) => s.manifest.gaps);
  return { segments, packets: sum(segments.map((s) => s.manifest)), gaps, gapPackets: sum(gaps) };
}

const sum = (of: readonly { packets: number }[]): number => of.reduce((n, { packets }) => n + packets, 0);

/** All manifests in a folder, by their first sequence. */
export const readManifests = (folder: string): Manifest[] =>
  filesUnder(folder)
    .filter((path) => path.endsWith('.json'))
    .map((path) => JSON.parse(readFileSync(path, 'utf8')) as Manifest)
    .toSorted((a, b) => a.firstSequence - b.firstSequence);

/** Of published captures; some may be deleted meanwhile. */
export const fileBytes = (folder: string): number =>
  filesUnder(folder)
    .filter((path) => PUBLISHED.test(path))
    .reduce((n, path) => n + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);

/** What retention wrote down. */
export const readDeletions = (state: string): Deletion[] =>
  readFileSync(join(state, RECORD), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Deletion);

/** After an orderly end nothing half-done is left, be it of a capture or of a manifest. */
export function checkTidy(folder: string): void {
  const whole = /(\.pcap(\.linktype-\d+)?|\.json|\/\.rcap-collector\.lock.*)$/;
  const left = filesUnder(folder).filter((path) => !whole.test(path));
  assert.deepEqual(left, [], 'files are left over');
}

const filesUnder = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => !e.isDirectory())
    .map((e) => join(e.parentPath, e.name));

function readSegment(path: string): Segment {
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as Manifest;
  assert.equal(manifest.format, 'rcap manifest 1', path);
  const file = join(dirname(path), manifest.file);
  const records = () => (manifest.file ? readFileSync(file).subarray(FILE_HEADER) : Buffer.alloc(0));
  if (manifest.file) checkFile(file, manifest);
  else assert.ok(manifest.packets === 0 && (manifest.gaps.length > 0 || manifest.end), `${path} is for nothing`);
  return { path, manifest, records };
}

function checkFile(path: string, manifest: Manifest): void {
  const bytes = readFileSync(path);
  assert.equal(bytes.length, manifest.fileBytes, `${path}: fileBytes`);
  assert.equal(createHash('sha256').update(bytes).digest('hex'), manifest.sha256, `${path}: sha256`);
  assert.equal(bytes.readUInt32LE(0), 0xa1b23c4d, `${path}: not a pcap file with nanoseconds`);
  let packets = 0;
  let packetBytes = 0;
  for (const packet of packetsIn(bytes.subarray(FILE_HEADER), path)) {
    packets++;
    packetBytes += packet.length;
  }
  assert.ok(packets > 0, `${path} is empty`);
  assert.deepEqual({ packets, packetBytes }, { packets: manifest.packets, packetBytes: manifest.packetBytes }, path);
}

/** Captured bytes of each record. */
export function* packetsIn(records: Buffer, path: string): Generator<Buffer> {
  for (let at = 0; at < records.length;) {
    assert.ok(at + RECORD_HEADER <= records.length, `${path} ends in a record's header`);
    const end = at + RECORD_HEADER + records.readUInt32LE(at + 8);
    assert.ok(end <= records.length, `${path} ends in a record`);
    yield records.subarray(at + RECORD_HEADER, end);
    at = end;
  }
}

/** One capture's segments, whose sequences and packet numbers go on from one to the next. */
function checkSeries(segments: Segment[]): void {
  let sequence = 1;
  let number = 1;
  for (const { path, manifest: m } of segments) {
    assert.equal(m.run, segments[0]!.manifest.run, `${path} is of another run`);
    assert.equal(m.capture, segments[0]!.manifest.capture, `${path} is another capture`);
    assert.equal(m.firstSequence, sequence, `${path}: firstSequence`);
    assert.ok(m.lastSequence >= m.firstSequence || (m.packets === 0 && m.end), `${path}: lastSequence`);
    assert.equal(m.firstPacketNumber, number, `${path}: firstPacketNumber`);
    for (const g of m.gaps) {
      assert.ok(sequence <= g.firstSequence && g.firstSequence <= g.lastSequence, `${path}: ${JSON.stringify(g)}`);
      assert.ok(g.packets > 0 && g.lastSequence <= m.lastSequence, `${path}: ${JSON.stringify(g)}`);
      sequence = g.lastSequence + 1;
    }
    sequence = m.lastSequence + 1;
    number += m.packets + sum(m.gaps);
  }
}

/** The end mark is in the last segment and nowhere else. */
export function checkEnd(capture: Capture): void {
  const ends = capture.segments.map((s) => s.manifest.end !== null);
  assert.deepEqual(ends.indexOf(true), ends.length - 1, 'the end mark is not in the last segment, or not there alone');
}

/** Records that are those of a file, to the last bit, in its order. */
export function checkReplay(capture: Capture, input: string): void {
  const sent = readFileSync(input).subarray(FILE_HEADER);
  let at = 0;
  for (const { path, records: read } of capture.segments) {
    const records = read();
    if (!records.equals(sent.subarray(at, at + records.length))) throw new Error(difference(path, records, sent, at));
    at += records.length;
  }
  assert.equal(at, sent.length, `${sent.length - at} bytes of records are missing at the end`);
}

/** Where a file is told apart from what was sent, for people. */
function difference(path: string, records: Buffer, sent: Buffer, at: number): string {
  let offset = 0;
  while (offset < records.length && records[offset] === sent[at + offset]) offset++;
  let record = 0;
  let start = 0;
  for (const packet of packetsIn(records, path)) {
    if (start + RECORD_HEADER + packet.length > offset) break;
    start += RECORD_HEADER + packet.length;
    record++;
  }
  const found = sent.indexOf(records.subarray(start, start + 100));
  const where = found < 0 ? 'is nowhere in the input' : `is at ${found} in the input, ${found - at - start} bytes off`;
  return `${path}: record ${record} ${where}`;
}

/** Frames of the numbered sender: each number once at most, rising, with its own content. How many of `sent` are there. */
export function checkNumbered(capture: Capture, sent: number): { packets: number; missing: [number, number][] } {
  const filler = Buffer.from(Uint8Array.from({ length: 4096 }, (_, i) => i));
  const missing: [number, number][] = [];
  let next = 0;
  let packets = 0;
  for (const { path, records } of capture.segments) {
    for (const packet of packetsIn(records(), path)) {
      const number = packet.readUInt32BE(14) * 2 ** 32 + packet.readUInt32BE(18);
      assert.ok(number >= next && number < sent, `${path}: frame ${number} where ${next} of ${sent} was next`);
      const rest = filler.subarray(number % 256, (number % 256) + packet.length - 22);
      assert.ok(packet.subarray(22).equals(rest), `${path}: frame ${number} was changed`);
      if (number > next) missing.push([next, number - 1]);
      next = number + 1;
      packets++;
    }
  }
  if (next < sent) missing.push([next, sent - 1]);
  return { packets, missing };
}

/** The agent's closing counters: its `done` line with --json. */
export type Done = Ledger & { lost: number };

export function doneOf(end: Finished): Done {
  const lines = linesOf(end.stderr, '"message":"done"');
  assert.equal(lines.length, 1, `no closing counters:\n${end.stderr.slice(-4000)}`);
  return lines[0] as Done;
}

const LEDGER = Object.keys(emptyLedger()) as (keyof Ledger)[];

const linesOf = (text: string, which: string): unknown[] =>
  text
    .split('\n')
    .filter((line) => line.includes(which))
    .map((line) => JSON.parse(line) as unknown);

/** The agent tells what is there: what it captured is in files or in gaps, and its exit code says which. */
export function checkLedger(capture: Capture, end: Finished): Done {
  const done = doneOf(end);
  const { captured, discarded, sent, acknowledged, droppedBySpool, droppedByKernel, droppedByInterface } = done;
  const there = { sent: capture.packets, acknowledged: capture.packets, droppedBySpool: capture.gapPackets };
  assert.deepEqual({ sent, acknowledged, droppedBySpool }, there, 'the agent counts something else');
  assert.equal(captured - discarded, capture.packets + capture.gapPackets);
  const lost = droppedByKernel + droppedByInterface + droppedBySpool;
  assert.equal(done.lost, lost);
  assert.equal(end.code, lost > 0 ? 3 : 0, end.stderr.slice(-4000));
  return done;
}

/**
 * What the collectors of a capture said at its end, each with --json, is what is there, and what the agent said. One that
 * was killed right then may not have come to it.
 */
export function checkReports(capture: Capture, done: Done, collectors: readonly string[]): void {
  const manifests = capture.segments.map((s) => s.manifest);
  const files = { packets: capture.packets, bytes: manifests.reduce((n, m) => n + m.packetBytes, 0) };
  const gaps = { packets: capture.gapPackets, bytes: capture.gaps.reduce((n, g) => n + g.bytes, 0) };
  const reports = collectors.flatMap((text) => linesOf(text, '"message":"ended ')) as Report[];
  for (const { counters, ...r } of reports) {
    const complete = done.lost === 0;
    const said = { files: r.files, gaps: r.gaps, elsewhere: r.elsewhere, complete: r.complete };
    assert.deepEqual(said, { files, gaps, elsewhere: 0, complete }, r.message);
    const { acknowledged: _, ...expected } = Object.fromEntries(LEDGER.map((name) => [name, done[name]]));
    assert.deepEqual(counters, expected, 'the counters of its end');
  }
  if (collectors.length > 1) return;
  assert.ok(reports.length > 0, 'no report of its end');
  const [total] = linesOf(collectors[0]!, '"message":"stopped: ') as [Pick<Report, 'files' | 'gaps'>];
  assert.deepEqual({ files: total.files, gaps: total.gaps }, { files, gaps }, 'the totals at the end');
}
