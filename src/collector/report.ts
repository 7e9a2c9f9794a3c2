/** What the collector says of a capture when it ends: what is in its files, beside what the agent counts. */
import { type Ledger, plural } from '../ledger.ts';
import type { Manifest } from './manifest.ts';
import { hostFolder } from './names.ts';
import type { Position, Tally } from './runs.ts';
import type { SeriesStart } from './writer.ts';

export interface Report {
  message: string;
  host: string;
  interface: string;
  run: string;
  capture: number;
  files: Tally;
  gaps: Tally;
  /** Of an ended capture: everything is in files here, and the agent says the same. */
  complete?: boolean;
  /** Packets that are in neither: another collector has them, or this one's disk or state lost them. */
  elsewhere?: number;
  /** As the agent counts; null where it didn't say. */
  counters?: Partial<Ledger> | null;
}

type Names = Pick<SeriesStart, 'host' | 'interface' | 'run' | 'capture'>;

/** Longest part of an agent's reason that is shown, characters. */
const MAX_REASON = 100;

/** Of a capture whose end mark is recorded. */
export function reportOf(start: Names, at: Position, end: NonNullable<Manifest['end']>): Report {
  const { files, gaps } = at;
  // What is 0 isn't in a message that was read.
  const counters = end.counters && ({ ...ZEROS, ...end.counters } as Counters);
  const elsewhere = at.packets - files.packets - gaps.packets;
  const differs = counters ? difference(at, elsewhere, counters) : 'the agent sent no counters';
  const kernel = (counters?.droppedByKernel ?? 0) + (counters?.droppedByInterface ?? 0);
  const lost = kernel + gaps.packets;
  const verdicts = [
    ...(lost > 0 ? [plural(lost, lost === 1 ? 'is lost' : 'are lost')] : []),
    ...(elsewhere > 0
      ? [`${elsewhere} more that are not known here: another collector has them, or this one lost its record`]
      : []),
    ...(differs ? [differs] : []),
  ];
  const numbers = `${inFiles(at)}, ${kernel} dropped by kernel and interface`;
  return {
    message: `ended (${end.reason.slice(0, MAX_REASON)}): ${nameOf(start)}: ${numbers}: ${verdicts.join('; ') || 'complete'}`,
    ...factsOf(start, at),
    complete: verdicts.length === 0,
    elsewhere,
    counters,
  };
}

/** Of a capture whose connection is over, and that may go on. */
export const openReportOf = (start: Names, at: Position, why: string): Report => ({
  message: `without an end so far (${why}): ${nameOf(start)}: ${inFiles(at)}`,
  ...factsOf(start, at),
});

const nameOf = (start: Names) => `${hostFolder(start.host)}, ${start.interface}`;
const inFiles = ({ files, gaps }: Position) => `${plural(files.packets, 'in files')}, ${gaps.packets} in gaps`;

const factsOf = ({ host, interface: name, run, capture }: Names, { files, gaps }: Position) => ({
  host,
  interface: name,
  run,
  capture,
  files,
  gaps,
});

type Counters = Pick<
  Ledger,
  'capturedBytes' | 'sent' | 'sentBytes' | 'droppedBySpool' | 'droppedByKernel' | 'droppedByInterface'
>;
const ZEROS: Counters = {
  capturedBytes: 0,
  sent: 0,
  sentBytes: 0,
  droppedBySpool: 0,
  droppedByKernel: 0,
  droppedByInterface: 0,
};

/** Where the agent's numbers aren't those of the files. Only sums compare when another collector had a part. */
function difference({ files, gaps, packets }: Position, elsewhere: number, c: Counters): string | undefined {
  const droppedBytes = c.capturedBytes - c.sentBytes;
  const same =
    c.sent + c.droppedBySpool === packets &&
    (elsewhere > 0 ||
      (c.sent === files.packets &&
        c.droppedBySpool === gaps.packets &&
        c.sentBytes === files.bytes &&
        droppedBytes === gaps.bytes));
  if (same) return undefined;
  return `THE AGENT COUNTS ${c.sent} (${c.sentBytes} bytes) sent, ${c.droppedBySpool} (${droppedBytes} bytes) dropped by spool`;
}
