'use strict';
// One packet of every encapsulation: which addresses leave it out, which don't, and what a cut changes.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { addon, collect, pcap, write } = require('./support.js');
const { bytesOf, rules } = require('./addresses.js');

const hex = (text) => Buffer.from(text.replace(/\s/g, ''), 'hex');
const u16 = (number) => Buffer.from([number >> 8, number & 255]);
const join = (...parts) => Buffer.concat(parts.map((part) => (typeof part === 'string' ? hex(part) : part)));

const ip4 = (source, destination, protocol, carried, { flags = 0, id = 7, options = '' } = {}) => {
  const more = hex(options);
  const head = join(Buffer.from([0x45 + more.length / 4, 0]), u16(20 + more.length + carried.length), u16(id), u16(flags), Buffer.from([64, protocol]), '0000'); // prettier-ignore
  return join(head, bytesOf(source), bytesOf(destination), more, carried);
};
const ip6 = (source, destination, next, carried) =>
  join('60000000', u16(carried.length), Buffer.from([next, 64]), bytesOf(source), bytesOf(destination), carried);
const udp = (port, carried = hex('00'), from = 1000) =>
  join(u16(from), u16(port), u16(8 + carried.length), '0000', carried);
const ethernet = (type, carried) => join('020000000002 020000000001', u16(type), carried);
const vxlan = (frame, port = 4789) => udp(port, join('08000000 00000500', frame));
const fragment6 = (next, offset, carried, id = 9) =>
  join(Buffer.from([next, 0]), u16(offset), u16(0), u16(id), carried);

const [A, B, C, D, OTHER] = ['192.0.2.1', '198.51.100.2', '203.0.113.3', '203.0.113.4', '203.0.113.5'];
const [A6, B6, C6, D6] = ['2001:db8::1', '2001:db8::2', '2001:db8:1::3', '2001:db8:1::4'];
const plain4 = ip4(C, D, 17, udp(1));
const plain6 = ip6(C6, D6, 17, udp(1));
const inner4 = [C, D];
const inner6 = [C6, D6];
const gre = (type, carried, flags = '0000', rest = '') => ip4(A, B, 47, join(flags, u16(type), rest, carried));

