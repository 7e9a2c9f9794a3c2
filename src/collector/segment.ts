/** One file of a capture: opened as `.part`, appended to, made durable, published. */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RcapError } from '../errors.ts';
import { FILE_HEADER_BYTES, fileHeader, recordTime } from '../formats/pcap.ts';
import { createFile, replaceFile } from './disk.ts';
import { type Manifest, type ManifestStart, manifestText } from './manifest.ts';
import { PART, publishedName } from './names.ts';
import { publishFile, publishManifest } from './publish.ts';

/** Records of one or more batches of one capture, ready to be appended. */
export interface Slab {
  bytes: Uint8Array;
  /** Where the last record begins in `bytes`. */
  lastRecord: number;
  packets: number;
  packetBytes: number;
  firstSequence: number;
  lastSequence: number;
  /** Number of the first packet in the capture. */
  firstPacket: number;
  /** When its first batch came, by performance.now(). */
  arrivedMs: number;
  release(): void;
}

export type Closing = Pick<Manifest, 'closedBy' | 'gaps' | 'counters' | 'end'>;

export interface Published {
  /** Of the manifest. */
  path: string;
  /** Resolves once the manifest is there too. */
  manifest: Promise<Manifest>;
}

export class Segment {
  bytes = FILE_HEADER_BYTES;
  packets = 0;
  packetBytes = 0;
  lastSequence = 0;
  readonly openedMs = performance.now();
  appendedMs = performance.now();
  readonly #folder: string;
  readonly #stem: string;
  readonly #start: ManifestStart;
  readonly #handle: FileHandle;
  /** Of what was appended, taken while it is at hand: reading it back would cost as much again. */
  readonly #hash = createHash('sha256');
  #firstTime = '';
  #lastTime = '';

  private constructor(folder: string, stem: string, start: ManifestStart, handle: FileHandle) {
    this.#folder = folder;
    this.#stem = stem;
    this.#start = start;
    this.#handle = handle;
    this.#hash.update(fileHeader(start.linkType, start.snaplen, start.timestamps));
  }

  /** Creates the file with its header, and the manifest's beginning beside it. Never over another file. */
  static async open(folder: string, stem: string, start: ManifestStart): Promise<Segment> {
    const path = join(folder, publishedName(stem, start.linkType));
    if (
      await stat(path).then(
        () => true,
        () => false,
      )
    )
      throw new RcapError('STORAGE', `could not create '${path}': it exists`);
    const handle = await createFile(path + PART);
    try {
      await handle.write(fileHeader(start.linkType, start.snaplen, start.timestamps));
      await replaceFile(join(folder, `${stem}.json${PART}`), manifestText(start));
    } catch (e) {
      await handle.close();
      throw e;
    }
    return new Segment(folder, stem, start, handle);
  }

  get file(): string {
    return publishedName(this.#stem, this.#start.linkType);
  }

  async append(slab: Slab): Promise<void> {
    const { bytes } = slab;
    const write = async (at: number) =>
      at + (await this.#handle.write(bytes, at, bytes.length - at, this.bytes + at)).bytesWritten;
    const first = write(0);
    // Meanwhile, on this thread.
    this.#hash.update(bytes);
    for (let at = await first; at < bytes.length;) at = await write(at);
    if (this.packets === 0) this.#firstTime = recordTime(slab.bytes, 0, this.#start.timestamps);
    this.#lastTime = recordTime(slab.bytes, slab.lastRecord, this.#start.timestamps);
    this.bytes += slab.bytes.length;
    this.packets += slab.packets;
    this.packetBytes += slab.packetBytes;
    this.lastSequence = slab.lastSequence;
    this.appendedMs = performance.now();
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  /** Makes it visible. Resolves once it is; its manifest follows. */
  async publish(closing: Closing): Promise<Published> {
    // What a failed append left behind the last whole record doesn't count.
    await this.#handle.truncate(this.bytes);
    await publishFile(this.#handle, join(this.#folder, this.file));
    const manifest = publishManifest(this.#folder, this.#stem, {
      ...this.#start,
      file: this.file,
      lastSequence: this.lastSequence,
      packets: this.packets,
      packetBytes: this.packetBytes,
      fileBytes: this.bytes,
      firstPacketTime: this.#firstTime,
      lastPacketTime: this.#lastTime,
      published: new Date().toISOString(),
      sha256: this.#hash.digest('hex'),
      ...closing,
    });
    return { path: join(this.#folder, `${this.#stem}.json`), manifest };
  }

  /** Closes the file as it is: the disk failed. */
  abandon(): void {
    this.#handle.close().catch(() => {});
  }

  /** Removes a segment without packets. */
  async discard(): Promise<void> {
    await this.#handle.close();
    await rm(join(this.#folder, this.file + PART), { force: true });
    await rm(join(this.#folder, `${this.#stem}.json${PART}`), { force: true });
  }
}
