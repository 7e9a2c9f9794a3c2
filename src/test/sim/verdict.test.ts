import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Manifest } from '../../collector/manifest.ts';
import { World } from './simulation.ts';
import { check, type Remains, type SiteRemains } from './verdict.ts';

/** What is left of a seed in which packets were lost in gaps, and that is in order. */
async function remains(): Promise<Remains> {
  for (let seed = 1; ; seed++) {
    const world = new World(seed, false);
    const { dropped, files } = await world.run();
    const { sites } = world;
    if (dropped > 0 && files > 2 && sites.length === 1 && sites[0]!.reports[0]?.gaps.bytes) return world.remains();
  }
}

type Files = Map<string, Uint8Array>;
const published = (files: Files) => [...files].find(([path]) => path.endsWith('.pcap'))!;
/** Writes a manifest again. */
function amend(files: Files, which: (m: Manifest) => boolean, change: (m: Manifest) => void): void {
  for (const [path, content] of files) {
    if (!path.endsWith('.json')) continue;
    const manifest = JSON.parse(Buffer.from(content).toString()) as Manifest;
    if (!which(manifest)) continue;
    change(manifest);
    files.set(path, Buffer.from(JSON.stringify(manifest)));
    return;
  }
  assert.fail('no such manifest');
}
const withFile = (m: Manifest) => m.file !== '';
const withGap = (m: Manifest) => m.gaps.length > 0;

/** Each breaks one thing; the verdict must say so. */
const BREAKS: Record<string, [breaks: (files: Files, r: Remains, site: SiteRemains) => void, message: RegExp]> = {
  'a file is gone': [(files) => files.delete(published(files)[0]), /files, and manifests/],
  'a manifest is gone': [(files) => files.delete(published(files)[0].replace(/pcap$/, 'json')), /files, and manifests/],
  'a file is left open': [
    (files) => files.set('/captures/host-1/x.pcap.part', Buffer.alloc(0)),
    /files, and manifests/,
  ],
  'a file lies elsewhere': [(_, __, site) => void (site.others = ['/state/x']), /regular expression/],
  'a record is cut': [(_, __, site) => replace(site, (c) => c.subarray(0, -1)), /isn't whole/],
  'a packet is there twice': [(_, __, site) => replace(site, (c) => Buffer.concat([c, c.subarray(24)])), /its packets/],
  'a byte is another': [(_, __, site) => replace(site, (c) => flipped(c, c.length - 1)), /is what it was|its packets/],
  'a time is another': [(_, __, site) => replace(site, (c) => flipped(c, 24)), /is what it was/],
  'a hash is wrong': [(files) => amend(files, withFile, (m) => void (m.sha256 = 'x')), /its manifest/],
  'a count is wrong': [(files) => amend(files, withFile, (m) => void m.packetBytes++), /its manifest/],
  'a gap is wrong': [(files) => amend(files, withGap, (m) => void m.gaps[0]!.bytes++), /a gap/],
  'a gap is gone': [(files) => amend(files, withGap, (m) => void m.gaps.pop()), /its packets|Expected|gaps/],
  'the end mark is gone': [
    (files) =>
      amend(
        files,
        (m) => !!m.end,
        (m) => void (m.end = null),
      ),
    /its end mark/,
  ],
  'the ledger is off': [(_, r) => void (first(r.ledgers).acknowledged -= 1), /the agent's ledger/],
  'a report counts another file': [(_, __, { reports }) => void reports[0]!.files.packets++, /the report of its end/],
  'a report is of less than all': [(_, __, { reports }) => void (reports[0]!.gaps.bytes = 0), /the report of its end/],
  'a report finds a difference': [
    (_, __, { reports }) => void (reports[0]!.message += 'THE AGENT COUNTS'),
    /both sides count/,
  ],
  'Arkime read it twice': [(_, __, { arkime }) => void arkime.reads.push(arkime.reads[0]!), /reads .* once/],
  'Arkime never read it': [(_, __, { arkime }) => void arkime.reads.pop(), /reads .* once/],
};
const first = <T>(map: ReadonlyMap<number, T>) => [...map.values()][0]!;

/** As if it had been so when Arkime read it. */
function replace({ files, arkime }: SiteRemains, change: (content: Buffer) => Buffer): void {
  const [path, before] = published(files as Files);
  const content = change(Buffer.from(before));
  (files as Files).set(path, content);
  for (const read of arkime.reads) if (read.path === path) read.content = content;
}

function flipped(content: Buffer, at: number): Buffer {
  content[at]! ^= 1;
  return content;
}

for (const [what, [breaks, message]] of Object.entries(BREAKS)) {
  test(`it is seen when ${what}`, async () => {
    const r = await remains();
    check(r);
    const [site] = r.sites as [SiteRemains & { files: Files }];
    site.arkime.uncertain.clear();
    breaks(site.files, r, site);
    assert.throws(() => check(r), { message });
  });
}
