/** What a collector published, and whether it is what a fixture holds. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { ExpectedCapture } from './fixtures.ts';
import { pcapBytes } from './pcap-bytes.ts';
import type { Collector } from './support.ts';

/** Arkime exits on all others. */
const ARKIME = [0, 1, 12, 101, 107, 113, 127, 228, 229, 239, 274, 276];

export const endingOf = (linkType: number): RegExp =>
  ARKIME.includes(linkType) ? /\.pcap$/ : new RegExp(`\\.pcap\\.linktype-${linkType}$`);

/** What came from a host, whole paths, in the order of the agent's captures. */
export function publishedFrom(collector: Collector, host: string): string[] {
  const number = (path: string) => Number(/-(\d+)_\d+\.pcap/.exec(path)![1]);
  return collector
    .published()
    .filter((path) => path.startsWith(join(collector.captures, host) + '/'))
    .toSorted((a, b) => number(a) - number(b));
}

/**
 * Each file has the bytes that an independent writer makes of what the fixture holds, and the right name: after the file that
 * was read, unless that says an interface.
 */
export function assertHold(outputs: string[], expected: ExpectedCapture[], host: string, file = host): void {
  assert.equal(outputs.length, expected.length, outputs.join('\n'));
  for (const [i, c] of expected.entries()) {
    assert.match(basename(outputs[i]!), endingOf(c.linkType));
    assert.ok(basename(outputs[i]!).startsWith(`${host}_${c.interface || file}_`), outputs[i]);
    assert.ok(readFileSync(outputs[i]!).equals(pcapBytes(c.packets, c)), `${outputs[i]} holds something else`);
  }
}
