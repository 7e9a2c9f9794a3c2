import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../test/fuzz.ts';
import { arkimeReads, hostFolder, PART, publishedName, safeName, segmentStem } from './names.ts';

/** What hostile agents call themselves. */
const HOSTILE = [
  'x'.repeat(10_000),
  '../../etc/passwd',
  '/etc/shadow',
  '..\\..\\windows',
  '\0',
  'a\0b',
  '🦈🦈',
  '\ud800',
  '.',
  '..',
  '...',
  '',
  '-rf',
  '--',
  '.hidden.pcap',
  'new\nline',
  '\u001b[2J',
  '\u202egnp.exe',
  'a/b',
  'C:',
  ' ',
  '%2e%2e%2f',
  'é',
];

const isSafe = (name: string, longest: number) =>
  /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name) && name.length <= longest && !name.includes('/');

test('a hostile name becomes a short file name, never a path', () => {
  for (const said of HOSTILE) assert.ok(isSafe(hostFolder(said), 64), JSON.stringify(said).slice(0, 50));
});

test('so does any other', async () => {
  const any = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ maxLength: 300, size: 'max' }),
    fc.constantFrom(...HOSTILE),
  );
  await fuzz(
    fc.property(any, fc.integer({ min: 1, max: 100 }), (said, longest) =>
      assert.ok(isSafe(safeName(said, longest), longest)),
    ),
    1000,
  );
});

test('an ordinary name stays as it is, and one that was made safe too', () => {
  for (const name of ['web01', 'WEB-01.example.org', 'a_b', '10.0.0.1']) assert.equal(hostFolder(name), name);
  for (const said of HOSTILE) assert.equal(hostFolder(hostFolder(said)), hostFolder(said));
});

const SEGMENT = {
  host: 'web01',
  interface: 'eth0',
  friendlyName: 'the first one',
  opened: new Date('2026-11-24T02:15:00.999Z'),
  run: '0123456789abcdef0123456789abcdef',
  capture: 2,
  firstSequence: 17,
};

test("a segment's name says host, interface, time, run, capture and first sequence", () => {
  assert.equal(segmentStem(SEGMENT), 'web01_eth0_20261124T021500Z_01234567-2_17');
});

test('an interface of Windows goes by its friendly name, where it has one', () => {
  const device = '\\Device\\NPF_{1A2B3C4D-0000-0000-0000-000000000000}';
  const named = (friendlyName: string) =>
    segmentStem({ ...SEGMENT, interface: device, friendlyName }).split('_2026')[0];
  assert.equal(named('Wi-Fi 2'), 'web01_Wi-Fi_2');
  assert.equal(named(''), 'web01__Device_NPF__1A2B3C4D-0000-0000-');
});

test('with the longest numbers and hostile names it still fits into a file system, manifest, temporary name and all', () => {
  for (const said of HOSTILE) {
    const stem = segmentStem({
      ...SEGMENT,
      host: said,
      interface: said,
      friendlyName: said,
      capture: 65_535,
      firstSequence: Number.MAX_SAFE_INTEGER,
    });
    const longest = [publishedName(stem, 65_535) + PART, `${stem}.json${PART}.new`];
    for (const name of longest) assert.ok(isSafe(name, 255), name);
  }
});

test('only link types that Arkime reads get the ending that it looks for', () => {
  const seen = /\.(pcap|cap)$/;
  for (let linkType = 0; linkType < 65_536; linkType++) {
    const name = publishedName('x', linkType);
    assert.equal(seen.test(name), arkimeReads(linkType));
    assert.doesNotMatch(name + PART, seen);
  }
  assert.ok([0, 1, 12, 101, 107, 113, 127, 228, 229, 239, 274, 276].every(arkimeReads));
  assert.ok(![2, 105, 147, 220, 249].some(arkimeReads));
});
