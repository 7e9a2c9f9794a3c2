/**
 * Files and folders as a disk has them: what every process sees (the page cache), and beside it what would be there after
 * a power loss. Between the two lie changes that nobody synchronised yet.
 */
import type { Random } from './random.ts';

const NONE = new Uint8Array(0);

/** Bytes that grow. */
export class Bytes {
  #bytes: Uint8Array = NONE;
  length = 0;

  get view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  write(at: number, bytes: Uint8Array): void {
    if (at > this.length) this.resize(at);
    this.#reserve(at + bytes.length);
    this.#bytes.set(bytes, at);
    this.length = Math.max(this.length, at + bytes.length);
  }

  /** What is added is zeros. */
  resize(length: number): void {
    this.#reserve(length);
    if (length > this.length) this.#bytes.fill(0, this.length, length);
    this.length = length;
  }

  #reserve(length: number): void {
    if (length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(256, 2 * length));
    larger.set(this.view);
    this.#bytes = larger;
  }
}

/** Without bytes: the size alone, as it stays when the bytes are lost; with `cut` the file becomes no longer than that. */
interface Change {
  at: number;
  bytes?: Uint8Array;
  cut?: boolean;
}

export class Inode {
  readonly content = new Bytes();
  durable = new Bytes();
  /** Where it is, for processes. */
  place: { folder: Folder; name: string } | undefined;
  /** Goes up whenever what is durable changes. */
  version = 0;
  /** Changes that aren't durable, oldest first, and how many were made before the first of them. */
  #changes: Change[] = [];
  #before = 0;

  get path(): string {
    return this.place ? `${this.place.folder.path}/${this.place.name}` : '(removed)';
  }

  /** How many changes were made so far: what a synchronisation that starts now reaches to. */
  get changes(): number {
    return this.#before + this.#changes.length;
  }

  write(at: number, bytes: Uint8Array): void {
    this.content.write(at, bytes);
    this.#changes.push({ at, bytes });
  }

  truncate(length: number): void {
    this.#changes.push({ at: length, cut: true });
    this.content.resize(length);
  }

  /** The first `changes` become durable. */
  sync(changes: number): void {
    for (const c of this.#shift(changes)) apply(this.durable, c);
  }

  /** Like Linux after a failed write-back: the pages count as clean, so nothing will ever write them. */
  lose(changes: number): void {
    for (const c of this.#shift(changes)) apply(this.durable, c.bytes ? { at: c.at + c.bytes.length } : c);
  }

  #shift(changes: number): Change[] {
    const n = Math.min(this.#changes.length, Math.max(0, changes - this.#before));
    this.#before += n;
    if (n > 0) this.version++;
    return this.#changes.splice(0, n);
  }

  /** Any of what wasn't synchronised is there or not, each torn anywhere; the size may have grown without its bytes. */
  losePower(random: Random): void {
    this.version++;
    const longest = this.content.length;
    let cutsSurvive = true;
    for (const c of this.#shift(Infinity)) {
      // Sizes are in the journal, and that has an order.
      if (c.cut) cutsSurvive &&= random.chance(0.5);
      if (!c.bytes) {
        if (!c.cut || cutsSurvive) apply(this.durable, c);
        continue;
      }
      const part = random.below(4);
      if (part === 0) continue;
      const middle = random.below(c.bytes.length + 1);
      const [from, to] = part === 1 ? [0, middle] : part === 2 ? [middle, c.bytes.length] : [0, c.bytes.length];
      if (from < to) apply(this.durable, { at: c.at + from, bytes: c.bytes.subarray(from, to) });
    }
    if (longest > this.durable.length && random.chance(0.5))
      this.durable.resize(random.between(this.durable.length, longest));
    this.content.resize(0);
    this.content.write(0, this.durable.view);
  }
}

function apply(to: Bytes, c: Change): void {
  if (c.bytes) to.write(c.at, c.bytes);
  else if (c.cut || c.at > to.length) to.resize(c.at);
}

export type Node = Inode | Folder;
/** What one step does to a folder: a name's new meaning, or undefined where it goes. A rename is two at once. */
type Step = [name: string, node: Node | undefined][];

export class Folder {
  readonly path: string;
  readonly entries = new Map<string, Node>();
  readonly durable = new Map<string, Node>();
  /** For processes; Arkime watches a folder from a while after this. */
  readonly madeMs: number;
  #steps: Step[] = [];
  #before = 0;

  constructor(path: string, madeMs: number) {
    this.path = path;
    this.madeMs = madeMs;
  }

  get steps(): number {
    return this.#before + this.#steps.length;
  }

  change(...step: Step): void {
    this.#steps.push(step);
    for (const [name, node] of step) {
      const old = this.entries.get(name);
      if (old instanceof Inode) old.place = undefined;
      if (node instanceof Inode) node.place = { folder: this, name };
    }
    change(this.entries, step);
  }

  sync(steps: number): void {
    const n = Math.min(this.#steps.length, Math.max(0, steps - this.#before));
    this.#before += n;
    for (const step of this.#steps.splice(0, n)) change(this.durable, step);
  }

  /** The journal has an order: the first so many steps are there. */
  losePower(random: Random): void {
    this.sync(this.#before + random.between(0, this.#steps.length));
    this.#before += this.#steps.splice(0).length;
    this.entries.clear();
    for (const [name, node] of this.durable) {
      this.entries.set(name, node);
      if (node instanceof Inode) node.place = { folder: this, name };
      node.losePower(random);
    }
  }

  /** All files at and below it, by path; `which`: as processes see it, or as it is after a power loss at its worst. */
  *files(which: 'entries' | 'durable' = 'entries'): Generator<[path: string, file: Inode]> {
    for (const [name, node] of this[which]) {
      if (node instanceof Folder) yield* node.files(which);
      else yield [`${this.path}/${name}`, node];
    }
  }
}

function change(entries: Map<string, Node>, step: Step): void {
  for (const [name, node] of step) {
    if (node) entries.set(name, node);
    else entries.delete(name);
  }
}
