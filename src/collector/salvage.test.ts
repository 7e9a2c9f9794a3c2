import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileHeader } from '../formats/pcap.ts';
import { capinfos, lacks, packetsIn, temporaryFolder, tshark } from '../test/support.ts';
import { records, type TestPacket } from '../test/wire.ts';
import type { Manifest, ManifestStart } from './manifest.ts';
import { salvage, type Salvaged } from './salvage.ts';

const PACKETS: TestPacket[] = [60, 1, 100, 0].map((length, i) => ({
  timestampNs: 1_700_000_000_000_000_000n + BigInt(i) * 1_234_567_891n,
  data: Buffer.alloc(length, i + 1),
  original: 200,
}));
const HEADER = fileHeader(1, 100, 'nano');
const SEGMENT = Buffer.concat([HEADER, records(PACKETS)]);
const STEM = 'web01_eth0_20261124T021500Z_01234567-1_5';
const START = {
  format: 'rcap manifest 1',
  host: 'web01',
  interface: 'eth0',
  firstSequence: 5,
  firstPacketNumber: 9,
  effectiveFilter: 'tcp',
} as ManifestStart;

/** A captures folder with these files of one host. */
function captures(t: TestContext, files: Record<string, string | Uint8Array>): string {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'web01'));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, 'web01', name), content);
  return folder;
}
const leftOver = (bytes: Uint8Array, start: ManifestStart = START) => ({
  [`${STEM}.pcap.part`]: bytes,
  [`${STEM}.json.part`]: JSON.stringify(start),
});

async function salvaged(folder: string): Promise<Salvaged[]> {
  const said: Salvaged[] = [];
  await salvage(folder, (s) => said.push(s));
  return said;
}
const list = (folder: string) => readdirSync(join(folder, 'web01')).toSorted();
const read = (folder: string, name: string) => readFileSync(join(folder, 'web01', name));
const manifest = (folder: string) => JSON.parse(read(folder, `${STEM}.json`).toString()) as Manifest;

test('a segment that is cut at any byte is published with exactly its whole records', async (t) => {
  const small = PACKETS.map((p) => ({ ...p, data: p.data.subarray(0, 9) }));
  const segment = Buffer.concat([HEADER, records(small)]);
  const ends = small.map((_, i) => HEADER.length + records(small.slice(0, i + 1)).length);
  const folder = captures(t, {});
  for (let cut = 0; cut <= segment.length; cut++) {
    writeFileSync(join(folder, 'web01', `cut${cut}.pcap.part`), segment.subarray(0, cut));
  }
  const said = new Map((await salvaged(folder)).map((s) => [s.file, s]));
  const published = new Set(list(folder));
  for (let cut = 0; cut <= segment.length; cut++) {
    const whole = ends.filter((end) => end <= cut);
    const [name, kept] = [`cut${cut}.pcap`, whole.at(-1) ?? 0];
    assert.deepEqual(said.get(name), { file: name, packets: whole.length, cut: cut - kept });
    assert.equal(published.has(name), whole.length > 0);
    assert.equal(published.has(`cut${cut}.json`), whole.length > 0);
    if (whole.length > 0) assert.ok(read(folder, name).equals(segment.subarray(0, kept)));
  }
  assert.ok(![...published].some((n) => n.endsWith('.part')));
});

test('what is published is read by capinfos and tshark', { skip: lacks('capinfos', 'tshark') }, async (t) => {
  const folder = captures(t, leftOver(SEGMENT.subarray(0, -1 - 16)));
  await salvaged(folder);
  const file = join(folder, 'web01', `${STEM}.pcap`);
  assert.equal(packetsIn(file), 2);
  assert.equal(capinfos(file).get('File encapsulation'), 'ether');
  assert.deepEqual(tshark(file, 'frame.cap_len', 'frame.len', 'frame.time_epoch'), [
    ['60', '200', '1700000000.000000000'],
    ['1', '200', '1700000001.234567891'],
  ]);
});

