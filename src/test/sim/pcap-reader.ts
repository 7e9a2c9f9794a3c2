/** Reads a classic pcap file, little endian, and nothing else: independent of the code that writes it. */

export interface ReadRecord {
  timestampNs: bigint;
  data: Uint8Array;
  original: number;
  /** Where it ends in the file. */
  end: number;
}

/** All records. Throws on anything that isn't whole, but with `torn` leaves out what follows the last whole one. */
export function readPcap(file: Uint8Array, torn = false): ReadRecord[] {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const records: ReadRecord[] = [];
  if (torn && file.length < 24) return records;
  const magic = view.getUint32(0, true);
  if (magic !== 0xa1b2_3c4d && magic !== 0xa1b2_c3d4) {
    if (torn) return records;
    throw new Error(`no pcap file: it begins with ${magic.toString(16)}`);
  }
  const unit = magic === 0xa1b2_3c4d ? 1n : 1000n;
  for (let at = 24; at < file.length;) {
    const captured = at + 16 <= file.length ? view.getUint32(at + 8, true) : Infinity;
    const end = at + 16 + captured;
    if (end > file.length) {
      if (torn) break;
      throw new Error(`the record at ${at} of ${file.length} bytes isn't whole`);
    }
    records.push({
      timestampNs: BigInt(view.getUint32(at, true)) * 1_000_000_000n + BigInt(view.getUint32(at + 4, true)) * unit,
      data: file.subarray(at + 16, end),
      original: view.getUint32(at + 12, true),
      end,
    });
    at = end;
  }
  return records;
}

/** RFC 3339 with nine digits, or six. */
export function timeOf(timestampNs: bigint, digits: 6 | 9): string {
  const seconds = timestampNs / 1_000_000_000n;
  const fraction = (timestampNs % 1_000_000_000n) / (digits === 9 ? 1n : 1000n);
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${fraction.toString().padStart(digits, '0')}Z`;
}
