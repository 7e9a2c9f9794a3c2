/** Where blocks go: the collector (through spool and uplink) or, in write.ts, a local file. */
import type { Clock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import type { Block } from '../packet.ts';
import { VERSION } from '../version.ts';
import { PROTOCOL } from '../wire/frame.ts';
import type { Route } from '../wire/dial.ts';
import type { Dial } from '../wire/link.ts';
import { rcap } from '../wire/messages.js';
import type { Plan, Upload } from './plan.ts';
import type { Capture } from './run.ts';
import type { SettingsTaker } from './connection.ts';
import { SpoolDisk } from './spool-disk.ts';
import { Spool } from './spool.ts';
import { Uplink, type UplinkEvents } from './uplink.ts';

export interface SinkEvents extends Omit<UplinkEvents, 'acknowledged'> {
  acknowledged(capture: number, packets: number, ended: boolean): void;
  /** Something that a user should know of; the run goes on. */
  trouble(error: RcapError): void;
  settings: SettingsTaker;
}

/** How a sink stands. */
export interface SinkState {
  /** Bytes that wait for an acknowledgement, in memory and on disk. */
  spoolHeld: number;
  spoolOnDisk: number;
  connected: boolean;
  /** The collector takes less than comes. */
  behind: boolean;
}

export interface Sink {
  /**
   * Connects, or opens the file; the address that we have there, once the settings from there are taken. Captures and
   * blocks that come earlier wait.
   */
  open(): Promise<string | undefined>;
  start(capture: Capture): void;
  /** Takes the block over. */
  add(capture: Capture, block: Block): void;
  end(capture: Capture, reason: string): void;
  /** Tells the other side how the capture stands. */
  counters(capture: Capture): void;
  /** Brings what the sink counts into the capture's ledger. */
  count(capture: Capture): void;
  state(): SinkState;
  /** Bytes a second that are sent from now on; nothing: without limit. */
  setRate(rate: number | undefined): void;
  close(abort: boolean): Promise<void>;
}

/** What a simulation replaces. */
export interface SinkDeps {
  dial: Dial;
  clock: Clock;
  /** 0 to 1. */
  random: () => number;
}

/** Captures that a collector lets one agent have at a time. */
const MAX_OPEN = 256;
/** Longest reason of an end, characters. */
const MAX_REASON = 1000;

export function uploadSink(
  upload: Omit<Upload, keyof Route>,
  plan: Pick<Plan, 'host' | 'spoolFull'>,
  spoolBytes: number,
  run: Uint8Array,
  deps: SinkDeps,
  events: SinkEvents,
): Sink {
  const { clock } = deps;
  const { spoolDisk, servers, giveUpMs, maxRate, token } = upload;
  const disk = spoolDisk && new SpoolDisk(spoolDisk.folder, spoolDisk.bytes, clock, (e) => events.trouble(e));
  const spool = new Spool({
    limit: spoolBytes,
    whenFull: plan.spoolFull,
    disk,
    ready: () => uplink.pump(),
    trouble: (e) => events.trouble(e),
  });
  let behind = false;
  const hello = () => ({
    protocol: PROTOCOL,
    run,
    host: plan.host,
    agent: `rcap-agent ${VERSION}`,
    clockNs: BigInt(clock.date()) * 1_000_000n,
    token,
  });
  const uplink = new Uplink({
    ...deps,
    servers,
    hello,
    spool,
    settings: events.settings,
    giveUpMs,
    maxRate,
    events: {
      ...events,
      acknowledged: (a) => events.acknowledged(a.capture, a.packets, a.ended),
      stop: (reason) => events.stop(reason || 'the collector asked'),
      status: (b, reason) => events.status((behind = b), reason),
      lost: (error, retryMs) => {
        behind = false;
        events.lost(error, retryMs);
      },
    },
  });
  return {
    open: () => uplink.start(),
    start(capture) {
      if (spool.open === MAX_OPEN) {
        events.failed(new RcapError('LIMIT', `could not send more than ${MAX_OPEN} captures at a time`));
        return;
      }
      // What it says of the filter may have changed by the next connection.
      const message = () => encode({ captureStart: { capture: capture.number, ...capture.info, timestampDigits: 9 } });
      spool.start(capture.number, message, () => {
        const exclusions = capture.teller?.next();
        return exclusions && encode({ exclusions });
      });
      uplink.pump();
    },
    add(capture, block) {
      spool.add(capture.number, block);
      uplink.pump();
    },
    end(capture, reason) {
      spool.end(capture.number, () => {
        this.count(capture);
        const lastSequence = spool.lastSequence(capture.number);
        const counters = countersOf(capture);
        return encode({
          captureEnd: { capture: capture.number, reason: reason.slice(0, MAX_REASON), counters, lastSequence },
        });
      });
      uplink.pump();
    },
    counters(capture) {
      if (!uplink.connected) return;
      spool.counters(capture.number, () => encode({ counters: countersOf(capture) }));
      uplink.pump();
    },
    count(capture) {
      const { ledger } = capture;
      const dropped = spool.dropped(capture.number);
      ledger.droppedBySpool = dropped.packets;
      ledger.sent = ledger.captured - ledger.discarded - dropped.packets;
      ledger.sentBytes = ledger.capturedBytes - dropped.packetBytes;
    },
    state: () => ({ spoolHeld: spool.held, spoolOnDisk: spool.heldOnDisk, connected: uplink.connected, behind }),
    setRate: (rate) => uplink.setRate(rate),
    async close(abort) {
      if (abort) uplink.abort();
      else await uplink.close();
      disk?.close();
    },
  };
}

const encode = (message: rcap.v1.IAgentMessage) => rcap.v1.AgentMessage.encodeDelimited(message).finish();

function countersOf(capture: Capture): rcap.v1.ICounters {
  const { acknowledged: _, ...counters } = capture.ledger;
  return { capture: capture.number, ...counters };
}
