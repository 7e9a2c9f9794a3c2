/**
 * Code signatures of Mach-O files (macOS executables), as far as rcap needs them: signing ad hoc, which binds nobody's name
 * but without which Apple silicon runs nothing, and the check of a signature's page hashes. Thin 64-bit files only, with
 * hashes by SHA-256. Layout: Apple's mach-o/loader.h and kern/cs_blobs.h; the form is the one that linkers write.
 */
import { createHash } from 'node:crypto';
import { RcapError, reasonOf } from '../errors.ts';

const MAGIC_64 = 0xfeed_facf;
const CPU_ARM64 = 0x0100_000c;
const MH_EXECUTE = 2;
const LC_SEGMENT_64 = 0x19;
const LC_CODE_SIGNATURE = 0x1d;
const HEADER_BYTES = 32;
const SEGMENT_BYTES = 72;
const SECTION_BYTES = 80;
const SIGNATURE_COMMAND_BYTES = 16;

const SUPER_BLOB = 0xfade_0cc0;
const CODE_DIRECTORY = 0xfade_0c02;
const SUPER_BLOB_BYTES = 20; // with one entry
const CODE_DIRECTORY_BYTES = 88;
const VERSION_WITH_EXECUTABLE_SEGMENT = 0x2_0400;
const AD_HOC = 0x2;
const MAIN_BINARY = 1;
const PAGE_SHIFT = 12;
const HASH_SHA256 = 2;
const HASH_BYTES = 32;
/** Slots of code directories in a super blob: the first, and those for other kinds of hash. */
const isDirectorySlot = (slot: number) => slot === 0 || (slot >= 0x1000 && slot < 0x1005);

/** Where things are in a file; offsets from its start. */
interface Layout {
  commands: number;
  commandBytes: number;
  /** Where the list of commands ends, and where what follows it begins. */
  end: number;
  room: number;
  /** The commands of the last segment and of the signature. */
  linkEdit: number;
  signature: number | undefined;
  text: { offset: bigint; size: bigint };
}

function layoutOf(file: Buffer): Layout {
  if (file.readUInt32LE(0) !== MAGIC_64) throw new Error('not a thin 64-bit Mach-O file');
  const layout: Layout = {
    commands: file.readUInt32LE(16),
    commandBytes: file.readUInt32LE(20),
    end: HEADER_BYTES,
    room: file.length,
    linkEdit: 0,
    signature: undefined,
    text: { offset: 0n, size: 0n },
  };
  for (let i = 0; i < layout.commands; i++) {
    const at = layout.end;
    const size = file.readUInt32LE(at + 4);
    if (size < 8 || at + size > HEADER_BYTES + layout.commandBytes) throw new Error('its load commands are damaged');
    const command = file.readUInt32LE(at);
    if (command === LC_SEGMENT_64) noteSegment(file, at, layout);
    if (command === LC_CODE_SIGNATURE) layout.signature = at;
    layout.end += size;
  }
  if (layout.linkEdit === 0) throw new Error('it has no __LINKEDIT segment');
  return layout;
}

function noteSegment(file: Buffer, at: number, layout: Layout): void {
  const name = file.toString('latin1', at + 8, at + 24).replace(/\0+$/, '');
  if (name === '__LINKEDIT') layout.linkEdit = at;
  if (name === '__TEXT') layout.text = { offset: file.readBigUInt64LE(at + 40), size: file.readBigUInt64LE(at + 48) };
  const sections = file.readUInt32LE(at + 64);
  for (let i = 0; i < sections; i++) {
    const offset = file.readUInt32LE(at + SEGMENT_BYTES + SECTION_BYTES * i + 48);
    if (offset > 0) layout.room = Math.min(layout.room, offset);
  }
}

const roundUp = (bytes: number, to: number): number => Math.ceil(bytes / to) * to;

/**
 * The file with an ad hoc signature; one that it has is replaced. `room`: bytes of zeros behind the signature that belong to
 * it and are the last of the file, but that no hash covers.
 */
export function signAdHoc(bytes: Uint8Array, identifier: string, { room = 0 } = {}): Uint8Array {
  try {
    return sign(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), identifier, room);
  } catch (error) {
    throw new RcapError('MACHO', `could not sign '${identifier}': ${reasonOf(error)}`, { cause: error });
  }
}

function sign(unsigned: Buffer, identifier: string, room: number): Uint8Array {
  const layout = layoutOf(unsigned);
  const hasOne = layout.signature !== undefined;
  const at = layout.signature ?? layout.end;
  if (!hasOne && at + SIGNATURE_COMMAND_BYTES > layout.room) throw new Error('no room for another load command');
  const signed = hasOne ? unsigned.readUInt32LE(at + 8) : roundUp(unsigned.length, 16);
  if (hasOne && signed > unsigned.length) throw new Error('its signature lies outside of it');
  const pages = Math.ceil(signed / (1 << PAGE_SHIFT));
  const name = Buffer.from(`${identifier}\0`);
  const blobBytes = SUPER_BLOB_BYTES + CODE_DIRECTORY_BYTES + name.length + HASH_BYTES * pages;
  const signatureBytes = roundUp(blobBytes, 16) + room;

  const file = Buffer.alloc(signed + signatureBytes);
  unsigned.copy(file, 0, 0, signed);
  if (!hasOne) {
    file.writeUInt32LE(layout.commands + 1, 16);
    file.writeUInt32LE(layout.commandBytes + SIGNATURE_COMMAND_BYTES, 20);
  }
  const command = [LC_CODE_SIGNATURE, SIGNATURE_COMMAND_BYTES, signed, signatureBytes];
  for (const [i, word] of command.entries()) file.writeUInt32LE(word, at + 4 * i);
  growLinkEdit(file, layout.linkEdit);
  // Only now: the hashes cover the commands, too.
  writeSignature(file.subarray(0, signed), file.subarray(signed, signed + blobBytes), name, pages, layout);
  return file;
}

