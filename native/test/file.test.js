'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { spawn, spawnSync } = require('node:child_process');
const { addon, collect, folder, needs, pcap, pcapng, tcpdumpReads, test, udp, write } = require('./support.js');

async function read(bytes, options = {}) {
  const run = collect({ file: write(bytes), ...options });
  const error = await run.ended;
  return { ...run, error, stats: run.session.stats(), free: run.pool.free };
}
const some = (count, size = 60) =>
  Array.from({ length: count }, (_, i) => ({ seconds: 1_700_000_000 + i, fraction: i, data: udp({ mark: i, size }) }));

test('a pcap file, every magic in both byte orders', async (t) => {
  for (const magic of [0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34])
    for (const big of [false, true])
      await t.test(`${magic.toString(16)} ${big ? 'big' : 'little'} endian`, async () => {
        const { error, captures, stats, free } = await read(pcap(some(5), { magic, big, snaplen: 1500 }));
        assert.equal(error, undefined);
        // Modified files leave the link-layer header out of it.
        const snaplen = magic === 0xa1b2cd34 ? 1514 : 1500;
        assert.deepEqual(captures[0].info, {
          linkType: 1,
          snaplen,
          interface: '',
          description: '',
          filter: '',
          inKernel: false,
          instructions: 0,
        });
        const unit = magic === 0xa1b23c4d ? 1n : 1000n;
        assert.deepEqual(
          captures[0].packets,
          some(5).map(({ seconds, fraction, data }) => ({
            timestampNs: BigInt(seconds) * 1_000_000_000n + BigInt(fraction) * unit,
            originalLength: data.length,
            data,
          })),
        );
        assert.equal(stats.captured, 5);
        assert.equal(stats.capturedBytes, 300);
        assert.equal(stats.received, 5);
        assert.equal(free, 8);
      });
});

test('packets of every length around the steps of the varints, and the longest', async () => {
  const lengths = [0, 1, 2, 115, 116, 117, 118, 127, 128, 129, 16370, 16383, 16384, 16385, 65535, 262143, 262144];
  const records = lengths.flatMap((length) => [
    { data: Buffer.alloc(length, length), seconds: length },
    { data: Buffer.alloc(length, length), seconds: length, original: length + 1 },
    { data: Buffer.alloc(length, length), seconds: length, original: 0xffffffff },
  ]);
  const { error, captures } = await read(pcap(records, { linkType: 147 }));
  assert.equal(error, undefined);
  assert.deepEqual(
    captures[0].packets,
    records.map(({ data, seconds, original = data.length }) => ({
      timestampNs: BigInt(seconds) * 1_000_000_000n,
      originalLength: original,
      data,
    })),
  );
});

test('versions before 2.4 have their lengths the other way round', async () => {
  for (const [version, expected] of [
    [[2, 2], 100],
    [[2, 3], 100],
    [[543, 0], 100],
  ]) {
    const bytes = pcap([{ data: Buffer.alloc(60), original: 100 }], { version });
    if (version[0] === 543) {
      bytes.writeUInt32LE(100, 32);
      bytes.writeUInt32LE(60, 36);
    }
    const { error, captures } = await read(bytes);
    assert.equal(error, undefined);
    assert.equal(captures[0].packets[0].originalLength, expected);
    assert.equal(captures[0].packets[0].data.length, 60);
  }
});

test('FCS bits are left out of the link type; what must be zero is', async () => {
  assert.equal((await read(pcap([], { linkType: 0x54000001 }))).captures[0].info.linkType, 1);
  const { error, captures } = await read(pcap([], { linkType: 0x00010001 }));
  assert.equal(error.code, 'FILE_FORMAT');
  assert.equal(captures.length, 0);
});

test("a platform's own link type becomes the one for files", async () => {
  assert.equal((await read(pcap([], { linkType: 12 }))).captures[0].info.linkType, 101);
});

test('a packet longer than the snaplen is cut and counted', async () => {
  const { captures, stats } = await read(pcap([...some(1, 60), ...some(1, 200)], { snaplen: 100 }));
  assert.deepEqual(
    captures[0].packets.map(({ data, originalLength }) => [data.length, originalLength]),
    [
      [60, 60],
      [100, 200],
    ],
  );
  assert.equal(stats.cut, 1);
  assert.equal(stats.captured, 2);
  assert.equal(stats.capturedBytes, 160);
});

