import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RcapError } from '../errors.ts';
import { loadLibrary } from './addon.ts';

const binary = join(import.meta.dirname, '../../native/prebuilds/linux-x64/node-pcap-native.node');
const skip = existsSync(binary) ? false : 'needs the native addon: npm run native';

test('in development the package is loaded, once', { skip }, () => {
  // Elsewhere: glibc has room for the thread-local memory of a few libraries that are loaded late, and the next test needs it.
  const script = `import { loadAddon } from ${JSON.stringify(join(import.meta.dirname, 'addon.ts'))};
    console.log(loadAddon() === loadAddon(), loadAddon().version());`;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  assert.match(output, /^true .*libpcap/);
});

test('a library is loaded from memory, from a file without a name', { skip }, () => {
  const bytes = new Uint8Array(readFileSync(binary));
  assert.equal(typeof loadLibrary(bytes), 'object');
  assert.equal(typeof loadLibrary(bytes), 'object');
  const open = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // the one that listed them
    }
  });
  // Both descriptors stay open: the second must not get the first one's number.
  assert.equal(open.filter((path) => /\/#\d+ \(deleted\)$/.test(path)).length, 2);
});

test('a library that cannot be loaded is an error with a hint', () => {
  assert.throws(
    () => loadLibrary(new Uint8Array(100)),
    (error) =>
      error instanceof RcapError &&
      error.code === 'ADDON' &&
      /could not load 'node-pcap-native'/.test(error.message) &&
      error.hint !== undefined,
  );
});
