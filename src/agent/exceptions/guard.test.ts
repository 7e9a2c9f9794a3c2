import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { addressText, parseAddress } from '../../formats/address.ts';
import { type NetworkEntry, parseEntry } from '../../formats/exceptions.ts';
import { Addresses } from './addresses.ts';
import { type Network, refusal, shareOf } from './guard.ts';
import { Guard } from './guarding.ts';
import { covering, hostRules, nameOf, RULE_BYTES, rulesOf } from './rules.ts';

const networks = (...texts: string[]) => texts.map(parseEntry) as NetworkEntry[];
const network = (text: string): Network => {
  const { address, prefix } = parseEntry(text) as NetworkEntry;
  return { address, prefix };
};
const kept = (text: string, whose = 'an address of this host') => ({ address: parseAddress(text)!, whose });
const HOST = {
  kept: [kept('10.1.0.5'), kept('fd00::5'), kept('198.51.100.1', 'an address of the collector')],
  networks: ['10.1.0.0/24', 'fd00::/64', '10.9.0.0/31', '10.1.0.5'].map(network),
};
const reason = (...texts: string[]) => refusal(rulesOf(networks(...texts)), HOST);

test('what a list is for is let through', () => {
  assert.equal(reason(), undefined);
  assert.equal(reason('192.0.2.0/24', '2001:db8::/32', '20.0.0.0/8', '2600::/12', '16.0.0.0/5', 'fe00::/8'), undefined);
  assert.equal(reason('10.1.0.128/25', '10.9.0.0/31'), undefined);
  assert.equal(reason('16.0.0.0/4'), undefined);
});

test('what would blind the capture is refused, and named', () => {
  const WRONG: [texts: string[], reason: RegExp][] = [
    [['0.0.0.0/0'], /^'0\.0\.0\.0\/0' covers 100 % of all IPv4 addresses; at most 6\.25 % may be left out$/],
    [['128.0.0.0/2'], /^'128\.0\.0\.0\/2' covers 25 %/],
    [['16.0.0.0/4', '192.0.2.1'], /^together they cover 6\.25 %/],
    [['32.0.0.0/5', '64.0.0.0/5', '96.0.0.0/8'], /^together they cover 6\.64 %/],
    [['::/0'], /'::\/0' is too wide: a prefix of an IPv6 network has at least 8 bits/],
    [['2000::/7'], /too wide/],
    [['2000::/8', '2100::/8', '2200::/8'], /^together they cover 9\.38 % of all IPv6 addresses/],
    [['10.1.0.5'], /^'10\.1\.0\.5' covers 10\.1\.0\.5, an address of this host$/],
    [['192.0.2.1', '10.1.0.4/30'], /^'10\.1\.0\.4\/30' covers 10\.1\.0\.5/],
    [['fd00::/126', 'fd00::4/126'], /'fd00::4\/126' covers fd00::5, an address of this host/],
    [['198.51.0.0/16'], /covers 198\.51\.100\.1, an address of the collector/],
    [['10.1.0.128/25', '10.1.0.1'], /^together they cover 50\.4 % of 10\.1\.0\.0\/24, a network of this host/],
    [['fd00::8000:0:0:0/65', 'fd00::1:0:0:0/80'], /^together they cover 50 % of fd00::\/64/],
  ];
  for (const [texts, expected] of WRONG) assert.match(reason(...texts) ?? 'nothing', expected, texts.join());
});

