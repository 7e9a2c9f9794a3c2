/** What an agent says of settings and exclusions, checked field by field. Throws a ProtocolError. */
import { timeText } from '../formats/pcap.ts';
import { ProtocolError } from '../wire/frame.ts';
import type { rcap } from '../wire/messages.js';
import { EVENT_KINDS, type ExclusionEvent, type Exclusions } from './exclusions.ts';

const MAX_LIST = 1000;
const MAX_WORDS = 1000;
const MAX_NAME = 255;
const MAX_ADDRESS = 64;
const MAX_REASON = 4096;
const DIGEST_BYTES = 32;
const MAX_SECONDS = 0xffff_ffff;

export function textSaid(value: string | null | undefined, what: string, longest: number): string {
  const t = value ?? '';
  if (Buffer.byteLength(t) > longest) throw new ProtocolError(`the ${what} is longer than ${longest} bytes`);
  return t;
}

export function timeSaid(ns: bigint): string {
  const seconds = Number(ns / 1_000_000_000n);
  if (seconds > MAX_SECONDS) throw new ProtocolError('a time is out of range');
  return timeText(seconds, Number(ns % 1_000_000_000n), 'nano');
}

/** Hex; empty where there may be none, and is none. */
export function digestSaid(digest: Uint8Array, needed: boolean): string {
  if (digest.length !== DIGEST_BYTES && (needed || digest.length > 0))
    throw new ProtocolError(`a digest has not ${DIGEST_BYTES} bytes`);
  return Buffer.from(digest).toString('hex');
}

export interface SettingsStateSaid {
  digest: string;
  accepted: boolean;
  reason: string;
}

export const settingsStateSaid = (s: rcap.v1.SettingsState): SettingsStateSaid => ({
  digest: digestSaid(s.digest, true),
  accepted: s.accepted,
  reason: textSaid(s.reason, 'reason', MAX_REASON),
});

export function exclusionsSaid({ events, names }: rcap.v1.Exclusions): Exclusions {
  if (events.length > MAX_LIST || names.length > MAX_LIST)
    throw new ProtocolError(`more than ${MAX_LIST} events or names in a message`);
  return { events: events.map(eventSaid), names: Object.fromEntries(names.map(totalSaid)) };
}

function eventSaid(e: rcap.v1.ExclusionEvent): ExclusionEvent {
  const kind = EVENT_KINDS[e.kind - 1];
  if (!kind || e.number < 1) throw new ProtocolError('an event has no kind that there is, or no number');
  const ofList = kind === 'list' || kind === 'refused';
  const digest = digestSaid(e.digest, ofList);
  const words = textSaid(e.words, "event's words", MAX_WORDS);
  const name = textSaid(e.name, 'name of an exception', MAX_NAME);
  const address = textSaid(e.address, 'address', MAX_ADDRESS);
  return {
    number: e.number,
    time: timeSaid(e.timeNs),
    kind,
    ...(digest && { digest }),
    ...(kind === 'list' && { entries: e.entries }),
    ...(words && { words }),
    ...(name && { name }),
    ...(address && { address }),
  };
}

function totalSaid({ name, packets, bytes }: rcap.v1.ExcludedName): [name: string, total: Exclusions['names'][string]] {
  if (![packets, bytes].every(Number.isSafeInteger)) throw new ProtocolError('a counter is out of range');
  return [textSaid(name, 'name of an exception', MAX_NAME), { packets, bytes }];
}
