/** What must be true once everything is at rest: each packet is in a file or in a gap, exactly once, and all books agree. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Manifest } from '../../collector/manifest.ts';
import type { Report } from '../../collector/report.ts';
import { imbalance, type Ledger } from '../../ledger.ts';
import type { Arkime } from './arkime.ts';
import { type Truth, whoIs } from './packets.ts';
import { readPcap, type ReadRecord, timeOf } from './pcap-reader.ts';

export interface Remains {
  truths: ReadonlyMap<number, Truth>;
  /** The agent's. */
  ledgers: ReadonlyMap<number, Ledger>;
  hostFolder: string;
  sites: SiteRemains[];
}

/** Of one collector. */
export interface SiteRemains {
  /** All files under the captures folder, and those that were taken away, by path. */
  files: ReadonlyMap<string, Uint8Array>;
  /** Paths of what is elsewhere. */
  others: readonly string[];
  arkime: Arkime;
  /** What its collectors said of captures that ended, and how often there was one. */
  reports: readonly Report[];
  starts: number;
  timestamps: 'nano' | 'micro';
  /** No step on the disk ever failed. */
  soundDisk: boolean;
}

interface Sum {
  packets: number;
  bytes: number;
}
const total = (of: readonly Sum[]): Sum =>
  of.reduce((a, b) => ({ packets: a.packets + b.packets, bytes: a.bytes + b.bytes }), { packets: 0, bytes: 0 });

export function check(r: Remains): void {
  const manifests = r.sites.map((site) => manifestsOf(site, r.hostFolder));
  for (const m of manifests.flat()) assert.ok(r.truths.has(m.capture), `a manifest of capture ${m.capture}`);
  for (const site of r.sites) checkArkime(site);
  for (const [number, truth] of r.truths) {
    const lost = r.sites.map((site, i) => {
      const own = manifests[i]!.filter((m) => m.capture === number);
      return checkSeries(
        site,
        r.hostFolder,
        truth,
        own.toSorted((a, b) => a.firstSequence - b.firstSequence),
        r.sites.length > 1,
      );
    });
    const all = manifests.flat().filter((m) => m.capture === number);
    checkWhole(number, truth, all);
    checkLedger(number, truth, r.ledgers.get(number)!);
    if (r.sites.length === 1) checkOneCollector(number, truth, r.ledgers.get(number)!, lost[0]!, all);
    else checkSeveral(number, truth, r.ledgers.get(number)!, all);
    r.sites.forEach((site, i) => {
      const own = manifests[i]!.filter((m) => m.capture === number);
      checkReports(site, number, r.ledgers.get(number)!, truth, own, r.sites.length > 1);
    });
  }
}

/** The manifests; and nothing else is there but the files that they speak of. */
function manifestsOf({ files, others }: SiteRemains, hostFolder: string): Manifest[] {
  const manifests: Manifest[] = [];
  const expected = new Set<string>();
  for (const [path, content] of files) {
    if (!path.endsWith('.json')) continue;
    const manifest = JSON.parse(Buffer.from(content).toString()) as Manifest;
    manifests.push(manifest);
    expected.add(path);
    if (manifest.file) expected.add(`${hostFolder}/${manifest.file}`);
  }
  assert.deepEqual([...files.keys()].toSorted(), [...expected].toSorted(), 'files, and manifests of files');
  for (const path of others) assert.match(path, /^\/state\/runs\/[0-9a-f]{32}\.json$/);
  return manifests;
}

/**
 * One collector's manifests of a capture follow each other without a hole, and each agrees with its file, and with the
 * truth. With `holes` another collector may have had what is missing. Returns what is in gaps.
 */
function checkSeries(site: SiteRemains, hostFolder: string, truth: Truth, manifests: Manifest[], holes: boolean): Sum {
  const { batches } = truth;
  let sequence = 0;
  const lost = { packets: 0, bytes: 0 };
  for (const m of manifests) {
    const what = m.file || `${m.capture}_${m.firstSequence}.json`;
    if (holes) assert.ok(m.firstSequence > sequence, `${what}: it comes behind the one before`);
    else assert.equal(m.firstSequence, sequence + 1, `${what}: it follows the one before`);
    const before = batches[m.firstSequence - 2]?.last ?? 0;
    assert.equal(m.firstPacketNumber, before + 1, `${what}: the number of its first packet`);
    assert.ok(m.lastSequence <= batches.length, `${what}: it ends where the capture did`);
    const gaps = checkGaps(m, truth, what);
    lost.packets += gaps.packets;
    lost.bytes += gaps.bytes;
    checkFile(site, hostFolder, m, truth, gaps.numbers, what);
    sequence = m.lastSequence;
  }
  return lost;
}