/** The last segment reaches to the end of the file; in memory it takes whole pages of the machine. */
function growLinkEdit(file: Buffer, at: number): void {
  const size = BigInt(file.length) - file.readBigUInt64LE(at + 40);
  const page = file.readUInt32LE(4) === CPU_ARM64 ? 0x4000 : 0x1000;
  file.writeBigUInt64LE(BigInt(roundUp(Number(size), page)), at + 32);
  file.writeBigUInt64LE(size, at + 48);
}

function writeSignature(code: Buffer, to: Buffer, name: Buffer, pages: number, { text }: Layout): void {
  const hashes = CODE_DIRECTORY_BYTES + name.length;
  let at = 0;
  const words = (...list: number[]) => {
    for (const word of list) at = to.writeUInt32BE(word, at);
  };
  const longs = (...list: bigint[]) => {
    for (const long of list) at = to.writeBigUInt64BE(long, at);
  };
  words(SUPER_BLOB, to.length, 1, 0, SUPER_BLOB_BYTES);
  words(CODE_DIRECTORY, to.length - SUPER_BLOB_BYTES, VERSION_WITH_EXECUTABLE_SEGMENT, AD_HOC);
  words(hashes, CODE_DIRECTORY_BYTES, 0, pages, code.length); // where hashes and name are, special slots, slots, limit
  to.set([HASH_BYTES, HASH_SHA256, 0, PAGE_SHIFT], at);
  at += 4;
  words(0, 0, 0, 0); // spare, scatter, team, spare
  longs(0n, text.offset, text.size, code.readUInt32LE(12) === MH_EXECUTE ? BigInt(MAIN_BINARY) : 0n);
  at += name.copy(to, at);
  for (let page = 0; page < pages; page++) at += hashOfPage(code, page, PAGE_SHIFT).copy(to, at);
}

function hashOfPage(code: Buffer, page: number, shift: number): Buffer {
  const start = page * 2 ** shift;
  return createHash('sha256')
    .update(code.subarray(start, start + 2 ** shift))
    .digest();
}

export interface Signature {
  identifier: string;
  adHoc: boolean;
  pages: number;
  /** Pages whose content is not what was signed. */
  wrongPages: number[];
  /** Where the signature's own data ends, and where the room behind it, which is the end of the file. */
  end: number;
  roomEnd: number;
}

/** Reads the signature and hashes every page anew. Throws MACHO where there is none, or one that could not be right. */
export function checkSignature(bytes: Uint8Array): Signature {
  try {
    return check(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  } catch (error) {
    throw new RcapError('MACHO', `could not check the signature: ${reasonOf(error)}`, { cause: error });
  }
}

function check(file: Buffer): Signature {
  const { signature, linkEdit } = layoutOf(file);
  if (signature === undefined) throw new Error('there is none');
  const offset = file.readUInt32LE(signature + 8);
  const roomEnd = offset + file.readUInt32LE(signature + 12);
  const linkEditEnd = Number(file.readBigUInt64LE(linkEdit + 40) + file.readBigUInt64LE(linkEdit + 48));
  if (roomEnd !== file.length || linkEditEnd !== file.length) throw new Error('it is not the end of the file');
  const blob = file.subarray(offset);
  if (blob.readUInt32BE(0) !== SUPER_BLOB) throw new Error('it does not begin as one');
  const end = offset + blob.readUInt32BE(4);
  if (end > roomEnd) throw new Error('it is longer than its place');
  return { ...checkDirectory(file, blob.subarray(directoryIn(blob), end - offset), offset), end, roomEnd };
}

/** Where the code directory with SHA-256 is. */
function directoryIn(blob: Buffer): number {
  const entries = blob.readUInt32BE(8);
  for (let i = 0; i < entries; i++) {
    const at = blob.readUInt32BE(12 + 8 * i + 4);
    if (isDirectorySlot(blob.readUInt32BE(12 + 8 * i)) && blob.readUInt8(at + 37) === HASH_SHA256) return at;
  }
  throw new Error('it has no hashes by SHA-256');
}

function checkDirectory(file: Buffer, directory: Buffer, offset: number): Omit<Signature, 'end' | 'roomEnd'> {
  if (directory.readUInt32BE(0) !== CODE_DIRECTORY) throw new Error('its code directory does not begin as one');
  const flags = directory.readUInt32BE(12);
  const hashes = directory.readUInt32BE(16);
  const name = directory.readUInt32BE(20);
  const pages = directory.readUInt32BE(28);
  const limit = directory.readUInt32BE(32);
  const shift = directory.readUInt8(39);
  if (limit !== offset) throw new Error('it does not cover all that is before it');
  if (pages !== Math.ceil(limit / 2 ** shift)) throw new Error('it has a wrong number of pages');
  const code = file.subarray(0, limit);
  const wrongPages: number[] = [];
  for (let page = 0; page < pages; page++) {
    const at = hashes + HASH_BYTES * page;
    const isRight = hashOfPage(code, page, shift).equals(directory.subarray(at, at + HASH_BYTES));
    if (!isRight) wrongPages.push(page);
  }
  const identifier = directory.toString('utf8', name, directory.indexOf(0, name));
  return { identifier, adHoc: (flags & AD_HOC) !== 0, pages, wrongPages };
}
