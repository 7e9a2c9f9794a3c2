'use strict';
// What the tests share: a strict decoder of blocks, builders of capture files, a session whose packets are collected.

const assert = require('node:assert/strict');
const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, test } = require('node:test');
const addon = require('../index.js');
const { pcap, pcapng, udp } = require('./files.js');

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
      assert.equal(
        decoded.reduce((sum, { data }) => sum + data.length, 0),
        bytes,
      );
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
  const bytes = execFileSync('tcpdump', ['--nano', '-r', file, '-w', '-', ...filter], {
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 1 << 28,
  });
  const packets = [];
  for (let at = 24; at < bytes.length;) {
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
