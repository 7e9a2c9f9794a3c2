import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';

const SRC = join(import.meta.dirname, '..');

interface Import {
  from: string;
  /** A path from src/, or a package. */
  to: string;
  ours: boolean;
  typeOnly: boolean;
}

/** With the generated code, which is JavaScript. */
const FILES = globSync(['**/*.ts', 'wire/*.js'], { cwd: SRC }).filter(
  (f) => !/\.(test|d)\.ts$/.test(f) && !f.startsWith('test/'),
);
const text = (file: string) => readFileSync(join(SRC, file), 'utf8').replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '');

const FORMS: [form: RegExp, typeOnly: boolean][] = [
  [/^(?:import|export) type [^;]*?from '([^']+)'/gm, true],
  [/^(?:import|export) (?!type )[^;]*?from ['"]([^'"]+)['"]/gm, false],
  [/^import '([^']+)'/gm, false],
  [/: import\('([^']+)'\)/g, true],
  [/(?<!: )\bimport\('([^']+)'\)/g, false],
  [/(?:require|createRequire\([^)]*\))\('([^']+)'\)/g, false],
];

const importsOf = (from: string): Import[] =>
  FORMS.flatMap(([form, typeOnly]) =>
    [...text(from).matchAll(form)].map(([, to]) => {
      const ours = to!.startsWith('.');
      return { from, to: ours ? relative(SRC, join(SRC, dirname(from), to!)) : to!, ours, typeOnly };
    }),
  );
const IMPORTS = FILES.flatMap(importsOf);

const LEAVES = [
  'clock.ts',
  'packet.ts',
  'ledger.ts',
  'errors.ts',
  'log.ts',
  'version.ts',
  'footprint.ts',
  'socket-lock.ts',
];
const PROGRAMS = ['agent.ts', 'collector.ts'];
const folderOf = (file: string) =>
  LEAVES.includes(file) ? 'leaves' : PROGRAMS.includes(file) ? file : file.split('/')[0]!;

/** Which folders a folder may import from, beside itself. */
const TABLE: Record<string, string[]> = {
  leaves: [],
  formats: ['leaves'],
  options: ['leaves', 'formats'],
  wire: ['leaves', 'formats', 'options'],
  capture: ['leaves', 'formats', 'options'],
  agent: ['leaves', 'formats', 'options', 'wire', 'capture'],
  collector: ['leaves', 'formats', 'options', 'wire', 'web'],
  web: ['leaves'],
  'agent.ts': ['leaves', 'options', 'capture', 'agent'],
  'collector.ts': ['leaves', 'options', 'collector'],
};
/** Of the leaves one imports another, and one reads the version. */
const FROM_LEAVES = ['log.ts errors.ts', 'version.ts ../package.json'];

const say = (list: Import[]) => list.map((i) => `${i.from} imports ${i.to}`);

test('the imports were found', () => {
  assert.ok(FILES.length > 30 && IMPORTS.length > 2 * FILES.length);
  // Each file that speaks of a module in quotes was understood.
  for (const file of FILES) {
    const named = text(file).match(/(?:from|import|import\() ?['"]/g)?.length ?? 0;
    const [form] = FORMS.at(-1)!;
    const required = [...text(file).matchAll(form)].length;
    assert.equal(importsOf(file).length, named + required, file);
  }
});

test('every file belongs to a folder of the table', () => {
  assert.deepEqual(
    FILES.filter((f) => !TABLE[folderOf(f)]),
    [],
  );
});

test('a folder imports from those below it only', () => {
  const wrong = IMPORTS.filter((i) => i.ours).filter(({ from, to }) => {
    const [a, b] = [folderOf(from), folderOf(to)];
    if (a === 'leaves') return !FROM_LEAVES.includes(`${from} ${to}`);
    return a !== b && !TABLE[a]!.includes(b);
  });
  assert.deepEqual(say(wrong), []);
});

test('no program is imported', () => {
  assert.deepEqual(say(IMPORTS.filter((i) => PROGRAMS.includes(i.to))), []);
});

test('only capture/addon.ts loads node-pcap-native; others know its types', () => {
  const loads = IMPORTS.filter((i) => i.to.startsWith('node-pcap-native') && !i.typeOnly);
  assert.deepEqual([...new Set(loads.map((i) => i.from))], ['capture/addon.ts']);
});

test('a package is imported in few, known places', () => {
  const PLACES: Record<string, string[]> = {
    'node-pcap-native': [
      'agent/footprint.ts',
      'agent/privileges.ts',
      'agent/run.ts',
      'capture/addon.ts',
      'capture/interfaces.ts',
      'capture/live.ts',
      'capture/replay.ts',
      'capture/source.ts',
    ],
    protobufjs: ['wire/protobuf.ts'],
    minimist: ['options/parse.ts'],
    '@peculiar/x509': ['collector/authority.ts'],
    'reflect-metadata': ['collector/authority.ts'],
  };
  const packages = IMPORTS.filter((i) => !i.ours && !i.to.startsWith('node:'));
  const name = (to: string) =>
    to
      .split('/')
      .slice(0, to.startsWith('@') ? 2 : 1)
      .join('/');
  assert.deepEqual(say(packages.filter((i) => !PLACES[name(i.to)]?.includes(i.from))), []);
});

test('every file but the two programs is imported by another, and not by its test alone', () => {
  const scripts = globSync('scripts/{*,*/*}.ts', { cwd: join(SRC, '..') }).map((f) =>
    readFileSync(join(SRC, '..', f), 'utf8'),
  );
  const byScripts = scripts.flatMap((s) => [...s.matchAll(/from '(?:\.\.\/)+src\/([^']+)'/g)].map(([, to]) => to!));
  const used = new Set([...IMPORTS.map((i) => i.to), ...byScripts]);
  assert.deepEqual(
    FILES.filter((f) => !used.has(f) && !PROGRAMS.includes(f)),
    [],
  );
});

test('no import goes around in a circle', () => {
  const real = IMPORTS.filter((i) => i.ours && !i.typeOnly);
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]): void => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' → '));
    if (path.includes(file) || done.has(file)) return;
    for (const i of real) if (i.from === file) visit(i.to, [...path, file]);
    done.add(file);
  };
  for (const file of FILES) visit(file, []);
  assert.deepEqual(circles, []);
});

test('no file re-exports another, and no folder is a drawer', () => {
  assert.deepEqual(
    FILES.filter((f) => /^export (\*|\{[^}]*\}) from/m.test(text(f)) || f.endsWith('index.ts')),
    [],
  );
  assert.deepEqual(
    FILES.filter((f) => /(^|\/)(utils?|common|helpers?|shared|core)(\/|\.ts$)/.test(f)),
    [],
  );
});
