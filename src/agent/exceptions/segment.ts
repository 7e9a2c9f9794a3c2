/** UDP and TCP out of a packet that begins with its IP header. What is cut, damaged or a fragment is left out. */

export interface Segment {
  from: Uint8Array;
  to: Uint8Array;
  fromPort: number;
  toPort: number;
  payload: Uint8Array;
  /** Of TCP only. */
  tcp: { sequence: number; syn: boolean; over: boolean } | undefined;
}

const [TCP, UDP] = [6, 17];
/** Extension headers that are skipped at most. */
const MAX_HEADERS = 8;

export function segmentIn(packet: Uint8Array): Segment | undefined {
  const version = packet[0]! >> 4;
  if (version === 4) return segmentIn4(packet);
  return version === 6 ? segmentIn6(packet) : undefined;
}

function segmentIn4(packet: Uint8Array): Segment | undefined {
  if (packet.length < 20) return undefined;
  const head = (packet[0]! & 15) * 4;
  const total = short(packet, 2);
  if (head < 20 || total < head || total > packet.length) return undefined;
  if ((short(packet, 6) & 0x3fff) !== 0) return undefined; // a fragment
  return transport(packet[9]!, packet.subarray(head, total), packet.slice(12, 16), packet.slice(16, 20));
}

function segmentIn6(packet: Uint8Array): Segment | undefined {
  if (packet.length < 40) return undefined;
  const total = 40 + short(packet, 4);
  if (total > packet.length) return undefined;
  let next = packet[6]!;
  let at = 40;
  for (let n = 0; n < MAX_HEADERS && EXTENSIONS.has(next); n++) {
    if (at + 8 > total) return undefined;
    const length = next === AUTHENTICATION ? (packet[at + 1]! + 2) * 4 : (packet[at + 1]! + 1) * 8;
    next = packet[at]!;
    at += length;
  }
  return at > total
    ? undefined
    : transport(next, packet.subarray(at, total), packet.slice(8, 24), packet.slice(24, 40));
}
const AUTHENTICATION = 51;
/** Hop-by-hop, routing, destination, authentication. */
const EXTENSIONS = new Set([0, 43, 60, AUTHENTICATION]);

function transport(protocol: number, bytes: Uint8Array, from: Uint8Array, to: Uint8Array): Segment | undefined {
  if (bytes.length < 8) return undefined;
  const ends = { from, to, fromPort: short(bytes, 0), toPort: short(bytes, 2) };
  if (protocol === UDP) {
    const length = short(bytes, 4);
    if (length < 8 || length > bytes.length) return undefined;
    return { ...ends, payload: bytes.subarray(8, length), tcp: undefined };
  }
  if (protocol !== TCP || bytes.length < 20) return undefined;
  const head = (bytes[12]! >> 4) * 4;
  if (head < 20 || head > bytes.length) return undefined;
  const flags = bytes[13]!;
  const sequence = (short(bytes, 4) * 65536 + short(bytes, 6)) >>> 0;
  const tcp = { sequence, syn: (flags & 2) !== 0, over: (flags & 5) !== 0 }; // FIN or RST
  return { ...ends, payload: bytes.subarray(head), tcp };
}

const short = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
