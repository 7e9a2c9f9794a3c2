/** On how old a Linux the executables run: what they ask of its libraries, and one run where those are old. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { VERSION } from '../version.ts';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { assertHold, publishedFrom } from './published.ts';
import { Collector, lacks, lacksRoot, run, temporaryFolder } from './support.ts';

const dist = join(import.meta.dirname, '../../dist');
const executables = globSync('rcap-*-linux-*', { cwd: dist })
  .filter((name) => !name.includes('.'))
  .map((name) => join(dist, name));
const skip = executables.length === 0 && 'needs the executables: npm run package';

/** What Node itself needs, on both processors: Debian 10, RHEL 8, Ubuntu 18.10, and their libstdc++. */
const NEWEST: Record<string, string> = { GLIBC: '2.28', GLIBCXX: '3.4.21', CXXABI: '1.3.11', GCC: '3.4' };
const LIBRARY = /^(lib(c|m|dl|pthread|stdc\+\+|gcc_s)|ld-linux-(x86-64|aarch64))\.so\.\d$/;

/** Versions as numbers: 2.4 comes before 2.28. */
function isNewer(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number)) as [number[], number[]];
  const at = a.findIndex((n, i) => n !== (b[i] ?? 0));
  return at >= 0 && a[at]! > (b[at] ?? 0);
}

describe('the executables for Linux', { skip }, () => {
  for (const executable of executables) {
    const objdump = executable.endsWith('arm64') ? 'aarch64-linux-gnu-objdump' : 'objdump';

    it(`${basename(executable)} needs no newer symbol than Node does`, { skip: lacks(objdump) }, () => {
      const said = execFileSync(objdump, ['-p', executable], { encoding: 'utf8' });
      const versions = [...said.matchAll(/ (GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)$/gm)];
      assert.ok(versions.length > 10, said);
      const tooNew = versions.filter(([, kind, version]) => isNewer(version!, NEWEST[kind!]!)).map(([text]) => text);
      assert.deepEqual(tooNew, []);
      const libraries = [...said.matchAll(/NEEDED +(\S+)/g)].map((m) => m[1]!);
      assert.ok(libraries.includes('libc.so.6'), said);
      assert.deepEqual(
        libraries.filter((name) => !LIBRARY.test(name)),
        [],
      );
    });
  }
});

/** The oldest that Debian's servers still have whole. */
const OLD = { release: 'bullseye', glibc: '2.31' };

/** Where this machine gets its packages from, for another release. */
function sourceOf(release: string): string | undefined {
  const args = ['indextargets', '--format', '$(REPO_URI) $(RELEASE) $(COMPONENT)', 'Created-By: Packages'];
  const { stdout } = spawnSync('apt-get', args, { encoding: 'utf8' });
  const [address] = stdout.split('\n').find((line) => /^\S+ [a-z]+ main$/.test(line))?.split(' ') ?? []; // prettier-ignore
  return address && `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${address} ${release} main`;
}
const isDebian = existsSync('/etc/os-release') && /^ID=debian$/m.test(readFileSync('/etc/os-release', 'utf8'));
const skipOld = skip || lacksRoot || lacks('mmdebstrap', 'unshare', 'chroot') || (!isDebian && 'needs Debian');

it(`runs on Debian ${OLD.release}`, { skip: skipOld, timeout: 240_000 }, async (t) => {
  const folder = temporaryFolder(t);
  const root = join(folder, 'root');
  const include = '--include=libc6,libstdc++6,libgcc-s1,dash,coreutils';
  const source = sourceOf(OLD.release);
  const made = spawnSync('mmdebstrap', ['--variant=extract', include, OLD.release, root, source ?? ''], {
    encoding: 'utf8',
  });
  if (made.status !== 0)
    return t.skip(`Debian ${OLD.release} could not be had: ${made.stderr.trim().split('\n').at(-1)}`);

  const packets = somePackets(200);
  for (const name of ['rcap-agent', 'rcap-collector']) copyFileSync(join(dist, `${name}-linux-x64`), join(root, name));
  for (const name of ['proc', 'run']) mkdirSync(join(root, name), { recursive: true });
  writeFileSync(join(root, 'some.pcap'), pcapBytes(packets));
  const script = `mount --make-rprivate / && mount -t proc proc ${root}/proc && exec chroot ${root} env -i "$@"`;
  const inside = (...words: string[]) => run(t, 'unshare', ['-m', 'sh', '-c', script, 'sh', ...words]);

  const libc = await inside('/lib/x86_64-linux-gnu/libc.so.6');
  assert.match(libc.stdout, new RegExp(`^GNU C Library .* version ${OLD.glibc}`));
  for (const name of ['rcap-agent', 'rcap-collector'])
    assert.equal((await inside(`/${name}`, '--version')).stdout, `${name} ${VERSION}\n`);
  const listed = await inside('/rcap-agent', '-D', '--json');
  assert.equal(listed.code, 0, listed.stderr);
  const collector = await Collector.start(t);
  const token = await collector.token();
  const sent = await inside(`RCAP_TOKEN=${token}`, '/rcap-agent', '-r', 'some.pcap', '--host-name', 'old', ...collector.address); // prettier-ignore
  assert.equal(sent.code, 0, sent.stderr);
  const expected = [{ interface: '', linkType: 1, snaplen: 262_144, packets }];
  assertHold(publishedFrom(collector, 'old'), expected, 'old', 'some');
});