test('a packet longer than MAX_SNAPLEN, larger than every buffer, is cut and counted; what follows is intact', async () => {
  const large = { data: Buffer.alloc(700_000, 7) };
  const { error, captures, stats } = await read(pcap([...some(1), large, ...some(1)], { snaplen: 0 }));
  assert.equal(error, undefined);
  assert.deepEqual(
    captures[0].packets.map(({ data, originalLength }) => [data.length, originalLength]),
    [
      [60, 60],
      [262144, 700_000],
      [60, 60],
    ],
  );
  assert.equal(stats.cut, 1);
  const ng = pcapng();
  const second = await read(
    Buffer.concat([ng.section(), ng.interface(), ng.enhanced(large), ng.enhanced({ data: udp() })]),
  );
  assert.equal(second.error, undefined);
  assert.deepEqual(
    second.captures[0].packets.map(({ data }) => data.length),
    [262144, 60],
  );
  assert.ok(second.captures[0].packets[0].data.every((byte) => byte === 7));
});

test('an original length below the captured one counts as equal', async () => {
  const { captures } = await read(pcap([{ data: Buffer.alloc(60), original: 10 }]));
  assert.equal(captures[0].packets[0].originalLength, 60);
});

test('a fraction of a second or more carries; seconds are unsigned', async () => {
  const { captures } = await read(pcap([{ seconds: 0xffffffff, fraction: 0xffffffff, data: udp() }]));
  assert.equal(captures[0].packets[0].timestampNs, 0xffffffffn * 1_000_000_000n + 0xffffffffn * 1000n);
});

test('a file without packets: a capture and the end', async () => {
  const { error, captures, blocks, free } = await read(pcap([]));
  assert.equal(error, undefined);
  assert.equal(captures.length, 1);
  assert.equal(blocks, 0);
  assert.equal(free, 8);
});

test('what is no capture file', async () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('abc'),
    Buffer.from('%PDF-1.4 and so on'),
    pcap([], { version: [3, 0] }),
  ]) {
    const { error, captures } = await read(bytes);
    assert.equal(error.code, 'FILE_FORMAT');
    assert.match(error.message, /^could not read '.*': /);
    assert.equal(captures.length, 0);
  }
});

test('a file that cannot be opened or read', async () => {
  for (const [file, message] of [
    [path.join(folder, 'nowhere'), /^could not open '.*nowhere': No such file or directory$/],
    [folder, /^could not read '.*': Is a directory$/],
  ]) {
    const error = await collect({ file }).ended;
    assert.equal(error.code, 'FILE_OPEN');
    assert.match(error.message, message);
    assert.ok(error instanceof Error);
  }
});

test('a pcap file cut at every byte: whole records are delivered, then FILE_TRUNCATED', async () => {
  const whole = pcap(some(3, 60));
  for (let length = 4; length < whole.length; length++) {
    const { error, packets } = await read(whole.subarray(0, length));
    const records = Math.max(0, Math.floor((length - 24) / 76));
    assert.equal(packets, records);
    assert.equal(
      error?.code,
      length >= 24 && (length - 24) % 76 === 0 ? undefined : 'FILE_TRUNCATED',
      `cut at ${length}`,
    );
  }
});

test('a cut packet whose rest is missing is not delivered', async () => {
  const whole = pcap([{ data: Buffer.alloc(700_000) }]);
  const { error, packets } = await read(whole.subarray(0, 600_000));
  assert.equal(error.code, 'FILE_TRUNCATED');
  assert.equal(packets, 0);
});

test('an impossible length means a damaged file', async () => {
  const bytes = pcap(some(2));
  bytes.writeUInt32LE(0xdeadbeef, 24 + 76 + 8);
  const { error, packets } = await read(bytes);
  assert.equal(error.code, 'FILE_FORMAT');
  assert.equal(packets, 1);
});

