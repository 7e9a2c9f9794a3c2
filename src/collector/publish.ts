/** From `x.pcap.part` to `x.pcap`, in the one order in which Arkime reads it exactly once; then its manifest. */
import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { sleep } from '../clock.ts';
import { type Disk, type File, replaceFile } from './disk.ts';
import type { Point } from './journal.ts';
import { type Manifest, type ManifestStart, manifestText } from './manifest.ts';
import { arkimeReads, PART, publishedName } from './names.ts';

/** Arkime's monitor needs this long to watch a new folder; a file closed in it earlier is not seen. */
const WATCH_MS = 600;

/** When the folders of hosts were made by this process, by clock.now(). */
export type FoldersMade = Map<string, number>;

/**
 * Makes a finished and durable `path` + '.part' visible. The rename comes before the close: Arkime acts on the close of a
 * file that then has a name that it reads (IN_CLOSE_WRITE), and never on a rename.
 */
export async function publishFile(
  disk: Disk,
  clock: Clock,
  made: FoldersMade,
  file: File,
  folder: string,
  name: string,
): Promise<void> {
  const early = WATCH_MS - (clock.now() - (made.get(folder) ?? -Infinity));
  if (early > 0) await sleep(clock, early);
  else made.delete(folder);
  await disk.rename(join(folder, name + PART), join(folder, name));
  await disk.syncFolder(folder);
  await file.close();
}

/** What is recorded of a segment whose last point this is. */
export function manifestOf(stem: string, start: ManifestStart, point: Point, published: Date): Manifest {
  const { closing, sequence, gaps, counters, bytes, packets, packetBytes, firstPacketTime, lastPacketTime } = point;
  const { exclusions } = point;
  const { closedBy, end, sha256 } = closing!;
  return {
    ...start,
    file: bytes > 0 ? publishedName(stem, start.linkType) : '',
    lastSequence: sequence,
    packets,
    packetBytes,
    fileBytes: bytes,
    firstPacketTime,
    lastPacketTime,
    published: published.toISOString(),
    sha256,
    closedBy,
    gaps,
    counters,
    end,
    ...(exclusions && { exclusions }),
    ...(arkimeReads(start.linkType) ? {} : { notForArkime: `Arkime exits on link type ${start.linkType}` }),
  };
}

export const manifestPath = (folder: string, stem: string): string => join(folder, `${stem}.json`);

export const writeManifest = (disk: Disk, folder: string, stem: string, manifest: Manifest): Promise<void> =>
  replaceFile(disk, manifestPath(folder, stem), manifestText(manifest));
