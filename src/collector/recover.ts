/**
 * Segments that weren't published in order, after kill -9, power loss or a disk that failed: cut at the last durable batch,
 * published, recorded. Each step may itself be interrupted; the next time goes on from there.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { FILE_HEADER_BYTES, recordTime, walkRecords } from '../formats/pcap.ts';
import { MAX_SNAPLEN } from '../packet.ts';
import { type File, replaceFile, type Disk } from './disk.ts';
import type { Manifest, ManifestStart } from './manifest.ts';
import { JOURNAL, type JournalText, journalText, type Point, readJournal } from './journal.ts';
import { manifestPath, manifestOf, publishFile, writeManifest } from './publish.ts';
import { PART, publishedName } from './names.ts';
import { type Recorded, recordedOf, type Runs } from './runs.ts';
import type { SegmentPlace } from './segment.ts';

const CHUNK = 1 << 20;

export interface Recovered {
  /** The file, or the journal where there is none. */
  file: string;
  packets: number;
  /** Bytes cut from the end: never acknowledged, so their agent has them. */
  cut: number;
  /** Packets that were acknowledged, and that the disk has lost nevertheless. */
  missing: number;
  /** Why it was left as it is, if it was. */
  left?: string;
}

/**
 * What a journal that is left says must come true. Nothing where there is none. `record` is called when the segment is
 * published and its manifest durable, before that is saved in its run. Throws when the disk does.
 */
export async function recover(
  place: SegmentPlace,
  stem: string,
  runs: Runs,
  record: (start: ManifestStart, segment: Recorded, end: Manifest['end']) => void,
): Promise<Recovered | undefined> {
  const { disk, folder } = place;
  const journalPath = join(folder, stem + JOURNAL);
  if (!(await disk.exists(journalPath))) return undefined;
  const journal = (await isTooLong(disk, journalPath)) ? 'damaged' : readJournal(await disk.readText(journalPath));
  if (journal === 'damaged') {
    // For people to look at. The run goes on behind what else is known of it.
    await disk.rename(journalPath, `${journalPath}.damaged`);
    return { file: stem, packets: 0, cut: 0, missing: 0, left: 'its journal is damaged' };
  }
  if (!journal?.point) return removed(place, stem);
  const { start } = journal;
  const name = publishedName(stem, start.linkType);
  let point = journal.point;
  let outcome = { file: point.bytes > 0 ? name : stem, packets: point.packets, cut: 0, missing: 0 };
  if (await disk.exists(join(folder, name + PART))) {
    const file = await disk.open(join(folder, name + PART), 'write');
    try {
      const size = await file.size();
      const whole = await cutBack(file, point, start.timestamps);
      outcome = {
        ...outcome,
        packets: whole.packets,
        cut: size - whole.bytes,
        missing: point.packets - whole.packets,
      };
      point = await closed(place, stem, journal, whole);
      if (point.bytes > 0) await publishFile(disk, place.clock, place.made, file, folder, name);
      else await file.close();
    } catch (e) {
      await file.close().catch(() => {});
      throw e;
    }
    if (point.bytes === 0) await disk.remove(join(folder, name + PART));
  } else {
    // Nothing is renamed before the journal is closed: without that, what isn't there is lost.
    const lost = !point.closing && point.bytes > 0 && !(await disk.exists(join(folder, name)));
    if (lost) outcome = { ...outcome, packets: 0, missing: point.packets };
    point = await closed(place, stem, journal, lost ? NOTHING : point);
  }
  await runs.load(start.run);
  const known = runs.position(start.run, start.capture);
  // The run's record comes after the manifest: where it is, both may have been taken away already.
  const ended = point.closing!.end !== null;
  const recorded = known.recorded >= point.sequence && (known.ended || !ended);
  const manifest = manifestOf(stem, start, point, new Date(place.clock.date()));
  if (!recorded && !(await disk.exists(manifestPath(folder, stem)))) await writeManifest(disk, folder, stem, manifest);
  runs.claim(start.run, start.token);
  record(start, recordedOf(manifest, point.packetNumber), manifest.end);
  await runs.save(start.run);
  await disk.remove(journalPath);
  return outcome;
}

/** Longest journal that anybody writes, bytes, with room to spare: a text can't have more than 512 MiB. */
const MAX_JOURNAL = 256 << 20;

async function isTooLong(disk: Disk, path: string): Promise<boolean> {
  const file = await disk.open(path, 'read');
  try {
    return (await file.size()) > MAX_JOURNAL;
  } finally {
    await file.close();
  }
}

