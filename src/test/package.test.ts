/** What `npm run package` makes for each system: what can be said of it without running it there. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { dependentLoadFlags } from '../../scripts/package/load-flags.ts';
import { ALL_PRODUCTS, choose, dist, nodeVersion, root, TARGETS } from '../../scripts/package/plan.ts';
import { signerFrom, signWindows } from '../../scripts/package/sign.ts';
import { RcapError } from '../errors.ts';
import { checkSignature } from '../formats/macho.ts';
import { VERSION } from '../version.ts';
import { lacks, temporaryFolder } from './support.ts';

const WINDRES = 'x86_64-w64-mingw32-windres';
const WINDOWS = join(dist, 'rcap-agent-win-x64.exe');
const made = ALL_PRODUCTS.map(({ file }) => file).filter((file) => existsSync(join(dist, file)));
const lacksMade = (...files: string[]) =>
  files.some((file) => !existsSync(join(dist, file))) && `needs ${files.join(', ')}: npm run package`;
const read = (file: string) => readFileSync(join(dist, file));
const MIB = 1024 * 1024;

describe('which executables', () => {
  const files = (...words: string[]) => choose(words).map(({ file }) => file);

  test('words choose programs and targets', () => {
    assert.equal(files().length, 7);
    assert.deepEqual(files('linux-x64'), ['rcap-agent-linux-x64', 'rcap-collector-linux-x64']);
    assert.deepEqual(files('rcap-agent', 'win-x64', 'macos-x64'), ['rcap-agent-win-x64.exe', 'rcap-agent-macos-x64']);
    assert.deepEqual(files('rcap-collector'), ['rcap-collector-linux-x64', 'rcap-collector-linux-arm64']);
  });

  test('what is not made is refused', () => {
    for (const words of [['linux-x86'], ['rcap-collector', 'win-x64']])
      assert.throws(() => choose(words), (e) => e instanceof RcapError && e.code === 'USAGE'); // prettier-ignore
  });
});

describe('every executable', () => {
  for (const file of made) {
    test(`${file} is small enough when compressed`, () => {
      // gzip -9 and zstd -19 make less of it, but take minutes for all.
      assert.ok(zstdCompressSync(read(file)).length < 45 * MIB);
    });

    test(`${file} has a valid bill of materials`, async () => {
      const text = read(`${file}.cdx.json`).toString();
      assert.equal(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text), null);
      const bom = JSON.parse(text) as Bom;
      const sum = createHash('sha256').update(read(file)).digest('hex');
      assert.deepEqual(bom.metadata.component.hashes, [{ alg: 'SHA-256', content: sum }]);
      const packages = bom.components.map(({ name }) => name);
      const isAgent = file.startsWith('rcap-agent');
      for (const name of ['Node.js', 'protobufjs', 'minimist']) assert.ok(packages.includes(name), name);
      assert.equal(packages.includes('libpcap'), isAgent && !file.includes('win'));
      assert.equal(packages.includes('@peculiar/x509'), !isAgent);
      const node = bom.components.find(({ name }) => name === 'Node.js')!;
      assert.equal(node.version.split('.')[0], file.includes('macos') ? '26' : '24');
      assert.match(node.components!.find(({ name }) => name === 'openssl')!.version, /^3\./);
      for (const { purl, hashes } of bom.components) assert.equal(hashes !== undefined, purl.startsWith('pkg:npm/'));
      // Nothing of when, or by chance.
      assert.doesNotMatch(text, /"timestamp"/);
    });
  }

  test('a bill of materials with a mistake is not valid', async () => {
    const text = read(`${made[0]}.cdx.json`).toString().replace('"SHA-256"', '"SHA-257"');
    assert.notEqual(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text), null);
  });
});
interface Bom {
  metadata: { component: { hashes: object[] } };
  components: Part[];
}
interface Part {
  name: string;
  version: string;
  purl: string;
  hashes?: object[];
  components?: Part[];
}

for (const arch of ['arm64', 'x64']) {
  const file = `rcap-agent-macos-${arch}`;
  test(`${file} is signed ad hoc: every page has its hash`, { skip: lacksMade(file) }, () => {
    const bytes = read(file);
    const { end, roomEnd, pages, ...rest } = checkSignature(bytes);
    assert.deepEqual(rest, { identifier: file, adHoc: true, wrongPages: [] });
    assert.ok(pages > 20_000);
    assert.ok(roomEnd - end >= 16 * 1024 && bytes.subarray(end).every((byte) => byte === 0), 'no room for a stamp');
    bytes[50_000_000]! ^= 1;
    assert.deepEqual(checkSignature(bytes).wrongPages, [Math.floor(50_000_000 / 4096)]);
  });

  // What Apple's own tool signed passes the same check.
  const node = join(root, `scripts/targets/node_modules/node-${arch === 'x64' ? '' : 'bin-'}darwin-${arch}/bin/node`);
  test(`the check of signatures agrees with Apple's (${arch})`, { skip: !existsSync(node) && `needs ${node}` }, () => {
    const { adHoc, pages, wrongPages } = checkSignature(readFileSync(node));
    assert.deepEqual({ adHoc, wrongPages }, { adHoc: false, wrongPages: [] });
    assert.ok(pages > 20_000);
  });

  const target = TARGETS.find(({ name }) => name === `macos-${arch}`)!;
  const stripped = join(dist, `build/node-${existsSync(node) ? nodeVersion(target) : ''}-${target.name}`);
  const skip = lacksMade(file) || lacks('llvm-objdump') || (!existsSync(stripped) && `needs ${stripped}`);
  test(`without symbols Node keeps all that the loader reads (${arch})`, { skip }, () => {
    const loaded = forTheLoader(node);
    assert.ok(loaded.length >= 3);
    assert.deepEqual(forTheLoader(stripped), loaded);
  });
}

/** Fix-ups, exported names, starts of functions: each with the hash of its data. */
function forTheLoader(file: string): string[] {
  const headers = execFileSync('llvm-objdump', ['--macho', '--private-headers', file], { encoding: 'utf8', maxBuffer: 64 * MIB }); // prettier-ignore
  const bytes = readFileSync(file);
  const form = /cmd (LC_DYLD_\w+|LC_FUNCTION_STARTS)\n\s*cmdsize 16\n\s*dataoff (\d+)\n\s*datasize (\d+)/g;
  return [...headers.matchAll(form)].map(([, name, at, size]) => {
    const data = bytes.subarray(Number(at), Number(at) + Number(size));
    return `${name} ${size} ${createHash('sha256').update(data).digest('hex')}`;
  });
}