/** [name, link type, packet, addresses that leave it out, inner packet: what must be whole for the last of them] */
const rows = [
  ['Ethernet, IPv4', 1, ethernet(0x0800, plain4), inner4, plain4],
  ['Ethernet, IPv6', 1, ethernet(0x86dd, plain6), inner6, plain6],
  ['IPv4 with options', 1, ethernet(0x0800, ip4(C, D, 17, udp(1), { options: '01010101 01010100' })), inner4],
  ['ARP', 1, ethernet(0x0806, join('0001 0800 06 04 0001 020000000001', bytesOf(C), '000000000000', bytesOf(D))), []],
  ['802.3 length', 1, ethernet(60, join('aaaa03 000000 0800', plain4)), []],
  ['VLAN', 1, ethernet(0x8100, join('0005 0800', plain4)), inner4, plain4],
  ['VLAN, IPv6', 1, ethernet(0x8100, join('0005 86dd', plain6)), inner6, plain6],
  ['QinQ', 1, ethernet(0x88a8, join('0005 8100 0006 0800', plain4)), inner4, plain4],
  ['QinQ by 0x9100', 1, ethernet(0x9100, join('0005 8100 0006 86dd', plain6)), inner6, plain6],
  ['PPPoE', 1, ethernet(0x8864, join('11 00 0001', u16(plain4.length + 2), '0021', plain4)), inner4, plain4],
  ['PPPoE, IPv6', 1, ethernet(0x8864, join('11 00 0001', u16(plain6.length + 2), '0057', plain6)), inner6, plain6],
  ['PPPoE discovery', 1, ethernet(0x8863, join('11 09 0000', u16(plain4.length + 2), '0021', plain4)), []],
  ['PPPoE in VLAN', 1, ethernet(0x8100, join('0001 8864 11 00 0001', u16(plain4.length + 2), '0021', plain4)), inner4, plain4], // prettier-ignore
  ['IPv4 in IPv4', 101, ip4(A, B, 4, plain4), [A, B, ...inner4], plain4],
  ['IPv6 in IPv4', 101, ip4(A, B, 41, plain6), [A, B, ...inner6], plain6],
  ['IPv4 in IPv6', 101, ip6(A6, B6, 4, plain4), [A6, B6, ...inner4], plain4],
  ['IPv6 in IPv6', 101, ip6(A6, B6, 41, plain6), [A6, B6, ...inner6], plain6],
  ['three deep', 101, ip4(A, B, 41, ip6(A6, B6, 4, plain4)), [A, B, A6, B6, ...inner4], plain4],
  ['extensions to IPv4', 101, ip6(A6, B6, 0, join('3c00 000000000000 0400 000000000000', plain4)), [A6, B6, ...inner4], plain4], // prettier-ignore
  ['AH', 101, ip4(A, B, 51, join('0404 0000 00000001 00000001 000000000000000000000000', plain4)), [A, B, ...inner4], plain4], // prettier-ignore
  ['GRE', 101, gre(0x0800, plain4), [A, B, ...inner4], plain4],
  ['GRE, IPv6', 101, gre(0x86dd, plain6), [A, B, ...inner6], plain6],
  ['GRE with a checksum', 101, gre(0x0800, plain4, '8000', '00000000'), [A, B, ...inner4], plain4],
  ['GRE with a key', 101, gre(0x0800, plain4, '2000', '00000007'), [A, B, ...inner4], plain4],
  ['GRE with all', 101, gre(0x0800, plain4, 'b000', '00000000 00000007 00000001'), [A, B, ...inner4], plain4],
  ['GRE with Ethernet', 101, gre(0x6558, ethernet(0x8100, join('0001 0800', plain4))), [A, B, ...inner4], plain4],
  ['GRE version 1', 101, gre(0x880b, plain4, '2001', '00000000'), [A, B]],
  ['GRE with a route', 101, gre(0x0800, plain4, '4000', '00000000'), [A, B]],
  ['GRE in IPv6', 101, ip6(A6, B6, 47, join('0000 0800', plain4)), [A6, B6, ...inner4], plain4],
  ['VXLAN', 1, ethernet(0x0800, ip4(A, B, 17, vxlan(ethernet(0x0800, plain4)))), [A, B, ...inner4], plain4],
  ['VXLAN by 8472', 1, ethernet(0x0800, ip4(A, B, 17, vxlan(ethernet(0x86dd, plain6), 8472))), [A, B, ...inner6], plain6], // prettier-ignore
  ['VXLAN without a number', 101, ip4(A, B, 17, udp(4789, join('00000000 00000500', ethernet(0x0800, plain4)))), [A, B]], // prettier-ignore
  ['UDP of another port', 101, ip4(A, B, 17, vxlan(ethernet(0x0800, plain4), 4790)), [A, B]],
  ['padding is no packet', 1, join(ethernet(0x0800, join(ip4(A, B, 4, Buffer.alloc(0)))), plain4), [A, B]],
  ['NULL', 0, join('02000000', plain4), inner4, plain4],
  ['NULL, IPv6 of macOS', 0, join('0000001e', plain6), inner6, plain6],
  ['LOOP, IPv6 of OpenBSD', 108, join('00000018', plain6), inner6, plain6],
  ['RAW of another kind', 12, plain6, inner6, plain6],
  ['IPV4', 228, plain4, inner4, plain4],
  ['IPV6', 229, plain6, inner6, plain6],
  ['IPV4 with IPv6 in it', 228, plain6, []],
  ['LINUX_SLL', 113, join('0000 0001 0006 0200000000010000 0800', plain4), inner4, plain4],
  ['LINUX_SLL, VLAN', 113, join('0000 0001 0006 0200000000010000 8100 0005 86dd', plain6), inner6, plain6],
  ['LINUX_SLL2', 276, join('86dd 0000 00000002 0001 00 06 0200000000010000', plain6), inner6, plain6],
  ['PPP', 9, join('ff03 0021', plain4), inner4, plain4],
  ['PPP, compressed', 9, join('57', plain6), inner6, plain6],
  ['PPP, serial', 50, join('ff03 0057', plain6), inner6, plain6],
  ['PPP, Ethernet', 51, join('11 00 0001', u16(plain4.length + 2), '0021', plain4), inner4, plain4],
  ['USB', 189, plain4, []],
];

/** Whether each packet was left out. */
async function judge(linkType, packets, ...excepted) {
  const exceptions = addon.createExceptions(rules(...excepted), 1);
  const run = collect({ file: write(pcap(packets.map((data, seconds) => ({ data, seconds })), { linkType }), 'e.pcap'), exceptions }); // prettier-ignore
  assert.equal(await run.ended, undefined);
  const kept = new Set(run.captures[0].packets.map(({ timestampNs }) => Number(timestampNs / 1_000_000_000n)));
  return packets.map((_, i) => !kept.has(i));
}