/** What was said when a capture ended is what is there. A collector that was killed right then, or whose disk failed, may not have come to it. */
function checkReports(
  { reports, starts, soundDisk }: SiteRemains,
  number: number,
  { droppedByKernel }: Ledger,
  truth: Truth,
  manifests: Manifest[],
  several: boolean,
): void {
  const files = total(manifests.map((m) => ({ packets: m.packets, bytes: m.packetBytes })));
  const gaps = total(manifests.flatMap((m) => m.gaps));
  const elsewhere = truth.packets.length - files.packets - gaps.packets;
  const own = reports.filter((r) => r.capture === number);
  for (const r of own) {
    const said = { files: r.files, gaps: r.gaps, elsewhere: r.elsewhere };
    assert.deepEqual(said, { files, gaps, elsewhere }, `capture ${number}: the report of its end`);
    // One collector may have on disk what the agent had to tell another one is lost.
    if (several) continue;
    assert.doesNotMatch(r.message, /THE AGENT COUNTS/, `capture ${number}: both sides count the same`);
    assert.equal(r.complete, gaps.packets + droppedByKernel === 0, r.message);
  }
  if (starts === 1 && soundDisk && !several) assert.equal(own.length, 1, `capture ${number}: one report of its end`);
}

/** Nothing is missing, and the end mark is there. */
function checkWhole(number: number, { batches }: Truth, manifests: Manifest[]): void {
  const has = batches.map((_, i) => manifests.some((m) => m.firstSequence <= i + 1 && i + 1 <= m.lastSequence));
  assert.deepEqual(
    has.flatMap((x, i) => (x ? [] : [i + 1])),
    [],
    `capture ${number}: all sequences`,
  );
  if (batches.length === 0) return;
  const ended = manifests.filter((m) => m.end).map((m) => m.lastSequence);
  assert.ok(ended.length > 0 && ended.every((s) => s === batches.length), `capture ${number}: its end mark`);
}

/** The gaps of a manifest are in order, and each has the numbers of the batches that it stands for. */
function checkGaps(m: Manifest, { batches, packets }: Truth, what: string): Sum & { numbers: Set<number> } {
  const sum = { packets: 0, bytes: 0, numbers: new Set<number>() };
  let last = m.firstSequence - 1;
  for (const g of m.gaps) {
    assert.ok(g.firstSequence > last && g.lastSequence >= g.firstSequence, `${what}: gaps in order`);
    last = g.lastSequence;
    const covered = batches.slice(g.firstSequence - 1, g.lastSequence);
    const [from, to] = [covered[0]!.first, covered.at(-1)!.last];
    assert.deepEqual(
      g,
      {
        firstSequence: g.firstSequence,
        lastSequence: g.lastSequence,
        packets: to - from + 1,
        bytes: covered.reduce((n, b) => n + b.packetBytes, 0),
        firstPacketTime: timeOf(packets[from - 1]!.timestampNs, 9),
        lastPacketTime: timeOf(packets[to - 1]!.timestampNs, 9),
      },
      `${what}: a gap`,
    );
    for (let n = from; n <= to; n++) sum.numbers.add(n);
    sum.packets += g.packets;
    sum.bytes += g.bytes;
  }
  assert.ok(last <= m.lastSequence, `${what}: gaps within it`);
  return sum;
}

/** A file holds exactly the packets of its manifest's sequences that aren't in gaps, in order. */
function checkFile(
  site: SiteRemains,
  hostFolder: string,
  m: Manifest,
  truth: Truth,
  lost: ReadonlySet<number>,
  what: string,
): void {
  const batches = truth.batches.slice(m.firstSequence - 1, m.lastSequence);
  const expected = truth.packets
    .slice((batches[0]?.first ?? 1) - 1, batches.at(-1)?.last ?? 0)
    .filter((p) => !lost.has(p.number));
  if (!m.file) {
    assert.deepEqual([expected.length, m.packets, m.packetBytes, m.fileBytes, m.sha256], [0, 0, 0, 0, ''], what);
    return;
  }
  const content = site.files.get(`${hostFolder}/${m.file}`)!;
  const records = readPcap(content);
  const numbers = records.map((x) => whoIs(x.data)?.number ?? -1);
  assert.deepEqual(
    numbers,
    expected.map((p) => p.number),
    `${what}: its packets`,
  );
  const unit = site.timestamps === 'nano' ? 1n : 1000n;
  records.forEach((x, i) => {
    const p = expected[i]!;
    const same = Buffer.compare(x.data, p.data) === 0 && x.original === p.original;
    assert.ok(same && x.timestampNs / unit === p.timestampNs / unit, `${what}: packet ${p.number} is what it was`);
  });
  checkNumbers(m, content, records, site.timestamps === 'nano' ? 9 : 6, what);
}

