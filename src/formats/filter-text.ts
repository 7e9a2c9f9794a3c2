/** A filter as it stands in a file: BPF text over several lines, with comments. */

/**
 * Longest filter of the collector, and of the user, bytes of UTF-8: both and the exclusion of own traffic fit into the 65,536 of the
 * protocol together. Libpcap takes minutes for far shorter lists of hosts.
 */
export const MAX_FILTER_BYTES = 16_384;
export const MAX_USERS_FILTER_BYTES = 32_768;

/** Lines whose first character is `#` are comments; the others are joined by spaces. CRLF and a BOM are fine. */
export const filterOf = (text: string): string =>
  text
    .replace(/^\ufeff/, '')
    .split(/\r\n|[\r\n]/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .join(' ');

/** Why a filter can't be used, before anybody compiles it. */
export function refuseFilter(filter: string, mostBytes = MAX_FILTER_BYTES): string | undefined {
  if (filter.includes('\0')) return 'it holds a NUL character';
  return Buffer.byteLength(filter) > mostBytes ? `it has more than ${mostBytes} bytes` : undefined;
}
