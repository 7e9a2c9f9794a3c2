/** What was left out of one source's capture, by name, over all sets that counted there. */
import type { Rules } from './rules.ts';

export interface Count {
  packets: number;
  /** Captured lengths. */
  bytes: number;
}

/** The addon's: packets and bytes by name, the sets' names behind one another. */
export type Numbers = Float64Array | undefined;

export class Counts {
  readonly totals = new Map<string, Count>();
  /** Names whose totals have changed since somebody emptied this. */
  readonly changed = new Set<string>();
  readonly #last = new Map<Rules, Float64Array>();

  /** What a set has counted by now, since it began to count here. */
  take(rules: Rules, numbers: Numbers): void {
    if (!numbers) return;
    const last = this.#last.get(rules);
    rules.names.forEach((name, i) => {
      const packets = numbers[2 * i]! - (last?.[2 * i] ?? 0);
      if (packets === 0) return;
      this.#add(name, packets, numbers[2 * i + 1]! - (last?.[2 * i + 1] ?? 0));
    });
    this.#last.set(rules, numbers);
  }
  /** It doesn't count here any more: these are its last numbers. */
  end(rules: Rules, numbers: Numbers): void {
    this.take(rules, numbers);
    this.#last.delete(rules);
  }

  #add(name: string, packets: number, bytes: number): void {
    let total = this.totals.get(name);
    if (!total) this.totals.set(name, (total = { packets: 0, bytes: 0 }));
    total.packets += packets;
    total.bytes += bytes;
    this.changed.add(name);
  }
}

/** Of several sources together, the most packets first. */
export function ranking(all: Iterable<ReadonlyMap<string, Count>>): [name: string, count: Count][] {
  const sum = new Map<string, Count>();
  for (const totals of all) {
    for (const [name, { packets, bytes }] of totals) {
      const known = sum.get(name) ?? { packets: 0, bytes: 0 };
      sum.set(name, { packets: known.packets + packets, bytes: known.bytes + bytes });
    }
  }
  return [...sum].toSorted((a, b) => b[1].packets - a[1].packets || (a[0] < b[0] ? -1 : 1));
}
