/** From `x.pcap.part` to `x.pcap`, in the one order in which Arkime reads it exactly once; then its manifest. */
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { replaceFile, syncFolder } from './disk.ts';
import type { Hasher } from './hash.ts';
import { type Manifest, manifestText } from './manifest.ts';
import { arkimeReads, PART } from './names.ts';

/** Arkime's monitor needs this long to watch a new folder; a file closed in it earlier is not seen. */
const WATCH_MS = 600;

/** When each host's folder was made by this process. */
const made = new Map<string, number>();
export const folderMade = (folder: string): void => void made.set(folder, performance.now());

interface Closable {
  datasync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Makes a finished `path` + '.part' durable and visible. The rename comes before the close: Arkime acts on the close of a
 * file that then has a name that it reads (IN_CLOSE_WRITE), and never on a rename.
 */
export async function publishFile(handle: Closable, path: string): Promise<void> {
  const folder = dirname(path);
  const early = WATCH_MS - (performance.now() - (made.get(folder) ?? -Infinity));
  if (early > 0) await sleep(early);
  else made.delete(folder);
  await handle.datasync();
  await rename(path + PART, path);
  await syncFolder(folder);
  await handle.close();
}

/** Hashes the published file and puts its manifest beside it. */
export async function publishManifest(
  hasher: Hasher,
  folder: string,
  stem: string,
  manifest: Omit<Manifest, 'sha256'>,
): Promise<Manifest> {
  // Whoever reads the folder may have taken the file away already: that is no failure of ours.
  const sha256 = await hasher.hash(join(folder, manifest.file)).catch(() => '');
  const why = arkimeReads(manifest.linkType) ? {} : { notForArkime: `Arkime exits on link type ${manifest.linkType}` };
  const whole = { ...manifest, sha256, ...why };
  await replaceFile(join(folder, `${stem}.json`), manifestText(whole));
  await rm(join(folder, `${stem}.json${PART}`), { force: true });
  return whole;
}
