// Generates src/wire/messages.js (protobufjs' static code: create, encode, decode) and its types from proto/rcap.proto.
// The types are written here instead of by pbts: exact for our use (oneof as a union, fixed64 as bigint) and in a second.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import protobuf from 'protobufjs';

const root = join(import.meta.dirname, '..');
const source = join(root, 'proto/rcap.proto');
const target = join(root, 'src/wire/messages.js');
const left = ['verify', 'convert', 'delimited', 'typeurl', 'service', 'comments'].map((part) => `--no-${part}`);

const pbjs = createRequire(import.meta.url).resolve('protobufjs-cli/bin/pbjs');
const options = ['-t', 'static-module', '-w', 'esm', '--force-number', '--dependency', './protobuf.ts', ...left];
execFileSync(process.execPath, [pbjs, ...options, '-o', target, source], { stdio: 'inherit' });

const pack = protobuf.loadSync(source).lookup('rcap.v1') as protobuf.Namespace;
const types = pack.nestedArray.filter((entry) => entry instanceof protobuf.Type);
for (const type of types) type.fieldsArray.forEach((field) => field.resolve());

// Generated defaults of fixed64 are the number 0; ours are bigint.
let code = readFileSync(target, 'utf8').replace('/*eslint-disable', '// Generated from proto/rcap.proto by scripts/proto.ts.\n/*eslint-disable');
for (const type of types) {
  for (const field of type.fieldsArray.filter((field) => field.type === 'fixed64' && !field.repeated)) {
    const before = new RegExp(`(\\b${type.name}\\.prototype\\.${field.name} = )\\$util\\.Long [^;]*;`);
    if (!before.test(code)) throw new Error(`pbjs wrote no default for ${type.name}.${field.name} in the expected form`);
    code = code.replace(before, '$10n;');
  }
}
const names = types.map((type) => type.name);
code += `\nexport const { ${names.join(', ')} } = rcap.v1;\n`;
writeFileSync(target, code);

const scalars: Record<string, string> = {
  bool: 'boolean',
  bytes: 'Uint8Array',
  fixed64: 'bigint',
  string: 'string',
  uint32: 'number',
  uint64: 'number',
};
function typeOf(field: protobuf.Field, suffix: string): string {
  const message = field.resolvedType instanceof protobuf.Type;
  const name = message ? field.resolvedType!.name + suffix : field.resolvedType ? 'number' : scalars[field.type];
  if (!name) throw new Error(`no TypeScript type for ${field.type} (${field.fullName})`);
  return name;
}
function decodedMember(field: protobuf.Field): string {
  if (field.repeated) return `  ${field.name}: ${typeOf(field, '')}[];\n`;
  const maybe = field.resolvedType instanceof protobuf.Type || field.partOf ? ' | null' : '';
  return `  ${field.name}: ${typeOf(field, '')}${maybe};\n`;
}
function fieldsMember(field: protobuf.Field): string {
  return `  ${field.name}?: ${typeOf(field, 'Fields')}${field.repeated ? '[]' : ''} | null | undefined;\n`;
}
function declare(type: protobuf.Type): string {
  const kind = type.oneofs?.kind;
  const decoded = kind
    ? `export type ${type.name} =\n${kind.fieldsArray.map((f) => `  | { kind: '${f.name}'; ${f.name}: ${typeOf(f, '')} }`).join('\n')}\n  | { kind: undefined };\n`
    : `export interface ${type.name} {\n${type.fieldsArray.map(decodedMember).join('')}}\n`;
  const fields = `export interface ${type.name}Fields {\n${type.fieldsArray.map(fieldsMember).join('')}}\n`;
  return `${decoded}${fields}export const ${type.name}: Message<${type.name}, ${type.name}Fields>;\n`;
}
const head = `// Generated from proto/rcap.proto by scripts/proto.ts.
import type { Reader, Writer } from 'protobufjs/minimal.js';

/** Decoded, every field is there, with its default where the sender left it out; to encode, plain objects do. */
interface Message<Decoded, Fields> {
  create(fields?: Fields): Decoded;
  encode(message: Fields, writer?: Writer): Writer;
  decode(reader: Reader | Uint8Array, length?: number): Decoded;
}

`;
const enums = types.flatMap((type) => type.nestedArray.filter((entry) => entry instanceof protobuf.Enum).map((entry) => [type, entry] as const));
const enumText = enums.map(([type, entry]) => `export const ${type.name}${entry.name}: ${JSON.stringify(entry.values)};\n`);
writeFileSync(target.replace(/js$/, 'd.ts'), head + types.map(declare).join('\n') + '\n' + enumText.join(''));
if (enums.length > 0)
  writeFileSync(
    target,
    code + enums.map(([type, entry]) => `export const ${type.name}${entry.name} = ${type.name}.${entry.name};\n`).join(''),
  );
