/** DNS messages as far as addresses are concerned: one question, and answers of type A, AAAA and CNAME. A stranger's bytes. */

export const TYPE_A = 1;
export const TYPE_CNAME = 5;
export const TYPE_AAAA = 28;
const CLASS_IN = 1;
const HEAD = 12;
/** Answers that are looked at, of one message. */
const MAX_ANSWERS = 1000;
/** Longest name, characters; and the pointers that it may go along. */
const MAX_NAME = 253;
const MAX_POINTERS = 16;

export interface DnsMessage {
  id: number;
  isAnswer: boolean;
  /** An error, or cut off: the client asks again by TCP. */
  isUseless: boolean;
  /** Lower case, without a dot at its end; bytes that no host name has are written as \ddd. */
  name: string;
  type: number;
  readonly answers: DnsRecord[];
}
export type DnsRecord = { name: string; ttl: number } & (
  { type: typeof TYPE_A | typeof TYPE_AAAA; address: Uint8Array } | { type: typeof TYPE_CNAME; target: string }
);

/** Undefined for what is no DNS message with one question of class IN. */
export function decode(bytes: Uint8Array): DnsMessage | undefined {
  if (bytes.length < HEAD) return undefined;
  const flags = short(bytes, 2);
  if ((flags & 0x7800) !== 0 || short(bytes, 4) !== 1) return undefined; // another operation, or several questions
  const question = nameAt(bytes, HEAD);
  if (!question || question.end + 4 > bytes.length || short(bytes, question.end + 2) !== CLASS_IN) return undefined;
  const isAnswer = (flags & 0x8000) !== 0;
  let answers: DnsRecord[] | undefined;
  return {
    id: short(bytes, 0),
    isAnswer,
    isUseless: (flags & 0x020f) !== 0,
    name: question.name,
    type: short(bytes, question.end),
    // Only when somebody wants them: most are to questions that nobody asked.
    get answers() {
      return (answers ??= isAnswer ? answersIn(bytes, question.end + 4, short(bytes, 6)) : []);
    },
  };
}

/** All up to the first that is damaged. */
function answersIn(bytes: Uint8Array, from: number, count: number): DnsRecord[] {
  const answers: DnsRecord[] = [];
  let at = from;
  for (let n = 0; n < Math.min(count, MAX_ANSWERS); n++) {
    const owner = nameAt(bytes, at);
    if (!owner || owner.end + 10 > bytes.length) break;
    const head = owner.end;
    const data = head + 10;
    const end = data + short(bytes, head + 8);
    if (end > bytes.length) break;
    at = end;
    if (short(bytes, head + 2) !== CLASS_IN) continue;
    const record = recordOf(bytes, owner.name, short(bytes, head), ttlAt(bytes, head + 4), data, end);
    if (record) answers.push(record);
  }
  return answers;
}

function recordOf(
  bytes: Uint8Array,
  name: string,
  type: number,
  ttl: number,
  data: number,
  end: number,
): DnsRecord | undefined {
  // prettier-ignore
  if (type === TYPE_CNAME) {
    const target = nameAt(bytes, data);
    return target?.end === end ? { name, ttl, type, target: target.name } : undefined;
  }
  if (type !== TYPE_A && type !== TYPE_AAAA) return undefined;
  const length = type === TYPE_A ? 4 : 16;
  return end - data === length ? { name, ttl, type, address: bytes.slice(data, end) } : undefined;
}

/** Of the highest bit RFC 2181 says: then it counts as zero. */
function ttlAt(bytes: Uint8Array, at: number): number {
  const high = short(bytes, at);
  return high >= 0x8000 ? 0 : high * 65536 + short(bytes, at + 2);
}

/** The name there, and where what follows it begins. Pointers lead back only, so that none goes around. */
function nameAt(bytes: Uint8Array, from: number): { name: string; end: number } | undefined {
  let name = '';
  let end = -1;
  let lowest = from;
  let pointers = 0;
  for (let at = from; ;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length >= 0xc0) {
      const to = bytes[at + 1];
      if (to === undefined) return undefined;
      if (end < 0) end = at + 2;
      at = ((length & 0x3f) << 8) | to;
      if (at >= lowest || ++pointers > MAX_POINTERS) return undefined;
      lowest = at;
    } else if (length >= 0x40 || at + 1 + length > bytes.length) return undefined;
    else if (length === 0) return { name, end: end < 0 ? at + 1 : end };
    else {
      if (name !== '') name += '.';
      for (let i = at + 1; i <= at + length; i++) name += characterOf(bytes[i]!);
      if (name.length > MAX_NAME) return undefined;
      at += 1 + length;
    }
  }
}

function characterOf(byte: number): string {
  const lower = byte >= 65 && byte <= 90 ? byte + 32 : byte;
  const isPlain = (lower >= 97 && lower <= 122) || (lower >= 48 && lower <= 57) || lower === 45 || lower === 95;
  // A dot within a label isn't the end of one.
  return isPlain ? String.fromCharCode(lower) : `\\${String(byte).padStart(3, '0')}`;
}

const short = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
