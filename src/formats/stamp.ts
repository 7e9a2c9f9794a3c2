/**
 * A stamp: bytes of ours inside a finished executable, always its last ones, so that a program finds its own with one read.
 *
 *     begin mark (16)  payload  zeros to a multiple of 8  payload length (u32)  version (u32)  end mark (16)
 *
 * Little endian, at most 64 KiB. What the payload is, is not this file's business (src/wire/seal.ts). Where the bytes may go
 * is each format's: stamp-elf.ts, stamp-pe.ts, stamp-macho.ts. A stamp that is damaged in any way is an error, never none.
 */
import { createHash } from 'node:crypto';
import { RcapError } from '../errors.ts';
import { type Format, type Image, noPlace, type Stamped } from './image.ts';
import { elf } from './stamp-elf.ts';
import { macho } from './stamp-macho.ts';
import { pe } from './stamp-pe.ts';

/** A stamp whole, marks included. */
export const MAX_STAMP_BYTES = 65_536;
/** How much of a file's end is looked at: also a stamp that something follows, a signature maybe, must be found. */
export const TAIL_BYTES = 1 << 20;
const MARK_BYTES = 16;
const FRAME_BYTES = 2 * MARK_BYTES + 8;
const VERSION = 1;

/** Computed, so that no mark stands in the script that an executable carries. */
const mark = (name: string) => createHash('sha256').update(`rcap stamp ${name}`).digest().subarray(0, MARK_BYTES);
const BEGIN = mark('begin');
const END = mark('end');

const FORMATS: Format[] = [elf, pe, macho];
const HEAD_BYTES = 64;

/** Puts a stamp into an executable, in the place of one that it has. Throws an RcapError where there is no place for it. */
export function stamp(image: Image, payload: Uint8Array): Stamped {
  const head = image.read(0, Math.min(HEAD_BYTES, image.size));
  const format = FORMATS.find((f) => f.matches(head));
  if (!format) throw noPlace('it is no ELF, PE or 64-bit Mach-O executable');
  const tailBytes = Math.min(TAIL_BYTES, image.size);
  return format.place(image, frame(payload), stampBytes(image.read(image.size - tailBytes, tailBytes)));
}

/** How long the stamp is that a file ends with, 0 for none; from its tail as for readStamp. An ELF file is whole without it. */
export function stampBytes(tail: Uint8Array): number {
  const payload = readStamp(tail);
  return payload === undefined ? 0 : framedBytes(payload.length);
}

const framedBytes = (payloadBytes: number) => FRAME_BYTES + Math.ceil(payloadBytes / 8) * 8;

function frame(payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(framedBytes(payload.length));
  if (bytes.length > MAX_STAMP_BYTES) {
    throw noPlace(`its settings have ${payload.length} bytes, ${MAX_STAMP_BYTES - FRAME_BYTES} fit`);
  }
  bytes.set(BEGIN);
  bytes.set(payload, MARK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(bytes.length - MARK_BYTES - 8, payload.length, true);
  view.setUint32(bytes.length - MARK_BYTES - 4, VERSION, true);
  bytes.set(END, bytes.length - MARK_BYTES);
  return bytes;
}

/**
 * The payload that a file ends with, of its last TAIL_BYTES bytes (all, if it has fewer); undefined where there is no stamp.
 * Throws an RcapError when there is one and it isn't whole, or isn't the last thing in the file.
 */
export function readStamp(tail: Uint8Array): Uint8Array | undefined {
  const bytes = Buffer.from(tail.buffer, tail.byteOffset, tail.length);
  if (!bytes.subarray(-MARK_BYTES).equals(END)) {
    // Where one was, it still begins in here.
    if (bytes.includes(BEGIN)) throw damaged();
    return undefined;
  }
  const payload = unframe(tail);
  if (!payload) throw damaged();
  return payload;
}

function unframe(tail: Uint8Array): Uint8Array | undefined {
  if (tail.length < FRAME_BYTES) return undefined;
  const view = new DataView(tail.buffer, tail.byteOffset, tail.length);
  const length = view.getUint32(tail.length - MARK_BYTES - 8, true);
  const startsAt = tail.length - framedBytes(length);
  if (startsAt < 0 || framedBytes(length) > MAX_STAMP_BYTES) return undefined;
  const payload = tail.subarray(startsAt + MARK_BYTES, startsAt + MARK_BYTES + length);
  // Whatever isn't exactly what `frame` makes of it was changed.
  return Buffer.compare(frame(payload), tail.subarray(startsAt)) === 0 ? payload : undefined;
}

export const damaged = (cause?: unknown): RcapError =>
  new RcapError('STAMP', 'could not use the settings in this executable: they were changed, or the file is not whole', {
    hint: "don't trust this file; copy it again, or make a new one with 'rcap-collector pack'",
    cause,
  });
