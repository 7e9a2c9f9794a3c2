/**
 * Connections between an agent and a collector: bytes come late and in pieces, a side that doesn't read stops the other,
 * and a connection may end for both sides, for one, or for none that knows it.
 */
import { RcapError } from '../../errors.ts';
import type { Dial, Link, LinkEvents } from '../../wire/link.ts';
import type { Process, Scheduler } from './scheduler.ts';

export interface SocketEvents {
  /** The chunk is overwritten after the call. */
  bytes(chunk: Uint8Array): void;
  /** Once, unless `destroy` was called. */
  closed(): void;
}

export interface NetworkFaults {
  /** Probabilities that an attempt to connect is refused, or answered by nobody. */
  refuse: number;
  hang: number;
  /** Probability that a new connection is lost for the agent before it was greeted; its Hello may come much later. */
  early: number;
  /** Everything takes so many times longer. */
  slow: number;
}

export const NO_NETWORK_FAULTS: Readonly<NetworkFaults> = { refuse: 0, hang: 0, early: 0, slow: 1 };

export type CutKind = 'both' | 'agent' | 'collector' | 'stall' | 'stall one way';
export const CUTS: readonly CutKind[] = ['both', 'agent', 'collector', 'stall', 'stall one way'];

/** One side of a connection. */
export class Socket {
  readonly process: Process;
  peer!: Socket;
  events: SocketEvents | undefined;
  /** Nothing is called any more. */
  over = false;
  /** Bytes that were taken and didn't arrive yet. */
  readonly #queue: Uint8Array[] = [];
  #queued = 0;
  /** What waits for room in the queue. */
  readonly #writes: { bytes: Uint8Array; at: number; done: (() => void) | undefined }[] = [];
  readonly #window: number;
  #ending = false;
  #ended = false;
  #paused = false;
  /** Nothing leaves before this. */
  #stalledTo = 0;
  /** Nothing arrives any more, or nothing about the end. */
  #mute = false;
  #silent = false;
  #pumping = false;
  readonly #network: SimNetwork;

  constructor(network: SimNetwork, process: Process, window: number) {
    this.#network = network;
    this.process = process;
    this.#window = window;
  }

  /** Bytes that wait on this side. */
  get queued(): number {
    return this.#writes.reduce((n, w) => n + w.bytes.length - w.at, this.#queued);
  }
  get writable(): boolean {
    return !this.over && !this.#ending;
  }

  write(bytes: Uint8Array, done?: () => void): void {
    if (!this.writable) return;
    this.#writes.push({ bytes, at: 0, done });
    this.#accept();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.peer.#pump();
  }

  /** Closes behind what was written; `closed` follows when the other side closed too. */
  end(): void {
    this.#ending = true;
    this.#pump();
  }

  /** Closes at once, without a call here; what the system already had may still arrive. */
  destroy(): void {
    if (!this.over) this.vanish();
  }

  /** The connection is over for this side. */
  close(): void {
    if (this.over) return;
    this.vanish();
    this.process.note('connection closed');
    this.events?.closed();
  }