test('its manifest has what was known at its start, and what is in the file', async (t) => {
  const folder = captures(t, leftOver(SEGMENT));
  assert.deepEqual(await salvaged(folder), [{ file: `${STEM}.pcap`, packets: 4, cut: 0 }]);
  assert.deepEqual(list(folder), [`${STEM}.json`, `${STEM}.pcap`]);
  const m = manifest(folder);
  assert.deepEqual(
    [m.host, m.effectiveFilter, m.firstSequence, m.firstPacketNumber, m.file],
    ['web01', 'tcp', 5, 9, `${STEM}.pcap`],
  );
  assert.deepEqual([m.packets, m.packetBytes, m.fileBytes, m.linkType, m.snaplen], [4, 161, SEGMENT.length, 1, 100]);
  assert.deepEqual([m.closedBy, m.end, m.counters], ['salvaged', null, null]);
  assert.equal(m.sha256, createHash('sha256').update(SEGMENT).digest('hex'));
  assert.deepEqual(
    [m.firstPacketTime, m.lastPacketTime],
    ['2023-11-14T22:13:20.000000000Z', '2023-11-14T22:13:23.703703673Z'],
  );
});

test('without its beginning, or with a damaged one, a segment is published all the same', async (t) => {
  for (const start of [undefined, '', '{"format": "rc']) {
    const folder = captures(t, {
      [`${STEM}.pcap.part`]: SEGMENT,
      ...(start === undefined ? {} : { [`${STEM}.json.part`]: start }),
    });
    await salvaged(folder);
    assert.deepEqual(list(folder), [`${STEM}.json`, `${STEM}.pcap`]);
    assert.deepEqual([manifest(folder).host, manifest(folder).packets], ['', 4]);
  }
});

test('of a link type that Arkime does not read the name stays away from Arkime, and the manifest says why', async (t) => {
  const bytes = Buffer.concat([fileHeader(147, 100, 'nano'), records(PACKETS)]);
  const folder = captures(t, { [`${STEM}.pcap.linktype-147.part`]: bytes });
  await salvaged(folder);
  assert.deepEqual(list(folder), [`${STEM}.json`, `${STEM}.pcap.linktype-147`]);
  assert.match(manifest(folder).notForArkime!, /147/);
});

test('a segment longer than what is read at once is salvaged whole, up to where it is damaged', async (t) => {
  const many = Array.from({ length: 40_000 }, (_, i) => ({
    timestampNs: BigInt(i),
    data: Buffer.alloc(i % 101, i),
    original: 200,
  }));
  const bytes = Buffer.concat([HEADER, records(many)]);
  const whole = Buffer.concat([HEADER, records(many.slice(0, 30_000))]);
  assert.ok(whole.length > 1 << 20);
  const folder = captures(t, leftOver(bytes));
  assert.equal((await salvaged(folder))[0]!.packets, many.length);
  assert.ok(read(folder, `${STEM}.pcap`).equals(bytes));
  const hurt = Buffer.from(bytes);
  hurt.fill(0xff, whole.length, whole.length + 16);
  const other = captures(t, leftOver(hurt));
  assert.deepEqual(await salvaged(other), [
    { file: `${STEM}.pcap`, packets: 30_000, cut: bytes.length - whole.length },
  ]);
  assert.ok(read(other, `${STEM}.pcap`).equals(whole));
});

test('the longest packets are salvaged', async (t) => {
  const long = Array.from({ length: 9 }, (_, i) => ({ timestampNs: BigInt(i + 1), data: Buffer.alloc(262_144, i) }));
  const bytes = Buffer.concat([fileHeader(1, 262_144, 'micro'), records(long, 1_000_000n)]);
  const folder = captures(t, leftOver(bytes.subarray(0, -1)));
  assert.equal((await salvaged(folder))[0]!.packets, 8);
  assert.equal(manifest(folder).timestamps, 'micro');
});

test('zeros at the end, as power loss leaves them, are cut', async (t) => {
  const folder = captures(t, leftOver(Buffer.concat([SEGMENT, Buffer.alloc(8192)])));
  assert.deepEqual(await salvaged(folder), [{ file: `${STEM}.pcap`, packets: 4, cut: 8192 }]);
});

