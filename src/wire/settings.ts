/** A SettingsDocument on the wire: into pieces at one end, put together and checked at the other. */
import { createHash } from 'node:crypto';
import { ProtocolError } from './frame.ts';
import { rcap } from './messages.js';

const { SettingsDocument } = rcap.v1;

/** Longest document, bytes; and longest piece, so that a message stays below what an agent takes. */
export const MAX_DOCUMENT = 1 << 24;
export const MAX_PIECE = 60_000;
/** Shortest piece but for the last. */
const MIN_PIECE = 1024;
const DIGEST_BYTES = 32;

const NOTHING = new Uint8Array(0);

/** A document as it is sent, with what identifies it. */
export interface Sealed {
  /** SHA-256; empty for no settings at all. */
  digest: Uint8Array;
  bytes: Uint8Array;
}

export const NO_SETTINGS: Sealed = { digest: NOTHING, bytes: NOTHING };

/** Throws a RangeError when it is longer than MAX_DOCUMENT. */
export function sealDocument(document: rcap.v1.ISettingsDocument): Sealed {
  const bytes = SettingsDocument.encode(document).finish();
  if (bytes.length > MAX_DOCUMENT)
    throw new RangeError(`the settings have ${bytes.length} bytes, more than ${MAX_DOCUMENT}`);
  return { digest: sha256(bytes), bytes };
}

/** The messages that carry a document: at least one. */
export function piecesOf({ digest, bytes }: Sealed): rcap.v1.ISettings[] {
  const pieces: rcap.v1.ISettings[] = [];
  for (let at = 0; at < bytes.length || at === 0; at += MAX_PIECE)
    pieces.push({ digest, length: bytes.length, piece: bytes.subarray(at, at + MAX_PIECE) });
  return pieces;
}

export interface Arrived {
  digest: Uint8Array;
  /** Undefined: no settings count any more. */
  document: rcap.v1.SettingsDocument | undefined;
}

/** Puts documents together. Memory is taken as pieces come, never for what is only announced. */
export class Assembler {
  #digest: Uint8Array = NOTHING;
  #length = 0;
  #pieces: Uint8Array[] = [];
  #held = 0;

  /** The document that this piece completes, if it does. Throws a ProtocolError. */
  take({ digest, length, piece }: rcap.v1.ISettings): Arrived | undefined {
    const [id, total, bytes] = [digest ?? NOTHING, length ?? 0, piece ?? NOTHING];
    if (id.length === 0 && total === 0 && bytes.length === 0) {
      this.#begin(NOTHING, 0);
      return { digest: NOTHING, document: undefined };
    }
    if (id.length !== DIGEST_BYTES) throw new ProtocolError('the digest of settings has not 32 bytes');
    if (total > MAX_DOCUMENT) throw new ProtocolError(`settings are longer than ${MAX_DOCUMENT} bytes`);
    if (Buffer.compare(id, this.#digest) !== 0) this.#begin(id, total);
    if (total !== this.#length || this.#held + bytes.length > total || (bytes.length === 0 && total > 0))
      throw new ProtocolError('a piece of settings does not fit');
    // Many small ones would take far more memory than their bytes.
    if (bytes.length < MIN_PIECE && this.#held + bytes.length < total)
      throw new ProtocolError('a piece of settings is too short');
    this.#pieces.push(bytes);
    this.#held += bytes.length;
    if (this.#held < total) return undefined;
    const whole = Buffer.concat(this.#pieces);
    // The same document may come again, on another connection.
    this.#begin(NOTHING, 0);
    if (Buffer.compare(sha256(whole), id) !== 0) throw new ProtocolError('settings are not what their digest says');
    try {
      return { digest: id, document: SettingsDocument.decode(whole) };
    } catch (e) {
      throw new ProtocolError(`settings can't be decoded: ${(e as Error).message}`);
    }
  }

  #begin(digest: Uint8Array, length: number): void {
    this.#digest = digest;
    this.#length = length;
    this.#pieces = [];
    this.#held = 0;
  }
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
