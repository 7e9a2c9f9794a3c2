/**
 * Reads a TLS socket into one buffer. Node offers that as `onread`, but for sockets that it connects itself; for an accepted
 * one it allocates 16 KiB a read, and a third of a collector's time then goes into collecting them. Setting on the socket
 * what `onread` sets is no public interface: where this Node has it not, reading goes on by 'data' events.
 */
import { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/** OpenSSL decrypts records of at most 16 KiB, so no read is longer. */
const READ_BYTES = 16_384;

/** Gets the bytes that came; they are overwritten after it returns. False: no more until `resume`. */
export type OnBytes = (bytes: Uint8Array) => boolean;

const INTERNAL = internals();

/** True when `onBytes` is called for all that comes. False: use 'data' events. */
export function readInto(socket: TLSSocket, onBytes: OnBytes): boolean {
  const handle = (socket as unknown as { _handle?: { useUserBuffer?: (b: Uint8Array) => void } })._handle;
  if (!INTERNAL || typeof handle?.useUserBuffer !== 'function') return false;
  const buffer = new Uint8Array(READ_BYTES);
  Object.assign(socket, {
    [INTERNAL.buffer]: buffer,
    [INTERNAL.callback]: (bytes: number) => onBytes(bytes === READ_BYTES ? buffer : buffer.subarray(0, bytes)),
  });
  handle.useUserBuffer(buffer);
  return true;
}

/** The names under which a socket keeps `onread`'s two parts. */
function internals(): { buffer: symbol; callback: symbol } | undefined {
  const probe = new Socket({ onread: { buffer: new Uint8Array(1), callback: () => true } });
  const named = (name: string) => Object.getOwnPropertySymbols(probe).find((s) => s.description === name);
  const buffer = named('kBuffer');
  const callback = named('kBufferCb');
  probe.destroy();
  return buffer && callback && { buffer, callback };
}
