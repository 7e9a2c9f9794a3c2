/**
 * 64-bit Mach-O, the form of macOS. Its signature hashes every page up to itself, and must be the last thing in the file: so
 * a stamp goes into the zeros that scripts/package.ts leaves behind the signature's blobs, within the bytes that
 * LC_CODE_SIGNATURE counts. No hash changes, nor does the size. Source: Apple's mach-o/loader.h and cs_blobs.h.
 */
import { type Format, type Image, noPlace } from './image.ts';

/** Little endian. */
const MAGIC = 0xfeed_facf;
const HEADER_BYTES = 32;
const MAX_COMMAND_BYTES = 65_536;
const LC_CODE_SIGNATURE = 0x1d;
/** Big endian, like all in the signature. */
const SUPER_BLOB = 0xfade_0cc0;

export const macho: Format = {
  matches: (head) => head.length >= HEADER_BYTES && view(head).getUint32(0, true) === MAGIC,
  place(image, stamp, present) {
    const used = Math.max(stamp.length, present);
    const end = endOfSignature(image);
    const room = image.size - end;
    if (room < used) throw noPlace(`there are ${room} bytes of room behind its signature, ${used} are needed`);
    const free = image.read(end, room - present);
    if (free.some((byte) => byte !== 0)) throw noPlace('what is behind its signature is not empty');
    const bytes = new Uint8Array(used);
    bytes.set(stamp, used - stamp.length);
    return { size: image.size, patches: [{ offset: image.size - used, bytes }] };
  },
};

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Where the blobs of the signature end, which itself ends with the file. */
function endOfSignature(image: Image): number {
  const header = view(image.read(0, HEADER_BYTES));
  const [count, size] = [header.getUint32(16, true), header.getUint32(20, true)];
  if (size > MAX_COMMAND_BYTES || HEADER_BYTES + size > image.size) throw noPlace('its Mach-O header is damaged');
  const commands = view(image.read(HEADER_BYTES, size));
  for (let at = 0, n = 0; n < count && at + 16 <= size; n++) {
    if (commands.getUint32(at, true) === LC_CODE_SIGNATURE) {
      const [offset, bytes] = [commands.getUint32(at + 8, true), commands.getUint32(at + 12, true)];
      if (offset + bytes !== image.size || bytes < 12) throw noPlace('its signature is not the last thing in it');
      const blob = view(image.read(offset, 8));
      const length = blob.getUint32(4);
      if (blob.getUint32(0) !== SUPER_BLOB || length > bytes) throw noPlace('its signature is damaged');
      return offset + length;
    }
    at += Math.max(8, commands.getUint32(at + 4, true));
  }
  throw noPlace('it is not signed, not even ad hoc');
}