const NOTHING = { bytes: 0, packets: 0, packetBytes: 0, firstPacketTime: '', lastPacketTime: '' };

/** Nothing of it was acknowledged. */
async function removed({ disk, folder }: SegmentPlace, stem: string): Promise<Recovered> {
  let cut = 0;
  for (const { name } of await disk.list(folder)) {
    if (!name.endsWith(PART) || !name.startsWith(`${stem}.pcap`)) continue;
    const file = await disk.open(join(folder, name), 'read');
    cut = await file.size();
    await file.close();
    await disk.remove(join(folder, name));
  }
  await disk.remove(join(folder, stem + JOURNAL));
  return { file: stem, packets: 0, cut, missing: 0 };
}

/**
 * The journal's last line, made if the crash came before. In a new file, before anything is done: lines that are read may
 * never have reached the disk, and after a datasync that failed another one wouldn't bring them there.
 */
async function closed(place: SegmentPlace, stem: string, journal: JournalText, whole: Whole): Promise<Point> {
  const { sha256 = '', ...numbers } = whole;
  const closing = journal.point!.closing ?? { closedBy: 'recovered', end: null, sha256 };
  const point = { ...journal.point!, ...numbers, closing: { ...closing, sha256: sha256 || closing.sha256 } };
  await replaceFile(place.disk, join(place.folder, stem + JOURNAL), journalText(journal.start, point));
  return point;
}

type Whole = Pick<Point, 'bytes' | 'packets' | 'packetBytes' | 'firstPacketTime' | 'lastPacketTime'> & {
  /** SHA-256 of the file, hex. */
  sha256?: string;
};

/** Cuts the file where the point ends, durably. A file that is shorter (the disk lied) at its last whole record. */
async function cutBack(file: File, point: Point, timestamps: 'nano' | 'micro'): Promise<Whole> {
  const size = await file.size();
  if (point.bytes === 0) return { ...point };
  const short = size < point.bytes;
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(CHUNK + MAX_SNAPLEN);
  let whole: Whole = { ...point, ...NOTHING };
  let held = await file.read(buffer.subarray(0, FILE_HEADER_BYTES), 0);
  if (held < FILE_HEADER_BYTES) {
    await file.truncate(0);
    return { ...NOTHING };
  }
  hash.update(buffer.subarray(0, held));
  whole.bytes = FILE_HEADER_BYTES;
  const end = Math.min(size, point.bytes);
  for (held = 0; whole.bytes < end;) {
    const more = Math.min(buffer.length - held, end - whole.bytes - held);
    held += await file.read(buffer.subarray(held, held + more), whole.bytes + held);
    const walk = short ? walkRecords(buffer.subarray(0, held), MAX_SNAPLEN) : { bytes: held, packets: 0 };
    if (walk.bytes === 0) break;
    if ('first' in walk) {
      whole.firstPacketTime ||= recordTime(buffer, walk.first, timestamps);
      whole.lastPacketTime = recordTime(buffer, walk.last, timestamps);
      whole.packets += walk.packets;
      whole.packetBytes += walk.packetBytes;
    }
    hash.update(buffer.subarray(0, walk.bytes));
    whole.bytes += walk.bytes;
    buffer.copyWithin(0, walk.bytes, held);
    held -= walk.bytes;
  }
  if (!short) whole = { ...point, bytes: whole.bytes };
  else if (whole.packets === 0) whole = { ...NOTHING };
  if (size > whole.bytes) await file.truncate(whole.bytes);
  await file.datasync();
  return { ...whole, sha256: whole.bytes > 0 ? hash.digest('hex') : '' };
}

/**
 * Stems of the journals that lie in a folder, in the order in which a capture's must be recovered. What the replacing of a
 * file left half done goes.
 */
export async function leftovers({ disk, folder }: Pick<SegmentPlace, 'disk' | 'folder'>): Promise<string[]> {
  const names = (await disk.list(folder)).map((e) => e.name);
  for (const name of names) if (/\.(json|journal)\.new$/.test(name)) await disk.remove(join(folder, name));
  const stems = names.filter((name) => name.endsWith(JOURNAL)).map((name) => name.slice(0, -JOURNAL.length));
  return stems.toSorted((a, b) => firstSequenceOf(a) - firstSequenceOf(b));
}

const firstSequenceOf = (stem: string): number => Number(/\d+$/.exec(stem)?.[0]);
