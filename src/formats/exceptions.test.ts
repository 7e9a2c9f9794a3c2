import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { addressText, networkOf, parse4, parse6, parseAddress } from './address.ts';
import { digestOf, MAX_DOMAINS, MAX_ENTRIES, MAX_LINE, parseEntry, parseExceptions } from './exceptions.ts';

const normal = (text: string) => parseEntry(text).text;
const texts = (list: string) => parseExceptions(list, 'list').map((e) => e.text);

test('each kind of entry has one normal form', () => {
  const FORMS: [given: string, meant: string][] = [
    ['192.0.2.7', '192.0.2.7'],
    ['192.0.2.7/32', '192.0.2.7'],
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8::/48', '2001:db8::/48'],
    ['::/0', '::/0'],
    ['::', '::'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.0/120', '192.0.2.0/24'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['Example.COM.', 'example.com'],
    ['*.WindowsUpdate.com', '*.windowsupdate.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['*.bücher.example', '*.xn--bcher-kva.example'],
    ['_dmarc.example.com', '_dmarc.example.com'],
    ['intranet', 'intranet'],
    ['1.example', '1.example'],
    ['3com.com', '3com.com'],
  ];
  for (const [given, meant] of FORMS) assert.equal(normal(given), meant, given);
});

test('what an entry is made of', () => {
  for (const [text, family, address, prefix] of [
    ['10.1.0.0/16', 4, '10.1.0.0', 16],
    ['192.0.2.1', 4, '192.0.2.1', 32],
    ['2001:db8::/48', 6, '2001:db8::', 48],
    ['::1', 6, '::1', 128],
  ] as const) {
    const entry = parseEntry(text);
    assert.ok(entry.kind === 'network');
    assert.deepEqual([entry.family, addressText(entry.address), entry.prefix], [family, address, prefix]);
  }
  const { kind, ...rest } = parseEntry('*.a.example');
  assert.deepEqual([kind, rest], ['domain', { text: '*.a.example', name: 'a.example', wildcard: true }]);
});

test('what is no entry is refused with the reason', () => {
  const WRONG: [text: string, reason: RegExp][] = [
    ['10.0.0.1/8', /^bits are set behind the prefix length; the network is '10\.0\.0\.0\/8'$/],
    ['2001:db8::1/48', /the network is '2001:db8::\/48'/],
    ['::ffff:10.0.0.1/104', /the network is '10\.0\.0\.0\/8'/],
    ['10.0.0.0/33', /from 0 to 32/],
    ['10.0.0.0/08', /from 0 to 32/],
    ['10.0.0.0/', /from 0 to 32/],
    ['::/129', /from 0 to 128/],
    ['10.0.0.01', /not an IPv4 address/],
    ['10.0.0', /not an IPv4 address/],
    ['10.0.0.256', /not an IPv4 address/],
    ['1.2.3.4.5', /not an IPv4 address/],
    ['example.0x7f', /not an IPv4 address/],
    ['１.２.３.４', /not an IPv4 address/],
    ['10.0.0.0/255.0.0.0', /prefix length/],
    ['1.2.3/8', /an address and a prefix length/],
    ['fe80::1%eth0', /zone/],
    [':::', /IPv6/],
    ['1::2::3', /IPv6/],
    ['1:2:3:4:5:6:7:8::', /IPv6/],
    ['1:2:3:4:5:6:7', /IPv6/],
    ['12345::', /IPv6/],
    ['host:80', /IPv6/],
    ['example.com/24', /not an address, a network, a domain/],
    ['a..example', /not an address/],
    ['-a.example', /not an address/],
    ['a-.example', /not an address/],
    ['two words', /not an address/],
    ['*', /not an address/],
    ['*.', /not an address/],
    ['*a.example', /not an address/],
    ['a.*.example', /not an address/],
    ['*.com', /top-level domain/],
    [`${'a'.repeat(64)}.example`, /not an address/],
    [`${'a.'.repeat(126)}example`, /not an address/],
    ['\ufffd.example', /not an address/],
    ['a\0.example', /not an address/],
  ];
  for (const [text, reason] of WRONG) assert.throws(() => parseEntry(text), { message: reason }, text);
});

test('a list: comments, blank lines, CRLF and a byte order mark', () => {
  assert.deepEqual(texts('\ufeff# all\r\n\r\n 10.0.0.0/8 # lab\r\nexample.com#x\n\t::1\t'), [
    '10.0.0.0/8',
    'example.com',
    '::1',
  ]);
  assert.deepEqual(texts(''), []);
  assert.deepEqual(texts('\n\n'), []);
});

test('a bad line is named with its file, number and reason', () => {
  assert.throws(() => parseExceptions('10.0.0.0/8\n# x\n10.0.0.1/8 # lab\n', 'my.list'), {
    code: 'EXCEPTIONS',
    message:
      "could not read 'my.list', line 3: '10.0.0.1/8 # lab': bits are set behind the prefix length; the network is '10.0.0.0/8'",
    hint: /one entry a line/,
  });
  const long = assertThrown(() => texts(`# ${'x'.repeat(5000)}`));
  assert.match(long, /line 1: '# x+…': a line has at most 1000 bytes/);
  assert.ok(long.length < 300);
});

const assertThrown = (work: () => unknown): string => {
  try {
    work();
  } catch (e) {
    return (e as Error).message;
  }
  return assert.fail('it was not refused');
};

test('limits: length of a line, entries, domains', () => {
  assert.deepEqual(texts(`#${'x'.repeat(MAX_LINE - 1)}\n::1`), ['::1']);
  assert.throws(() => texts(`#${'ü'.repeat(MAX_LINE / 2)}`), /at most 1000 bytes/);
  assert.equal(texts('::1\n'.repeat(MAX_ENTRIES)).length, MAX_ENTRIES);
  assert.throws(() => texts('::1\n'.repeat(MAX_ENTRIES + 1)), /line 1000001.*at most 1000000 entries/);
  assert.throws(() => texts('a.example\n'.repeat(MAX_DOMAINS + 1)), /line 2001.*at most 2000 domains/);
});

test('the digest: each entry once, whatever their order', () => {
  const list = parseExceptions('b.example\n10.0.0.0/8\nB.example\n', 'list');
  const expected = createHash('sha256').update('10.0.0.0/8\nb.example\n').digest();
  assert.deepEqual(digestOf(list), expected);
  assert.deepEqual(digestOf(list.toReversed()), expected);
  assert.deepEqual(digestOf([]), createHash('sha256').digest());
});

test('addresses as ipaddr.js reads and writes them', () => {
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), sparse), (bytes) => {
      const theirs = ipaddr.fromByteArray([...bytes]);
      const ours = bytes.length === 4 ? parse4 : parse6;
      const text = addressText(bytes);
      assert.equal(text, theirs instanceof ipaddr.IPv6 ? theirs.toRFC5952String() : theirs.toString());
      assert.deepEqual(ours(text), bytes);
      assert.deepEqual(ours(theirs.toNormalizedString()), bytes);
    }),
    { numRuns: 5000 },
  );
});
/** IPv6 addresses with zeros in between. */
const sparse = fc
  .array(fc.oneof(fc.constant(0), fc.nat(65535)), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 255])));