describe(
  'the Windows executable',
  { skip: lacksMade('rcap-agent-win-x64.exe') || lacks(WINDRES, 'osslsigncode', 'openssl') },
  () => {
    test('says what it is, and has neither an icon nor the signature of Node', () => {
      const text = execFileSync(WINDRES, ['-i', WINDOWS, '-O', 'rc'], { encoding: 'utf8', maxBuffer: 64 * MIB });
      const words = Object.fromEntries(
        [...text.matchAll(/VALUE "(\w+)", "(.*)"/g)].map(([, name, value]) => [name, value]),
      );
      assert.deepEqual(words, {
        FileDescription: 'rcap agent: captures packets and sends them to rcap-collector',
        FileVersion: VERSION,
        InternalName: 'rcap-agent',
        LegalCopyright: 'MIT licence; see LICENSES.txt for what is inside (Node.js and others)',
        OriginalFilename: 'rcap-agent.exe',
        ProductName: 'rcap',
        ProductVersion: VERSION,
      });
      assert.match(text, new RegExp(`FILEVERSION ${VERSION.replaceAll('.', ', ')}, 0`));
      assert.doesNotMatch(text, /ICON/i);
      const verify = spawnSync('osslsigncode', ['verify', '-in', WINDOWS], { encoding: 'utf8' });
      assert.match(verify.stdout + verify.stderr, /No signature found/);
    });

    test('takes its libraries from System32, and not from beside itself', () => {
      assert.equal(dependentLoadFlags(readFileSync(WINDOWS)), 0x800);
    });

    test('has the right checksum', () => {
      const bytes = readFileSync(WINDOWS);
      const at = bytes.readUInt32LE(0x3c) + 24 + 64;
      const stated = bytes.readUInt32LE(at);
      bytes.writeUInt32LE(0, at);
      // As Windows does it: 16-bit words with carries, and the size.
      let sum = 0;
      for (let i = 0; i < bytes.length; i += 2) {
        sum += bytes[i]! | ((bytes[i + 1] ?? 0) << 8);
        sum = (sum & 0xffff) + (sum >>> 16);
      }
      assert.equal(stated, sum + bytes.length);
    });

    test("is signed with somebody's certificate; a changed byte shows", (t) => {
      const folder = temporaryFolder(t);
      const at = (name: string) => join(folder, name);
      makeCertificates(folder);
      const signer = signerFrom(at('leaf.key'), at('leaf.pem'))!;
      signWindows(signer, 'rcap-agent', WINDOWS, at('signed.exe'));
      const verify = () => spawnSync('osslsigncode', ['verify', '-CAfile', at('ca.pem'), '-in', at('signed.exe')], { encoding: 'utf8' }); // prettier-ignore
      const right = verify();
      assert.equal(right.status, 0, right.stdout + right.stderr);
      assert.match(right.stdout, /Signature verification: ok/);
      const bytes = readFileSync(at('signed.exe'));
      bytes[10_000_000]! ^= 1;
      writeFileSync(at('signed.exe'), bytes);
      const wrong = verify();
      assert.notEqual(wrong.status, 0);
      assert.match(wrong.stdout + wrong.stderr, /MISMATCH/);
    });
  },
);

