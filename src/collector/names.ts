/** What files are called. Host and interface names are what a stranger says: never a path, never longer than this. */

const MAX_HOST = 64;
const MAX_INTERFACE = 32;

/** Only [A-Za-z0-9._-], neither first '.' nor '-', never empty. */
export function safeName(said: string, longest: number): string {
  const safe = said
    .replace(/[^A-Za-z0-9._-]/g, '_')
    .slice(0, longest)
    .replace(/^[.-]+/, '_');
  return safe || '_';
}

export const hostFolder = (host: string): string => safeName(host, MAX_HOST);
/** Windows' own names are GUIDs; what its settings say ("Ethernet") is as unique there. */
export const interfaceName = ({ interface: name, friendlyName }: { interface: string; friendlyName: string }): string =>
  safeName(name.startsWith('\\Device\\NPF_') && friendlyName ? friendlyName : name, MAX_INTERFACE);

export interface SegmentName {
  host: string;
  interface: string;
  friendlyName: string;
  /** When the segment was opened. */
  opened: Date;
  /** The run's id in hex, and the capture's number in it. */
  run: string;
  capture: number;
  firstSequence: number;
}

/** <host>_<interface>_<UTC>_<run>-<capture>_<first sequence>, the same for a segment's file and its manifest. */
export function segmentStem(n: SegmentName): string {
  const time = n.opened.toISOString().slice(0, 19).replace(/[-:]/g, '') + 'Z';
  return [hostFolder(n.host), interfaceName(n), time, `${n.run.slice(0, 8)}-${n.capture}`, n.firstSequence].join('_');
}

/** Link types that Arkime 6 knows; it exits on a file with any other. */
const ARKIME_LINK_TYPES = new Set([0, 1, 12, 101, 107, 113, 127, 228, 229, 239, 274, 276]);

export const arkimeReads = (linkType: number): boolean => ARKIME_LINK_TYPES.has(linkType);

/** `.pcap` where Arkime can read the file; else an ending that its monitor passes over. */
export const publishedName = (stem: string, linkType: number): string =>
  arkimeReads(linkType) ? `${stem}.pcap` : `${stem}.pcap.linktype-${linkType}`;

export const PART = '.part';
