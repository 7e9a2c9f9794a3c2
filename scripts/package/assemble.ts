/** One executable: its system's Node with one bundled script inside (a "single executable application", made by pkg). */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { signAdHoc } from '../../src/formats/macho.ts';
import { VERSION } from '../../src/version.ts';
import { makeUnlessFresh } from './fresh.ts';
import { ADDON_ASSET, addonOf, nodeBinary, nodeVersion, type Product, root, type Target, work } from './plan.ts';
import { injectWindows } from './windows.ts';

const require = createRequire(import.meta.url);
const pkg = require.resolve('@yao-pkg/pkg/lib-es5/sea');
const { default: sea } = require(pkg) as { default: (entry: string, options: object) => Promise<void> };
type Inject = (this: void, file: string, resource: string, blob: Uint8Array, options: object) => Promise<void>;
const postject = createRequire(pkg)('postject') as { inject: Inject };

/** Room behind the signature of a macOS executable for what is stamped into it later: no hash covers it. */
const STAMP_ROOM = 16 * 1024;

export async function assemble(
  { program, target, file }: Product,
  script: Uint8Array,
  output: string,
  folder: string,
): Promise<void> {
  const main = `${program.name}.cjs`;
  writeFileSync(join(folder, main), script);
  layOut(folder, target, await baseOf(target));
  const { inject } = postject;
  if (target.platform === 'win') {
    const words = { version: VERSION, description: program.description, fileName: `${program.name}.exe` };
    // The same as postject in a quarter of the time, and the words go in with it.
    postject.inject = async (exe, _name, blob) => injectWindows(exe, blob, words);
  }
  try {
    // pkg works in a folder below this one, and what it is told as `main` stays in the blob: a path that is always the same.
    await quietly({ HOME: folder, TMPDIR: folder }, () =>
      sea(join(folder, main), {
        targets: [{ nodeRange: `node${nodeVersion(target)}`, platform: target.platform, arch: target.arch, output }],
        signature: false,
        seaConfig: {
          main: `../${main}`,
          disableExperimentalSEAWarning: true,
          // Neither a signal nor NODE_OPTIONS, OPENSSL_CONF, NODE_REDIRECT_WARNINGS may change what the program does.
          execArgvExtension: 'none',
          execArgv: [
            '--disable-sigusr1',
            '--no-warnings',
            `--openssl-config=${target.platform === 'win' ? 'NUL' : '/dev/null'}`,
          ],
          // It would differ from one build to the next, and saves 10 ms.
          useCodeCache: false,
          assets: program.addon ? { [ADDON_ASSET]: addonOf(target) } : {},
        },
      }),
    );
  } finally {
    postject.inject = inject;
  }
  if (target.platform === 'macos')
    writeFileSync(output, signAdHoc(readFileSync(output), basename(file), { room: STAMP_ROOM }));
  chmodSync(output, 0o755);
}

/** Node as it goes in: without symbols (afterwards they could not be taken out), and without its cache. */
async function baseOf(target: Target): Promise<string> {
  const base = join(work, `node-${nodeVersion(target)}-${target.name}`);
  await makeUnlessFresh(base, { node: target.node }, false, (unfinished) => {
    copyFileSync(nodeBinary(target), unfinished);
    chmodSync(unfinished, 0o755);
    const [command, ...words] = target.strip ?? [];
    if (command !== undefined) execFileSync(command, [...words, unfinished]);
    forgetCompileCache(unfinished);
  });
  return base;
}

/**
 * NODE_COMPILE_CACHE names a folder from which Node takes compiled code, unchecked, before our first line; no option shuts that
 * off. This Node asks for a variable without a name instead: the first of the texts is the one that it asks for.
 */
function forgetCompileCache(file: string): void {
  const bytes = readFileSync(file);
  const at = bytes.indexOf('\0NODE_COMPILE_CACHE\0');
  if (at < 0) throw new Error(`${file} does not know NODE_COMPILE_CACHE`);
  bytes[at + 1] = 0;
  writeFileSync(file, bytes);
}

/** The folder that pkg takes for its cache of downloads: with our Node in it, marked as verified. */
function layOut(home: string, target: Target, base: string): void {
  const version = nodeVersion(target);
  const cache = join(home, '.pkg-cache/sea');
  const put = (platform: string, arch: string, node: string) => {
    const windows = platform === 'win';
    const name = `node-v${version}-${platform === 'macos' ? 'darwin' : platform}-${arch}`;
    const place = join(cache, windows ? `${name}.exe` : `${name}/bin/node`);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(node, place);
    const archive = join(cache, `${name}.${windows ? 'zip' : 'tar.gz'}`);
    for (const mark of [archive, `${archive}.ok`, `${place}.ok`]) writeFileSync(mark, '');
  };
  put(target.platform, target.arch, base);
  if (target.node !== target.maker) put('linux', 'x64', join(root, target.maker, 'bin/node'));
}

/** pkg takes folders from the environment, and says a lot on the way. */
async function quietly(environment: Record<string, string>, run: () => Promise<void>): Promise<void> {
  const say = console.log;
  const before = Object.keys(environment).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, environment);
  console.log = () => {};
  try {
    await run();
  } finally {
    console.log = say;
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}
