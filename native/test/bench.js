'use strict';
// What 100,000 exceptions cost: in C alone, through the addon, and the same list as one BPF text. Needs gcc. Takes minutes.
const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const addon = require('../index.js');
const { pcap } = require('./files.js');

const native = path.join(__dirname, '..');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'node-pcap-native-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const MEMORY_MB = Number(process.env.BENCH_MB ?? 4096);
const SECONDS = Number(process.env.BENCH_SECONDS ?? 60);

function build(name, ...words) {
  const file = path.join(folder, name);
  execFileSync('gcc', ['-std=gnu11', '-O3', '-D_GNU_SOURCE', '-I.', '-o', file, `test/${name}.c`, ...words], {
    cwd: native,
  });
  return file;
}

/** 80,000 IPv4 and 20,000 IPv6 addresses, 1,000 networks among them. */
function list(count) {
  const random = () => Math.floor(Math.random() * 2 ** 32);
  const rules = new Uint8Array(count * 24);
  const view = new DataView(rules.buffer);
  const texts = [];
  for (let i = 0; i < count; i++) {
    const at = i * 24;
    const four = i % 5 > 0;
    const prefix = four ? (i % 100 === 1 ? 24 : 32) : 128;
    for (let byte = 0; byte < (four ? 4 : 16); byte += 4) view.setUint32(at + byte, random());
    if (!four) view.setUint16(at, 0x2a00);
    else rules[at] = 11 + (rules[at] % 200);
    if (prefix === 24) rules[at + 3] = 0;
    rules[at + 16] = four ? 4 : 6;
    rules[at + 17] = prefix;
    view.setUint32(at + 20, i, true);
    const words = Array.from({ length: 8 }, (_, word) => view.getUint16(at + word * 2).toString(16));
    const address = four ? rules.subarray(at, at + 4).join('.') : words.join(':');
    texts.push(prefix === 24 ? `net ${address}/24` : `host ${address}`);
  }
  return { rules, texts };
}

async function replay(file, options) {
  const pool = addon.createPool(16);
  const start = performance.now();
  const stats = await new Promise((resolve, reject) => {
    const session = addon.open(pool, { file, ...options }, {
      onCapture() {},
      onBlock: (id, block) => pool.release(block),
      onEnd: (error) => (error ? reject(error) : resolve(session.stats())),
    }); // prettier-ignore
  });
  return ((performance.now() - start) * 1e6) / stats.received;
}

async function main() {
  console.log('in C:', spawnSync(build('bench', 'block.c', 'headers.c', 'exceptions.c', 'judge.c'), { encoding: 'utf8' }).stdout.trim()); // prettier-ignore

  const { rules, texts } = list(100_000);
  const start = performance.now();
  const exceptions = addon.createExceptions(rules, 100_000);
  console.log(`createExceptions: ${(performance.now() - start).toFixed(1)} ms, ${exceptions.entries} entries, ${(exceptions.bytes / 2 ** 20).toFixed(1)} MiB`); // prettier-ignore

  const frame = () => {
    const data = Buffer.alloc(128);
    Buffer.from('020000000002020000000001080045000072000000004011', 'hex').copy(data);
    data.writeUInt32BE(0x0a010200 + Math.floor(Math.random() * 16), 26);
    data.writeUInt32BE(Math.floor(Math.random() * 0x0a000000), 30);
    return { data };
  };
  const some = pcap(Array.from({ length: 50_000 }, frame));
  const file = path.join(folder, 'packets.pcap');
  fs.writeFileSync(file, Buffer.concat([some, ...Array(39).fill(some.subarray(24))]));
  const best = { none: Infinity, with: Infinity };
  for (let i = 0; i < 7; i++) {
    best.none = Math.min(best.none, await replay(file, {}));
    best.with = Math.min(best.with, await replay(file, { exceptions }));
  }
  console.log(`a file through the addon, ns a packet: ${best.none.toFixed(1)} without, ${best.with.toFixed(1)} with, ${(best.with - best.none).toFixed(1)} more`); // prettier-ignore

  const bpf = build('bench_bpf', '-Ibuild-libpcap/source', 'build-libpcap/out-linux-x64/libpcap.a');
  for (const count of [300, 1000, 3000, 100_000]) {
    const input = `not (${texts.slice(0, count).join(' or ')})`;
    const { stdout, signal } = spawnSync(bpf, [String(MEMORY_MB), String(SECONDS)], { input, encoding: 'utf8' });
    console.log(`one BPF text, ${count} entries, ${input.length} bytes, at most ${MEMORY_MB} MiB and ${SECONDS} s: ${stdout.trim() || signal}`); // prettier-ignore
  }
}

void main();
