/** One script a program, the same for all systems. */
import { build } from 'esbuild';
import { type Program, root } from './plan.ts';

export interface Bundle {
  script: Uint8Array;
  /** The files that it was made of, from the root. */
  sources: string[];
}

export async function bundle({ entry }: Program): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    write: false,
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
  return { script: outputFiles[0]!.contents, sources: Object.keys(metafile.inputs) };
}
