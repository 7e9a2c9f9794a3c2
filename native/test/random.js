'use strict';
// Random packets and rules: mostly well formed, of every encapsulation, from few addresses, so that rules and fragments meet.

/** A generator of numbers that can be had again: mulberry32. */
function random(seed) {
  const next = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  const below = (n) => next() % n;
  const bytes = (length) => Uint8Array.from({ length }, () => next() & 255);
  return { below, bytes, chance: (percent) => below(100) < percent, pick: (list) => list[below(list.length)] };
}

const u16 = (n) => [(n >> 8) & 255, n & 255];
const LINK_TYPES = [0, 108, 1, 12, 101, 228, 229, 113, 276, 9, 50, 51];
const TYPE = { 4: 0x0800, 6: 0x86dd };

/** Addresses that are near each other in groups, and rules that hit some of them. */
function world(r, size = 60) {
  const near = (length) => {
    const base = r.bytes(length);
    return Array.from({ length: 12 }, () => {
      const address = base.slice();
      const from = r.below(length);
      address.set(r.bytes(length - from), from);
      return address;
    });
  };
  const addresses = { 4: [], 6: [] };
  for (const version of [4, 6])
    while (addresses[version].length < size) addresses[version].push(...near(version === 4 ? 4 : 16));
  const rules = Array.from({ length: r.below(r.chance(50) ? 12 : 60) }, () => {
    const version = r.pick([4, 6]);
    const address = r.pick(addresses[version]).slice();
    const bits = address.length * 8;
    if (r.chance(70)) address[r.below(address.length)] ^= 1 << r.below(8);
    const prefix = r.chance(50) ? bits : r.chance(97) ? 9 + r.below(bits - 8) : r.below(9);
    return { address, prefix, name: r.below(9) };
  });
  return { addresses, rules };
}

