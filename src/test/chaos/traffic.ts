/** A capture file whose packets are all different. */
import { writeFileSync } from 'node:fs';
import type { Random } from './random.ts';

export interface Sizes {
  packets: number;
  least: number;
  most: number;
}

const HEADERS = 14 + 8;

/** Numbered Ethernet frames of many lengths, filled with noise; classic pcap with nanoseconds. */
export function writeTraffic(path: string, random: Random, { packets, least, most }: Sizes): void {
  const noise = Buffer.from(Uint32Array.from({ length: 1 << 16 }, () => random.next() * 2 ** 32).buffer);
  const file = Buffer.alloc(24 + packets * (16 + most));
  file.writeUInt32LE(0xa1b23c4d, 0);
  file.writeUInt16LE(2, 4);
  file.writeUInt16LE(4, 6);
  file.writeUInt32LE(262_144, 16);
  file.writeUInt32LE(1, 20);
  let at = 24;
  let ns = 0;
  for (let i = 0; i < packets; i++) {
    const length = random.between(Math.max(least, HEADERS), most);
    ns += random.between(1, 100_000);
    file.writeUInt32LE(1_790_000_000 + Math.floor(ns / 1e9), at);
    file.writeUInt32LE(ns % 1e9, at + 4);
    file.writeUInt32LE(length, at + 8);
    file.writeUInt32LE(length, at + 12);
    file.write('02000000000102000000000288b5', at + 16, 'hex');
    file.writeUInt32BE(0, at + 30);
    file.writeUInt32BE(i, at + 34);
    const from = random.between(0, noise.length - length);
    noise.copy(file, at + 16 + HEADERS, from, from + length - HEADERS);
    at += 16 + length;
  }
  writeFileSync(path, file.subarray(0, at));
}
