// macos-check.ts FILE x64|arm64 MACOS: looks into a library for macOS, which can't be loaded here: right processor, no newer
// macOS needed than given, no library but the system's own, of Node only Node-API and libuv, shows what Node looks for and no
// more, signed ad hoc (macOS on arm64 loads nothing else), with hashes that are those of its pages.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [file, arch, macos] = process.argv.slice(2) as [string, string, string];
const bytes = readFileSync(file);
const u32 = (at: number) => bytes.readUInt32LE(at);
const big = (at: number) => bytes.readUInt32BE(at);
const text = (at: number) => bytes.toString('latin1', at, bytes.indexOf(0, at));
function expect(what: string, seen: unknown, wanted: unknown): void {
  if (String(seen) !== String(wanted)) throw new Error(`${file}: ${what}: ${String(seen)}, not ${String(wanted)}`);
}

// ---- <mach-o/loader.h> ----
expect('magic number', u32(0), 0xfeedfacf);
expect('processor', u32(4), { x64: 0x01000007, arm64: 0x0100000c }[arch]);
const commands = Array.from({ length: u32(16) }).reduce<number[]>((list) => {
  const last = list.at(-1);
  return [...list, last === undefined ? 32 : last + u32(last + 4)];
}, []);
const find = (command: number) => commands.filter((at) => u32(at) === command);
const SYMBOLS = 0x2;
const LIBRARY = 0xc;
const NAME = 0xd;
const SIGNATURE = 0x1d;
const BUILD_VERSION = 0x32;

const [build] = find(BUILD_VERSION);
const version = u32(build! + 12);
expect('platform', u32(build! + 8), 1);
expect('needs macOS', `${version >>> 16}.${(version >>> 8) & 0xff}`, macos);
expect('own name', find(NAME).map((at) => text(at + u32(at + 8))), 'node-pcap-native.node'); // prettier-ignore
expect('libraries', find(LIBRARY).map((at) => text(at + u32(at + 8))), '/usr/lib/libSystem.B.dylib'); // prettier-ignore

// ---- <mach-o/nlist.h>: external symbols, defined here, or looked up in whatever has them ----
const [symbols] = find(SYMBOLS);
const shown: string[] = [];
const looked: string[] = [];
for (let i = 0; i < u32(symbols! + 12); i++) {
  const at = u32(symbols! + 8) + 16 * i;
  const kind = bytes[at + 4]!;
  if ((kind & 0xe0) !== 0 || (kind & 1) === 0) continue;
  const defined = (kind & 0x0e) !== 0;
  const anywhere = bytes.readUInt16LE(at + 6) >>> 8 === 0xfe;
  if (defined || anywhere) (defined ? shown : looked).push(text(u32(symbols! + 16) + u32(at)).slice(1));
}
const ours = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];
expect('shows', shown.filter((name) => !ours.includes(name)), ''); // prettier-ignore
expect('shows', shown.length, ours.length);
expect('looks for', looked.filter((name) => !/^(napi|uv)_/.test(name)), ''); // prettier-ignore

// ---- the code signature, its numbers big-endian (xnu's osfmk/kern/cs_blobs.h) ----
const [signature] = find(SIGNATURE);
if (signature === undefined) throw new Error(`${file}: it is not signed`);
const blob = u32(signature + 8);
expect('signature', big(blob), 0xfade0cc0);
const directory = blob + big(blob + 16);
expect('code directory', big(directory), 0xfade0c02);
expect('is signed ad hoc', big(directory + 12) & 2, 2);
const hashes = directory + big(directory + 16);
const pages = big(directory + 28);
const end = big(directory + 32);
const page = 1 << bytes[directory + 39]!;
expect('hash type', bytes[directory + 37], 2);
expect('signed length', end, blob);
expect('pages', pages, Math.ceil(end / page));
for (let i = 0; i < pages; i++) {
  const content = bytes.subarray(i * page, Math.min((i + 1) * page, end));
  const hash = bytes.toString('hex', hashes + 32 * i, hashes + 32 * (i + 1));
  expect(`hash of page ${i}`, createHash('sha256').update(content).digest('hex'), hash);
}
