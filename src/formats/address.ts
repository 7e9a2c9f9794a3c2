/** IP addresses as bytes and as text; by hand, since lists have hundred thousands of them. */

/** The bytes of an IPv4 address in dotted form; undefined when it isn't one. */
export function parse4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  return read4(text, 0, text.length, bytes, 0) ? bytes : undefined;
}

/**
 * An IPv4 address in dotted form, from there to there, into `out` at `at`; false, and anything there, when it isn't one. One
 * with a leading zero isn't: some read it as octal.
 */
export function read4(text: string, from: number, to: number, out: Uint8Array, at: number): boolean {
  let value = -1;
  let part = 0;
  for (let i = from; i < to; i++) {
    const c = text.charCodeAt(i) - 48;
    if (c >= 0 && c <= 9) {
      if (value === 0) return false;
      value = value < 0 ? c : value * 10 + c;
      if (value > 255) return false;
    } else if (c === -2 && value >= 0 && part < 3) {
      out[at + part++] = value;
      value = -1;
    } else return false;
  }
  if (part !== 3 || value < 0) return false;
  out[at + 3] = value;
  return true;
}

/** The bytes of an IPv6 address, without a zone; undefined when it isn't one. */
export function parse6(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(16);
  return read6(text, text.length, bytes, 0) ? bytes : undefined;
}

/** As read4, from the text's start. */
export function read6(text: string, to: number, out: Uint8Array, at: number): boolean {
  const end = at + 16;
  let next = at;
  /** Where `::` stands. */
  let hole = -1;
  let i = 0;
  if (text.startsWith('::')) {
    hole = at;
    i = 2;
  }
  while (i < to) {
    const start = i;
    let value = 0;
    let digit;
    while (i < to && (digit = hexDigit(text.charCodeAt(i))) >= 0) {
      value = (value << 4) | digit;
      if (++i - start > 4) return false;
    }
    if (i < to && text.charCodeAt(i) === 46) {
      if (next > end - 4 || !read4(text, start, to, out, next)) return false;
      next += 4;
      break;
    }
    if (i === start || next > end - 2) return false;
    out[next++] = value >> 8;
    out[next++] = value & 255;
    if (i === to) break;
    if (text.charCodeAt(i++) !== 58 || i === to) return false;
    if (text.charCodeAt(i) === 58) {
      if (hole >= 0) return false;
      hole = next;
      i++;
    }
  }
  if (hole < 0) return next === end;
  if (next > end - 2) return false; // `::` stands for at least one group
  const tail = end - (next - hole);
  out.copyWithin(tail, hole, next);
  out.fill(0, hole, tail);
  return true;
}

function hexDigit(c: number): number {
  if (c >= 48 && c <= 57) return c - 48;
  const letter = c | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}

/** An address of 4 or 16 bytes as text; IPv6 in the form of RFC 5952. */
export function addressText(bytes: Uint8Array): string {
  return bytes.length === 4 ? `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` : text6(bytes);
}

function text6(bytes: Uint8Array): string {
  // The longest run of zeros, the first of several; one zero alone is written.
  let first = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && bytes[2 * (i + n)] === 0 && bytes[2 * (i + n) + 1] === 0) n++;
    if (n > length) [first, length] = [i, n];
    i += n;
  }
  let text = '';
  for (let i = 0; i < 8; i++) {
    if (i === first) {
      text += '::';
      i += length - 1;
      continue;
    }
    if (i > 0 && i !== first + length) text += ':';
    text += ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16);
  }
  return text;
}

/** An IPv4 address that is written as IPv6 (`::ffff:1.2.3.4`): its 12 bytes in front. */
export function isMapped(bytes: Uint8Array): boolean {
  if (bytes.length !== 16 || bytes[10] !== 255 || bytes[11] !== 255) return false;
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** The bytes of an address as a socket or an interface names it: with a zone (`%eth0`), maybe mapped. */
export function parseAddress(text: string): Uint8Array | undefined {
  const zone = text.indexOf('%');
  const plain = zone < 0 ? text : text.slice(0, zone);
  if (!plain.includes(':')) return parse4(plain);
  const bytes = parse6(plain);
  return bytes && isMapped(bytes) ? bytes.slice(12) : bytes;
}

/** The address with all bits behind the prefix zero; the same object when they are. */
export function networkOf(address: Uint8Array, prefix: number): Uint8Array {
  const whole = prefix >> 3;
  let set = whole < address.length && (address[whole]! & (255 >> (prefix & 7))) !== 0;
  for (let i = whole + 1; !set && i < address.length; i++) set = address[i] !== 0;
  if (!set) return address;
  const network = new Uint8Array(address.length);
  network.set(address.subarray(0, whole));
  network[whole] = address[whole]! & ~(255 >> (prefix & 7));
  return network;
}
