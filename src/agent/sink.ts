/** Where blocks go: the collector (through spool and uplink) or, in write.ts, a local file. */
import type { RcapError } from '../errors.ts';
import type { Block } from '../packet.ts';
import { rcap } from '../wire/messages.js';
import { VERSION } from '../version.ts';
import type { Plan } from './plan.ts';
import type { Capture, Connection } from './run.ts';
import { Spool } from './spool.ts';
import { PROTOCOL, Uplink } from './uplink.ts';

export interface SinkEvents {
  acknowledged(capture: number, packets: number, ended: boolean): void;
  stop(reason: string): void;
  failed(error: RcapError): void;
}

export interface Sink {
  /** Connects, or opens the file. Captures and blocks that come earlier wait. */
  open(): Promise<Connection | undefined>;
  start(capture: Capture): void;
  /** Takes the block over. */
  add(capture: Capture, block: Block): void;
  end(capture: Capture, reason: string): void;
  /** Tells the other side how the capture stands. */
  counters(capture: Capture): void;
  /** Brings what the sink counts into the capture's ledger. */
  count(capture: Capture): void;
  /** Bytes that wait. */
  held(): number;
  close(abort: boolean): Promise<void>;
}

/** Entries that wait to be sent, beyond which counters are left out. */
const MANY = 16;

export function uploadSink(
  upload: NonNullable<Plan['upload']>,
  plan: Plan,
  spoolBytes: number,
  run: Uint8Array,
  events: SinkEvents,
): Sink {
  const spool = new Spool(spoolBytes, plan.spoolFull);
  let uplink: Uplink | undefined;
  let closed!: () => void;
  const over = new Promise<void>((resolve) => (closed = resolve));
  const note = (capture: Capture, message: rcap.v1.IAgentMessage) => {
    spool.note(capture.number, rcap.v1.AgentMessage.encodeDelimited(message).finish());
    uplink?.pump();
  };
  return {
    async open() {
      const hello = {
        protocol: PROTOCOL,
        run,
        host: plan.host,
        agent: `rcap-agent ${VERSION}`,
        clockNs: BigInt(Date.now()) * 1_000_000n,
        token: upload.token,
      };
      uplink = await Uplink.connect(upload.server, upload.trust, hello, spool, {
        ack: (capture, sequence, ended) => events.acknowledged(capture, spool.acknowledge(capture, sequence), ended),
        stop: (reason) => events.stop(reason || 'the collector asked'),
        closed: (error) => {
          closed();
          if (error) events.failed(error);
        },
      });
      uplink.pump();
      return { localAddress: uplink.localAddress, remoteAddress: uplink.remoteAddress, remotePort: upload.server.port };
    },
    start(capture) {
      const { effectiveFilter, ...info } = capture.info;
      note(capture, { captureStart: { capture: capture.number, ...info, effectiveFilter, timestampDigits: 9 } });
    },
    add(capture, block) {
      spool.add(capture.number, block);
      uplink?.pump();
    },
    end(capture, reason) {
      const lastSequence = spool.lastSequence(capture.number);
      this.count(capture);
      note(capture, { captureEnd: { capture: capture.number, reason, counters: countersOf(capture), lastSequence } });
    },
    counters(capture) {
      // Behind a full spool they would be old when they arrive; the packets themselves are a sign of life.
      if (spool.waiting < MANY) note(capture, { counters: countersOf(capture) });
    },
    count(capture) {
      const { ledger } = capture;
      const dropped = spool.dropped(capture.number);
      ledger.droppedBySpool = dropped.packets;
      ledger.sent = ledger.captured - ledger.discarded - dropped.packets;
      ledger.sentBytes = ledger.capturedBytes - dropped.packetBytes;
    },
    held: () => spool.held,
    async close(abort) {
      if (!uplink) return;
      if (abort) uplink.abort();
      else uplink.close();
      await over;
    },
  };
}

function countersOf(capture: Capture): rcap.v1.ICounters {
  const { acknowledged: _, ...counters } = capture.ledger;
  return { capture: capture.number, ...counters };
}
