/** An agent's process: the production spool and uplink, fed by captures whose every packet is known. */
import type { Capture } from '../../agent/run.ts';
import { type Sink, uploadSink } from '../../agent/sink.ts';
import type { RcapError } from '../../errors.ts';
import { emptyLedger, type Ledger } from '../../ledger.ts';
import { BLOCK_HEAD } from '../../packet.ts';
import type { SimNetwork } from './network.ts';
import { LONGEST_PACKET, type Packet, packetsOf, Pool, Truth } from './packets.ts';
import type { Random } from './random.ts';
import type { Process } from './scheduler.ts';

const COUNTERS_MS = 1000;
/** Never, in a simulation. */
const GIVE_UP_MS = 1e9;
export const HOST = 'host-1';

export interface AgentOptions {
  seed: number;
  /** Names of collectors. */
  servers: string[];
  captures: number;
  /** Of each capture. */
  blocks: number;
  /** Between two blocks, on average. */
  pauseMs: number;
  blockBytes: number;
  /** How many blocks the captures may hold beside the spool. */
  reserve: number;
  spoolBytes: number;
  spoolFull: 'wait' | 'drop';
  maxRate: number | undefined;
  linkType: number;
}

export class SimAgent {
  readonly truths = new Map<number, Truth>();
  readonly captures: Capture[] = [];
  readonly process: Process;
  readonly #options: AgentOptions;
  readonly #random: Random;
  readonly #pool: Pool;
  readonly #sink: Sink;
  #over!: () => void;
  readonly finished = new Promise<void>((resolve) => (this.#over = resolve));

  constructor(process: Process, network: SimNetwork, options: AgentOptions) {
    this.process = process;
    this.#options = options;
    const { random } = process.scheduler;
    this.#random = random;
    const blocks = Math.ceil(options.spoolBytes / options.blockBytes) + options.reserve;
    this.#pool = new Pool(blocks, options.blockBytes, (e) => process.scheduler.fail(e));
    this.#sink = uploadSink(
      {
        servers: options.servers.map((host) => ({ host, port: 9000 })),
        token: 'token',
        giveUpMs: GIVE_UP_MS,
        maxRate: options.maxRate,
        spoolDisk: undefined,
      },
      { host: { name: HOST, system: 'simulated' }, spoolFull: options.spoolFull },
      options.spoolBytes,
      Uint8Array.from({ length: 16 }, () => random.below(256)),
      { dial: network.dial(process), clock: process, random: () => random.real() },
      {
        acknowledged: (capture, packets, ended) => this.#acknowledged(capture, packets, ended),
        stop: () => {},
        settings: { digest: new Uint8Array(), take: () => Promise.resolve({ accepted: true, reason: '' }) },
        status: () => {},
        connected: () => {},
        lost: (error, retryMs) => process.note('lost:', error.message, Math.round(retryMs)),
        failed: (error) => this.#failed(error),
        trouble: (error) => this.#failed(error),
      },
    );
  }

  start(): void {
    this.#sink.open().catch((e: RcapError) => this.#failed(e));
    for (let number = 1; number <= this.#options.captures; number++) {
      this.process.after(this.#random.below(1000), () => this.#begin(number));
    }
    this.#tick();
  }

  /** Of each capture. */
  get ledgers(): Map<number, Ledger> {
    return new Map(this.captures.map((c) => [c.number, c.ledger]));
  }

  /** Ends the connection; nothing of the captures is held any more. */
  async close(): Promise<void> {
    for (const c of this.captures) this.#sink.count(c);
    await this.#sink.close(false);
    if (this.#pool.out > 0) throw new Error(`${this.#pool.out} blocks were not given back`);
    const { spoolHeld } = this.#sink.state();
    if (spoolHeld !== 0) throw new Error(`${spoolHeld} bytes are still held`);
  }

  #failed(error: RcapError): void {
    this.process.scheduler.fail(new Error(`the agent failed: ${error.code}: ${error.message}`, { cause: error }));
  }

  #begin(number: number): void {
    const capture: Capture = {
      number,
      info: {
        linkType: this.#options.linkType,
        snaplen: 262_144,
        interface: `eth${number}`,
        friendlyName: '',
        addresses: ['192.0.2.1'],
        effectiveFilter: '',
        promiscuous: true,
        source: 'live',
        file: '',
      },
      ledger: emptyLedger(),
      ending: false,
      ended: false,
    };
    this.truths.set(number, new Truth());
    this.captures.push(capture);
    this.#sink.start(capture);
    const { seed, blocks } = this.#options;
    const now = () => BigInt(this.process.date()) * 1_000_000n;
    const count = this.#random.chance(0.05) ? 0 : Math.ceil(blocks * this.#random.spread(0.3, 2));
    this.#capture(capture, packetsOf(seed, number, this.#random, now), count);
  }

  /** A block now, or several at once; then the next, or the end. */
  #capture(capture: Capture, packets: Generator<Packet>, blocks: number): void {
    const random = this.#random;
    let left = blocks;
    for (let burst = random.chance(0.1) ? random.between(2, 8) : 1; burst > 0 && left > 0; burst--, left--) {
      this.#block(capture, packets);
    }
    const pauseMs = random.spread(this.#options.pauseMs / 5, this.#options.pauseMs * 3);
    this.process.after(pauseMs, () => {
      if (left > 0) this.#capture(capture, packets, left);
      else this.#end(capture);
    });
  }

  #block(capture: Capture, packets: Generator<Packet>): void {
    const { ledger } = capture;
    if (this.#pool.empty) {
      ledger.received++;
      ledger.droppedByKernel++;
      return;
    }
    const most = Math.floor((this.#options.blockBytes - BLOCK_HEAD) / LONGEST_PACKET);
    const some = Array.from({ length: this.#random.between(1, most) }, () => packets.next().value as Packet);
    const block = this.#pool.fill(some);
    this.truths.get(capture.number)!.add(some, block.packetBytes);
    ledger.received += block.packets;
    ledger.captured += block.packets;
    ledger.capturedBytes += block.packetBytes;
    this.#sink.add(capture, block);
  }

  #end(capture: Capture): void {
    capture.ending = true;
    this.#sink.count(capture);
    this.process.note('capture ends', capture.number);
    this.#sink.end(capture, 'stopped');
  }

  #acknowledged(number: number, packets: number, ended: boolean): void {
    const capture = this.captures.find((c) => c.number === number)!;
    capture.ledger.acknowledged += packets;
    if (ended && capture.ended) throw new Error(`capture ${number} ended twice`);
    capture.ended ||= ended;
    if (this.captures.length === this.#options.captures && this.captures.every((c) => c.ended)) this.#over();
  }

  #tick(): void {
    for (const c of this.captures) {
      this.#sink.count(c);
      if (!c.ending) this.#sink.counters(c);
    }
    this.process.after(COUNTERS_MS, () => this.#tick());
  }
}
