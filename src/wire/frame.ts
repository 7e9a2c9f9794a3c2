/** The framing of both directions: messages preceded by their length as a varint; and a batch's header. */
import { readVarint, RecordError, skipField } from '../formats/records.ts';
import { BLOCK_HEAD, PACKET_TAG } from '../packet.ts';

/** Version of the protocol. */
export const PROTOCOL = 1;

/** Tags in AgentMessage. */
export const HELLO_TAG = 0x0a;
export const BATCH_TAG = 0x1a;

/** A broken rule of the protocol. The message is for people, and goes into the Refusal. */
export class ProtocolError extends Error {}

export interface BatchHeader {
  capture: number;
  sequence: number;
  firstPacket: number;
}

/**
 * Writes the frame's length, the envelope and the batch's header right before the packets, into the block's head.
 * Returns where the frame starts.
 */
export function writeBatchHeader(block: Uint8Array, end: number, h: BatchHeader): number {
  let at = BLOCK_HEAD;
  at = prependField(block, at, 0x18, h.firstPacket);
  at = prependField(block, at, 0x10, h.sequence);
  at = prependField(block, at, 0x08, h.capture);
  at = prependField(block, at, BATCH_TAG, end - at);
  return prependVarint(block, at, end - at);
}

function prependField(b: Uint8Array, at: number, tag: number, value: number): number {
  at = prependVarint(b, at, value);
  b[--at] = tag;
  return at;
}

function prependVarint(b: Uint8Array, at: number, value: number): number {
  let bytes = 1;
  for (let v = value; v >= 128; v = Math.floor(v / 128)) bytes++;
  let p = at - bytes;
  for (let v = value; p < at; v = Math.floor(v / 128)) b[p++] = (v % 128) | (p < at ? 0x80 : 0);
  return at - bytes;
}

/** Throws unless the message from `start` to `end` is one field and nothing else. */
export function checkEnvelope(b: Uint8Array, start: number, end: number): void {
  try {
    if (skipField(b, start, end) === end) return;
  } catch (e) {
    if (!(e instanceof RecordError)) throw e;
  }
  throw new ProtocolError('the envelope of a message holds more than one, or ends early');
}

/** Reads a batch's envelope and header from a frame; `packets` is where the packets start. */
export function readBatchHeader(b: Uint8Array, start: number, end: number): BatchHeader & { packets: number } {
  try {
    const body = readVarint(b, start + 1, end);
    if (body.next + body.value !== end)
      throw new ProtocolError('the envelope of a batch holds something else, or ends early');
    const h = { capture: 0, sequence: 0, firstPacket: 0, packets: body.next };
    while (h.packets < end && b[h.packets] !== PACKET_TAG) {
      const field = FIELDS[b[h.packets]!];
      if (field) {
        const v = readVarint(b, h.packets + 1, end);
        if (!Number.isSafeInteger(v.value)) throw new ProtocolError(`${field} of a batch is out of range`);
        h[field] = v.value;
        h.packets = v.next;
      } else h.packets = skipField(b, h.packets, end);
    }
    return h;
  } catch (e) {
    if (e instanceof RecordError) throw new ProtocolError(e.message);
    throw e;
  }
}
const FIELDS: Record<number, 'capture' | 'sequence' | 'firstPacket'> = {
  0x08: 'capture',
  0x10: 'sequence',
  0x18: 'firstPacket',
};
