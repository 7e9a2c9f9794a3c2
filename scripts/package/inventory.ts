/** What is inside an executable beside our own code, for the licences and the bill of materials. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeVersion, type Product, root, type Target } from './plan.ts';

export interface Component {
  name: string;
  version: string;
  /** An SPDX expression; left out for what Node's own licence covers. */
  licence?: string;
  /** Where its licence can be read, from the root. */
  licenceFile?: string;
  /** The npm tarball's, hexadecimal. */
  sha512?: string;
  purl: string;
  /** As the national vulnerability database calls it. */
  cpe?: string;
  parts?: Component[];
}

/** `sources`: the files of the bundle, from the root. */
export function inventory({ program, target }: Product, sources: string[]): Component[] {
  const native = program.addon ? ADDON_PARTS[target.platform].map((part) => part()) : [];
  return [nodeOf(target), ...native, ...packagesOf(sources)];
}

const generic = (name: string, version: string) => `pkg:generic/${name}@${encodeURIComponent(version)}`;
const cpe = (vendor: string, product: string, version: string) => `cpe:2.3:a:${vendor}:${product}:${version}:*:*:*:*:*:*:*`; // prettier-ignore

/** What process.versions tells of interfaces, not of code. */
const NO_CODE = new Set(['node', 'modules', 'napi']);

/** The Node of that version that runs here knows what all of that version are made of. */
function nodeOf(target: Target): Component {
  const version = nodeVersion(target);
  const binary = join(root, target.maker, 'bin/node');
  const versions = JSON.parse(
    execFileSync(binary, ['-p', 'JSON.stringify(process.versions)'], { encoding: 'utf8', env: {} }),
  ) as Record<string, string>;
  const parts = Object.entries(versions).filter(([name, of]) => of !== '' && !NO_CODE.has(name));
  return {
    name: 'Node.js',
    version,
    licence: 'MIT',
    licenceFile: `${target.maker}/LICENSE`,
    purl: generic('node', version),
    cpe: cpe('nodejs', 'node.js', version),
    parts: parts.map(([name, of]) => ({
      name,
      version: of,
      purl: generic(name, of),
      ...(name === 'openssl' && { cpe: cpe('openssl', 'openssl', of) }),
    })),
  };
}

const LIBPCAP_SOURCE = 'native/build-libpcap/source';
function libpcap(): Component {
  const version = readFileSync(join(root, LIBPCAP_SOURCE, 'VERSION'), 'utf8').trim();
  return {
    name: 'libpcap',
    version,
    licence: 'BSD-3-Clause',
    licenceFile: `${LIBPCAP_SOURCE}/LICENSE`,
    purl: generic('libpcap', version),
    cpe: cpe('tcpdump', 'libpcap', version),
  };
}

/** The compiler's start-up code and runtime, linked in: from Debian's packages, as installed. */
function debian(name: string, licence: string): Component {
  const { stdout } = spawnSync('dpkg-query', ['-W', '-f', '${Version}', name], { encoding: 'utf8' });
  const version = stdout || 'unknown';
  return {
    name,
    version,
    licence,
    licenceFile: `/usr/share/doc/${name}/copyright`,
    purl: `pkg:deb/debian/${name}@${encodeURIComponent(version)}`,
  };
}
const mingw = () => debian('mingw-w64-x86-64-dev', 'ZPL-2.1');
const mingwGcc = () => debian('gcc-mingw-w64-x86-64-win32-runtime', 'GPL-3.0-or-later WITH GCC-exception-3.1');

/** On Windows Npcap is found at run time and not brought. */
const ADDON_PARTS: Record<Target['platform'], (() => Component)[]> = {
  linux: [libpcap],
  macos: [libpcap],
  win: [mingw, mingwGcc],
};

interface Lock {
  packages: Record<string, { integrity?: string }>;
}

/** npm packages that the bundler took something from; ours live outside of node_modules, wherever that is linked to. */
function packagesOf(sources: string[]): Component[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock;
  const folders = new Set(
    sources.map((file) => /^.*?(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]),
  );
  folders.delete(undefined);
  return [...(folders as Set<string>)].toSorted().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Record<
      'name' | 'version' | 'license',
      string
    >;
    const [file] = globSync('{LICEN,licen}[CScs][Ee]*', { cwd: join(root, folder) }).toSorted();
    const integrity = lock.packages[folder]?.integrity?.replace(/^sha512-/, '');
    return {
      name,
      version,
      licence: license,
      ...(file !== undefined && { licenceFile: `${folder}/${file}` }),
      ...(integrity !== undefined && { sha512: Buffer.from(integrity, 'base64').toString('hex') }),
      purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
    };
  });
}

/** The licence's own words, or its name where there are none. */
export function licenceText({ licence, licenceFile }: Component): string {
  const file = licenceFile === undefined ? undefined : join(licenceFile.startsWith('/') ? '/' : root, licenceFile);
  return file !== undefined && existsSync(file) ? readFileSync(file, 'utf8').trim() : `Licence: ${licence}`;
}
