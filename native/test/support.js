'use strict';
// What the tests share: a strict decoder of blocks, builders of capture files, a session whose packets are collected.

const assert = require('node:assert/strict');
const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, test } = require('node:test');
const addon = require('../index.js');

// Nothing waits for ever: not a test, and not a process whose test failed and left a session running.
const bounded = (name, ...rest) => test(name, { timeout: 60_000, ...(rest.length > 1 ? rest[0] : {}) }, rest.at(-1));
after(() => setTimeout(() => process.exit(1), 10_000).unref());

// ---- blocks ----

function readVarint(bytes, at) {
  let value = 0;
  for (let i = 0; i < 5; i++) {
    const byte = bytes[at + i];
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) {
      assert.ok(i === 0 || byte !== 0, 'a varint is longer than it need be');
      return [value, at + i + 1];
    }
  }
  throw new Error('a varint has no end');
}

/** Packets of a block; every byte must be as index.d.ts says. */
function decode(block, length) {
  const view = new DataView(block.buffer, block.byteOffset, length);
  const packets = [];
  let at = addon.BLOCK_HEAD;
  while (at < length) {
    let size;
    assert.equal(block[at], 0x22);
    [size, at] = readVarint(block, at + 1);
    const end = at + size;
    assert.equal(block[at], 0x09);
    const timestampNs = view.getBigUint64(at + 1, true);
    at += 9;
    let originalLength;
    if (block[at] === 0x10) [originalLength, at] = readVarint(block, at + 1);
    assert.equal(block[at], 0x1a);
    [size, at] = readVarint(block, at + 1);
    assert.equal(at + size, end);
    assert.notEqual(originalLength, size, 'an original length that is equal must be left out');
    if (originalLength !== undefined) assert.ok(originalLength > size);
    packets.push({ timestampNs, originalLength: originalLength ?? size, data: Buffer.from(block.subarray(at, end)) });
    at = end;
  }
  assert.equal(at, length);
  assert.ok(packets.length > 0, 'a block has no packets');
  assert.equal(view.getBigUint64(0, true), packets[0].timestampNs);
  assert.equal(view.getBigUint64(8, true), packets.at(-1).timestampNs);
  return packets;
}

/**
 * Opens a session that decodes and releases each block at once. Packets are in `captures[id].packets`;
 * `ended` resolves to the error or undefined, `captured(n)` once n packets have come.
 */
function collect(options, { pool = addon.createPool(8), onBlock } = {}) {
  const captures = [];
  const waiting = [];
  const started = Promise.withResolvers();
  const ended = Promise.withResolvers();
  const result = { captures, pool, started: started.promise, ended: ended.promise, blocks: 0, packets: 0 };
  result.captured = (count) =>
    new Promise((resolve, reject) => {
      waiting.push({ count, resolve });
      ended.promise.then(() => reject(new Error(`ended with ${result.packets} of ${count} packets`)));
      wake();
    });
  function wake() {
    for (const { count, resolve } of waiting) if (result.packets >= count) resolve();
  }
  let over = false;
  result.session = addon.open(pool, options, {
    onCapture(id, info) {
      assert.equal(id, captures.length);
      assert.ok(!over);
      captures.push({ info, packets: [] });
      started.resolve(info);
    },
    onBlock(id, block, length, packets, bytes) {
      assert.ok(!over);
      const decoded = decode(pool.blocks[block], length);
      assert.equal(decoded.length, packets);
      assert.equal(decoded.reduce((sum, { data }) => sum + data.length, 0), bytes);
      for (const packet of decoded) captures[id].packets.push(packet);
      result.blocks++;
      result.packets += packets;
      if (onBlock) onBlock(block);
      else pool.release(block);
      wake();
    },
    onEnd(error) {
      assert.ok(!over);
      over = true;
      started.resolve();
      ended.resolve(error);
    },
  });
  return result;
}

// ---- files ----

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'node-pcap-native-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
let files = 0;
function write(bytes, name = `${++files}.pcap`) {
  const file = path.join(folder, name);
  fs.writeFileSync(file, bytes);
  return file;
}

/** 16- and 32-bit numbers in either byte order. */
function numbers(big) {
  const u16 = (value) => (big ? Buffer.from([value >> 8, value & 255]) : Buffer.from([value & 255, value >> 8]));
  const u32 = (value) => {
    const bytes = Buffer.alloc(4);
    if (big) bytes.writeUInt32BE(value >>> 0);
    else bytes.writeUInt32LE(value >>> 0);
    return bytes;
  };
  return { u16, u32, u64: (value) => { const high = u32(Number(value >> 32n)), low = u32(Number(value & 0xffffffffn)); return Buffer.concat(big ? [high, low] : [low, high]); } };
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
      block(6, u32(id), u32(Number(time >> 32n)), u32(Number(time & 0xffffffffn)), u32(captured), u32(original), pad(data),
        options(comment === undefined ? [] : [[1, Buffer.from(comment)]])),
    simple: ({ data, original = data.length }) => block(3, u32(original), data),
    old: ({ id = 0, time = 0n, data, original = data.length }) =>
      block(2, u16(id), u16(0), u32(Number(time >> 32n)), u32(Number(time & 0xffffffffn)), u32(data.length), u32(original), data),
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

// ---- tools ----

function has(tool) {
  return spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0;
}
/** Options of a test that needs a tool. */
function needs(...tools) {
  const missing = tools.filter((tool) => !has(tool));
  return missing.length ? { skip: `needs ${missing.join(' and ')}` } : {};
}

/** What tcpdump reads from a file: the packets as it would write them. */
function tcpdumpReads(file, ...filter) {
  const bytes = execFileSync('tcpdump', ['--nano', '-r', file, '-w', '-', ...filter], { stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 28 });
  const packets = [];
  for (let at = 24; at < bytes.length; ) {
    const captured = bytes.readUInt32LE(at + 8);
    packets.push({
      timestampNs: BigInt(bytes.readUInt32LE(at)) * 1_000_000_000n + BigInt(bytes.readUInt32LE(at + 4)),
      originalLength: bytes.readUInt32LE(at + 12),
      data: Buffer.from(bytes.subarray(at + 16, at + 16 + captured)),
    });
    at += 16 + captured;
  }
  return packets;
}

module.exports = { addon, collect, decode, folder, has, needs, pcap, pcapng, tcpdumpReads, test: bounded, udp, write };