test('pcapng: interfaces, kinds of packet blocks, options, unknown blocks', async (t) => {
  for (const big of [false, true])
    await t.test(big ? 'big endian' : 'little endian', async () => {
      const ng = pcapng(big);
      const data = [0, 1, 2, 3].map((mark) => udp({ mark, size: 61 + mark }));
      const { error, captures, stats } = await read(
        Buffer.concat([
          ng.section(),
          ng.block(0x0bad, Buffer.alloc(32)),
          ng.interface({ name: 'eth0', description: 'the first', snaplen: 1500 }),
          ng.interface({ linkType: 101, name: 'tun0', resolution: 9 }),
          ng.enhanced({ data: data[0], time: 1_700_000_000_000_001n, comment: 'hello' }),
          ng.block(5, ng.u32(0), ng.u32(0), ng.u32(0)),
          ng.enhanced({ id: 1, data: data[1], time: 1_700_000_000_000_000_001n, original: 100 }),
          ng.simple({ data: data[2] }),
          ng.old({ id: 1, data: data[3], time: 5n }),
        ]),
      );
      assert.equal(error, undefined);
      assert.deepEqual(
        captures.map(({ info }) => info),
        [
          {
            linkType: 1,
            snaplen: 1500,
            interface: 'eth0',
            description: 'the first',
            filter: '',
            inKernel: false,
            instructions: 0,
          },
          {
            linkType: 101,
            snaplen: 262144,
            interface: 'tun0',
            description: '',
            filter: '',
            inKernel: false,
            instructions: 0,
          },
        ],
      );
      assert.deepEqual(captures[0].packets, [
        { timestampNs: 1_700_000_000_000_001_000n, originalLength: 61, data: data[0] },
        { timestampNs: 0n, originalLength: 63, data: data[2] },
      ]);
      assert.deepEqual(captures[1].packets, [
        { timestampNs: 1_700_000_000_000_000_001n, originalLength: 100, data: data[1] },
        { timestampNs: 5n, originalLength: 64, data: data[3] },
      ]);
      assert.equal(stats.captured, 4);
    });
});

test('pcapng: sections of either byte order, a known interface goes on with its capture', async () => {
  const section = (big, mark) => {
    const ng = pcapng(big);
    return [
      ng.section(),
      ng.interface({ name: 'eth0' }),
      ng.interface({ name: `eth${mark}` }),
      ng.enhanced({ data: udp({ mark }) }),
    ];
  };
  const { error, captures } = await read(
    Buffer.concat([...section(false, 1), ...section(true, 2), ...section(false, 1)]),
  );
  assert.equal(error, undefined);
  assert.deepEqual(
    captures.map(({ info }) => info.interface),
    ['eth0', 'eth1', 'eth2'],
  );
  assert.equal(captures[0].packets.length, 3);
});

test('pcapng: timestamp resolutions and offsets, to the nanosecond', async () => {
  const ng = pcapng();
  const cases = [
    [{}, 1_234_567n, 1_234_567_000n],
    [{ resolution: 0 }, 7n, 7_000_000_000n],
    [{ resolution: 3 }, 1_001n, 1_001_000_000n],
    [{ resolution: 9 }, (1n << 64n) - 1n, (1n << 64n) - 1n],
    [{ resolution: 12 }, 1_999n, 1n],
    [{ resolution: 19 }, (1n << 64n) - 1n, 1_844_674_407n],
    [{ resolution: 0x80 }, 3n, 3_000_000_000n],
    [{ resolution: 0x8a }, 1023n, 999_023_437n],
    [{ resolution: 0x80 | 63 }, (1n << 64n) - 1n, 1_999_999_999n],
    [{ offset: 10n }, 1n, 10_000_001_000n],
    [{ offset: -10n }, 11_000_000n, 1_000_000_000n],
    [{ offset: -10n }, 0n, 0n], // before 1970
    [{ resolution: 0 }, 1n << 60n, (1n << 64n) - 1n], // after 2554
  ];
  for (const [how, time, expected] of cases) {
    const { error, captures } = await read(
      Buffer.concat([ng.section(), ng.interface(how), ng.enhanced({ data: udp(), time })]),
    );
    assert.equal(error, undefined);
    assert.equal(
      captures[0].packets[0].timestampNs,
      expected,
      `${JSON.stringify(how, (_, v) => (typeof v === 'bigint' ? String(v) : v))} ${time}`,
    );
  }
});

