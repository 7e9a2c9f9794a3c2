/** The classic pcap file format (draft-ietf-opsawg-pcap): what the collector writes and salvages. */

export const FILE_HEADER_BYTES = 24;
export const RECORD_HEADER_BYTES = 16;
const MAGIC = { nano: 0xa1b2_3c4d, micro: 0xa1b2_c3d4 };
export type Timestamps = keyof typeof MAGIC;

/** File header, little endian, version 2.4. */
export function fileHeader(linkType: number, snaplen: number, timestamps: Timestamps): Uint8Array {
  const bytes = new Uint8Array(FILE_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC[timestamps], true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, snaplen, true);
  view.setUint32(20, linkType, true);
  return bytes;
}

export interface FileHeader {
  timestamps: Timestamps;
  snaplen: number;
  linkType: number;
}

/** Reads a header that `fileHeader` could have written; undefined for anything else. */
export function readFileHeader(bytes: Uint8Array): FileHeader | undefined {
  if (bytes.length < FILE_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const magic = view.getUint32(0, true);
  const timestamps = magic === MAGIC.nano ? 'nano' : magic === MAGIC.micro ? 'micro' : undefined;
  if (!timestamps || view.getUint16(4, true) !== 2) return undefined;
  return { timestamps, snaplen: view.getUint32(16, true), linkType: view.getUint32(20, true) };
}

export interface RecordWalk {
  /** Bytes that whole records take. */
  bytes: number;
  packets: number;
  packetBytes: number;
  /** Offsets of the first and the last whole record, -1 if none. */
  first: number;
  last: number;
  /** A record that can't be one stands where the walk ended. */
  damaged: boolean;
}

/** Walks whole records from the start of `bytes`; a last one that isn't whole is left out. */
export function walkRecords(bytes: Uint8Array, snaplen: number): RecordWalk {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const walk: RecordWalk = { bytes: 0, packets: 0, packetBytes: 0, first: -1, last: -1, damaged: false };
  let at = 0;
  while (at + RECORD_HEADER_BYTES <= bytes.length) {
    const captured = view.getUint32(at + 8, true);
    if (captured > snaplen || captured > view.getUint32(at + 12, true) || isNoTime(view, at)) {
      walk.damaged = true;
      break;
    }
    const next = at + RECORD_HEADER_BYTES + captured;
    if (next > bytes.length) break;
    if (walk.first < 0) walk.first = at;
    walk.last = at;
    walk.packets++;
    walk.packetBytes += captured;
    at = next;
  }
  walk.bytes = at;
  return walk;
}

/** A fraction that no clock shows; or zeros only, which is how a file that lost power may end. */
function isNoTime(view: DataView, at: number): boolean {
  if (view.getUint32(at + 4, true) >= 1_000_000_000) return true;
  for (let i = 0; i < RECORD_HEADER_BYTES; i += 4) if (view.getUint32(at + i, true) !== 0) return false;
  return true;
}

/** Time of the record at `at` as RFC 3339 with all its digits. */
export function recordTime(bytes: Uint8Array, at: number, timestamps: Timestamps): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return timeText(view.getUint32(at, true), view.getUint32(at + 4, true), timestamps);
}

/** 2026-11-24T02:15:00.123456789Z */
export function timeText(seconds: number, fraction: number, timestamps: Timestamps): string {
  const digits = String(fraction).padStart(timestamps === 'nano' ? 9 : 6, '0');
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${digits}Z`;
}
