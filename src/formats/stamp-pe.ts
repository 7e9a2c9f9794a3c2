/**
 * PE, the form of Windows. Unsigned, a stamp goes behind all that there is. Authenticode covers the file but for its
 * checksum, the directory entry of the certificate table and that table, which must be last in the file: so there the stamp
 * becomes the end of the table, whose two lengths grow, and the signature stays valid. (Only where the registry has
 * EnableCertPaddingCheck set does Windows refuse such padding.) Source: Microsoft's "PE Format" and "Windows Authenticode
 * Portable Executable Signature Format".
 */
import { type Format, type Image, noPlace, type Patch, type Stamped } from './image.ts';

const DOS_MAGIC = 0x5a4d;
const PE_MAGIC = 0x4550;
/** Where the DOS header says that the PE header is. */
const PE_OFFSET_AT = 0x3c;
const PE_HEADER_BYTES = 24;
const OPTIONAL_BYTES = 168;
const CHECKSUM_AT = 64;
/** By the optional header's magic: PE32, PE32+. */
const DIRECTORIES_AT: Record<number, number> = { 0x10b: 96, 0x20b: 112 };
const CERTIFICATES = 4;
const MAX_CERTIFICATES = 64;

export const pe: Format = {
  matches: (head) => head.length >= 64 && view(head).getUint16(0, true) === DOS_MAGIC,
  place(image, stamp, present) {
    const places = placesOf(image);
    const end = image.size - present;
    const patches = [...(places.table ? grow(image, places, end, stamp.length) : []), { offset: end, bytes: stamp }];
    return checked(image, places.checksum, { size: end + stamp.length, patches });
  },
};

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const align = (n: number) => Math.ceil(n / 8) * 8;

interface Places {
  /** Where the checksum is. */
  checksum: number;
  /** Where the directory entry of the certificate table is. */
  entry: number;
  /** Where the table is, if there is one. */
  table: number;
}

function placesOf(image: Image): Places {
  const header = view(image.read(0, 64)).getUint32(PE_OFFSET_AT, true);
  if (header + PE_HEADER_BYTES + OPTIONAL_BYTES > image.size) throw noPlace('its PE header is cut short');
  const bytes = view(image.read(header, PE_HEADER_BYTES + OPTIONAL_BYTES));
  const directories = DIRECTORIES_AT[bytes.getUint16(PE_HEADER_BYTES, true)];
  if (bytes.getUint32(0, true) !== PE_MAGIC || directories === undefined) throw noPlace('its PE header is damaged');
  const entry = PE_HEADER_BYTES + directories + 8 * CERTIFICATES;
  if (bytes.getUint32(PE_HEADER_BYTES + directories - 4, true) <= CERTIFICATES)
    throw noPlace('its PE header is too small');
  const [table, size] = [bytes.getUint32(entry, true), bytes.getUint32(entry + 4, true)];
  if (size > 0 && (table % 8 !== 0 || table + size !== image.size)) {
    throw noPlace('its signature is not the last thing in it');
  }
  return { checksum: header + PE_HEADER_BYTES + CHECKSUM_AT, entry: header + entry, table: size > 0 ? table : 0 };
}

/** The lengths of the certificate table and of its last certificate, which end now at `end`, by so many bytes larger. */
function grow(image: Image, { entry, table }: Places, end: number, bytes: number): Patch[] {
  let last = table;
  for (let count = 0; ; count++) {
    const length = last + 8 <= end ? view(image.read(last, 4)).getUint32(0, true) : 0;
    if (length < 8 || last + length > image.size || count > MAX_CERTIFICATES) throw noPlace('its signature is damaged');
    const next = last + align(length);
    if (next >= end) break;
    last = next;
  }
  return [
    { offset: entry + 4, bytes: u32(end + bytes - table) },
    { offset: last, bytes: u32(end + bytes - last) },
  ];
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  view(bytes).setUint32(0, value, true);
  return bytes;
}

/**
 * With the checksum made right again: the sum of all 16-bit words, carries added, and the size. From the old one and what
 * changes, so nobody has to read the file for it. One that wasn't set, or can't have been right, becomes "not set".
 */
function checked(image: Image, at: number, { size, patches }: Stamped): Stamped {
  const old = view(image.read(at, 4)).getUint32(0, true);
  let sum = old - image.size;
  const known = old !== 0 && sum >= 0 && sum <= 0xffff;
  const left = image.size - size;
  const gone = left > 0 ? [{ offset: size, bytes: image.read(size, left) }] : [];
  for (const { offset, bytes } of [...patches, ...gone]) {
    const there = Math.max(0, Math.min(bytes.length, image.size - offset));
    sum -= sumAt(offset, image.read(offset, there));
  }
  for (const { offset, bytes } of patches) sum += sumAt(offset, bytes);
  const checksum = { offset: at, bytes: u32(known ? folded(sum) + size : 0) };
  return { size, patches: [checksum, ...patches] };
}

/** Makes the checksum of a whole file right, whatever it was. */
export function setChecksum(bytes: Uint8Array): void {
  const image = { size: bytes.length, read: (at: number, length: number) => bytes.subarray(at, at + length) };
  const { checksum } = placesOf(image);
  bytes.fill(0, checksum, checksum + 4);
  bytes.set(u32(folded(sumAt(0, bytes)) + bytes.length), checksum);
}

/** What is not all zeros sums up to no zero. */
const folded = (sum: number) => ((sum % 0xffff) + 0xffff) % 0xffff || 0xffff;

function sumAt(offset: number, bytes: Uint8Array): number {
  return bytes.reduce((sum, byte, i) => sum + ((offset + i) % 2 ? byte * 256 : byte), 0);
}
