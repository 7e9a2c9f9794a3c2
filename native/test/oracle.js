'use strict';
// What exceptions must leave out, by another road: a parser that takes packets apart from the text in index.d.ts, and
// ipaddr.js for networks. Slow, plain, and shares nothing with the C code.

const ipaddr = require('ipaddr.js');

const TAGS = [0x8100, 0x88a8, 0x9100];
const FAMILIES_6 = [10, 23, 24, 28, 30];

/** IP headers of a packet, outermost first: { version, source, destination, fragment?: { key, first } }. */
function headersOf(packet, linkType) {
  const headers = [];
  let layers = 0;
  const u16 = (at) => packet[at] * 256 + packet[at + 1];

  /** What has this EtherType, in bytes `from` to `to`. */
  function type(type, from, to) {
    if (layers++ >= 32) return;
    const size = to - from;
    if (type === 0x6558) {
      if (size >= 14) return typeFrom(from + 14, to, from + 12);
    } else if (TAGS.includes(type)) {
      if (size >= 4) return typeFrom(from + 4, to, from + 2);
    } else if (type === 0x8864) {
      if (size < 6 || packet[from] !== 0x11 || packet[from + 1] !== 0) return;
      return ppp(from + 6, Math.min(to, from + 6 + u16(from + 4)));
    } else if (type === 0x0800 || type === 0x86dd) {
      return ip(type === 0x0800 ? 4 : 6, from, to);
    }
  }
  const typeFrom = (from, to, typeAt) => type(u16(typeAt), from, to);

  function ppp(from, to) {
    if (to - from >= 2 && packet[from] === 0xff && packet[from + 1] === 3) from += 2;
    if (to - from < 1) return;
    const compressed = packet[from] % 2 === 1;
    const behind = from + (compressed ? 1 : 2);
    if (behind > to) return;
    const protocol = compressed ? packet[from] : u16(from);
    if (protocol === 0x21) type(0x0800, behind, to);
    if (protocol === 0x57) type(0x86dd, behind, to);
  }

  function ip(version, from, to) {
    const fixed = version === 4 ? 20 : 40;
    if (![4, 6].includes(version) || headers.length === 8 || to - from < fixed || packet[from] >> 4 !== version) return;
    const header = { version };
    const part = (at, length) => packet.toString('latin1', from + at, from + at + length);
    if (version === 6) {
      Object.assign(header, { source: part(8, 16), destination: part(24, 16) });
      headers.push(header);
      const length = u16(from + 4);
      const end = length === 0 ? to : Math.min(to, from + 40 + length);
      return behind(header, packet[from + 6], from + 40, end);
    }
    const size = (packet[from] & 15) * 4;
    if (size < 20) return;
    Object.assign(header, { source: part(12, 4), destination: part(16, 4) });
    headers.push(header);
    const flags = u16(from + 6);
    const [more, offset] = [(flags & 0x2000) !== 0, flags % 0x2000];
    if (more || offset > 0)
      header.fragment = { key: `4 ${part(12, 8)} ${u16(from + 4)} ${packet[from + 9]}`, first: offset === 0 };
    if (offset > 0 || to - from < size) return;
    const total = u16(from + 2);
    if (total > 0 && total < size) return;
    behind(header, packet[from + 9], from + size, total === 0 ? to : Math.min(to, from + total));
  }

  /** What an IP header carries: `protocol`, in bytes `from` to `to`. */
  function behind(header, protocol, from, to) {
    for (let extensions = 0; ; extensions++) {
      const size = to - from;
      let length;
      if (protocol === 51) length = size >= 8 ? (packet[from + 1] + 2) * 4 : undefined;
      else if (header.version === 6 && [0, 43, 60, 135, 139, 140].includes(protocol))
        length = size >= 8 ? (packet[from + 1] + 1) * 8 : undefined;
      else if (header.version === 6 && protocol === 44) {
        if (size < 8) return;
        const bits = u16(from + 2);
        const [offset, more] = [bits >> 3, bits % 2 === 1];
        if (offset > 0 || more) {
          const id = packet.toString('hex', from + 4, from + 8);
          header.fragment = { key: `6 ${header.source}${header.destination} ${id}`, first: offset === 0 };
        }
        if (offset > 0) return;
        length = 8;
      } else break;
      if (length === undefined || length > size || extensions === 16) return;
      protocol = packet[from];
      from += length;
    }
    const size = to - from;
    if (protocol === 4) type(0x0800, from, to);
    if (protocol === 41) type(0x86dd, from, to);
    if (protocol === 17 && size >= 16 && [4789, 8472].includes(u16(from + 2)) && packet[from + 8] & 8)
      type(0x6558, from + 16, to);
    if (protocol === 47 && size >= 4) {
      const flags = packet[from];
      if (flags & 0x40 || packet[from + 1] & 7) return;
      const length = 4 + [0x80, 0x20, 0x10].filter((flag) => flags & flag).length * 4;
      if (length <= size) type(u16(from + 2), from + length, to);
    }
  }

  const end = packet.length;
  const start = {
    1: () => type(0x6558, 0, end),
    12: () => end > 0 && ip(packet[0] >> 4, 0, end),
    101: () => end > 0 && ip(packet[0] >> 4, 0, end),
    228: () => ip(4, 0, end),
    229: () => ip(6, 0, end),
    113: () => end >= 16 && typeFrom(16, end, 14),
    276: () => end >= 20 && typeFrom(20, end, 0),
    9: () => ppp(0, end),
    50: () => ppp(0, end),
    51: () => type(0x8864, 0, end),
  };
  start[0] = start[108] = () => {
    if (end < 4) return;
    const family = packet.readUInt32BE(0) < 65536 ? packet.readUInt32BE(0) : packet.readUInt32LE(0);
    if (family === 2) ip(4, 4, end);
    if (FAMILIES_6.includes(family)) ip(6, 4, end);
  };
  layers = linkType === 1 ? -1 : 0; // the first frame isn't counted
  start[linkType]?.();
  return headers;
}