describe('signing', () => {
  const refusal = (...words: string[]) => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/package.ts', ...words], { cwd: root, encoding: 'utf8' }); // prettier-ignore
    return `${status} ${stderr}`;
  };

  test('needs key, certificate and something to sign', (t) => {
    const file = join(temporaryFolder(t), 'x');
    assert.match(
      refusal('--sign-key', file),
      /^2 package: error: could not sign: a key and its certificate are needed/,
    );
    assert.match(refusal('--sign-key', file, '--sign-cert', file), /^2 .*'.*x' does not exist/);
    writeFileSync(file, '');
    assert.match(
      refusal('linux-x64', '--sign-key', file, '--sign-cert', file),
      /^2 .*only win-x64 takes a certificate/,
    );
  });

  test('says that osslsigncode is missing', (t) => {
    const folder = temporaryFolder(t);
    const path = process.env['PATH'];
    process.env['PATH'] = folder;
    try {
      const signer = { key: 'k', certificate: 'c', timestamp: undefined };
      assert.throws(() => signWindows(signer, 'x', 'a', 'b'), (e) => e instanceof RcapError && /osslsigncode is missing/.test(e.message) && e.hint === 'apt-get install osslsigncode'); // prettier-ignore
    } finally {
      process.env['PATH'] = path;
    }
  });
});

/** A CA of our own, and a leaf that may sign code. */
function makeCertificates(folder: string): void {
  const openssl = (...words: string[]) => execFileSync('openssl', words, { cwd: folder, stdio: 'pipe' });
  const key = ['-newkey', 'rsa:2048', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Test CA', '-days', '2');
  openssl('req', ...key, '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=Test leaf');
  writeFileSync(join(folder, 'uses'), 'extendedKeyUsage=codeSigning\nbasicConstraints=CA:FALSE\n');
  openssl('x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'uses', '-out', 'leaf.pem', '-days', '2'); // prettier-ignore
}

/** Real files in the other checkout; hard links, so that nothing is copied. Node is only linked to. */
const OWN = ['package.json', 'package-lock.json', 'LICENSE', 'src', 'scripts/package', 'scripts/package.ts', 'native', 'node_modules']; // prettier-ignore
const NODES = ['scripts/node', 'scripts/targets'];
const REPRODUCED = ['rcap-agent-linux-x64', 'rcap-agent-win-x64.exe', 'rcap-agent-macos-arm64'];

test('two checkouts in different folders make the same bytes', { skip: lacksMade(...REPRODUCED) }, (t) => {
  // Hard links can't leave the file system.
  const other = mkdtempSync(join(dist, 'build/another checkout '));
  t.after(() => rmSync(other, { recursive: true }));
  mkdirSync(join(other, 'scripts'));
  for (const name of OWN) execFileSync('cp', ['-al', join(root, name), join(other, name)]);
  for (const name of NODES) {
    mkdirSync(join(other, name));
    cpSync(join(root, name, 'package-lock.json'), join(other, name, 'package-lock.json'));
    symlinkSync(join(root, name, 'node_modules'), join(other, name, 'node_modules'));
  }
  const make = (cwd: string, env: Record<string, string>) =>
    execFileSync(process.execPath, ['scripts/package.ts', 'rcap-agent', 'linux-x64', 'win-x64', 'macos-arm64'], {
      cwd,
      env: { ...process.env, ...env },
      stdio: 'pipe',
    });
  make(root, {});
  make(other, { TZ: 'Pacific/Auckland', LANG: 'C', TMPDIR: other });
  for (const file of REPRODUCED.flatMap((name) => [name, `${name}.cdx.json`]))
    assert.ok(read(file).equals(readFileSync(join(other, 'dist', file))), file);
});
