/**
 * Capture files of every kind, made here rather than kept, each with what it holds.
 * `node src/test/fixtures.ts FOLDER` writes them for a look.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { anyPackets, coarser, FRAMES, PACKETS } from './frames.ts';
import { pcapBytes, type TestFile, type TestPacket } from './pcap-bytes.ts';
import { ngBlocks, type NgInterface } from './pcapng-bytes.ts';

export interface ExpectedCapture {
  /** '' when the file doesn't say. */
  interface: string;
  linkType: number;
  snaplen: number;
  packets: TestPacket[];
}

export interface Fixture {
  name: string;
  bytes: Buffer;
  /** One for each kind of interface, in the file's order. */
  captures: ExpectedCapture[];
  /** Which tool can read it as a whole; left out: tcpdump. It can't where link types, snaplens or byte orders differ. */
  readBy?: 'tshark' | 'nobody';
}

export const MAX_SNAPLEN = 262_144;
const NO_TIME = { seconds: 0, nanoseconds: 0 };
const one = (packets: TestPacket[], linkType = 1, snaplen = MAX_SNAPLEN, name = ''): ExpectedCapture[] => [
  { interface: name, linkType, snaplen, packets },
];

function pcap(name: string, file: TestFile, packets = PACKETS, linkType = file.linkType): Fixture {
  const unit = file.micro || file.modified ? 1000 : 1;
  return {
    name,
    bytes: pcapBytes(packets, file),
    captures: one(coarser(packets, unit), linkType, file.snaplen || MAX_SNAPLEN),
  };
}

/** A modified pcap file's snaplen leaves out the 14 bytes that it puts before a packet (libpcap: sf-pcap.c). */
function modifiedSnaplen(): Fixture {
  const packets = [
    { ...NO_TIME, data: FRAMES.udp.subarray(0, 64 + 14), original: 1514 },
    { ...NO_TIME, data: FRAMES.arp },
  ];
  return { ...pcap('modified-snaplen', { modified: true, snaplen: 64 }, packets), captures: one(packets, 1, 64 + 14) };
}

/** Units of 1/perSecond since 1970, and the time that they stand for. */
function inUnits(p: TestPacket, perSecond: bigint): { units: bigint; packet: TestPacket } {
  const ns = BigInt(p.seconds) * 1_000_000_000n + BigInt(p.nanoseconds);
  const units = (ns * perSecond) / 1_000_000_000n;
  const back = (units * 1_000_000_000n) / perSecond;
  const packet = { ...p, seconds: Number(back / 1_000_000_000n), nanoseconds: Number(back % 1_000_000_000n) };
  return { units, packet };
}

/** One section, one Ethernet interface, Enhanced Packet Blocks. */
function pcapng(name: string, bigEndian: boolean, resolution?: number, offset = 0n, packets = PACKETS): Fixture {
  const ng = ngBlocks(bigEndian);
  const exponent = BigInt((resolution ?? 6) & 0x7f);
  const perSecond = resolution !== undefined && resolution & 0x80 ? 2n ** exponent : 10n ** exponent;
  const all = packets.filter((p) => BigInt(p.seconds) >= offset).map((p) => inUnits(p, perSecond));
  const said: NgInterface = { ...(resolution === undefined ? {} : { resolution }), ...(offset ? { offset } : {}) };
  const blocks = all.map(({ units, packet: { data, original } }) =>
    ng.enhanced({ units: units - offset * perSecond, data, ...(original === undefined ? {} : { original }) }),
  );
  return {
    name,
    bytes: Buffer.concat([ng.section(), ng.interface(said), ...blocks]),
    captures: one(all.map((p) => p.packet)),
  };
}

const u = (p: TestPacket) => BigInt(p.seconds) * 1_000_000n + BigInt(Math.floor(p.nanoseconds / 1000));

