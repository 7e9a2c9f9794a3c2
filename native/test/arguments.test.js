'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { rules } = require('./addresses.js');
const { addon, folder, needs, test } = require('./support.js');

const handlers = { onCapture() {}, onBlock() {}, onEnd() {} };

test('constants and version', () => {
  assert.equal(addon.BLOCK_HEAD, 128);
  assert.equal(addon.MAX_SNAPLEN, 262144);
  assert.ok(addon.BLOCK_BYTES >= 128 + 262144 + 23 && addon.BLOCK_BYTES % 4096 === 0);
  assert.match(addon.version(), /^libpcap version 1\.\d+\.\d+/);
});

test('link types', () => {
  assert.deepEqual(addon.linkTypeName(1), ['EN10MB', 'Ethernet']);
  assert.deepEqual(addon.linkTypeName(101), ['RAW', 'Raw IP']);
  assert.equal(addon.linkTypeName(65000), undefined);
  for (let value = 0; value < 300; value++) {
    const found = addon.linkTypeName(value);
    // A few values are one and the same for libpcap (12, 14 and 101).
    if (found) assert.equal(addon.linkTypeName(addon.linkTypeByName(found[0]))[0], found[0]);
  }
  assert.equal(addon.linkTypeByName('EN10MB'), 1);
  assert.equal(addon.linkTypeByName('RAW'), 101);
  assert.equal(addon.linkTypeByName('no such'), undefined);
  for (const wrong of [-1, 65536, 1.5, '1', undefined]) assert.throws(() => addon.linkTypeName(wrong), TypeError);
});

test('exceptions: what is no rule', () => {
  const { createExceptions } = addon;
  for (const bad of [rules('1.2.3.4/33'), rules('::/129'), rules('::1 2'), rules('1.2.3.4').subarray(1), [], undefined])
    assert.throws(() => createExceptions(bad, 2), TypeError);
  for (const at of [16, 18, 19]) {
    const bytes = rules('::1', '::2');
    bytes[24 + at] = 5;
    assert.throws(() => createExceptions(bytes, 1), { name: 'TypeError', message: 'rule 1 is not one' });
  }
  for (const names of [-1, 1.5, undefined]) assert.throws(() => createExceptions(rules(), names), TypeError);
  const none = createExceptions(rules(), 0);
  assert.equal(none.entries, 0);
  assert.ok(Object.isFrozen(none));
  assert.equal(createExceptions(rules('10.0.0.0/8', '10.1.2.3/8', '10.0.0.0/9', '::1', '::1', '::'), 1).entries, 4);
});

const compiled = [
  ['tcp', ''],
  ['', 'tcp port 9000'],
  [['tcp', 'port 80 or port 443'], 'host 192.0.2.1'],
  [['vlan 7 and tcp', 'len > 100'], 'host 192.0.2.1'],
  ['len < 1 or ip6 protochain 17 or ether[0] & 1 = 1 and ip[6:2] & 0x1fff != 0 and (ip[0] * 4 / 2) >> 1 > -5', ''],
];
test('a program is the one that tcpdump shows', needs('tcpdump'), async () => {
  for (const [filter, exclusion] of compiled) {
    const program = await addon.compile(filter, 1, 262144, exclusion);
    const { stdout, stderr } = spawnSync('tcpdump', ['-y', 'EN10MB', '-s', '262144', '-d', program.filter], {
      encoding: 'utf8',
    });
    assert.equal(program.listing, stdout, stderr);
  }
});

test('several filters are one: each keeps its meaning', async () => {
  const joined = async (...given) => (await addon.compile(given[0], 1, 262144, given[1])).filter;
  assert.equal(await joined(['tcp', '', 'udp or ip']), '(tcp) and (udp or ip)');
  assert.equal(await joined(['tcp', 'ip'], 'port 1 or port 2'), '(tcp) and (ip) and not (port 1 or port 2)');
  assert.equal(await joined(['vlan and ip', 'len > 9'], 'port 1'), 'not (port 1) and (len > 9) and (vlan and ip)');
  assert.equal(await joined(['ip', 'tcp'], 'vlan 5'), '(ip) and (tcp) and not (vlan 5)');
  assert.equal(await joined(['vlan'], ''), 'vlan');
  await assert.rejects(joined(['tcp) or (udp', 'ip']), { code: 'FILTER' });
  for (const two of [
    [['vlan 5', 'tcp', 'mpls'], ''],
    [['geneve'], 'pppoes'],
  ])
    await assert.rejects(joined(...two), {
      code: 'FILTER',
      message: /^'\w+( 5)?' and '\w+( 5)?' cannot be joined: each has /,
    });
});

