/** Which entry a name belongs to: exactly that name, or one above it with a wildcard, the longest first. */
import type { DomainEntry } from '../../formats/exceptions.ts';

export class Domains {
  readonly #exact = new Map<string, string>();
  readonly #below = new Map<string, string>();
  /** Names that can be looked up, each once. */
  readonly names: readonly string[];

  constructor(entries: readonly DomainEntry[]) {
    for (const { name, wildcard, text } of entries) (wildcard ? this.#below : this.#exact).set(name, text);
    this.names = [...this.#exact.keys()];
  }

  get size(): number {
    return this.#exact.size + this.#below.size;
  }
  /** Whether an entry with this text is among them. */
  has(text: string): boolean {
    return text.startsWith('*.') ? this.#below.has(text.slice(2)) : this.#exact.has(text);
  }

  /** The entry's text. */
  entryOf(name: string): string | undefined {
    const exact = this.#exact.get(name);
    if (exact !== undefined) return exact;
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const below = this.#below.get(name.slice(dot + 1));
      if (below !== undefined) return below;
    }
    return undefined;
  }
}
