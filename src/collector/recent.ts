/** What was made lately, by what it was made from: so much of it, and the oldest goes first. */
export class Recent<V> {
  readonly #most: number;
  readonly #sizeOf: (value: V) => number;
  readonly #all = new Map<string, V>();
  #size = 0;

  /** `most`: of what `sizeOf` says of all together; the last one is kept whatever it has. */
  constructor(most: number, sizeOf: (value: V) => number) {
    this.#most = most;
    this.#sizeOf = sizeOf;
  }

  /** What is there, or what is made now. */
  get(key: string, make: () => V): V {
    const known = this.#all.get(key);
    if (known !== undefined) return known;
    const value = make();
    this.#all.set(key, value);
    this.#size += this.#sizeOf(value);
    for (const oldest of this.#all.keys()) {
      if (this.#size <= this.#most || oldest === key) break;
      this.delete(oldest);
    }
    return value;
  }

  keys(): Iterable<string> {
    return [...this.#all.keys()];
  }

  delete(key: string): void {
    const value = this.#all.get(key);
    if (value === undefined) return;
    this.#all.delete(key);
    this.#size -= this.#sizeOf(value);
  }
}