test('rules are what the addon takes', () => {
  const { bytes, names } = rulesOf(networks('192.0.2.0/24', '2001:db8::1'));
  assert.deepEqual(names, ['192.0.2.0/24', '2001:db8::1']);
  assert.equal(bytes.length, 2 * RULE_BYTES);
  assert.deepEqual([...bytes.subarray(0, 24)], [192, 0, 2, ...Array<number>(13).fill(0), 4, 24, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual([...bytes.subarray(40)], [6, 128, 0, 0, 1, 0, 0, 0]);
  const hosts = hostRules(['a', 'b', 'a'].map((name, i) => ({ name, address: Uint8Array.of(192, 0, 2, i) })));
  assert.deepEqual(hosts.names, ['a', 'b']);
  assert.deepEqual([0, 1, 2].map((i) => nameOf(hosts, i)), ['a', 'b', 'a']); // prettier-ignore
  const many = rulesOf(Array.from({ length: 70_000 }, () => networks('192.0.2.1')[0]!));
  assert.deepEqual([...many.bytes.subarray(-4)], [0x6f, 0x11, 1, 0]);
});

test('which rule covers an address, as ipaddr.js says', () => {
  const address = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  const rule = fc.tuple(address, fc.nat(128)).map(([bytes, p]) => {
    const text = `${addressText(bytes)}/${p % (bytes.length * 8 + 1)}`;
    const kind = bytes.length === 4 ? ipaddr.IPv4 : ipaddr.IPv6;
    return `${kind.networkAddressFromCIDR(text).toString()}/${text.split('/')[1]}`;
  });
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 8 }), address, fc.nat(7), fc.nat(128), (texts, any, pick, keep) => {
      const entries = networks(...texts);
      const like = entries[pick]?.address;
      // Close to one of them, so that it is covered now and then.
      const bytes = like ? like.map((b, i) => (i * 8 >= keep ? (any[i % any.length] ?? b) : b)) : any;
      const theirs = ipaddr.fromByteArray([...bytes]);
      const expected = entries.findIndex(({ text, prefix, address: start }) => {
        const range = [ipaddr.fromByteArray([...start]), prefix] as [ipaddr.IPv4, number];
        return start.length === bytes.length && (theirs as ipaddr.IPv4).match(range) && text !== '';
      });
      assert.equal(covering(rulesOf(entries), bytes), expected);
    }),
    { numRuns: 3000 },
  );
});

test('the share of a network, counted address by address', () => {
  const rule = fc.tuple(fc.nat(255), fc.integer({ min: 22, max: 32 })).map(([last, prefix]) => {
    const size = 2 ** (32 - prefix);
    const at = Math.floor((1024 + last) / size) * size;
    return `10.0.${at >> 8}.${at & 255}/${prefix}`;
  });
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 30 }), fc.double({ min: 0, max: 1, noNaN: true }), (texts, limit) => {
      const rules = rulesOf(networks(...texts));
      let covered = 0;
      for (let i = 0; i < 256; i++) if (covering(rules, Uint8Array.of(10, 0, 4, i)) >= 0) covered++;
      const share = shareOf(rules, network('10.0.4.0/24'), limit);
      if (covered / 256 > limit) assert.equal(share, covered / 256);
      else assert.ok(share >= covered / 256 && (share <= limit || share === covered / 256));
    }),
  );
});

test("a name's address: none of this host or a collector, none that stands for many, not half a network", () => {
  const guard = new Guard(() => ({ addresses: [parseAddress('10.1.0.5')!], networks: HOST.networks }));
  assert.equal(guard.keep(parseAddress('198.51.100.1')!), true);
  assert.equal(guard.keep(parseAddress('198.51.100.1')!), false);
  const others = new Addresses();
  const refuse = (text: string) => guard.refuseHost(parseAddress(text)!, others);
  for (const text of [
    '0.0.0.0',
    '127.0.0.53',
    '224.0.0.251',
    '255.255.255.255',
    '169.254.1.1',
    '::',
    '::1',
    'ff02::1',
    'fe80::1',
  ])
    // prettier-ignore
    assert.match(refuse(text)!, /single host/, text);
  assert.match(refuse('10.1.0.5')!, /this host/);
  assert.match(refuse('198.51.100.1')!, /collector/);
  assert.equal(refuse('192.0.2.1'), undefined);
  assert.equal(refuse('2001:db8::1'), undefined);
  guard.given = rulesOf(networks('10.1.0.128/26', '10.1.0.192/27', '10.1.0.224/28'));
  for (let i = 0; i < 16; i++) {
    assert.equal(refuse(`10.1.0.${100 + i}`), undefined);
    others.put('a.example', parseAddress(`10.1.0.${100 + i}`)!, 1);
  }
  assert.match(refuse('10.1.0.99')!, /too much of 10\.1\.0\.0\/24/);
  assert.equal(guard.hiding().size, 0);
  guard.given = rulesOf(networks('198.51.100.0/24', '192.0.2.0/24', '198.51.100.1', '10.1.0.4/31'));
  assert.deepEqual(
    [...guard.hiding()],
    [
      ['198.51.100.0/24', '198.51.100.1, an address of the collector'],
      ['198.51.100.1', '198.51.100.1, an address of the collector'],
      ['10.1.0.4/31', '10.1.0.5, an address of this host'],
    ],
  );
});
