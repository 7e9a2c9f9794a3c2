/** The known name that somebody most likely meant: begins with what was typed, or at most two letters away. */
export function nearest(typed: string, known: Iterable<string>): string | undefined {
  const names = [...known];
  const begins = typed.length > 1 ? names.filter((name) => name.startsWith(typed)) : [];
  if (begins.length > 0) return begins[0];
  const ranked = names
    .map((name) => ({ name, away: distance(typed, name) }))
    .filter(({ name, away }) => away <= 2 && away < name.length)
    .toSorted((a, b) => a.away - b.away);
  return ranked[0]?.name;
}

/** Insertions, deletions, replacements and swaps of neighbours between two texts; 3 stands for "too far". */
export function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2]! + 1);
      next.push(best);
    }
    before = row;
    row = next;
  }
  return Math.min(row[b.length]!, 3);
}
