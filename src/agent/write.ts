/** `-w FILE`: the same blocks into a classic pcap file here, instead of to a collector. */
import { closeSync, fdatasyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { fileHeader } from '../formats/pcap.ts';
import { OVERREAD, OVERRUN, RecordWriter } from '../formats/records.ts';
import { type Block, BLOCK_HEAD, MAX_AGENT_MESSAGE, MAX_SNAPLEN } from '../packet.ts';
import type { Sink, SinkEvents } from './sink.ts';

/** A block's records: at most this much longer than the block (a packet of 11 bytes makes a record of 16). */
const OUT = 2 * MAX_AGENT_MESSAGE;

export function fileSink(path: string, events: SinkEvents): Sink {
  const buffer = new ArrayBuffer(OUT + OVERRUN + MAX_AGENT_MESSAGE + OVERREAD);
  const bytes = new Uint8Array(buffer);
  const records = new RecordWriter(buffer, 'nano');
  const start = OUT + OVERRUN;
  let fd = -1;
  let linkType: number | undefined;
  const waiting: (() => void)[] = [];
  const opened = (work: () => void) => (fd < 0 ? waiting.push(work) : work());
  let size = 0;
  let broken = false;
  /** False, once and for ever, when it can't: what was written until then stays a whole file. */
  const write = (from: Uint8Array): boolean => {
    if (broken) return false;
    try {
      writeAll(fd, from);
      size += from.length;
      return true;
    } catch (e) {
      broken = true;
      cutBack(fd, size);
      events.failed(
        new RcapError('FILE_WRITE', `could not write '${path}': ${(e as NodeJS.ErrnoException).code}`, { cause: e }),
      );
      return false;
    }
  };
  return {
    async open() {
      try {
        fd = path === '-' ? 1 : openSync(device(path), 'w', 0o600);
        if (fd !== 1) touch('written', device(path), 'the packets');
      } catch (e) {
        throw new RcapError('FILE_WRITE', `could not open '${path}': ${(e as NodeJS.ErrnoException).code}`, {
          cause: e,
        });
      }
      for (const work of waiting.splice(0)) work();
      return undefined;
    },
    start: (capture) =>
      opened(() => {
        if (linkType === undefined) {
          linkType = capture.info.linkType;
          write(fileHeader(linkType, MAX_SNAPLEN, 'nano'));
        } else if (linkType !== capture.info.linkType) {
          events.failed(
            new RcapError(
              'LINK_TYPE',
              `could not write '${path}': a pcap file holds one link type, and '${capture.info.interface}' has another`,
              {
                hint: 'one -i and one -w each',
              },
            ),
          );
        }
      }),
    add: (capture, block: Block) =>
      opened(() => {
        bytes.set(block.bytes.subarray(BLOCK_HEAD, block.end), start);
        const end = records.write(start, start + block.end - BLOCK_HEAD, 0, OUT, MAX_SNAPLEN);
        block.release();
        if (write(bytes.subarray(0, end))) events.acknowledged(capture.number, block.packets, false);
      }),
    end: (capture) => opened(() => queueMicrotask(() => events.acknowledged(capture.number, 0, true))),
    counters() {},
    count(capture) {
      capture.ledger.sent = capture.ledger.captured - capture.ledger.discarded;
      capture.ledger.sentBytes = capture.ledger.capturedBytes;
    },
    state: () => ({ spoolHeld: 0, spoolOnDisk: 0, connected: true, behind: false }),
    setRate() {},
    close() {
      if (fd > 1) {
        try {
          fdatasyncSync(fd);
        } catch {
          // a pipe or a device
        }
        closeSync(fd);
      }
      return Promise.resolve();
    },
  };
}

/** On Windows, Node would make a file of this name, one that hardly anything there can delete. */
const device = (path: string): string => (process.platform === 'win32' && /^nul$/i.test(path) ? '\\\\.\\NUL' : path);

/** Cuts what a failed write left behind the last whole record; a pipe can't be. */
function cutBack(fd: number, size: number): void {
  try {
    if (fd > 1) ftruncateSync(fd, size);
  } catch {
    // then the file ends within a record, which its readers say
  }
}

/** Writes all of it, also into a pipe that doesn't block. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'EAGAIN') throw e;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}
