'use strict';
// Builders of capture files, byte by byte.

/** 16- and 32-bit numbers in either byte order. */
function numbers(big) {
  const u16 = (value) => (big ? Buffer.from([value >> 8, value & 255]) : Buffer.from([value & 255, value >> 8]));
  const u32 = (value) => {
    const bytes = Buffer.alloc(4);
    if (big) bytes.writeUInt32BE(value >>> 0);
    else bytes.writeUInt32LE(value >>> 0);
    return bytes;
  };
  return {
    u16,
    u32,
    u64: (value) => {
      const high = u32(Number(value >> 32n)),
        low = u32(Number(value & 0xffffffffn));
      return Buffer.concat(big ? [high, low] : [low, high]);
    },
  };
}

/** A pcap file; records are { seconds, fraction, data, captured?, original? }. */
function pcap(records, { magic = 0xa1b2c3d4, big = false, snaplen = 262144, linkType = 1, version = [2, 4] } = {}) {
  const { u16, u32 } = numbers(big);
  const parts = [u32(magic), u16(version[0]), u16(version[1]), u32(0), u32(0), u32(snaplen), u32(linkType)];
  for (const { seconds = 0, fraction = 0, data, captured = data.length, original = data.length } of records) {
    const lengths = version[1] < 3 ? [u32(original), u32(captured)] : [u32(captured), u32(original)];
    parts.push(u32(seconds), u32(fraction), ...lengths);
    if (magic === 0xa1b2cd34) parts.push(Buffer.alloc(8));
    parts.push(data);
  }
  return Buffer.concat(parts);
}

/** Builders of pcapng blocks in one byte order. */
function pcapng(big = false) {
  const { u16, u32, u64 } = numbers(big);
  const pad = (bytes) => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
  const block = (type, ...parts) => {
    const body = pad(Buffer.concat(parts));
    return Buffer.concat([u32(type), u32(body.length + 12), body, u32(body.length + 12)]);
  };
  const options = (entries) =>
    entries.length === 0
      ? Buffer.alloc(0)
      : Buffer.concat([...entries.flatMap(([code, value]) => [u16(code), u16(value.length), pad(value)]), u32(0)]);
  return {
    u16,
    u32,
    u64,
    block,
    section: (major = 1) => block(0x0a0d0d0a, u32(0x1a2b3c4d), u16(major), u16(0), u32(0xffffffff), u32(0xffffffff)),
    interface: ({ linkType = 1, snaplen = 0, name, description, resolution, offset } = {}) => {
      const entries = [];
      if (name !== undefined) entries.push([2, Buffer.from(name)]);
      if (description !== undefined) entries.push([3, Buffer.from(description)]);
      if (resolution !== undefined) entries.push([9, Buffer.from([resolution])]);
      if (offset !== undefined) entries.push([14, u64(BigInt.asUintN(64, offset))]);
      return block(1, u16(linkType), u16(0), u32(snaplen), options(entries));
    },
    enhanced: ({ id = 0, time = 0n, data, captured = data.length, original = data.length, comment }) =>
      block(
        6,
        u32(id),
        u32(Number(time >> 32n)),
        u32(Number(time & 0xffffffffn)),
        u32(captured),
        u32(original),
        pad(data),
        options(comment === undefined ? [] : [[1, Buffer.from(comment)]]),
      ),
    simple: ({ data, original = data.length }) => block(3, u32(original), data),
    old: ({ id = 0, time = 0n, data, original = data.length }) =>
      block(
        2,
        u16(id),
        u16(0),
        u32(Number(time >> 32n)),
        u32(Number(time & 0xffffffffn)),
        u32(data.length),
        u32(original),
        data,
      ),
  };
}

/** An Ethernet frame with a UDP packet in it. */
function udp({ port = 5000, size = 60, mark = 0 } = {}) {
  const frame = Buffer.alloc(size);
  Buffer.from('020000000002020000000001080045', 'hex').copy(frame);
  frame.writeUInt16BE(size - 14, 16);
  frame[22] = 64;
  frame[23] = 17;
  Buffer.from([10, 0, 0, 1, 10, 0, 0, 2]).copy(frame, 26);
  frame.writeUInt16BE(4000, 34);
  frame.writeUInt16BE(port, 36);
  frame.writeUInt16BE(size - 34, 38);
  if (size >= 46) frame.writeUInt32BE(mark >>> 0, 42);
  return frame;
}

module.exports = { pcap, pcapng, udp };