test('every encapsulation: by any of its addresses, and by no other', async (t) => {
  for (const [name, linkType, packet, addresses] of rows)
    await t.test(name, async () => {
      for (const address of [A, B, C, D, OTHER, A6, B6, C6, D6])
        assert.deepEqual(await judge(linkType, [packet], address), [addresses.includes(address)], address);
      const networks = ['192.0.2.0/24', '2001:db8::/48', '203.0.112.0/23', '2001:db8:1::/48'];
      const of = [A, A6, C, C6];
      for (const [i, network] of networks.entries())
        assert.deepEqual(await judge(linkType, [packet], network), [addresses.includes(of[i])], network);
    });
});

test('cut anywhere: left out as soon as the header is whole, and not before', async () => {
  for (const [name, linkType, packet, addresses, inner] of rows) {
    if (!inner) continue;
    const cuts = Array.from({ length: packet.length + 1 }, (_, length) => packet.subarray(0, length));
    const whole = packet.length - inner.length + (inner === plain4 ? 20 : 40);
    const expected = cuts.map((_, length) => length >= whole);
    assert.deepEqual(await judge(linkType, cuts, addresses.at(-1)), expected, name);
  }
});

const MORE = 0x2000;
/** What each does: x is left out, . is kept. */
const marks = async (packets, ...excepted) =>
  (await judge(101, packets, ...excepted)).map((out) => (out ? 'x' : '.')).join('');

test('fragments follow their first', async () => {
  const four = (offset, carried, id) => ip4(A, B, 4, carried, { flags: offset, id });
  const [first, second, last] = [four(MORE, plain4), four(MORE | 60, Buffer.alloc(64)), four(120, Buffer.alloc(64))];
  assert.equal(await marks([first, second, last], C), 'xxx');
  assert.equal(await marks([first, last, second], C), 'xxx');
  assert.equal(await marks([second, first, last], C), '.xx');
  assert.equal(
    await marks([first, four(120, Buffer.alloc(64), 8), ip4(A, C, 4, Buffer.alloc(64), { flags: 120 })], D),
    'x..',
  );
  assert.equal(await marks([first, ip4(A, B, 17, Buffer.alloc(64), { flags: 120 })], C), 'x.');
  assert.equal(await marks([first, second, last], B), 'xxx');
  // The number comes again, with a packet that stays.
  assert.equal(await marks([first, four(MORE, ip4(OTHER, OTHER, 17, udp(1))), second], C), 'x..');
  // Time: a packet a second.
  assert.equal(await marks([first, ...Array(29).fill(plain6), second, last], C), `x${'.'.repeat(29)}x.`);
});

test('fragments of IPv6, and of what is in tunnels', async () => {
  const six = (offset, carried, id) => ip6(A6, B6, 44, fragment6(41, offset, carried, id));
  const [first, second, other] = [six(1, plain6), six(1448, Buffer.alloc(64)), six(1448, Buffer.alloc(64), 10)];
  assert.equal(await marks([first, second, other], C6), 'xx.');
  assert.equal(await marks([second, first], C6), '.x');
  assert.equal(await marks([six(0, plain6), second], C6), 'x.', 'an atomic fragment is a whole packet');
  const tunnel = (carried) => ip4(OTHER, OTHER, 47, join('0000 86dd', carried));
  assert.equal(await marks([tunnel(first), tunnel(second), second, tunnel(other)], C6), 'xxx.');
  // Both layers are in fragments: the outer one's last piece belongs to a packet that is left out, too.
  const outer = (offset, carried) => ip4(OTHER, OTHER, 41, carried, { flags: offset });
  assert.equal(await marks([first, outer(MORE, second), outer(100, Buffer.alloc(9))], C6), 'xxx');
});

test('eight headers deep, and no more; 32 layers, and no more', async () => {
  const nested = (depth) => (depth === 0 ? plain4 : ip4(A, B, 4, nested(depth - 1)));
  assert.equal(await marks([nested(7), nested(8), nested(20)], C), 'x..');
  const tagged = (count) => ethernet(0x8100, join(...Array(count - 1).fill('0001 8100'), '0001 0800', plain4));
  assert.deepEqual(await judge(1, [tagged(1), tagged(31), tagged(32)], C), [true, true, false]);
  const extended = (count) =>
    ip6(A6, B6, 0, join(...Array(count - 1).fill('0000 000000000000'), '0400 000000000000', plain4));
  assert.equal(await marks([extended(1), extended(16), extended(17)], C), 'xx.');
});