/** Every kind of block and option that isn't a packet, and every kind that is. */
function everyBlock(bigEndian: boolean): Fixture {
  const ng = ngBlocks(bigEndian);
  const packets = coarser(PACKETS, 1000).slice(0, 24);
  const comment = ng.options(ng.option(1, 'a comment'), ng.option(2, Buffer.alloc(4)), ng.option(0x8bad, 'unknown'));
  const others = [
    ng.block(4, Buffer.alloc(4), ng.options(ng.option(2, 'resolver'))), // name resolution, empty
    ng.block(5, ng.u32(0, 0, 0), ng.options(ng.option(4, Buffer.alloc(8)))), // interface statistics
    ng.block(0x0bad_0001, Buffer.from('reserved, of no kind that there is')),
    ng.block(0x0000_0bad, ng.u32(0x0000_7ed9), Buffer.from('custom')),
    ng.block(0x4000_0bad, ng.u32(0x0000_7ed9), Buffer.from('custom, not to be copied')),
    ng.block(0x0bad_0002), // no body at all
    ng.block(0x0bad_0003, Buffer.alloc(600_000, 0xab)), // larger than any buffer
  ];
  const blocks = packets.flatMap((p, i) => {
    const said = { units: u(p), data: p.data, ...(p.original === undefined ? {} : { original: p.original }) };
    const block = [ng.enhanced, ng.old][i % 2]!({ ...said, ...(i % 3 ? {} : { options: comment }) });
    return [...(i % 5 === 0 ? others : []), block];
  });
  const simple = [FRAMES.arp, FRAMES.udp, Buffer.alloc(0), Buffer.alloc(1, 1)];
  const description = { name: 'eth7', description: 'the seventh', comment: 'made up' };
  const head = [
    ng.section(ng.option(1, 'comment'), ng.option(2, 'hardware'), ng.option(3, 'system'), ng.option(4, 'program')),
    ng.interface({ ...description, snaplen: MAX_SNAPLEN }),
  ];
  return {
    name: `blocks-${bigEndian ? 'big' : 'little'}`,
    bytes: Buffer.concat([...head, ...blocks, ...simple.map((data) => ng.simple(data))]),
    captures: one([...packets, ...simple.map((data) => ({ ...NO_TIME, data }))], 1, MAX_SNAPLEN, 'eth7'),
  };
}

/** Simple Packet Blocks hold what the interface's snaplen lets through, and don't say how much that is. */
function simpleBlocks(): Fixture {
  const ng = ngBlocks();
  const lengths = [0, 60, 99, 100, 101, 1500];
  const packets = lengths.map((original) => ({
    ...NO_TIME,
    original,
    data: Buffer.alloc(Math.min(100, original), original),
  }));
  const blocks = packets.map((p) => ng.simple(p.data, p.original));
  return {
    name: 'simple-blocks',
    bytes: Buffer.concat([ng.section(), ng.interface({ snaplen: 100 }), ...blocks]),
    captures: one(packets, 1, 100),
  };
}

/** Different link types, snaplens, resolutions and names, packets of all mixed; two descriptions of one kind. */
function severalInterfaces(bigEndian: boolean): Fixture {
  const ng = ngBlocks(bigEndian);
  const said: NgInterface[] = [
    { linkType: 1, name: 'eth0', resolution: 9, snaplen: MAX_SNAPLEN },
    { linkType: 127, name: 'wlan0', snaplen: 1000, description: 'Radiotap' },
    { linkType: 249, name: 'usb1', resolution: 0x80 + 20 },
    { linkType: 101, resolution: 3, offset: 1_000_000_000n },
    { linkType: 1, name: 'eth0', resolution: 6, snaplen: MAX_SNAPLEN }, // the first again, in other units
    { linkType: 1, name: 'eth0', snaplen: 96 },
    { linkType: 1, name: 'silent', resolution: 6 },
  ];
  const perSecond = [10n ** 9n, 10n ** 6n, 2n ** 20n, 1000n, 10n ** 6n, 10n ** 6n];
  const captures: ExpectedCapture[] = [0, 1, 2, 3, 5, 6].map((i) => ({
    interface: said[i]!.name ?? '',
    linkType: said[i]!.linkType!,
    snaplen: said[i]!.snaplen ?? MAX_SNAPLEN,
    packets: [],
  }));
  const captureOf = [0, 1, 2, 3, 0, 4];
  const blocks: Buffer[] = [];
  for (let i = 0; i < 300; i++) {
    const number = (i * 7) % 6;
    const data = i % 4 ? Buffer.alloc(i % 97, i) : FRAMES.rawIp;
    const raw = { seconds: 1_700_000_000 + (i % 11), nanoseconds: (i * 99_999_989) % 1_000_000_000, data };
    const { units, packet } = inUnits(raw, perSecond[number]!);
    captures[captureOf[number]!]!.packets.push(packet);
    const offset = (said[number]!.offset ?? 0n) * perSecond[number]!;
    blocks.push(ng.enhanced({ units: units - offset, data, interface: number }));
  }
  return {
    name: `interfaces-${bigEndian ? 'big' : 'little'}`,
    bytes: Buffer.concat([ng.section(), ...said.map((s) => ng.interface(s)), ...blocks]),
    captures,
    readBy: 'tshark',
  };
}