test('what looks like an address is one for us exactly when it is one for Node', () => {
  const piece = fc.constantFrom('0', '1', '12', '255', '256', 'ffff', 'a', '1f', ':', '::', '.', '.0', '12345');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join('');
      assert.equal(parse4(text) !== undefined, isIPv4(text), text);
      assert.equal(parse6(text) !== undefined, isIPv6(text), text);
    }),
    { numRuns: 20_000 },
  );
});

test('the network of an address is the one that ipaddr.js says', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(128), fc.boolean(), (bytes, p, v4) => {
      const address = v4 ? bytes.slice(0, 4) : bytes;
      const prefix = v4 ? p >> 2 : p;
      const cidr = `${addressText(address)}/${prefix}`;
      const theirs = v4 ? ipaddr.IPv4.networkAddressFromCIDR(cidr) : ipaddr.IPv6.networkAddressFromCIDR(cidr);
      assert.deepEqual([...networkOf(address, prefix)], theirs.toByteArray());
    }),
  );
});

test('an address as sockets name it', () => {
  assert.deepEqual(parseAddress('fe80::1%eth0'), parse6('fe80::1'));
  assert.deepEqual(parseAddress('::ffff:10.0.0.1'), Uint8Array.of(10, 0, 0, 1));
  assert.equal(parseAddress('name'), undefined);
});

test('any text is a list, or refused as one', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      try {
        for (const e of parseExceptions(text, 'list')) assert.equal(parseEntry(e.text).text, e.text);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'EXCEPTIONS');
      }
    }),
    { numRuns: 5000 },
  );
});