test('exit', () => {
  for (const wrong of [-1, 256, 1.5, '0', undefined]) assert.throws(() => addon.exit(wrong), TypeError);
});

test('compile', async () => {
  assert.deepEqual(await addon.compile('', 1, 65535), {
    filter: '',
    instructions: 1,
    listing: '(000) ret      #65535\n',
  });
  assert.deepEqual(await addon.compile([], 1, 65535), await addon.compile(['', ''], 1, 65535));
  await assert.rejects(addon.compile('tcp prt 80', 1, 65535), {
    name: 'Error',
    code: 'FILTER',
    message: "can't parse filter expression: syntax error",
  });
  await assert.rejects(addon.compile('tcp', 189, 65535), { code: 'FILTER' });
  const many = await Promise.all(Array.from({ length: 50 }, (_, i) => addon.compile(`port ${i + 1}`, 1, 96)));
  many.forEach(({ filter, instructions, listing }, i) => {
    assert.equal(filter, `port ${i + 1}`);
    assert.equal(listing.trimEnd().split('\n').length, instructions);
    assert.match(listing, new RegExp(`jeq +#0x${(i + 1).toString(16)} `));
  });
  for (const wrong of [
    ['tcp\0', 1, 1],
    [1, 1, 1],
    ['tcp', -1, 1],
    ['tcp', 1, 0],
    ['tcp', 1, 262145],
    ['x'.repeat(65537), 1, 1],
  ])
    assert.throws(() => addon.compile(...wrong), TypeError);
});

test('a pool', () => {
  const pool = addon.createPool(3);
  assert.equal(pool.free, 3);
  assert.equal(pool.blocks.length, 3);
  for (const block of pool.blocks) assert.ok(block instanceof Uint8Array && block.length === addon.BLOCK_BYTES);
  assert.notEqual(pool.blocks[0].buffer, pool.blocks[1].buffer);
  for (const block of [0, 1, 2, 3, -1, 1.5, '0', undefined, 2 ** 32])
    assert.throws(() => pool.release(block), TypeError);
  for (const count of [0, -1, 1.5, 65537, '3', undefined]) assert.throws(() => addon.createPool(count), TypeError);
  assert.throws(() => pool.blocks.push(1), TypeError);
  // The capture thread writes there: it must not move away.
  assert.throws(() => structuredClone(pool.blocks[0], { transfer: [pool.blocks[0].buffer] }), {
    name: 'DataCloneError',
  });
});

test('memory of blocks that were never used is not taken from the system', () => {
  const before = process.memoryUsage().rss;
  const pool = addon.createPool(1000);
  assert.ok(process.memoryUsage().rss - before < 64 << 20);
  assert.equal(pool.free, 1000);
});