/** Sections of both byte orders; each describes its own interfaces from number 0 on. */
function severalSections(): Fixture {
  const parts: Buffer[] = [];
  const a: TestPacket[] = [];
  const b: TestPacket[] = [];
  for (const bigEndian of [false, true, true, false]) {
    const ng = ngBlocks(bigEndian);
    const swapped = a.length % 2 === 1;
    const described = [ng.interface({ name: 'a' }), ng.interface({ name: 'b', linkType: 101 })];
    parts.push(ng.section(ng.option(1, 'next')), ...(swapped ? described.toReversed() : described));
    const packet = { seconds: 1_700_000_000 + a.length, nanoseconds: 42_000, data: FRAMES.arp };
    a.push(packet);
    b.push({ ...packet, data: FRAMES.rawIp });
    parts.push(ng.enhanced({ units: u(packet), data: FRAMES.arp, interface: swapped ? 1 : 0 }));
    parts.push(ng.enhanced({ units: u(packet), data: FRAMES.rawIp, interface: swapped ? 0 : 1 }));
  }
  return {
    name: 'sections',
    bytes: Buffer.concat(parts),
    captures: [...one(a, 1, MAX_SNAPLEN, 'a'), ...one(b, 101, MAX_SNAPLEN, 'b')],
    readBy: 'tshark',
  };
}

/** All of them as interfaces of one file: more than there are blocks of memory. */
export function everyLinkType(linkTypes: readonly number[]): Fixture {
  const ng = ngBlocks();
  const captures = linkTypes.map((linkType) => ({
    interface: `type${linkType}`,
    linkType,
    snaplen: MAX_SNAPLEN,
    packets: coarser(anyPackets(linkType), 1000),
  }));
  const rounds = [0, 1, 2].flatMap((n) =>
    captures.map(({ packets }, i) => {
      const { data, original, ...time } = packets[n]!;
      return ng.enhanced({ units: u({ ...time, data }), data, interface: i, ...(original ? { original } : {}) });
    }),
  );
  const described = captures.map((c) => ng.interface({ linkType: c.linkType, name: c.interface }));
  return {
    name: 'link-types',
    bytes: Buffer.concat([ng.section(), ...described, ...rounds]),
    captures,
    readBy: 'nobody',
  };
}

/** Fields of pseudo headers that are in the byte order of the machine that wrote the file. */
function fields(
  bigEndian: boolean,
  ...list: (Uint8Array | string | [bytes: 2 | 4 | 8, value: number | bigint])[]
): Buffer {
  const parts = list.map((f) => {
    if (typeof f === 'string') return Buffer.from(f.replace(/\s/g, ''), 'hex');
    if (!Array.isArray(f)) return f;
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt.asUintN(8 * f[0], BigInt(f[1])));
    const value = bytes.subarray(8 - f[0]);
    return bigEndian ? value : value.toReversed();
  });
  return Buffer.concat(parts);
}

function usb(bigEndian: boolean, mapped: boolean): Buffer[] {
  const head = (transfer: string, dataLength: number, setup: Buffer, descriptors: number) =>
    fields(
      bigEndian,
      [8, 0x0123_4567_89ab_cdefn],
      `43 ${transfer} 81 05`,
      [2, 0x0102],
      '2d 00',
      [8, 1_700_000_000],
      [4, 123_456],
      [4, -2],
      [4, dataLength],
      [4, dataLength],
      setup,
      ...(mapped
        ? ([
            [4, 8],
            [4, 77],
            [4, 0x0200],
            [4, descriptors],
          ] as [4, number][])
        : []),
    );
  const bulk = Buffer.concat([head('03', 16, Buffer.alloc(8), 0), Buffer.alloc(16, 0xa5)]);
  const iso = fields(bigEndian, [4, 1], [4, 2]); // errors, descriptors
  const descriptor = (status: number, offset: number) => fields(bigEndian, [4, status], [4, offset], [4, 8], [4, 0]);
  if (!mapped) return [bulk]; // without descriptors, which Wireshark and libpcap don't agree about
  const isochronous = [head('00', 48, iso, 2), descriptor(0, 0), descriptor(-18, 8), Buffer.alloc(16, 0x5a)];
  return [bulk, Buffer.concat(isochronous)];
}