function packets(r, { addresses }) {
  const address = (version) => (r.chance(90) ? r.pick(addresses[version]) : r.bytes(version === 4 ? 4 : 16));

  /** [EtherType, bytes] of something with an IP header in it, or not. */
  function inner(depth) {
    const kind = r.below(100);
    if (depth > 9 || kind < 55) return ip(r.pick([4, 6]), depth);
    if (kind < 68) {
      const [type, bytes] = inner(depth + 1);
      return [r.pick([0x8100, 0x88a8, 0x9100]), [...u16(r.below(65536)), ...u16(type), ...bytes]];
    }
    if (kind < 76) return [0x8864, pppoe(depth)];
    if (kind < 84) return [0x6558, frame(depth + 1)];
    if (kind < 90) return [0x0806, r.bytes(28)];
    return ip(r.pick([4, 6]), depth);
  }
  const frame = (depth) => {
    const [type, bytes] = inner(depth);
    return [...r.bytes(12), ...u16(type), ...bytes];
  };
  const ppp = (depth) => {
    const version = r.pick([4, 6]);
    const protocol = version === 4 ? 0x21 : 0x57;
    return [
      ...(r.chance(30) ? [0xff, 3] : []),
      ...(r.chance(30) ? [protocol] : [0, protocol]),
      ...ip(version, depth)[1],
    ];
  };
  const pppoe = (depth) => {
    const bytes = ppp(depth);
    const length = r.chance(90) ? bytes.length : r.below(bytes.length + 9);
    return [r.chance(97) ? 0x11 : 0x12, r.chance(97) ? 0 : 9, 0, 1, ...u16(length), ...bytes];
  };

  /** [protocol, bytes] of what IP carries. */
  function carried(depth) {
    const kind = r.below(100);
    if (kind < 45 || depth > 9)
      return [r.pick([6, 17, 1, 58, 50]), [...u16(r.below(99)), ...u16(r.below(99)), ...r.bytes(r.below(20))]];
    if (kind < 60) {
      const version = r.pick([4, 6]);
      return [version === 4 ? 4 : 41, ip(version, depth + 1)[1]];
    }
    if (kind < 75) return [47, gre(depth)];
    if (kind < 88) {
      const head = [
        0,
        99,
        ...u16(r.pick([4789, 8472, 4788])),
        0,
        0,
        0,
        0,
        r.chance(95) ? 8 : r.below(8),
        ...r.bytes(7),
      ];
      return [17, [...head, ...frame(depth + 1)]];
    }
    const [protocol, bytes] = carried(depth + 1);
    const units = 1 + r.below(3);
    return [51, [protocol, units, ...r.bytes((units + 2) * 4 - 2), ...bytes]];
  }
  function gre(depth) {
    const [type, bytes] = inner(depth + 1);
    const flags = r.chance(95) ? r.pick([0, 0x80, 0x20, 0x10, 0xb0]) : 0x40;
    const extra = [0x80, 0x20, 0x10].filter((flag) => flags & flag).length * 4;
    return [flags, r.chance(97) ? 0 : 1, ...u16(type), ...r.bytes(extra), ...bytes];
  }

  function extensions(protocol, bytes) {
    for (let count = r.chance(80) ? 0 : r.below(r.chance(90) ? 4 : 19); count > 0; count--) {
      const units = r.below(2);
      if (r.chance(85)) bytes = [protocol, units, ...r.bytes(units * 8 + 6), ...bytes];
      const kind = r.pick([0, 43, 60, 135, 139, 140, 44]);
      if (kind === 44) bytes = [protocol, 0, ...u16(offset(r.pick([0, 8, 80]))), 0, 0, 0, r.below(3), ...bytes];
      else if (bytes[0] !== protocol) continue;
      protocol = kind;
    }
    return [protocol, bytes];
  }
  const offset = (first) => first + (r.chance(50) ? 1 : 0);

  function ip(version, depth) {
    let [protocol, bytes] = carried(depth);
    const fragments = r.chance(20);
    // Few pairs and numbers, so that fragments find their first.
    const [source, destination] = fragments
      ? [addresses[version][r.below(2)], addresses[version][2]]
      : [address(version), address(version)];
    if (version === 6) {
      [protocol, bytes] = extensions(protocol, bytes);
      if (fragments) {
        bytes = [protocol, 0, ...u16(offset(r.pick([0, 0, 1440]))), 0, 0, 0, r.below(3), ...bytes];
        protocol = 44;
      }
      const length = r.chance(92) ? bytes.length : r.chance(40) ? 0 : r.below(bytes.length + 9);
      return [
        TYPE[6],
        [0x60 + r.below(16), 0, 0, 0, ...u16(length), protocol, 64, ...source, ...destination, ...bytes],
      ];
    }
    const options = r.chance(85) ? 0 : r.below(11);
    const total = 20 + options * 4 + bytes.length;
    const length = r.chance(92) ? total : r.chance(40) ? 0 : r.below(total + 9);
    const flags = fragments ? r.pick([0x2000, 0x2000, 0x2064, 0x0064, 0x00c8]) : r.pick([0, 0x4000]);
    const head = [0x45 + options, 0, ...u16(length), 0, r.below(3), ...u16(flags), 64, protocol, 0, 0];
    return [TYPE[4], [...head, ...source, ...destination, ...r.bytes(options * 4), ...bytes]];
  }

  function whole(linkType) {
    const version = r.pick([4, 6]);
    const family = version === 4 ? [2, 0, 0, 0] : [r.pick([10, 23, 24, 28, 30]), 0, 0, 0];
    switch (linkType) {
      case 0:
      case 108:
        return [...(r.chance(50) ? family : family.toReversed()), ...ip(version, 0)[1]];
      case 1:
        return frame(0);
      case 12:
      case 101:
        return ip(version, 0)[1];
      case 228:
        return ip(4, 0)[1];
      case 229:
        return ip(6, 0)[1];
      case 113: {
        const [type, bytes] = inner(0);
        return [...r.bytes(14), ...u16(type), ...bytes];
      }
      case 276: {
        const [type, bytes] = inner(0);
        return [...u16(type), ...r.bytes(18), ...bytes];
      }
      case 51:
        return pppoe(0);
      default:
        return ppp(0);
    }
  }

  /** A packet; of some, bytes are changed or the end is missing. */
  return (linkType) => {
    let bytes = Buffer.from(whole(linkType));
    if (r.chance(8)) for (let i = r.below(3); i >= 0; i--) bytes[r.below(Math.min(bytes.length, 80))] = r.below(256);
    if (r.chance(8)) bytes = bytes.subarray(0, r.below(bytes.length + 1));
    if (r.chance(4)) bytes = Buffer.concat([bytes, r.bytes(r.below(30))]); // padding
    return bytes;
  };
}

module.exports = { LINK_TYPES, packets, random, world };