test('pcapng: what is damaged says so, after the packets before it', async () => {
  const ng = pcapng();
  const good = [ng.section(), ng.interface(), ng.enhanced({ data: udp() })];
  const packet = ng.enhanced({ data: udp() });
  const patched = (at, value) => {
    const bytes = Buffer.from(packet);
    bytes.writeUInt32LE(value >>> 0, at);
    return bytes;
  };
  const cases = {
    'length not a multiple of 4': patched(4, packet.length + 1),
    'length too short': patched(4, 8),
    'lengths differ': patched(packet.length - 4, 12),
    'packet longer than its block': patched(20, 1000),
    'captured length of 2^32 - 1': patched(20, 0xffffffff),
    'no such interface': patched(8, 1),
    'packet block too short': ng.block(6, Buffer.alloc(8)),
    'simple packet longer than its block': ng.simple({ data: udp(), original: 1000 }),
    'interface too short': ng.block(1, Buffer.alloc(4)),
    'resolution of two bytes': ng.block(1, ng.u16(1), ng.u16(0), ng.u32(0), ng.u16(9), ng.u16(2), ng.u32(0)),
    'resolution 10^20': ng.interface({ resolution: 20 }),
    'offset of one byte': ng.block(1, ng.u16(1), ng.u16(0), ng.u32(0), ng.u16(14), ng.u16(1), ng.u32(0)),
    'option longer than its block': ng.block(1, ng.u16(1), ng.u16(0), ng.u32(0), ng.u16(2), ng.u16(100)),
    'no byte order': ng.block(0x0a0d0d0a, Buffer.alloc(16)),
    'version 2': ng.section(2),
    'packet before an interface': Buffer.concat([ng.section(), packet]),
  };
  for (const [what, bytes] of Object.entries(cases)) {
    const { error, packets } = await read(Buffer.concat([...good, bytes]));
    assert.equal(error?.code, 'FILE_FORMAT', what);
    assert.equal(packets, 1, what);
  }
});

test('pcapng cut at every byte', async () => {
  const ng = pcapng();
  const blocks = [
    ng.section(),
    ng.interface({ name: 'eth0' }),
    ng.enhanced({ data: udp() }),
    ng.enhanced({ data: udp(), comment: 'x' }),
  ];
  const whole = Buffer.concat(blocks);
  const ends = new Set(blocks.map((_, i) => Buffer.concat(blocks.slice(0, i + 1)).length));
  for (let length = 4; length < whole.length; length++) {
    const { error } = await read(whole.subarray(0, length));
    assert.equal(error?.code, ends.has(length) ? undefined : 'FILE_TRUNCATED', `cut at ${length}`);
  }
});

test('pcapng: 256 interfaces of their own kind, not more', async () => {
  const ng = pcapng();
  const interfaces = (count) =>
    Array.from({ length: count }, (_, i) => [
      ng.interface({ name: `e${i}` }),
      ng.enhanced({ id: i, data: udp({ mark: i }) }),
    ]).flat();
  const full = await read(Buffer.concat([ng.section(), ...interfaces(256)]), {});
  assert.equal(full.error, undefined);
  assert.equal(full.captures.length, 256);
  assert.ok(full.captures.every(({ packets }) => packets.length === 1));
  const over = await read(Buffer.concat([ng.section(), ...interfaces(257)]));
  assert.equal(over.error.code, 'FILE_FORMAT');
  assert.equal(over.packets, 256);
});

test('more interfaces than blocks: no deadlock, nothing lost', async () => {
  const ng = pcapng();
  const parts = [ng.section(), ...[0, 1, 2].map((i) => ng.interface({ name: `e${i}` }))];
  for (let i = 0; i < 300; i++) parts.push(ng.enhanced({ id: i % 3, data: udp({ mark: i }) }));
  const run = collect({ file: write(Buffer.concat(parts)) }, { pool: addon.createPool(1) });
  assert.equal(await run.ended, undefined);
  assert.deepEqual(
    run.captures.map(({ packets }) => packets.length),
    [100, 100, 100],
  );
  assert.ok(run.session.stats().starvedNs > 0);
});

test('filter, exclusion and the counters that go with them', async () => {
  const records = Array.from({ length: 100 }, (_, i) => ({ data: udp({ port: 5000 + (i % 4) }) }));
  const both = await read(pcap(records), { filter: 'udp port 5000 or udp port 5001', exclusion: 'port 5001' });
  assert.equal(both.error, undefined);
  assert.equal(both.captures[0].info.filter, '(udp port 5000 or udp port 5001) and not (port 5001)');
  assert.equal(both.stats.captured, 25);
  assert.equal(both.stats.filtered, 75);
  assert.equal(both.stats.received, 100);
  const only = await read(pcap(records), { exclusion: 'port 5001' });
  assert.equal(only.captures[0].info.filter, 'not (port 5001)');
  assert.equal(only.packets, 75);
});