test('open refuses what makes no sense, with words that say what', () => {
  const pool = addon.createPool(1);
  const refused = (options, words) =>
    assert.throws(
      () => addon.open(pool, options, handlers),
      (error) => error instanceof TypeError && words.test(error.message),
    );
  refused(undefined, /options must be an object/);
  refused({}, /exactly one of the options 'interface' and 'file'/);
  refused({ interface: 'lo', file: 'x' }, /exactly one/);
  refused({ interface: '' }, /interface must not be empty/);
  refused({ interface: 7 }, /interface must be a string, not 7/);
  refused({ file: 'a\0b' }, /file must not contain a zero character/);
  refused({ file: 'x', filter: null }, /filter must be a string/);
  refused({ file: 'x', exclusion: 1 }, /exclusion must be a string/);
  refused({ interface: 'lo', snaplen: 0 }, /snaplen must be a whole number from 1 to 262144, not 0/);
  refused({ interface: 'lo', snaplen: 262145 }, /snaplen/);
  refused({ interface: 'lo', promiscuous: 1 }, /promiscuous must be true or false/);
  refused({ interface: 'lo', bufferBytes: 2 ** 31 }, /bufferBytes/);
  refused({ interface: 'lo', flushMs: -1 }, /flushMs/);
  refused({ interface: 'lo', dns: 1 }, /dns must be true or false/);
  refused({ interface: 'lo', dns: true }, /handlers.onDns must be a function/);
  refused({ interface: 'lo', exceptions: {} }, /exceptions must come from createExceptions/);
  refused({ interface: 'lo', snapLen: 1 }, /there is no option 'snapLen'/);
  assert.throws(() => addon.open({}, { file: 'x' }, handlers), /pool must come from createPool/);
  assert.throws(() => addon.open(undefined, { file: 'x' }, handlers), TypeError);
  assert.throws(() => addon.open(pool, { file: 'x' }, { ...handlers, onEnd: 1 }), /handlers.onEnd must be a function/);
  assert.throws(() => addon.open(pool, { file: 'x' }), /handlers.onCapture must be a function/);
});

test('a session refuses the same', async () => {
  let session;
  await new Promise(
    (resolve) => (session = addon.open(addon.createPool(1), { file: folder }, { ...handlers, onEnd: resolve })),
  );
  assert.throws(() => session.setFilter(1), TypeError);
  assert.throws(() => session.setExclusion('a\0'), TypeError);
  assert.throws(() => session.stop(1), TypeError);
  assert.throws(() => session.setFilter(['ip', 1]), TypeError);
  assert.throws(() => session.setFilter(Array(17).fill('ip')), TypeError);
  assert.throws(() => session.setExceptions({}), /exceptions must come from createExceptions/);
  assert.throws(() => session.setExceptions(undefined, null), /learned must come from createExceptions/);
  for (const wrong of [0, 262145, '1', undefined]) assert.throws(() => session.setSnaplen(wrong), TypeError);
  assert.deepEqual(session.excludedBy(), {});
  session.goOn();
});

test('options left undefined are left out; methods of handlers keep their this', async () => {
  const file = path.join(folder, 'none.pcap');
  class Sink {
    constructor() {
      this.ended = new Promise((resolve) => (this.resolve = resolve));
    }
    onCapture() {}
    onBlock() {}
    onEnd(error) {
      this.resolve(error);
    }
  }
  const sink = new Sink();
  addon.open(addon.createPool(1), { interface: undefined, file, filter: undefined, snaplen: undefined }, sink);
  assert.equal((await sink.ended).code, 'FILE_OPEN');
});

test('a missing binary and a broken one are told apart; wrap.js takes a binding', () => {
  const copy = path.join(folder, 'copy');
  const prebuilds = path.join(copy, 'prebuilds', `${process.platform}-${process.arch}`);
  fs.mkdirSync(prebuilds, { recursive: true });
  for (const file of ['index.js', 'wrap.js', 'package.json'])
    fs.copyFileSync(path.join(__dirname, '..', file), path.join(copy, file));
  const modules = path.dirname(path.dirname(require.resolve('node-gyp-build/package.json')));
  const load = () => {
    const program = `try { require(${JSON.stringify(copy)}); } catch (error) { console.log(error.code, error.message); }`;
    return spawnSync(process.execPath, ['-e', program], {
      encoding: 'utf8',
      env: { ...process.env, NODE_PATH: modules, NODE_PCAP_NATIVE_PREBUILD: '' },
    }).stdout;
  };
  assert.match(load(), /^ADDON_MISSING could not load 'node-pcap-native': no binary for /);
  fs.writeFileSync(path.join(prebuilds, 'node-pcap-native.node'), 'garbage');
  assert.match(load(), /^ADDON_BROKEN could not load 'node-pcap-native': /);

  const binding = { exports: {} };
  process.dlopen(binding, require('node-gyp-build').resolve(path.join(__dirname, '..')));
  const wrapped = require('../wrap.js')(binding.exports);
  assert.equal(wrapped.version(), addon.version());
  assert.deepEqual(Object.keys(wrapped), Object.keys(addon));
});
