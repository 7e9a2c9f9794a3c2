/**
 * The strongest promise, checked at the moment when it is made: what is acknowledged would be there, and a recovery would
 * find it, if power were lost right now and nothing survived that wasn't synchronised.
 */
import type { ManifestGap } from '../../collector/manifest.ts';
import type { Folder, Inode } from './files.ts';
import { type Truth, whoIs } from './packets.ts';
import { readPcap } from './pcap-reader.ts';

interface Line {
  capture?: number;
  bytes?: number;
  gaps?: ManifestGap[];
}

/** Packets by capture and number, each with where it ends in its file. */
type Found = Map<string, number>;
const key = (capture: number, number: number) => `${capture} ${number}`;

const FILE = /^(.*)\.pcap(?:\.linktype-\d+)?(\.part)?$/;

/** How much of a file counts: what the last whole line of its journal says. */
function lastBytes(journal: Inode | undefined): number {
  const text = journal ? Buffer.from(journal.durable.view).toString() : '';
  const end = text.lastIndexOf('\n');
  const line = text.slice(text.lastIndexOf('\n', end - 1) + 1, end);
  return Number(/"bytes":(\d+)/.exec(line)?.[1] ?? 0);
}

export class Durability {
  readonly #roots: readonly Folder[];
  readonly #truths: ReadonlyMap<number, Truth>;
  /** Up to which sequence each capture was checked. */
  readonly #checked = new Map<number, number>();
  /** In files, and gaps in manifests, that somebody took away. */
  readonly #taken: { found: Found; lines: Line[] } = { found: new Map(), lines: [] };
  readonly #files = new WeakMap<Inode, { version: number; found: Found }>();
  readonly #texts = new WeakMap<Inode, { version: number; lines: Line[] }>();

  /** `roots`: of each disk; what one collector has needs no other. */
  constructor(roots: readonly Folder[], truths: ReadonlyMap<number, Truth>) {
    this.#roots = roots;
    this.#truths = truths;
  }

  /** Why a capture must not be acknowledged up to here; undefined when it may. */
  objection(capture: number, sequence: number): string | undefined {
    const from = this.#checked.get(capture) ?? 0;
    if (sequence <= from) return undefined;
    const { batches } = this.#truths.get(capture)!;
    if (sequence > batches.length) return `sequence ${sequence} of capture ${capture} doesn't exist`;
    const found = this.#found(capture);
    const missing: number[] = [];
    for (let s = from + 1; s <= sequence; s++) {
      const { first, last } = batches[s - 1]!;
      for (let n = first; n <= last; n++) {
        if (found.some((f) => f(key(capture, n)))) continue;
        missing.push(s);
        break;
      }
    }
    const gaps = missing.length > 0 ? this.#gaps(capture) : [];
    const lost = missing.filter((s) => !gaps.some((g) => g.firstSequence <= s && s <= g.lastSequence));
    if (lost.length > 0) return `of capture ${capture}, acknowledged up to ${sequence}, ${lost.join()} would be lost`;
    this.#checked.set(capture, sequence);
    return undefined;
  }

  /** Somebody took a file away: what it holds is where nothing can lose it. */
  take(path: string, file: Inode): void {
    if (path.endsWith('.json')) this.#taken.lines.push(...this.#lines(path, file));
    else for (const [k, end] of this.#packets(file)) this.#taken.found.set(k, end);
  }

  /** Whether a packet is in one of the files of a capture, and counts there. */
  #found(capture: number): ((key: string) => boolean)[] {
    const list = [(k: string) => this.#taken.found.has(k)];
    for (const root of this.#roots) {
      const files = new Map(root.files('durable'));
      for (const [path, file] of files) {
        const [, stem, part] = FILE.exec(path) ?? [];
        if (!stem || !path.includes(`-${capture}_`)) continue;
        const found = this.#packets(file);
        const counts = part ? lastBytes(files.get(`${stem}.journal`)) : Infinity;
        list.push((k) => (found.get(k) ?? Infinity) <= counts);
      }
    }
    return list;
  }

  #packets(file: Inode): Found {
    const known = this.#files.get(file);
    if (known?.version === file.version) return known.found;
    const found: Found = new Map();
    for (const r of readPcap(file.durable.view, true)) {
      const who = whoIs(r.data);
      if (who) found.set(key(who.capture, who.number), r.end);
    }
    this.#files.set(file, { version: file.version, found });
    return found;
  }

  #gaps(capture: number): ManifestGap[] {
    const gaps = [...this.#taken.lines];
    for (const [path, file] of this.#roots.flatMap((root) => [...root.files('durable')])) {
      if (/\.(json|journal)$/.test(path)) gaps.push(...this.#lines(path, file));
    }
    return gaps.filter((l) => l.capture === capture).flatMap((l) => l.gaps ?? []);
  }

  /** Lines of a journal, or a manifest as the only line. Those that aren't whole end it. */
  #lines(path: string, file: Inode): Line[] {
    const known = this.#texts.get(file);
    if (known?.version === file.version) return known.lines;
    const text = Buffer.from(file.durable.view).toString();
    const lines: Line[] = [];
    try {
      for (const line of path.endsWith('.json') ? [text] : text.split('\n').slice(0, -1)) {
        const value = JSON.parse(line) as Line;
        lines.push({ ...value, capture: value.capture ?? lines[0]?.capture ?? 0 });
      }
    } catch {
      // Torn: what comes before counts.
    }
    this.#texts.set(file, { version: file.version, lines });
    return lines;
  }
}