  /** This side, or its whole process, is gone, and the system says so to the other side. */
  vanish(): void {
    this.#leave();
    if (this.#network.random.chance(0.5)) this.#queue.length = this.#queued = 0;
    this.#ending = true;
    this.#pump();
  }

  /** This side is gone, and nobody says so; what is on its way may still arrive. */
  lose(): void {
    this.#leave();
    if (this.#network.random.chance(0.5)) this.#queue.length = this.#queued = 0;
    this.#silent = true;
  }

  #leave(): void {
    this.over = true;
    this.#writes.length = 0;
  }

  /** What leaves from now on never arrives, nor what is on its way. */
  mute(): void {
    this.#mute = true;
  }

  stall(ms: number): void {
    this.#stalledTo = this.#network.now + ms;
  }

  /** Takes from the writes what there is room for; only now are their bytes read. */
  #accept(): void {
    while (this.#writes.length > 0 && this.#queued < this.#window) {
      const write = this.#writes[0]!;
      const bytes = write.bytes.slice(write.at, write.at + this.#window - this.#queued);
      write.at += bytes.length;
      this.#queue.push(bytes);
      this.#queued += bytes.length;
      if (write.at < write.bytes.length) break;
      this.#writes.shift();
      const { done } = write;
      if (done) this.#network.later(this, () => this.over || done());
    }
    this.#pump();
  }

  #pump(): void {
    if (this.#pumping || this.#ended || this.#mute) return;
    if (this.#queued === 0 && (!this.#ending || this.#silent)) return;
    this.#pumping = true;
    this.#network.later(this.peer, () => this.#deliver(), this.#stalledTo);
  }

  #deliver(): void {
    this.#pumping = false;
    const { random } = this.#network;
    const { peer } = this;
    if (this.#stalledTo > this.#network.now) {
      this.#pump();
      return;
    }
    // What was under way when the reader stopped may still come.
    if (peer.#paused && !random.chance(0.1)) return;
    if (this.#mute) return;
    if (this.#queued === 0) {
      if (this.#ending && !this.#silent) this.#end();
      return;
    }
    const chunk = this.#chunk(random.chance(0.3) ? random.between(1, 200) : random.between(1, this.#queued));
    this.#accept();
    if (peer.over) {
      // Nobody is there to read it; the system there says so, if it still can.
      if (!peer.#mute && !peer.#silent) this.#network.later(this, () => this.close());
      return;
    }
    peer.events?.bytes(chunk);
    chunk.fill(0xa5);
  }

  #chunk(length: number): Uint8Array {
    const chunk = Buffer.allocUnsafe(Math.min(length, this.#queued));
    for (let at = 0; at < chunk.length;) {
      const first = this.#queue[0]!;
      const part = first.subarray(0, chunk.length - at);
      chunk.set(part, at);
      at += part.length;
      if (part.length < first.length) this.#queue[0] = first.subarray(part.length);
      else this.#queue.shift();
    }
    this.#queued -= chunk.length;
    return chunk;
  }

  /** The other side has read all; like Node's it closes when it has said all, too. */
  #end(): void {
    this.#ended = true;
    const { peer } = this;
    if (this.over || peer.#ended) {
      peer.close();
      this.close();
    } else peer.end();
  }
}

/** What accepts connections. */
export interface Listener {
  process: Process;
  accept(socket: Socket): SocketEvents;
}

export class SimNetwork {
  faults: NetworkFaults = { ...NO_NETWORK_FAULTS };
  /** Connections, until somebody notices that they are over for both sides. */
  readonly #open = new Set<{ host: string; agent: Socket; collector: Socket }>();
  readonly #listeners = new Map<string, Listener>();
  /** Hosts without power: nobody even refuses there. */
  readonly #dark = new Set<string>();
  readonly #scheduler: Scheduler;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  get random(): Scheduler['random'] {
    return this.#scheduler.random;
  }
  get now(): number {
    return this.#scheduler.now;
  }

  /** From now on connections to a host are accepted so, or refused. */
  listen(host: string, listener: Listener | undefined): void {
    this.#dark.delete(host);
    if (listener) this.#listeners.set(host, listener);
    else this.#listeners.delete(host);
  }

  /** Something reaches a socket, not before `at`. */
  later(socket: Socket, work: () => void, at = 0): void {
    this.#reach(socket.process, work, at);
  }

  #reach(process: Process, work: () => void, at = 0): void {
    const ms = this.random.spread(0.02, 5) * this.faults.slow;
    this.#scheduler.after(Math.max(ms, at - this.now), work, process);
  }

  cut(kind: CutKind): void {
    const { random } = this;
    const connections = this.#connections();
    if (connections.length === 0) return;
    const { agent, collector } = random.pick(connections);
    this.#scheduler.note('network', 'cut', kind);
    if (kind === 'stall' || kind === 'stall one way') {
      const ms = random.spread(10, 40_000);
      const sides = kind === 'stall' ? [agent, collector] : [random.pick([agent, collector])];
      for (const s of sides) s.stall(ms);
    } else if (kind === 'both') {
      for (const s of [agent, collector]) {
        s.mute();
        this.later(s, () => s.close());
      }
    } else if (kind === 'agent') this.#halfOpen(agent, collector);
    else this.#halfOpen(collector, agent);
  }

  /** One side learns it now. What it sent before still comes, late; the other side learns it later still, or never. */
  #halfOpen(knows: Socket, other: Socket): void {
    const { random } = this;
    const ms = random.spread(10, 20_000);
    other.mute();
    knows.stall(ms);
    this.later(knows, () => {
      if (knows.over) return;
      knows.lose();
      knows.events?.closed();
    });
    if (random.chance(0.5)) this.later(other, () => other.close(), this.now + ms + random.spread(1, 60_000));
  }

  /** A host's collector was killed, or (`dark`) the host lost its power: then nobody says so. */
  gone(host: string, dark: boolean): void {
    const { random } = this;
    this.listen(host, undefined);
    if (dark) this.#dark.add(host);
    for (const { agent, collector } of this.#connections(host)) {
      if (!dark) collector.vanish();
      else {
        collector.lose();
        agent.mute();
        if (random.chance(0.5)) this.later(agent, () => agent.close(), this.now + random.spread(100, 30_000));
      }
    }
  }

  #connections(host?: string): { agent: Socket; collector: Socket }[] {
    for (const c of this.#open) if (c.agent.over && c.collector.over) this.#open.delete(c);
    return [...this.#open].filter((c) => host === undefined || c.host === host);
  }

  dial(process: Process): Dial {
    return (server, events, signal) =>
      new Promise((resolve, reject) => {
        const failed = (code: string) =>
          reject(new RcapError('CONNECTION', `could not connect to '${server.host}': ${code}`));
        signal.addEventListener('abort', () => failed('aborted'));
        this.#reach(process, () => {
          const { refuse, hang } = this.faults;
          const listener = this.#listeners.get(server.host);
          if (signal.aborted || this.random.chance(hang) || this.#dark.has(server.host)) return;
          if (!listener || this.random.chance(refuse)) failed('ECONNREFUSED');
          else this.#connect(process, server.host, listener, events, signal, resolve, failed);
        });
      });
  }

  #connect(
    process: Process,
    host: string,
    listener: Listener,
    events: LinkEvents,
    signal: AbortSignal,
    resolve: (link: Link) => void,
    failed: (code: string) => void,
  ): void {
    const agent = new Socket(this, process, this.random.spread(200, 200_000));
    const collector = new Socket(this, listener.process, this.random.spread(200, 200_000));
    [agent.peer, collector.peer] = [collector, agent];
    agent.events = { bytes() {}, closed: () => failed('ECONNRESET') };
    let connected = false;
    signal.addEventListener('abort', () => connected || agent.destroy());
    this.#open.add({ host, agent, collector });
    this.later(collector, () => {
      if (collector.over) return;
      collector.events = listener.accept(collector);
      this.later(agent, () => {
        if (agent.over) return;
        connected = true;
        agent.events = {
          bytes: (chunk) => events.bytes(chunk),
          closed: () => events.closed(new RcapError('CONNECTION', 'lost the connection')),
        };
        process.note('connected');
        if (this.random.chance(this.faults.early)) this.#halfOpen(agent, collector);
        resolve(linkOf(agent));
      });
    });
  }
}

const linkOf = (socket: Socket): Link => ({
  localAddress: '192.0.2.1',
  remoteAddress: '192.0.2.2',
  write: (bytes, done) => socket.write(bytes, done),
  end: () => socket.end(),
  destroy: () => socket.destroy(),
});
