/** Reasons to refuse texts that both programs take; undefined when there is none. */

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
