/** What the exceptions have left out, at the end: for whoever wonders what is missing. */
import { type Ledger, plural } from '../../ledger.ts';
import type { Count } from './counts.ts';
import { shareText } from './share.ts';

/** Names in the report. */
const TOP = 5;
/** And for machines. */
const TOP_JSON = 1000;

interface Excluded {
  ledger: Ledger;
  /** Of the most packets first. */
  excluded: [name: string, count: Count][];
}

/** How much in all, then the entries that most was left out for. */
export function excludedLines({ ledger, excluded }: Excluded): string[] {
  if (ledger.excluded === 0) return [];
  const lines = excluded.slice(0, TOP).map(([name, { packets }]) => `  ${plural(packets, `excluded by ${name}`)}`);
  const others = excluded.slice(TOP);
  const sum = others.reduce((n, [, { packets }]) => n + packets, 0);
  if (others.length > 0) lines.push(`  ${plural(sum, `excluded by ${others.length} others`)}`);
  return [`exceptions left out ${shareText(ledger)} of what was received:`, ...lines];
}

/** `{name: {packets, bytes}}`, the first thousand. */
export const excludedBy = ({ excluded }: Excluded): Record<string, Count> =>
  Object.fromEntries(excluded.slice(0, TOP_JSON));