/** The lookup of one set; rules are { address: Uint8Array, prefix, name }, in their order. */
function lookup(rules) {
  const parsed = rules.map(({ address, prefix, name }) => ({
    address: ipaddr.fromByteArray([...address]),
    prefix,
    name,
  }));
  const known = new Map();
  return (address) => {
    if (known.has(address)) return known.get(address);
    const given = ipaddr.fromByteArray([...Buffer.from(address, 'latin1')]);
    let best;
    for (const rule of parsed)
      if (
        rule.address.kind() === given.kind() &&
        given.match(rule.address, rule.prefix) &&
        !(rule.prefix <= best?.prefix)
      )
        best = rule;
    known.set(address, best?.name);
    return best?.name;
  };
}

/** Judges packets one by one: returns { set, name } of what leaves it out, or undefined. `sets` are lookups. */
function oracle(linkType, ...sets) {
  const datagrams = new Map(); // of fragments: why the first was left out, and when
  const byAddress = (address) => {
    for (const [set, find] of sets.entries()) {
      const name = find?.(address);
      if (name !== undefined) return { set, name };
    }
  };
  return (packet, timestampNs) => {
    const headers = headersOf(packet, linkType);
    let reason;
    let at = 0;
    for (; at < headers.length && !reason; at++) {
      const { source, destination, fragment } = headers[at];
      reason = byAddress(source) ?? byAddress(destination);
      if (reason || !fragment || fragment.first) continue;
      const first = datagrams.get(fragment.key);
      if (first && isWithin30s(timestampNs, first.timestampNs)) reason = first.reason;
    }
    const outer = reason ? headers.slice(0, at - 1) : headers;
    for (const { fragment } of outer) {
      if (!fragment?.first) continue;
      if (reason) datagrams.set(fragment.key, { reason, timestampNs });
      else datagrams.delete(fragment.key);
    }
    return reason;
  };
}

const isWithin30s = (a, b) => (a > b ? a - b : b - a) <= 30_000_000_000n;

module.exports = { headersOf, lookup, oracle };
