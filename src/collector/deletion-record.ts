/** deleted.jsonl in the state folder: a line for each file that retention deleted. */
import { dirname, join } from 'node:path';
import type { Disk, File } from './disk.ts';

/** A line; written before the file goes. */
export interface Deletion {
  /** Collector's clock, RFC 3339. */
  time: string;
  file: string;
  host: string;
  run: string;
  capture: number;
  firstSequence: number;
  lastSequence: number;
  packets: number;
  fileBytes: number;
  sha256: string;
  why: 'keep-bytes' | 'keep-age';
}

export const RECORD = 'deleted.jsonl';
/** More than the longest line. */
const TAIL_BYTES = 1 << 16;

export class DeletionRecord {
  readonly #disk: Disk;
  readonly #path: string;

  constructor(disk: Disk, state: string) {
    this.#disk = disk;
    this.#path = join(state, RECORD);
  }

  /** Empty when there is none. */
  async lastLine(): Promise<string> {
    if (!(await this.#disk.exists(this.#path))) return '';
    const file = await this.#disk.open(this.#path, 'read');
    try {
      return (await tailOf(file)).line;
    } finally {
      await file.close();
    }
  }

  /** Durable when it resolves. */
  async append(deletion: Deletion): Promise<void> {
    const there = await this.#disk.exists(this.#path);
    const file = await (there ? this.#disk.open(this.#path, 'write') : this.#disk.create(this.#path, 0o600));
    try {
      const { end } = await tailOf(file);
      await file.truncate(end); // a line that was cut short told of nothing
      await file.write(Buffer.from(`${JSON.stringify(deletion)}\n`), end);
      await file.datasync();
    } finally {
      await file.close();
    }
    if (!there) await this.#disk.syncFolder(dirname(this.#path));
  }
}

/** The last whole line, and where it ends. */
async function tailOf(file: File): Promise<{ line: string; end: number }> {
  const size = await file.size();
  const start = Math.max(0, size - TAIL_BYTES);
  const bytes = Buffer.alloc(size - start);
  const text = bytes.subarray(0, await file.read(bytes, start));
  const end = text.lastIndexOf(10) + 1;
  const line = text.subarray(end > 1 ? text.lastIndexOf(10, end - 2) + 1 : 0, Math.max(0, end - 1));
  return { line: line.toString(), end: start + end };
}