const nflog = (bigEndian: boolean): Buffer[] => [
  fields(
    bigEndian,
    '02 00 0005',
    [2, 8],
    [2, 1],
    '0800 01 00',
    [2, 8],
    [2, 4],
    '0000 0002',
    [2, 7],
    [2, 10],
    '613a00',
    '00',
    [2, 4 + FRAMES.rawIp.length],
    [2, 9],
    FRAMES.rawIp,
  ),
];

const pflog = (bigEndian: boolean): Buffer[] => [
  fields(
    bigEndian,
    '3d 02 01 00',
    Buffer.from('em0'.padEnd(16, '\0')),
    Buffer.alloc(16),
    '0000 0007 ffff ffff', // always big endian
    [4, 1001],
    [4, 1002],
    [4, 1003],
    [4, 1004],
    '01 000000',
    FRAMES.rawIp,
  ),
];

/** CAN in a Linux cooked frame: its identifier is in the host's byte order. */
const cookedCan = (bigEndian: boolean): Buffer[] => [
  fields(bigEndian, '0001 0118 0000 0000000000000000 000c', [4, 0x8012_3456], '04 000000 0102 0304 0000 0000'),
];
/** And as a link type of its own always big endian. */
const can = (): Buffer[] => [Buffer.from('8012345604000000010203040000 0000'.replace(' ', ''), 'hex')];

/** From a machine of either byte order: what is published is in ours. */
function pseudoHeaders(
  name: string,
  bigEndian: boolean,
  linkType: number,
  data: (bigEndian: boolean) => Buffer[],
): Fixture {
  const packets = (big: boolean) =>
    data(big).map((d, i) => ({ seconds: 1_700_000_000, nanoseconds: 1000 * i, data: d }));
  return {
    ...pcap(`${name}-${bigEndian ? 'big' : 'little'}`, { bigEndian, linkType }, packets(bigEndian)),
    captures: one(packets(false), linkType),
  };
}

export const PSEUDO_HEADERS: Fixture[] = [
  pseudoHeaders('usb', true, 189, (big) => usb(big, false)),
  // libpcap mends lengths of this one in any byte order.
  pseudoHeaders('usb-mapped', false, 220, (big) => usb(big, true)),
  pseudoHeaders('usb-mapped', true, 220, (big) => usb(big, true)),
  pseudoHeaders('nflog', true, 239, nflog),
  pseudoHeaders('pflog', true, 117, pflog),
  pseudoHeaders('cooked-can', true, 113, cookedCan),
  pseudoHeaders('can', true, 227, can),
];

const small = PACKETS.filter((p) => p.data.length < 2000);

/** The kinds of file. */
export const KINDS: Fixture[] = [
  ...[false, true].flatMap((bigEndian) => {
    const end = bigEndian ? 'big' : 'little';
    return [
      pcap(`nano-${end}`, { bigEndian }),
      pcap(`micro-${end}`, { bigEndian, micro: true }),
      pcap(`modified-${end}`, { bigEndian, modified: true }),
      pcapng(`ng-${end}`, bigEndian),
      pcapng(`ng-nano-${end}`, bigEndian, 9),
      everyBlock(bigEndian),
      severalInterfaces(bigEndian),
    ];
  }),
  severalSections(),
];

/** What may differ within a kind. */
export const VARIANTS: Fixture[] = [
  pcap('snaplen-0', { snaplen: 0 }, small),
  pcap('snaplen-64', { snaplen: 64 }, [{ ...NO_TIME, data: FRAMES.udp.subarray(0, 64), original: 1514 }]),
  pcap('check-sequence', { linkType: 0x2400_0001 }, small, 1),
  modifiedSnaplen(),
  { ...pcap('unknown-link-type', { linkType: 9999 }, small), readBy: 'nobody' },
  pcapng('ng-6', false, 6),
  pcapng('ng-3', true, 3),
  pcapng('ng-0', false, 0),
  pcapng(
    'ng-12',
    false,
    12,
    0n,
    small.filter((p) => p.seconds < 2 ** 24),
  ),
  pcapng('ng-binary-10', false, 0x80 + 10),
  pcapng('ng-binary-20', true, 0x80 + 20),
  pcapng('ng-binary-30', false, 0x80 + 30),
  pcapng('ng-offset', false, 6, 1_600_000_000n),
  pcapng('ng-offset-binary', true, 0x80 + 32, 1_600_000_000n),
  simpleBlocks(),
  ...PSEUDO_HEADERS,
];

if (import.meta.main) {
  const folder = process.argv[2] ?? '.';
  mkdirSync(folder, { recursive: true });
  for (const f of [...KINDS, ...VARIANTS]) writeFileSync(join(folder, `${f.name}.pcap`), f.bytes);
}
