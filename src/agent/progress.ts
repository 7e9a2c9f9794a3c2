/** What a user sees while it runs: one line that updates on a terminal, a plain line now and then elsewhere. */
import type { Log } from '../log.ts';
import { shareText } from './exceptions/share.ts';
import type { Progress } from './run.ts';

/** Seconds between plain lines. */
const PLAIN_SECONDS = 10;

export interface ProgressView {
  update(p: Progress): void;
  /** Takes the updating line away. */
  clear(): void;
}

export function progressView(
  log: Log,
  output: NodeJS.WriteStream,
  mode: { quiet: boolean; json: boolean },
): ProgressView {
  if (mode.quiet) return { update() {}, clear() {} };
  if (mode.json)
    return {
      update: ({ ledger, ...state }) => log.info('progress', { ...ledger, ...state }),
      clear() {},
    };
  const rate = rateOf();
  if (!output.isTTY) {
    let next = PLAIN_SECONDS;
    return {
      update(p) {
        const line = progressLine(p, rate(p));
        if (p.seconds < next) return;
        next += PLAIN_SECONDS;
        log.info(line);
      },
      clear() {},
    };
  }
  let drawn = false;
  const clear = () => {
    if (drawn) output.write('\r\x1b[K');
    drawn = false;
  };
  log.beforeLine = clear;
  return {
    update(p) {
      output.write(`\r\x1b[K${progressLine(p, rate(p)).slice(0, (output.columns || 80) - 1)}`);
      drawn = true;
    },
    clear,
  };
}

/** Packets a second since the last call. */
function rateOf(): (p: Progress) => number {
  let last = { packets: 0, seconds: 0 };
  return (p) => {
    const packets = p.ledger.captured;
    const rate = (packets - last.packets) / Math.max(p.seconds - last.seconds, 0.001);
    last = { packets, seconds: p.seconds };
    return rate;
  };
}

export function progressLine({ ledger: l, ...state }: Progress, rate: number): string {
  const dropped = l.droppedByKernel + l.droppedByInterface + l.droppedBySpool;
  return [
    `${l.captured - l.discarded} packets`,
    sizeText(l.capturedBytes),
    `${Math.round(rate)}/s`,
    `${dropped} dropped`,
    ...(l.excluded ? [`${shareText(l)} excluded`] : []),
    `spool ${sizeText(state.spoolHeld)}${state.spoolOnDisk ? ` and ${sizeText(state.spoolOnDisk)} on disk` : ''}`,
    `${l.acknowledged} acknowledged`,
    ...(state.connected ? [] : ['not connected']),
    ...(state.behind ? ['the collector is behind'] : []),
  ].join(', ');
}

/** 1.5 MiB */
export function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let n = bytes;
  let u = 0;
  for (; n >= 1024 && u < units.length - 1; u++) n /= 1024;
  return `${u === 0 ? n : n.toFixed(1)} ${units[u]}`;
}