test('an exclusion that means nothing on this link type is left out; one that means nothing at all is refused', async () => {
  const usb = pcap([{ data: Buffer.alloc(64) }], { linkType: 189 });
  const left = await read(usb, { exclusion: 'tcp port 9000' });
  assert.equal(left.error, undefined);
  assert.equal(left.captures[0].info.filter, '');
  assert.equal(left.packets, 1);
  assert.equal((await read(pcap(some(1)), { exclusion: 'tcp prt 9000' })).error.code, 'FILTER');
});

test('a filter that does not compile; brackets cannot reach beyond their own text', async () => {
  for (const filter of ['tcp prt 80', 'udp) or (tcp', '(udp', 'ip and arp']) {
    const { error, captures } = await read(pcap(some(1)), { filter, exclusion: 'port 9000' });
    assert.equal(error.code, 'FILTER', filter);
    assert.equal(captures.length, 0);
  }
  assert.equal((await read(pcap(some(1)), { exclusion: 'udp) or (tcp' })).error.code, 'FILTER');
});

test('a filter that looks behind a VLAN tag does not blind the exclusion', async () => {
  const { captures, packets } = await read(pcap([{ data: udp({ port: 9000 }) }, { data: udp() }]), {
    filter: 'udp or vlan',
    exclusion: 'port 9000',
  });
  assert.equal(captures[0].info.filter, 'not (port 9000) and (udp or vlan)');
  assert.equal(packets, 1);
});

test('what tcpdump makes of the same file', needs('tcpdump'), async (t) => {
  const flag = (bytes) => Buffer.from(bytes, 'hex');
  const cases = {
    'big endian, a filter': [pcap(some(20), { big: true }), 'udp[8:4] & 1 = 0'],
    'swapped pseudo header, USB': [
      pcap([{ data: Buffer.alloc(64, flag('0102030405060708')) }], { big: true, linkType: 189 }),
    ],
    'swapped pseudo header, USB mmapped': [
      pcap([{ data: Buffer.alloc(64, flag('0102030405060708')) }], { big: true, linkType: 220 }),
    ],
    'swapped pseudo header, NFLOG': [
      pcap([{ data: flag('0000000000080001000200000000') }], { big: true, linkType: 239 }),
    ],
    'swapped pseudo header, pflog': [pcap([{ data: Buffer.alloc(64, 1) }], { big: true, linkType: 117 })],
    'pcapng in nanoseconds': [
      Buffer.concat([
        pcapng().section(),
        pcapng().interface({ resolution: 9 }),
        pcapng().enhanced({ data: udp(), time: 1_700_000_000_123_456_789n }),
      ]),
    ],
  };
  for (const [what, [bytes, filter = '']] of Object.entries(cases))
    await t.test(what, async () => {
      const { error, captures } = await read(bytes, { filter });
      assert.equal(error, undefined);
      assert.ok(captures[0].packets.length > 0);
      assert.deepEqual(captures[0].packets, tcpdumpReads(write(bytes), filter));
    });
});

test('what tshark makes of a pcapng file with two interfaces', needs('tshark'), async () => {
  const ng = pcapng(true);
  const parts = [
    ng.section(),
    ng.interface({ name: 'a', resolution: 9 }),
    ng.interface({ name: 'b', resolution: 0x94, offset: 1_700_000_000n }),
  ];
  for (let i = 0; i < 50; i++)
    parts.push(
      ng.enhanced({
        id: i % 2,
        time: i % 2 ? BigInt(i) * 77n : 1_600_000_000_000_000_000n + BigInt(i),
        data: udp({ mark: i, size: 60 + i }),
      }),
    );
  const bytes = Buffer.concat(parts);
  const { captures } = await read(bytes);
  const ours = captures.flatMap(({ info, packets }) =>
    packets.map(
      ({ timestampNs, data }) =>
        `${info.interface} ${timestampNs / 1_000_000_000n}.${String(timestampNs % 1_000_000_000n).padStart(9, '0')} ${data.length}`,
    ),
  );
  const { stdout } = spawnSync(
    'tshark',
    [
      '-r',
      write(bytes),
      '-T',
      'fields',
      '-E',
      'separator= ',
      '-e',
      'frame.interface_name',
      '-e',
      'frame.time_epoch',
      '-e',
      'frame.cap_len',
    ],
    { encoding: 'utf8' },
  );
  assert.deepEqual(ours.sort(), stdout.trim().split('\n').sort());
});

