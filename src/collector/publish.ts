/** From `x.pcap.part` to `x.pcap`, in the one order in which Arkime reads it exactly once; then its manifest. */
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { replaceFile, syncFolder } from './disk.ts';
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

/** Puts the manifest of a published file beside it. */
export async function publishManifest(folder: string, stem: string, manifest: Manifest): Promise<Manifest> {
  const why = arkimeReads(manifest.linkType) ? {} : { notForArkime: `Arkime exits on link type ${manifest.linkType}` };
  const whole = { ...manifest, ...why };
  await replaceFile(join(folder, `${stem}.json`), manifestText(whole));
  await rm(join(folder, `${stem}.json${PART}`), { force: true });
  return whole;
}
