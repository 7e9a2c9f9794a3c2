/** Capture files as tests need them, in every classic form; not by the code under test. */

export interface TestPacket {
  seconds: number;
  /** Nanoseconds in that second. */
  nanoseconds: number;
  data: Uint8Array;
  /** Left out: as captured. */
  original?: number;
}

export interface TestFile {
  bigEndian?: boolean;
  micro?: boolean;
  /** Kuznetzov's form: microseconds, and 8 more bytes in each record's head. */
  modified?: boolean;
  linkType?: number;
  snaplen?: number;
}

export function pcapBytes(
  packets: TestPacket[],
  { bigEndian, micro, modified, linkType = 1, snaplen = 262_144 }: TestFile = {},
): Buffer {
  const u32 = (...values: number[]) => {
    const b = Buffer.alloc(4 * values.length);
    values.forEach((v, i) => (bigEndian ? b.writeUInt32BE(v, 4 * i) : b.writeUInt32LE(v, 4 * i)));
    return b;
  };
  const version = bigEndian ? Buffer.from([0, 2, 0, 4]) : Buffer.from([2, 0, 4, 0]);
  const parts: Uint8Array[] = [
    u32(modified ? 0xa1b2cd34 : micro ? 0xa1b2c3d4 : 0xa1b23c4d),
    version,
    u32(0, 0, snaplen, linkType),
  ];
  for (const p of packets) {
    const fraction = micro || modified ? Math.floor(p.nanoseconds / 1000) : p.nanoseconds;
    parts.push(u32(p.seconds, fraction, p.data.length, p.original ?? p.data.length));
    if (modified) parts.push(Buffer.alloc(8, 0xee));
    parts.push(p.data);
  }
  return Buffer.concat(parts);
}

/** `count` packets that differ in length, content and time; `seed` makes another host's differ too. */
export function somePackets(count: number, seed = 0): TestPacket[] {
  return Array.from({ length: count }, (_, i) => {
    const data = Buffer.alloc(60 + ((i * 37 + seed) % 1400));
    data.write('020000000001020000000002', 'hex');
    data.writeUInt16BE(0x88b5, 12); // "local experimental": no dissector guesses at it
    data.writeUInt32BE(seed, 14);
    data.writeUInt32BE(i, 18);
    return { seconds: 1_700_000_000 + Math.floor(i / 10), nanoseconds: (i * 99_999_989 + seed) % 1_000_000_000, data };
  });
}
