/** Reasons to refuse texts; undefined when there is none. */
import { isIP } from 'node:net';
import { parseEntry } from '../formats/exceptions.ts';

export function refusePin(text: string): string | undefined {
  const form = 'a pin is sha256/ and 44 characters of base64, as `rcap-collector pin` prints it';
  const match = /^sha256\/([A-Za-z0-9+/]{43}=)$/.exec(text);
  if (!match) return form;
  const bytes = Buffer.from(match[1]!, 'base64');
  // The last character carries two bits too many: the same bytes must have one spelling only.
  return bytes.length === 32 && bytes.toString('base64') === match[1] ? undefined : form;
}

export const MAX_HOST_NAME_BYTES = 255;

export function refuseHostName(text: string): string | undefined {
  if (text.includes('\0')) return 'it holds a NUL character';
  return Buffer.byteLength(text) > MAX_HOST_NAME_BYTES ? `at most ${MAX_HOST_NAME_BYTES} bytes` : undefined;
}

/** As an address to connect from. */
export const refuseSource = (text: string): string | undefined =>
  isIP(text) ? undefined : 'not an IPv4 or IPv6 address';

/** As an entry of a list of exceptions. */
export function refuseException(text: string): string | undefined {
  try {
    parseEntry(text);
    return undefined;
  } catch (e) {
    return (e as Error).message;
  }
}
