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
const left = ['verify', 'convert', 'typeurl', 'service', 'comments'].map((part) => `--no-${part}`);

const pbjs = createRequire(import.meta.url).resolve('protobufjs-cli/bin/pbjs');
const options = ['-t', 'static-module', '-w', 'esm', '--force-number', '--dependency', './protobuf.ts', ...left];
execFileSync(process.execPath, [pbjs, ...options, '-o', target, source], { stdio: 'inherit' });

const pack = protobuf.loadSync(source).lookup('rcap.v1') as protobuf.Namespace;
const types = pack.nestedArray.filter((entry) => entry instanceof protobuf.Type);
for (const type of types) type.fieldsArray.forEach((field) => field.resolve());

// Generated defaults of fixed64 are the number 0; ours are bigint.
let code = readFileSync(target, 'utf8').replace(
  '/*eslint-disable',
  '// Generated from proto/rcap.proto by scripts/proto.ts.\n/*eslint-disable',
);
for (const type of types) {
  for (const field of type.fieldsArray.filter((field) => field.type === 'fixed64' && !field.repeated)) {
    const before = new RegExp(`(\\b${type.name}\\.prototype\\.${field.name} = )\\$util\\.Long [^;]*;`);
    if (!before.test(code))
      throw new Error(`pbjs wrote no default for ${type.name}.${field.name} in the expected form`);
    code = code.replace(before, '$10n;');
  }
}
writeFileSync(target, code);

const scalars: Record<string, string> = {
  bool: 'boolean',
  bytes: 'Uint8Array',
  fixed64: 'bigint',
  string: 'string',
  uint32: 'number',
  uint64: 'number',
};
const maybe = ' | null | undefined';

function typeOf(field: protobuf.Field, prefix: '' | 'I'): string {
  const { resolvedType } = field;
  const name =
    resolvedType instanceof protobuf.Type
      ? messageName(resolvedType, prefix)
      : resolvedType
        ? enumName(resolvedType)
        : scalars[field.type];
  if (!name) throw new Error(`no TypeScript type for ${field.type} (${field.fullName})`);
  return field.repeated ? `${name}[]` : name;
}
/** Of a message within a message: Outer.Inner, Outer.IInner. */
const messageName = (type: protobuf.Type, prefix: '' | 'I') =>
  (type.parent instanceof protobuf.Type ? `${type.parent.name}.` : '') + prefix + type.name;
const enumName = (entry: protobuf.Enum) => `${entry.parent!.name}.${entry.name}`;

function decodedMember(field: protobuf.Field): string {
  const absent = !field.repeated && (field.resolvedType instanceof protobuf.Type || field.partOf) ? ' | null' : '';
  return `    ${field.name}: ${typeOf(field, '')}${absent};\n`;
}
/** A oneof with a name of its own (proto3's `optional` makes one that starts with _): which member is set. */
function oneofMember(oneof: protobuf.OneOf): string {
  return oneof.name.startsWith('_')
    ? ''
    : `    ${oneof.name}: ${oneof.fieldsArray.map((field) => `'${field.name}'`).join(' | ')} | undefined;\n`;
}
/** As it may be encoded, and as it is decoded. */
function interfaces(type: protobuf.Type): string {
  const fields = type.fieldsArray.map((field) => `    ${field.name}?: ${typeOf(field, 'I')}${maybe};\n`);
  const decoded = [...type.fieldsArray.map(decodedMember), ...type.oneofsArray.map(oneofMember)];
  return `  interface I${type.name} {\n${fields.join('')}  }\n  interface ${type.name} {\n${decoded.join('')}  }\n`;
}
function declare(type: protobuf.Type): string {
  const enums = type.nestedArray.filter((entry) => entry instanceof protobuf.Enum);
  const inner = type.nestedArray.filter((entry) => entry instanceof protobuf.Type);
  return [
    interfaces(type),
    `  const ${type.name}: Message<I${type.name}, ${type.name}>${enums.map((entry) => ` & { ${entry.name}: ${enumObject(entry)} }`).join('')};\n`,
    enums.length + inner.length > 0
      ? `  namespace ${type.name} {\n${enums.map((entry) => `    type ${entry.name} = number;\n`).join('')}${inner.map(interfaces).join('')}  }\n`
      : '',
  ].join('');
}
function enumObject(entry: protobuf.Enum): string {
  const members = Object.entries(entry.values).map(([name, value]) => `${name}: ${value}`);
  return `{ ${members.join('; ')} } & { [value: number]: string | undefined }`;
}

const declarations = types.map(declare).join('\n');
writeFileSync(
  target.replace(/js$/, 'd.ts'),
  `// Generated from proto/rcap.proto by scripts/proto.ts.
import type { Reader, Writer } from 'protobufjs/minimal.js';

/** \`I…\` is what may be encoded, any plain object. Decoded, every field reads as its default where the sender left it out. */
interface Message<Encodable, Decoded> {
  create(fields?: Encodable): Decoded;
  encode(message: Encodable, writer?: Writer): Writer;
  encodeDelimited(message: Encodable, writer?: Writer): Writer;
  decode(reader: Reader | Uint8Array, length?: number): Decoded;
  decodeDelimited(reader: Reader | Uint8Array): Decoded;
}

export namespace rcap.v1 {
${declarations}}
`,
);
