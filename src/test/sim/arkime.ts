/** What Arkime's monitor would see: it reads a file whenever one that was opened for writing is closed under such a name. */
import { type Folder, Inode } from './files.ts';
import type { Scheduler } from './scheduler.ts';

const READS = /\.(pcap|cap)$/;
/** A new folder is watched after this, ms; what is closed in it earlier goes unseen. */
const WATCHES_AFTER_MS = 500;

export interface Read {
  path: string;
  content: Uint8Array;
}

export class Arkime {
  readonly reads: Read[] = [];
  /** What it would have read, had it watched the folder already. */
  readonly missed: string[] = [];
  /** Read at a close that came before the name was durable: a power loss would have made it be read again. */
  readonly early: string[] = [];
  /** Published, but not read or not durable when power was lost: nobody can say how often it will be read. */
  readonly uncertain = new Set<string>();
  readonly #scheduler: Scheduler;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  /** `killed`: the system closes it, for a process that is gone. */
  closed(file: Inode, killed: boolean): void {
    if (!file.place || !READS.test(file.place.name)) return;
    const { path } = file;
    if (!killed && file.place.folder.durable.get(file.place.name) !== file) this.early.push(path);
    if (this.#scheduler.now - file.place.folder.madeMs < WATCHES_AFTER_MS) {
      this.missed.push(path);
      this.#scheduler.note('arkime', 'missed', path);
      return;
    }
    this.reads.push({ path, content: file.content.view.slice() });
    this.#scheduler.note('arkime', 'read', path, file.content.length);
  }

  /** Before the disk loses what isn't durable. */
  losePower(root: Folder): void {
    const durable = new Set([...root.files('durable')].map(([path]) => path));
    const read = new Set(this.reads.map((r) => r.path));
    for (const [path] of root.files()) {
      if (READS.test(path) && !(durable.has(path) && read.has(path))) this.uncertain.add(path);
    }
  }
}
