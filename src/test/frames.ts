/** Frames and packets of the kinds that tools tend to drop or to change. */
import type { TestPacket } from './pcap-bytes.ts';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');
const pattern = (length: number, seed: number) => Buffer.from(Array.from({ length }, (_, i) => (i * 31 + seed) & 0xff));
const MACS = '0200 0000 0002 0200 0000 0001';

/** IPv4 with a right checksum. */
function ipv4(protocol: number, payload: Buffer, fragment = 0): Buffer {
  const head = hex('4500 0000 1234 0000 40 00 0000 c0000201 c6336402');
  head.writeUInt16BE(20 + payload.length, 2);
  head.writeUInt16BE(fragment, 6);
  head[9] = protocol;
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += head.readUInt16BE(i);
  sum = (sum & 0xffff) + (sum >>> 16);
  head.writeUInt16BE(~(sum + (sum >>> 16)) & 0xffff, 10);
  return Buffer.concat([head, payload]);
}

function udp(length: number): Buffer {
  const head = hex('3039 d431 0000 0000');
  head.writeUInt16BE(8 + length, 4);
  return ipv4(17, Buffer.concat([head, pattern(length, 7)]));
}

const ethernet = (type: string, payload: Buffer) => Buffer.concat([hex(`${MACS} ${type}`), payload]);

export const FRAMES = {
  arp: hex(`ffff ffff ffff 0200 0000 0001 0806 0001 0800 0604 0001 0200 0000 0001 c000 0201 0000 0000 0000 c633 6402`),
  icmp: ethernet('0800', ipv4(1, hex('0800 f7fd 0001 0001'))),
  lldp: hex('0180 c200 000e 0200 0000 0001 88cc 0207 0402 0000 0000 01 0403 05 6531 0602 0078 0000'),
  udp: ethernet('0800', udp(40)),
  firstFragment: ethernet('0800', ipv4(17, pattern(1480, 1), 0x2000)),
  lastFragment: ethernet('0800', ipv4(17, pattern(100, 2), 185)),
  ipv6: ethernet(
    '86dd',
    hex(`6000 0000 0008 11ff fe80${'00'.repeat(13)}01 ff02${'00'.repeat(13)}01 3039 d431 0008 0000`),
  ),
  vlan: ethernet('8100 0064 0800', udp(40)),
  twoVlans: ethernet('88a8 0064 8100 0065 0800', udp(40)),
  mpls: ethernet('8847 0001 0140', udp(40)),
  llc: hex('0180 c200 0000 0200 0000 0001 0026 4242 0300 0000 0000') /* spanning tree, a length instead of a type */,
  rawIp: udp(40),
};

const at = (seconds: number, nanoseconds: number, data: Uint8Array, original?: number): TestPacket => ({
  seconds,
  nanoseconds,
  data,
  ...(original === undefined ? {} : { original }),
});

const T = 1_700_000_000;

/** For an Ethernet file: every kind of frame, every odd length, every odd time. */
export const PACKETS: TestPacket[] = [
  ...Object.values(FRAMES).map((data, i) => at(T, 123_456_789 + i, data)),
  ...[0, 1, 13, 14, 59].map((length) => at(T + 1, 999_999_999, pattern(length, length))),
  at(T + 1, 999_999_999, Buffer.concat([FRAMES.udp, pattern(65_535 - FRAMES.udp.length, 3)])),
  at(T + 2, 1, Buffer.concat([FRAMES.udp, pattern(262_144 - FRAMES.udp.length, 4)])),
  // Cut by a snaplen.
  at(T + 2, 1, FRAMES.firstFragment.subarray(0, 64), 1514),
  at(T + 2, 2, Buffer.alloc(0), 60),
  at(T + 2, 3, FRAMES.udp, 0xffff_ffff),
  // 1970, all zeros; then the last moment of unsigned seconds; then back in time.
  at(0, 0, Buffer.alloc(0)),
  at(0, 0, FRAMES.arp),
  at(0, 1000, FRAMES.arp),
  at(0x7fff_ffff, 999_999_000, FRAMES.arp),
  at(0x8000_0000, 0, FRAMES.arp),
  at(0xffff_ffff, 999_999_999, FRAMES.icmp),
  at(T, 0, FRAMES.lldp),
  at(T - 86_400, 5, FRAMES.lldp),
];

/** As a file with coarser timestamps has them. */
export const coarser = (packets: TestPacket[], ns: number): TestPacket[] =>
  packets.map((p) => ({ ...p, nanoseconds: p.nanoseconds - (p.nanoseconds % ns) }));

/** A packet that no dissector of any link type is to like: bytes only. */
export const anyPackets = (seed: number): TestPacket[] => [
  at(T, 1000 * seed, pattern(96, seed)),
  at(T, 1000 * seed, Buffer.alloc(128)),
  at(T, 999_999_000, pattern(64, seed + 1), 1500),
];
