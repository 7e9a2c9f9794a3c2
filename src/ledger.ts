/**
 * The named counters of a capture, and the check that they add up:
 * received = dropped by kernel + filtered + excluded + captured + unread;  captured = discarded + in gaps + sent;
 * sent = acknowledged, once everything is drained.
 */
export interface Ledger {
  /** Received by the filter, as tcpdump says it; includes what the kernel then dropped. */
  received: number;
  droppedByKernel: number;
  droppedByInterface: number;
  /** Of a file: did not match the filter. Live, the kernel filters before it counts. */
  filtered: number;
  /** Left out by the exceptions, after the filter. */
  excluded: number;
  /** Sum of their captured lengths. */
  excludedBytes: number;
  captured: number;
  /** Sum of the captured lengths, without the discarded. */
  capturedBytes: number;
  /** Longer than the snaplen and cut; among the captured. */
  cut: number;
  /** Captured beyond the end that a limit set, and never sent. */
  discarded: number;
  /** Lost in gaps. */
  droppedBySpool: number;
  sent: number;
  sentBytes: number;
  acknowledged: number;
}

export const emptyLedger = (): Ledger => ({
  received: 0,
  droppedByKernel: 0,
  droppedByInterface: 0,
  filtered: 0,
  excluded: 0,
  excludedBytes: 0,
  captured: 0,
  capturedBytes: 0,
  cut: 0,
  discarded: 0,
  droppedBySpool: 0,
  sent: 0,
  sentBytes: 0,
  acknowledged: 0,
});

export function sum(ledgers: Iterable<Ledger>): Ledger {
  const total = emptyLedger();
  for (const l of ledgers) for (const k of Object.keys(total) as (keyof Ledger)[]) total[k] += l[k];
  return total;
}

/** Received, but still in the kernel's ring at the end, or (on loopback) a second copy that libpcap leaves out. */
export const unread = (l: Ledger): number => l.received - l.droppedByKernel - l.filtered - l.excluded - l.captured;

/** Packets that were captured but never reached the collector's disk. */
export const unacknowledged = (l: Ledger): number => l.captured - l.discarded - l.droppedBySpool - l.acknowledged;

/** Why the counters of an ended capture don't add up, or undefined when they do. */
export function imbalance(l: Ledger): string | undefined {
  if (unread(l) < 0) return `${l.captured} captured of ${l.received} received`;
  if (l.captured !== l.discarded + l.droppedBySpool + l.sent) {
    return `${l.captured} captured, but ${l.sent} sent, ${l.droppedBySpool} dropped by spool and ${l.discarded} discarded`;
  }
  if (l.sent !== l.acknowledged) return `${l.sent} sent, but ${l.acknowledged} acknowledged`;
  return undefined;
}

/** Packets that are lost for good. */
export const lost = (l: Ledger): number =>
  l.droppedByKernel + l.droppedByInterface + l.droppedBySpool + unacknowledged(l);

/** `3 packets sent` */
export const plural = (n: number, word: string): string => `${n} packet${n === 1 ? '' : 's'} ${word}`;

/** The closing report: tcpdump's lines in tcpdump's words, then ours. */
export function report(l: Ledger): string[] {
  const lines = [
    plural(l.captured - l.discarded, 'captured'),
    plural(l.received, 'received by filter'),
    plural(l.droppedByKernel, 'dropped by kernel'),
  ];
  if (l.droppedByInterface) lines.push(plural(l.droppedByInterface, 'dropped by interface'));
  if (l.filtered) lines.push(plural(l.filtered, 'filtered out'));
  if (l.excluded) lines.push(plural(l.excluded, 'excluded'));
  if (l.cut) lines.push(plural(l.cut, 'cut to the snapshot length'));
  if (l.droppedBySpool) lines.push(plural(l.droppedBySpool, 'dropped by spool'));
  lines.push(plural(l.sent, `sent, ${l.acknowledged} acknowledged`));
  return lines;
}