test('without a packet nothing is published, and nothing stays', async (t) => {
  for (const bytes of [Buffer.alloc(0), HEADER, SEGMENT.subarray(0, HEADER.length + 16)]) {
    const folder = captures(t, leftOver(bytes));
    assert.deepEqual(await salvaged(folder), [{ file: `${STEM}.pcap`, packets: 0, cut: bytes.length }]);
    assert.deepEqual(list(folder), []);
  }
});

test('a file that does not begin like one of ours is left for people to look at, and so is its beginning', async (t) => {
  const big = Buffer.concat([fileHeader(1, 262_145, 'nano'), records(PACKETS)]);
  for (const bytes of [Buffer.alloc(5000), Buffer.alloc(24, 'x'), Buffer.from(SEGMENT).fill(0, 0, 4), big]) {
    const folder = captures(t, leftOver(bytes));
    const [said] = await salvaged(folder);
    assert.ok(said!.left);
    assert.deepEqual(list(folder), [`${STEM}.json.part`, `${STEM}.pcap.part`]);
    assert.ok(read(folder, `${STEM}.pcap.part`).equals(bytes));
  }
});

test('a symbolic link or a folder under the name of a segment is left, and keeps nothing else from being salvaged', async (t) => {
  const folder = captures(t, leftOver(SEGMENT));
  const outside = join(temporaryFolder(t), 'victim');
  writeFileSync(outside, SEGMENT.subarray(0, -1));
  symlinkSync(outside, join(folder, 'web01', 'a.pcap.part'));
  symlinkSync('nowhere', join(folder, 'web01', 'b.pcap.part'));
  mkdirSync(join(folder, 'web01', 'c.pcap.part'));
  symlinkSync(join(outside, '..'), join(folder, 'elsewhere'));
  const said = await salvaged(folder);
  assert.deepEqual(
    said
      .filter((s) => s.left)
      .map((s) => s.file)
      .toSorted(),
    ['a.pcap.part', 'b.pcap.part', 'c.pcap.part'],
  );
  assert.ok(readFileSync(outside).equals(SEGMENT.subarray(0, -1)));
  assert.equal(manifest(folder).packets, 4);
});

test('published, but killed before the manifest was written: the manifest is finished', async (t) => {
  const folder = captures(t, { [`${STEM}.pcap`]: SEGMENT, [`${STEM}.json.part`]: JSON.stringify(START) });
  assert.deepEqual(await salvaged(folder), []);
  assert.deepEqual(list(folder), [`${STEM}.json`, `${STEM}.pcap`]);
  const m = manifest(folder);
  assert.deepEqual([m.host, m.packets, m.sha256], ['web01', 4, createHash('sha256').update(SEGMENT).digest('hex')]);
});

test('a manifest that was finished is not replaced by one that knows less', async (t) => {
  const complete = '{"end": {"reason": "count"}}';
  const folder = captures(t, {
    [`${STEM}.pcap`]: SEGMENT,
    [`${STEM}.json`]: complete,
    [`${STEM}.json.part`]: JSON.stringify(START),
  });
  await salvaged(folder);
  assert.deepEqual(list(folder), [`${STEM}.json`, `${STEM}.pcap`]);
  assert.equal(read(folder, `${STEM}.json`).toString(), complete);
});

test("a segment's beginning without a segment is removed", async (t) => {
  const folder = captures(t, { [`${STEM}.json.part`]: JSON.stringify(START) });
  await salvaged(folder);
  assert.deepEqual(list(folder), []);
});

test('published files, and files of others, stay as they are; a second time there is nothing to do', async (t) => {
  const others = { 'x.pcap': SEGMENT, 'x.json': '{}', 'notes.txt': 'n', 'y.part': 'p', 'z.pcap.part.bak': 'b' };
  const folder = captures(t, { ...others, ...leftOver(SEGMENT) });
  writeFileSync(join(folder, 'top.pcap.part'), SEGMENT);
  await salvaged(folder);
  const first = list(folder);
  assert.deepEqual(await salvaged(folder), []);
  assert.deepEqual(list(folder), first);
  for (const [name, content] of Object.entries(others))
    assert.ok(read(folder, name).equals(Buffer.from(content as string)));
});
