/** Left-over `.part` files of a collector that didn't end in order: cut at the last whole record, published, said. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../errors.ts';
import { type FileHeader, FILE_HEADER_BYTES, readFileHeader, recordTime, walkRecords } from '../formats/pcap.ts';
import { MAX_SNAPLEN } from '../packet.ts';
import type { ManifestStart } from './manifest.ts';
import { PART } from './names.ts';
import { publishFile, publishManifest } from './publish.ts';

const CHUNK = 1 << 20;
const ENDS = /\.pcap(\.linktype-\d+)?$/;

export interface Salvaged {
  file: string;
  packets: number;
  /** Bytes cut from the end. */
  cut: number;
  /** Why the file was left as it is, if it was. */
  left?: string;
}

/**
 * Publishes every left-over segment under `captures`; what holds no packet is removed. What can't be read or opened is left
 * and said: it must not keep the collector from starting.
 */
export async function salvage(captures: string, said: (s: Salvaged) => void): Promise<void> {
  for (const entry of await readdir(captures, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const leave = (file: string) => (e: Error) => said({ file, packets: 0, cut: 0, left: reasonOf(e) });
    await salvageFolder(join(captures, entry.name), said, leave).catch(leave(entry.name));
  }
}

async function salvageFolder(
  folder: string,
  said: (s: Salvaged) => void,
  leave: (file: string) => (e: Error) => void,
): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.endsWith(PART) || !ENDS.test(name.slice(0, -PART.length))) continue;
    await salvageFile(folder, name).then(said, leave(name));
  }
  // Published, but killed before the manifest was written: finish it.
  for (const name of await readdir(folder)) {
    if (name.endsWith(`.json${PART}`)) await finishManifest(folder, name).catch(leave(name));
  }
}

async function salvageFile(folder: string, part: string): Promise<Salvaged> {
  const file = part.slice(0, -PART.length);
  const stem = file.replace(ENDS, '');
  const start = await readStart(folder, stem);
  // O_NOFOLLOW: a symbolic link here isn't ours.
  const handle = await open(join(folder, part), constants.O_RDWR | constants.O_NOFOLLOW);
  const { size } = await handle.stat();
  const whole = await wholeRecords(handle);
  if (!whole && size >= FILE_HEADER_BYTES) {
    // Not ours, or damaged where it begins: for people to look at.
    await handle.close();
    return { file: part, packets: 0, cut: 0, left: 'it does not begin like a file of ours' };
  }
  if (!whole || whole.packets === 0) {
    await handle.close();
    await rm(join(folder, part));
    await rm(join(folder, `${stem}.json${PART}`), { force: true });
    return { file, packets: 0, cut: size };
  }
  await handle.truncate(whole.bytes);
  await publishFile(handle, join(folder, file));
  await writeManifest(folder, stem, file, start, whole);
  return { file, packets: whole.packets, cut: size - whole.bytes };
}

async function finishManifest(folder: string, part: string): Promise<void> {
  const stem = part.slice(0, -`.json${PART}`.length);
  const names = await readdir(folder);
  // A segment that was left keeps what is known about it.
  if (names.some((n) => n.endsWith(PART) && n.slice(0, -PART.length).replace(ENDS, '') === stem)) return;
  const file = names.find((n) => ENDS.test(n) && n.replace(ENDS, '') === stem);
  if (file && !names.includes(`${stem}.json`)) {
    const handle = await open(join(folder, file), constants.O_RDONLY | constants.O_NOFOLLOW);
    const whole = await wholeRecords(handle);
    await handle.close();
    if (whole) await writeManifest(folder, stem, file, await readStart(folder, stem), whole);
  }
  await rm(join(folder, part), { force: true });
}

async function readStart(folder: string, stem: string): Promise<ManifestStart | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, `${stem}.json${PART}`), 'utf8')) as ManifestStart;
  } catch {
    return undefined; // killed between the two files: the segment still counts
  }
}

interface Whole {
  header: FileHeader;
  bytes: number;
  packets: number;
  packetBytes: number;
  firstTime: string;
  lastTime: string;
  /** SHA-256 of them and the header, hex. */
  sha256: string;
}

/** Walks a file's records from its start, a chunk at a time. Undefined: not even the header is whole. */
async function wholeRecords(handle: FileHandle): Promise<Whole | undefined> {
  const buffer = Buffer.allocUnsafe(CHUNK + MAX_SNAPLEN);
  let held = (await handle.read(buffer, 0, FILE_HEADER_BYTES, 0)).bytesRead;
  const header = readFileHeader(buffer.subarray(0, held));
  if (!header || header.snaplen > MAX_SNAPLEN) return undefined;
  const hash = createHash('sha256').update(buffer.subarray(0, held));
  const whole = { header, bytes: FILE_HEADER_BYTES, packets: 0, packetBytes: 0, firstTime: '', lastTime: '' };
  for (held = 0; ;) {
    const { bytesRead } = await handle.read(buffer, held, buffer.length - held, whole.bytes + held);
    held += bytesRead;
    const walk = walkRecords(buffer.subarray(0, held), header.snaplen);
    if (walk.packets === 0) break;
    whole.firstTime ||= recordTime(buffer, walk.first, header.timestamps);
    whole.lastTime = recordTime(buffer, walk.last, header.timestamps);
    whole.packets += walk.packets;
    whole.packetBytes += walk.packetBytes;
    whole.bytes += walk.bytes;
    hash.update(buffer.subarray(0, walk.bytes));
    buffer.copyWithin(0, walk.bytes, held);
    held -= walk.bytes;
    if (walk.damaged) break;
  }
  return { ...whole, sha256: hash.digest('hex') };
}

async function writeManifest(
  folder: string,
  stem: string,
  file: string,
  start: ManifestStart | undefined,
  whole: Whole,
): Promise<void> {
  await publishManifest(folder, stem, {
    ...(start ?? UNKNOWN),
    linkType: whole.header.linkType,
    snaplen: whole.header.snaplen,
    timestamps: whole.header.timestamps,
    file,
    // Which batches these were isn't known: only whole records are.
    lastSequence: 0,
    packets: whole.packets,
    packetBytes: whole.packetBytes,
    fileBytes: whole.bytes,
    firstPacketTime: whole.firstTime,
    lastPacketTime: whole.lastTime,
    published: new Date().toISOString(),
    sha256: whole.sha256,
    closedBy: 'salvaged',
    gaps: [],
    counters: null,
    end: null,
  });
}

const UNKNOWN: ManifestStart = {
  format: 'rcap manifest 1',
  host: '',
  system: '',
  agent: '',
  peer: '',
  token: '',
  run: '',
  capture: 0,
  interface: '',
  friendlyName: '',
  addresses: [],
  linkType: 0,
  snaplen: 0,
  effectiveFilter: '',
  promiscuous: false,
  source: '',
  sourceFile: '',
  timestamps: 'nano',
  clockOffsetMs: 0,
  collector: '',
  opened: '',
  firstSequence: 0,
  firstPacketNumber: 0,
};
