/** An executable's file, and what a stamp makes of it: a few patches, so that nobody holds or copies the whole. */
import { RcapError } from '../errors.ts';

export interface Image {
  readonly size: number;
  /** Exactly these bytes; the caller keeps within `size`. */
  read(offset: number, length: number): Uint8Array;
}
export interface Patch {
  offset: number;
  bytes: Uint8Array;
}
/** What a file becomes: its first `size` bytes with these in their places, in order; the last one may reach past its end. */
export interface Stamped {
  size: number;
  patches: Patch[];
}
/** An executable's format: whether a file is one, and where a stamp goes that takes the place of `present` old bytes. */
export interface Format {
  matches(head: Uint8Array): boolean;
  place(image: Image, stamp: Uint8Array, present: number): Stamped;
}

/** What to send or write, in order: bytes, or a part of the original file. */
export type Piece = Uint8Array | { from: number; to: number };

export function pieces({ size, patches }: Stamped): Piece[] {
  const list: Piece[] = [];
  let at = 0;
  for (const { offset, bytes } of patches) {
    if (offset > at) list.push({ from: at, to: offset });
    list.push(bytes);
    at = offset + bytes.length;
  }
  if (at < size) list.push({ from: at, to: size });
  return list;
}

export const noPlace = (reason: string): RcapError =>
  new RcapError('STAMP', `could not stamp the executable: ${reason}`);