test('stopping a file: what is in blocks is delivered, the rest is not read', async () => {
  const pool = addon.createPool(1);
  const held = [];
  const run = collect({ file: write(pcap(some(20_000, 200))) }, { pool, onBlock: (block) => held.push(block) });
  await run.captured(1);
  run.session.stop(); // the thread waits for a block
  assert.equal(await run.ended, undefined);
  assert.ok(run.packets < 20_000);
  assert.equal(run.packets, run.session.stats().captured);
  run.session.stop();
  run.session.stop(false);
  assert.equal(pool.free, 0);
  pool.release(held[0]);
});

test('setFilter while reading, and after the end', async () => {
  const pool = addon.createPool(1);
  let first;
  const run = collect(
    { file: write(pcap(some(20_000, 200))) },
    { pool, onBlock: (block) => (first === undefined ? (first = block) : pool.release(block)) },
  );
  await run.captured(1);
  await assert.rejects(run.session.setFilter('udp prt 1'), { code: 'FILTER', message: /syntax error/ });
  assert.equal((await run.session.setFilter('tcp')).filter, 'tcp');
  assert.equal((await run.session.setExclusion('port 1')).filter, '(tcp) and not (port 1)');
  pool.release(first);
  assert.equal(await run.ended, undefined);
  const { captured, filtered, received } = run.session.stats();
  assert.ok(filtered > 0);
  assert.equal(captured + filtered, received);
  assert.equal(received, 20_000);
  await assert.rejects(run.session.setFilter('udp'), { code: 'FAILED', message: /has ended/ });
});

test(
  'a pipe that nobody writes to can be stopped; one that is written to slowly is read as it comes',
  needs('mkfifo'),
  async () => {
    const fifo = path.join(folder, 'fifo');
    spawnSync('mkfifo', [fifo]);
    const silent = collect({ file: fifo });
    silent.session.stop();
    assert.equal(await silent.ended, undefined);
    assert.equal(silent.captures.length, 0);

    const run = collect({ file: fifo, flushMs: 10 });
    const writer = spawn('sh', ['-c', `exec 3>'${fifo}'; cat '${write(pcap(some(3)))}' >&3; read line`], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    await run.captured(3); // though the file hasn't ended
    run.session.stop();
    assert.equal(await run.ended, undefined);
    writer.stdin.end();
  },
);

test('standard input', async () => {
  const program = `
    const addon = require(${JSON.stringify(path.join(__dirname, '..', 'index.js'))});
    const pool = addon.createPool(1);
    let packets = 0;
    addon.open(pool, { file: '-' }, {
      onCapture() {},
      onBlock(id, block, length, count) { packets += count; pool.release(block); },
      onEnd(error) { console.log(packets, error?.code); },
    });`;
  const piped = spawnSync(process.execPath, ['-e', program], { input: pcap(some(1000)), encoding: 'utf8' });
  assert.equal(piped.stdout, '1000 undefined\n');
  const file = fs.openSync(write(pcap(some(1000)).subarray(0, 50_000)), 'r');
  const opened = spawnSync(process.execPath, ['-e', program], { stdio: [file, 'pipe', 'inherit'], encoding: 'utf8' });
  assert.equal(opened.stdout, `${Math.floor((50_000 - 24) / 76)} FILE_TRUNCATED\n`);
});

test('timestamps of first and last packet, and blocks that are filled to the brim', async () => {
  const { blocks, captures, stats } = await read(pcap(some(50_000, 300)));
  assert.equal(captures[0].packets.length, 50_000);
  assert.equal(stats.capturedBytes, 15_000_000);
  // 300 bytes of data take 317 in a block, and less than one packet's room stays unused.
  const each = Math.floor((addon.BLOCK_BYTES - addon.BLOCK_HEAD - 323) / 317) + 1;
  assert.equal(blocks, Math.ceil(50_000 / each));
});
