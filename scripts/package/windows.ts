/** A Windows executable: the blob as a resource, and version information that says what it is. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setChecksum } from '../../src/formats/stamp-pe.ts';
import { searchSystemOnly } from './load-flags.ts';

/** Node looks for the blob only where this says 1. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:';
const RT_ICON = 3;
const RT_RCDATA = 10;
const RT_GROUP_ICON = 14;
const ENGLISH = 1033;
const UNICODE = 1200;

/** What we use of resedit. Its own types bring the browser's, which contradict Node's. */
interface Resedit {
  NtExecutable: { from(bytes: Uint8Array, options: { ignoreCert: boolean }): Executable };
  NtExecutableResource: { from(exe: Executable): Resources };
  Resource: { VersionInfo: { fromEntries(entries: Entry[]): VersionInfo[] } };
}
interface Executable {
  generate(): ArrayBuffer;
}
interface Entry {
  type: number | string;
  id: number | string;
  lang: number;
  codepage: number;
  bin: ArrayBuffer;
}
interface Resources {
  entries: Entry[];
  outputResource(exe: Executable): void;
}
interface Language {
  lang: number;
  codepage: number;
}
interface VersionInfo {
  removeAllStringValues(language: Language): void;
  setFileVersion(version: string, lang: number): void;
  setProductVersion(version: string, lang: number): void;
  setStringValues(language: Language, values: Record<string, string>): void;
  outputToResourceEntries(entries: Entry[]): void;
}
const { NtExecutable, NtExecutableResource, Resource } = createRequire(import.meta.url)('resedit') as Resedit;

export interface VersionWords {
  /** x.y.z */
  version: string;
  description: string;
  /** As it is called in the release. */
  fileName: string;
}

/** Writes the blob and the words into the executable; Node's own signature, which no longer fits, goes. */
export function injectWindows(file: string, blob: Uint8Array, words: VersionWords): void {
  // ignoreCert leaves the signature out.
  const exe = NtExecutable.from(readFileSync(file), { ignoreCert: true });
  const resources = NtExecutableResource.from(exe);
  resources.entries.push({
    type: RT_RCDATA,
    id: 'NODE_SEA_BLOB',
    lang: ENGLISH,
    codepage: UNICODE,
    bin: new Uint8Array(blob).buffer,
  });
  describe(resources, words);
  resources.outputResource(exe);
  const bytes = Buffer.from(exe.generate());
  switchOn(bytes);
  searchSystemOnly(bytes);
  setChecksum(bytes);
  writeFileSync(file, bytes);
}

function describe(resources: Resources, { version, description, fileName }: VersionWords): void {
  const language = { lang: ENGLISH, codepage: UNICODE };
  const [info] = Resource.VersionInfo.fromEntries(resources.entries);
  if (info === undefined) throw new Error('this Node has no version information');
  info.removeAllStringValues(language);
  info.setFileVersion(version, ENGLISH);
  info.setProductVersion(version, ENGLISH);
  info.setStringValues(language, {
    FileDescription: description,
    FileVersion: version,
    InternalName: fileName.replace(/\.exe$/, ''),
    LegalCopyright: 'MIT licence; see LICENSES.txt for what is inside (Node.js and others)',
    OriginalFilename: fileName,
    ProductName: 'rcap',
    ProductVersion: version,
  });
  info.outputToResourceEntries(resources.entries);
  // Node's icon would say that this is Node.
  resources.entries = resources.entries.filter(({ type }) => type !== RT_ICON && type !== RT_GROUP_ICON);
}

function switchOn(bytes: Buffer): void {
  const at = bytes.indexOf(`${FUSE}0`);
  if (at < 0 || bytes.includes(`${FUSE}0`, at + 1)) throw new Error('this Node has no fuse for a blob, or two');
  bytes[at + FUSE.length] = '1'.charCodeAt(0);
}