function checkNumbers(m: Manifest, content: Uint8Array, records: ReadRecord[], digits: 6 | 9, what: string): void {
  assert.deepEqual(
    {
      packets: m.packets,
      packetBytes: m.packetBytes,
      fileBytes: m.fileBytes,
      sha256: m.sha256,
      firstPacketTime: m.firstPacketTime,
      lastPacketTime: m.lastPacketTime,
    },
    {
      packets: records.length,
      packetBytes: records.reduce((n, x) => n + x.data.length, 0),
      fileBytes: content.length,
      sha256: createHash('sha256').update(content).digest('hex'),
      firstPacketTime: timeOf(records[0]!.timestampNs, digits),
      lastPacketTime: timeOf(records.at(-1)!.timestampNs, digits),
    },
    `${what}: its manifest`,
  );
}

function checkLedger(number: number, truth: Truth, ledger: Ledger): void {
  const what = `capture ${number}: the agent's ledger`;
  assert.equal(imbalance(ledger), undefined, what);
  const { captured, capturedBytes } = ledger;
  assert.deepEqual([captured, capturedBytes], [truth.packets.length, truth.packetBytes], what);
}

/** What the agent says it dropped is what the gaps say, and the collector heard the same. */
function checkOneCollector(number: number, truth: Truth, ledger: Ledger, lost: Sum, manifests: Manifest[]): void {
  const count = truth.packets.length - lost.packets;
  const { droppedBySpool, sent, sentBytes, acknowledged } = ledger;
  assert.deepEqual(
    { droppedBySpool, sent, sentBytes, acknowledged },
    { droppedBySpool: lost.packets, sent: count, sentBytes: truth.packetBytes - lost.bytes, acknowledged: count },
    `capture ${number}: gaps, and the agent's ledger`,
  );
  // A crash right after it was written has it come again, alone.
  const ends = manifests.filter((m) => m.end && m.firstSequence <= m.lastSequence);
  assert.ok(ends.length <= 1, `capture ${number}: one end mark`);
  if (ends.length === 0) return;
  const { acknowledged: _, ...counters } = ledger;
  const { capture: __, ...said } = ends[0]!.end!.counters!;
  const zeros = Object.fromEntries(Object.keys(counters).map((k) => [k, 0])); // left out on the wire
  assert.deepEqual({ ...zeros, ...said }, counters, `capture ${number}: the counters of its end mark`);
}

/**
 * One collector may have on disk what another one was told is lost, where its acknowledgement never arrived. The agent may
 * say more than the truth was lost, never less.
 */
function checkSeveral(number: number, { batches }: Truth, { droppedBySpool }: Ledger, manifests: Manifest[]): void {
  const covers = (g: { firstSequence: number; lastSequence: number }, s: number) =>
    g.firstSequence <= s && s <= g.lastSequence;
  const inNoFile = batches.filter(
    (_, i) => !manifests.some((m) => covers(m, i + 1) && !m.gaps.some((g) => covers(g, i + 1))),
  );
  const lost = inNoFile.reduce((n, b) => n + b.last - b.first + 1, 0);
  assert.ok(lost <= droppedBySpool, `capture ${number}: ${lost} in no file, ${droppedBySpool} dropped`);
}

function checkArkime({ arkime, files, soundDisk }: SiteRemains): void {
  if (soundDisk) assert.deepEqual(arkime.early, [], 'closed before its name was durable');
  assert.deepEqual(arkime.missed, [], 'closed before Arkime watched the folder');
  for (const [path, content] of files) {
    if (!path.endsWith('.pcap')) continue;
    const reads = arkime.reads.filter((x) => x.path === path);
    if (!arkime.uncertain.has(path)) assert.equal(reads.length, 1, `Arkime reads ${path} once`);
    for (const x of reads) assert.ok(Buffer.compare(x.content, content) === 0, `Arkime read ${path} as it is`);
  }
  for (const { path } of arkime.reads) assert.ok(files.has(path), `what Arkime read is there: ${path}`);
}
