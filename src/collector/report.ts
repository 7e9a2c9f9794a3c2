/** What the collector says of a capture when it ends: what is in its files, beside what the agent counts. */
import { emptyLedger, type Ledger, plural } from '../ledger.ts';
import type { rcap } from '../wire/messages.js';
import type { Manifest } from './manifest.ts';
import { hostFolder, interfaceName } from './names.ts';
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
  counters?: Counters | null;
}

type Names = Pick<SeriesStart, 'host' | 'interface' | 'friendlyName' | 'run' | 'capture'>;

/** Longest part of an agent's reason that is shown, characters. */
const SHOWN_REASON = 100;

/** Of a capture whose end mark is recorded. */
export function reportOf(start: Names, at: Position, end: NonNullable<Manifest['end']>): Report {
  const { files, gaps } = at;
  const counters = end.counters && countersOf(end.counters);
  const elsewhere = at.packets - files.packets - gaps.packets;
  const kernel = counters ? counters.droppedByKernel + counters.droppedByInterface : 0;
  const lost = kernel + gaps.packets;
  const verdicts = [
    ...(lost > 0 ? [plural(lost, lost === 1 ? 'is lost' : 'are lost')] : []),
    ...(elsewhere > 0 ? [`${elsewhere} more not here: another collector has them, or this one's disk lost them`] : []),
    counters ? difference(at, elsewhere, counters) : 'the agent sent no counters',
  ].filter((verdict) => verdict !== undefined);
  const reason = end.reason.replace(/\s+/g, ' ').slice(0, SHOWN_REASON).toWellFormed();
  const excluded = counters?.excluded ? `, ${counters.excluded} excluded` : '';
  const numbers = `${inFiles(at)}, ${kernel} dropped by kernel and interface${excluded}`;
  return {
    message: `ended (${reason}): ${nameOf(start)}: ${numbers}: ${verdicts.join('; ') || 'complete'}`,
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

/** As in the names of files: what a stranger calls itself may hold anything. */
const nameOf = (start: Names) => `${hostFolder(start.host)}, ${interfaceName(start)}`;
const inFiles = ({ files, gaps }: Position) => `${plural(files.packets, 'in files')}, ${gaps.packets} in gaps`;

const factsOf = ({ host, interface: name, run, capture }: Names, { files, gaps }: Position) => ({
  host,
  interface: name,
  run,
  capture,
  files,
  gaps,
});

type Counters = Omit<Ledger, 'acknowledged'>;

/** What is 0 isn't in a message that was read. */
function countersOf(said: rcap.v1.ICounters): Counters {
  const { acknowledged: _, ...zeros } = emptyLedger();
  for (const name of Object.keys(zeros) as (keyof Counters)[]) zeros[name] = said[name] ?? 0;
  return zeros;
}

/** Where the agent's numbers aren't those of the files. Only sums compare when another collector had a part. */
function difference({ files, gaps, packets }: Position, elsewhere: number, c: Counters): string | undefined {
  const droppedBytes = c.capturedBytes - c.sentBytes;
  const whole = c.captured - c.discarded === packets && c.sent + c.droppedBySpool === packets;
  const packetsAgree = c.sent === files.packets && c.droppedBySpool === gaps.packets;
  const bytesAgree = c.sentBytes === files.bytes && droppedBytes === gaps.bytes;
  if (whole && (elsewhere > 0 || (packetsAgree && bytesAgree))) return undefined;
  const captured = `${c.captured - c.discarded} captured`;
  const dropped = `${c.droppedBySpool} (${droppedBytes} bytes) dropped by spool`;
  return `THE AGENT COUNTS ${captured}, ${c.sent} (${c.sentBytes} bytes) sent, ${dropped}`;
}
