'use strict';
const assert = require('node:assert/strict');
const { addon, collect, decode, pcap, test, udp, write } = require('./support.js');
const { rules } = require('./addresses.js');

/** Reads packets from a file; resolves with the indexes of those that were captured. */
async function read(packets, options = {}, linkType = 1) {
  const records = packets.map((data, seconds) => ({ data, seconds }));
  const run = collect({ file: write(pcap(records, { linkType })), ...options });
  assert.equal(await run.ended, undefined);
  const kept = (run.captures[0]?.packets ?? []).map(({ timestampNs }) => Number(timestampNs / 1_000_000_000n));
  return { ...run, kept, stats: run.session.stats() };
}

test('source or destination: what is excluded is counted by name, and the counters add up', async () => {
  const exceptions = addon.createExceptions(rules('192.0.2.1', '10.0.0.0/24 1', '2001:db8::/32 2'), 3);
  assert.equal(exceptions.entries, 3);
  const packet = udp();
  const other = Buffer.from(packet);
  other.set([192, 0, 2, 1, 198, 51, 100, 1], 26);
  const neither = Buffer.from(packet);
  neither.set([192, 0, 2, 2, 198, 51, 100, 1], 26);
  const { kept, stats, session } = await read([packet, other, neither, packet], { exceptions });
  assert.deepEqual(kept, [2]);
  const { received, excluded, excludedBytes, captured } = stats;
  assert.deepEqual(
    { received, excluded, excludedBytes, captured },
    { received: 4, excluded: 3, excludedBytes: 180, captured: 1 },
  );
  assert.deepEqual(session.excludedBy(), { exceptions: Float64Array.of(1, 60, 2, 120, 0, 0) });
});

/** An Ethernet frame with an answer of a DNS server in it, or whatever `port` says. */
const dns = (mark, port = 53) => {
  const frame = udp({ port: 4000, mark });
  frame.writeUInt16BE(port, 34);
  return frame;
};

/** In an IP header of its own. */
const tunnelled = (frame) => {
  const outer = Buffer.from(frame.subarray(14, 34));
  outer[9] = 4;
  outer.writeUInt16BE(frame.length - 14 + 20, 2);
  outer.writeUInt32BE(0x0a0000f1, 12);
  outer.writeUInt32BE(0x0a0000f2, 16);
  return Buffer.concat([frame.subarray(0, 14), outer, frame.subarray(14)]);
};

test('DNS is handed over, from the IP header on, and the file goes on once that is dealt with', async () => {
  const handed = [];
  const kept = [];
  const learned = addon.createExceptions(rules('10.0.0.1'), 1);
  // One in a tunnel isn't: who sends it writes what they like into it.
  const records = [udp({ mark: 1 }), dns(2), tunnelled(dns(6)), dns(4, 54), dns(5)];
  const pool = addon.createPool(4);
  const session = await new Promise((resolve, reject) => {
    const opened = addon.open(pool, { file: write(pcap(records.map((data) => ({ data })))), dns: true }, {
      onCapture() {},
      onBlock(id, block, length, packets) {
        kept.push(packets);
        pool.release(block);
      },
      onDns(packet) {
        handed.push(packet);
        opened.setExceptions(undefined, learned).catch(reject);
        opened.goOn();
      },
      onEnd: (error) => (error ? reject(error) : resolve(opened)),
    }); // prettier-ignore
  });
  assert.deepEqual(handed.map((packet) => Buffer.from(packet)), [records[1].subarray(14), records[4].subarray(14)]); // prettier-ignore
  assert.deepEqual(kept, [2]);
  assert.deepEqual(session.excludedBy(), { learned: Float64Array.of(3, 200) });
  assert.equal(session.stats().dnsDropped, 0);
});

test('a file whose DNS nobody deals with can be stopped', async () => {
  const pool = addon.createPool(1);
  let handed = 0;
  await new Promise((resolve) => {
    const session = addon.open(pool, { file: write(pcap([{ data: dns(1) }, { data: dns(2) }])), dns: true }, {
      onCapture() {},
      onBlock: (id, block) => pool.release(block),
      onDns() {
        handed++;
        setTimeout(() => session.stop(), 50);
      },
      onEnd: resolve,
    }); // prettier-ignore
  });
  assert.equal(handed, 1);
});

test('both sets, and which of them is counted', async () => {
  const exceptions = addon.createExceptions(rules('10.0.0.1 1', '10.0.0.0/8 0'), 2);
  const learned = addon.createExceptions(rules('10.0.0.1', '10.0.0.2'), 1);
  const first = await read([udp()], { exceptions, learned });
  assert.deepEqual(first.session.excludedBy(), {
    exceptions: Float64Array.of(0, 0, 1, 60),
    learned: Float64Array.of(0, 0),
  });
  const only = await read([udp()], { learned });
  assert.deepEqual(only.session.excludedBy(), { learned: Float64Array.of(1, 60) });
});

test('setSnaplen of a file', async () => {
  const pool = addon.createPool(4);
  const blocks = [];
  const records = [dns(1), udp({ size: 100 }), udp({ size: 50 })].map((data) => ({ data }));
  const session = await new Promise((resolve, reject) => {
    const opened = addon.open(pool, { file: write(pcap(records)), dns: true }, {
      onCapture() {},
      onBlock: (id, block, length) => blocks.push(...decode(pool.blocks[block], length)),
      onDns: () => void opened.setSnaplen(55).then(() => opened.goOn(), reject),
      onEnd: (error) => (error ? reject(error) : resolve(opened)),
    }); // prettier-ignore
  });
  assert.deepEqual(
    blocks.map(({ data, originalLength }) => [data.length, originalLength]),
    [
      [60, 60],
      [55, 100],
      [50, 50],
    ],
  );
  const { cut, capturedBytes } = session.stats();
  assert.deepEqual({ cut, capturedBytes }, { cut: 1, capturedBytes: 165 });
});
