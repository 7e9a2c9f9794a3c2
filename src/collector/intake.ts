/**
 * One agent's connection, without its socket: order, limits, identity. Every field of every message is checked here; what
 * breaks a rule ends this connection and nothing else.
 */
import type { Clock, Timer } from '../clock.ts';
import { RcapError, reasonOf } from '../errors.ts';
import type { Timestamps } from '../formats/pcap.ts';
import { OVERREAD, OVERRUN, RecordError, RecordWriter } from '../formats/records.ts';
import { MAX_AGENT_MESSAGE, MAX_SNAPLEN } from '../packet.ts';
import { BATCH_TAG, checkEnvelope, HELLO_TAG, PROTOCOL, ProtocolError, readBatchHeader } from '../wire/frame.ts';
import { rcap } from '../wire/messages.js';
import { Receiver, regionBytes } from '../wire/receiver.ts';
import type { Sealed } from '../wire/settings.ts';
import { type AgentView, viewOf } from './agents.ts';
import { type Budget, MAX_CONNECTION_BYTES } from './exclusions.ts';
import { hostFolder } from './names.ts';
import { NO_PACKETS, type Position } from './runs.ts';
import { digestSaid, exclusionsSaid, settingsStateSaid, textSaid as text, timeSaid as timeOf } from './said.ts';
import { SettingsFeed } from './settings-feed.ts';
import type { RunHolder } from './store.ts';
import type { CaptureWriter, Progress, SeriesStart, WriterEvents } from './writer.ts';

const { AgentMessage, CollectorMessage } = rcap.v1;
const { Code } = rcap.v1.Refusal;

/** Captures that are open at a time, and all that a run may have: each is remembered for a while. */
const MAX_CAPTURES = 256;
const MAX_RUN_CAPTURES = 4096;
const MAX_TEXT = 4096;
/** Of sequences, packets and bytes, as far as an agent can set them: all that is counted on from there stays exact. */
const MAX_NUMBER = 2 ** 52;
/** What a stranger may make us decode before their token was seen. */
const MAX_HELLO = 65_536;
/** Steps that may wait for a writer before control messages wait too. */
const MAX_PENDING = 64;
/** Bytes of records that are gathered for one write, and how many such regions a connection has. */
const SLAB_BYTES = 1 << 20;
const SLABS = 3;
const SLAB_REGION = SLAB_BYTES + OVERRUN;
const INPUT = SLABS * SLAB_REGION;
/**
 * Records in bytes, of a packet's bytes in a batch: 16 before an empty packet, where the batch has 13. Only who leaves out
 * a timestamp of 0 as well gets below that.
 */
const MAX_GROWTH = 16 / 13;
/** A sign of life goes out after this long without one. */
const STATUS_MS = 5000;
/** An agent that says nothing for this long, while it is read, is gone. */
const SILENCE_MS = 60_000;
/** How often a connection's token is looked at again, and how long an agent may still send when it has expired. */
const TOKEN_MS = 2000;
const EXPIRED_MS = 30_000;
/** Of so many last ticks, in how many a stream must have been paused to be behind, and in how few not to be any more. */
const TICKS = 20;
const BEHIND = 15;
const NOT_BEHIND = 5;

/** What an intake needs from the collector around it. */
export interface IntakeHost {
  readonly version: string;
  readonly clock: Clock;
  readonly timestamps: Timestamps;
  /** Why the collector takes nothing more for now; empty when it does. */
  readonly full: string;
  /** Checks a credential for a host and run; returns the token's id or throws an RcapError. */
  admit(token: string, host: string, run: string): string;
  /** How the token of this id stands by now. */
  standing(token: string): 'valid' | 'expired' | 'revoked';
  /** Somebody without a token is refused: who, and why. Returns how long their answer is to wait, ms. */
  turnAway(peer: string, line: string): number;
  /** Takes the run over from an older connection; says where its captures stand. */
  enter(holder: RunHolder, run: string, token: string, host: string): Promise<[capture: number, at: Position][]>;
  leave(holder: RunHolder, run: string): void;
  /** What this host is to run by. Throws an RcapError that says why nobody knows. */
  settings(host: string): Sealed;
  /** A writer in this host's folder, going on behind `from`. */
  writer(start: SeriesStart, from: Progress, events: WriterEvents, budget: Budget): CaptureWriter;
  log(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
}

export interface IntakeConnection {
  peer: string;
  /** `taken` is called once the kernel has it: then it doesn't count as unread. */
  send(bytes: Uint8Array, taken?: () => void): void;
  /** After `push` returned false: bytes may come again. */
  ready(): void;
  /** Sends what is queued and closes. */
  close(): void;
}

interface Slabbed {
  slab: number;
  capture: Capture;
  out: number;
  lastRecord: number;
  packets: number;
  packetBytes: number;
  firstSequence: number;
  firstPacket: number;
  arrivedMs: number;
}

interface Capture {
  number: number;
  snaplen: number;
  writer: CaptureWriter;
  lastSequence: number;
  packets: number;
  /** Of all its gaps. */
  gapBytes: number;
  ended: boolean;
}

export class Intake implements RunHolder {
  /** Bytes of packets and packets, as received. */
  readonly received = { packets: 0, packetBytes: 0 };
  /** Of this connection in its run. */
  number = 0;
  /** The host that it speaks for; empty until its Hello is accepted. */
  host = '';
  readonly #collector: IntakeHost;
  readonly #connection: IntakeConnection;
  readonly #buffer = new ArrayBuffer(INPUT + regionBytes(MAX_AGENT_MESSAGE) + OVERREAD);
  readonly #bytes = new Uint8Array(this.#buffer);
  readonly #receiver = new Receiver(this.#bytes, INPUT, MAX_AGENT_MESSAGE, (start, end) => this.#frame(start, end));
  readonly #records: RecordWriter;
  readonly #free = Array.from({ length: SLABS }, (_, i) => SLABS - 1 - i);
  /** The open ones: announced, and not yet ended and published. */
  readonly #captures = new Map<number, Capture>();
  /** Of what their exclusions hold. */
  readonly #budget: Budget = { room: MAX_CONNECTION_BYTES };
  readonly #ended = new Set<number>();
  /** All of the run. */
  readonly #seen = new Set<number>();
  /** Where captures of earlier connections stand. */
  readonly #resumed = new Map<number, Pick<Position, 'sequence' | 'packets' | 'gaps' | 'events'>>();
  /** From the Hello to the Welcome. */
  #greeting: Promise<void> | undefined;
  #ending: Promise<void> | undefined;
  #heardMs: number;
  #tokenMs = 0;
  /** When the agent was asked to end because its token had expired. */
  #expiredMs: number | undefined;
  #saidMs = 0;
  /** Of the last ticks, in how many the stream was paused. */
  #paused = 0;
  #status = { behind: false, reason: '' };
  /** Of ended captures: their manifests are being written. */
  readonly #finishing = new Set<Promise<void>>();
  readonly #settings: SettingsFeed;
  readonly #sinceMs: number;
  #series:
    | Pick<
        SeriesStart,
        'format' | 'host' | 'system' | 'agent' | 'peer' | 'token' | 'run' | 'clockOffsetMs' | 'collector'
      >
    | undefined;
  #current: Slabbed | undefined;
  /** Until the current slab is handed over. */
  #gathering: Timer | undefined;
  #blocked = false;
  #over = false;

  constructor(collector: IntakeHost, connection: IntakeConnection) {
    this.#collector = collector;
    this.#connection = connection;
    this.#records = new RecordWriter(this.#buffer, collector.timestamps);
    this.#heardMs = collector.clock.now();
    this.#sinceMs = collector.clock.date();
    this.#settings = new SettingsFeed({
      settings: () => collector.settings(this.host),
      send: (bytes, taken) => this.#connection.send(bytes, taken),
      over: () => this.#over,
      log: (line, refused, fields) =>
        collector[refused ? 'warn' : 'log'](`${this.name}: ${line}`, { host: this.host, ...fields }),
    });
  }

  /** Takes the next bytes. False: the stream should pause until `ready` is called. */
  push(chunk: Uint8Array): boolean {
    if (this.#over) return true;
    this.#heardMs = this.#collector.clock.now();
    return this.#guard(() => this.#receiver.push(chunk));
  }

  /** The stream is over: what arrived is made durable and published. Never rejects. */
  end(closedBy: 'disconnected' | 'superseded' | 'stopped'): Promise<void> {
    return (this.#ending ??= this.#end(closedBy));
  }

  async #end(closedBy: 'disconnected' | 'superseded' | 'stopped'): Promise<void> {
    this.#over = true;
    await this.#greeting;
    this.#flush();
    // Those that ended, too: they may wait for room on the disk.
    const open = [...this.#captures.values()];
    await Promise.all([...open.map((c) => c.writer.close(closedBy)), ...this.#finishing]);
    if (this.#series) this.#collector.leave(this, this.#series.run);
  }

  async supersede(): Promise<void> {
    this.refuse(Code.SUPERSEDED, 'a newer connection of this run took over');
    await this.end('superseded');
  }

  /** Called four times a second. */
  tick(): void {
    if (this.#over || !this.host || this.#greeting) return;
    for (const c of this.#captures.values()) if (c !== this.#current?.capture) c.writer.tick();
    const now = this.#collector.clock.now();
    if (now >= this.#tokenMs) {
      this.#tokenMs = now + TOKEN_MS;
      this.#checkToken(now);
      if (this.#over) return;
    }
    this.#settings.look();
    if (this.#blocked) this.#heardMs = now;
    if (now - this.#heardMs > SILENCE_MS) {
      this.#heardMs = Infinity; // once
      this.#collector.log(`heard nothing of ${this.name} for ${SILENCE_MS / 1000} s: closing`);
      this.#connection.close();
      return;
    }
    this.#paused = Math.min(TICKS, Math.max(0, this.#paused + (this.#blocked ? 1 : -1)));
    const behind = this.#collector.full !== '' || this.#paused >= (this.#status.behind ? NOT_BEHIND : BEHIND);
    const reason = behind ? this.#collector.full || 'its disk is slower than what comes' : '';
    if (behind === this.#status.behind && reason === this.#status.reason && now - this.#saidMs < STATUS_MS) return;
    this.#status = { behind, reason };
    this.#send({ status: this.#status });
  }

  /** Tells the agent why, and closes. */
  refuse(code: rcap.v1.Refusal.Code, message: string, hint = ''): void {
    if (this.#over) return;
    this.#over = true;
    const line = `refused ${this.name}: ${message}`;
    const answer = () => {
      this.#send({ refusal: { code, message: message.slice(0, MAX_TEXT), hint } });
      this.#connection.close();
    };
    let waitMs = 0;
    if (this.host) this.#collector.log(line);
    else waitMs = this.#collector.turnAway(this.#connection.peer, line);
    // Only who shows a bad token waits: others have nothing to gain from another try.
    if (waitMs > 0 && code === Code.TOKEN) this.#collector.clock.after(waitMs, answer);
    else answer();
  }

  /** A revoked token ends at once. When one expires, an honest agent gets the time to send what it has. */
  #checkToken(now: number): void {
    const standing = this.#collector.standing(this.#series!.token);
    if (standing === 'revoked') {
      this.refuse(Code.TOKEN, 'the token is revoked', 'rcap-collector token new, there');
    } else if (standing === 'expired') {
      if (this.#expiredMs === undefined) {
        this.#expiredMs = now;
        this.#collector.log(`the token of ${this.name} has expired: asking it to end`);
        this.#send({ stop: { reason: 'its token has expired' } });
      } else if (now - this.#expiredMs >= EXPIRED_MS) this.refuse(Code.TOKEN, 'the token is expired');
    }
  }

  /** For the administrator's eyes; undefined before its Hello was accepted. */
  get view(): AgentView | undefined {
    if (!this.host || this.#greeting) return undefined;
    const counters = [...this.#captures.values()].map((c) => c.writer.counters);
    const { packets, packetBytes: bytes } = this.received;
    return viewOf(
      {
        host: hostFolder(this.host),
        peer: this.#connection.peer,
        sinceMs: this.#sinceMs,
        captures: this.#captures.size,
        packets,
        bytes,
        settings: this.#settings.state,
      },
      counters,
    );
  }

  /** The agent is asked to end, as its user would. */
  ask(reason: string): void {
    if (!this.#over) this.#send({ stop: { reason } });
  }

  /** After `end`: the collector is going down. */
  stopping(): void {
    this.#send({ refusal: { code: Code.STOPPING, message: 'the collector is stopping' } });
  }

  /** For messages; what the host calls itself may hold anything. */
  get name(): string {
    return this.host ? `${hostFolder(this.host)} (${this.#connection.peer})` : this.#connection.peer;
  }

  #send(message: rcap.v1.ICollectorMessage): void {
    this.#saidMs = this.#collector.clock.now();
    this.#connection.send(CollectorMessage.encodeDelimited(message).finish());
  }

  #guard(work: () => boolean): boolean {
    try {
      const all = work();
      this.#blocked = !all;
      this.#gather();
      return all;
    } catch (e) {
      this.#broken(e);
      return true;
    }
  }

  #broken(e: unknown): void {
    if (e instanceof ProtocolError || e instanceof RecordError) this.refuse(Code.PROTOCOL, e.message);
    else if (e instanceof RcapError) this.refuse(REFUSALS[e.code] ?? Code.STORAGE, e.message, e.hint);
    else if ((e as NodeJS.ErrnoException).syscall) this.#storage(e);
    // Whatever it was: a stranger's bytes must not reach further than their connection.
    else this.refuse(Code.PROTOCOL, `could not handle a message: ${(e as Error).message}`);
  }

  /** The disk failed. The agent doesn't hear our paths. */
  #storage(e: unknown): void {
    this.#collector.log(`could not write for ${this.name}: ${(e as Error).message}`);
    this.refuse(Code.STORAGE, `could not write: ${reasonOf(e)}`, 'is the disk full? what was acknowledged is safe');
  }

  #frame(start: number, end: number): boolean {
    if (this.#over) return true;
    if (this.#greeting) throw new ProtocolError('a message came between Hello and Welcome');
    const tag = this.#bytes[start];
    if (!this.#series) {
      if (tag !== HELLO_TAG) throw new ProtocolError('the first message must be Hello');
      if (end - start > MAX_HELLO) throw new ProtocolError(`a Hello is longer than ${MAX_HELLO} bytes`);
      this.#hello(this.#decode(start, end).hello!);
      return true;
    }
    return tag === BATCH_TAG ? this.#batch(start, end) : this.#control(this.#decode(start, end));
  }

  #decode(start: number, end: number): rcap.v1.AgentMessage {
    checkEnvelope(this.#bytes, start, end);
    try {
      // A copy: what is decoded may outlive the region.
      return AgentMessage.decode(this.#bytes.slice(start, end));
    } catch (e) {
      throw new ProtocolError(`a message can't be decoded: ${(e as Error).message}`);
    }
  }

  #hello(hello: rcap.v1.Hello): void {
    if (hello.protocol !== PROTOCOL) {
      this.refuse(
        Code.VERSION,
        `the agent speaks protocol version ${hello.protocol}, this collector ${PROTOCOL}`,
        'use agent and collector of the same release',
      );
      return;
    }
    if (hello.run.length !== 16) throw new ProtocolError('run must have 16 bytes');
    const host = text(hello.host?.name, 'host name', 255);
    if (!host) throw new ProtocolError('the host name is empty');
    const run = Buffer.from(hello.run).toString('hex');
    const token = this.#collector.admit(text(hello.token, 'token', 256), host, run);
    if (hello.resume.length > MAX_CAPTURES) throw new ProtocolError('too many captures to resume');
    this.host = host;
    this.number = hello.connection;
    this.#series = {
      format: 'rcap manifest 1',
      host,
      system: text(hello.host?.system, 'system', 255),
      agent: text(hello.agent, 'agent', 255),
      peer: this.#connection.peer,
      token,
      run,
      clockOffsetMs: Number(hello.clockNs / 1_000_000n) - this.#collector.clock.date(),
      collector: this.#collector.version,
    };
    this.#settings.known(digestSaid(hello.settingsDigest, false));
    const greeting = this.#greet(run, token, hello.resume)
      // What isn't said by a rule is our own trouble here: nothing that an agent should end for.
      .catch((e: unknown) =>
        e instanceof RcapError || e instanceof ProtocolError ? this.#broken(e) : this.#storage(e),
      )
      .finally(() => (this.#greeting = undefined));
    this.#greeting = greeting;
  }

  async #greet(run: string, token: string, resumes: rcap.v1.IResume[]): Promise<void> {
    const { clock, version } = this.#collector;
    const known = new Map(await this.#collector.enter(this, run, token, this.host));
    const captures = resumes.map((r) => this.#resume(known, r));
    if (this.#resumed.size !== resumes.length) throw new ProtocolError('a capture is resumed twice');
    for (const [capture, at] of known) {
      this.#seen.add(capture);
      if (at.ended) this.#ended.add(capture);
      else if (!this.#resumed.has(capture)) this.#resumed.set(capture, at);
    }
    if (this.#over) return;
    const settingsDigest = this.#settings.begin();
    this.#collector.log(`connected: ${this.name}`, { host: this.host, peer: this.#connection.peer, token, run });
    const clockNs = BigInt(clock.date()) * 1_000_000n;
    this.#send({ welcome: { protocol: PROTOCOL, collector: version, clockNs, captures, settingsDigest } });
    this.#settings.follow();
  }

  /** Where a capture goes on: behind what is durable here, or what was acknowledged somewhere else. */
  #resume(known: ReadonlyMap<number, Position>, r: rcap.v1.IResume): rcap.v1.IDurable {
    const [capture, first, packet] = [r.capture ?? 0, r.firstUnacknowledged ?? 0, r.firstPacket ?? 0];
    if (capture > 65_535 || ![capture, first, packet].every((n) => n >= 1 && n < MAX_NUMBER)) {
      throw new ProtocolError('a capture is resumed at a place that is out of range');
    }
    const here = known.get(capture);
    const elsewhere = {
      sequence: first - 1,
      packets: packet - 1,
      gaps: here?.gaps ?? NO_PACKETS,
      ...(here?.events && { events: here.events }),
    };
    const at = here && here.sequence >= elsewhere.sequence ? here : elsewhere;
    this.#resumed.set(capture, at);
    return { capture, lastSequence: at.sequence, ended: here?.ended ?? false };
  }

  /** False when its capture's writer has enough to do: the message comes again. */
  #control(m: rcap.v1.AgentMessage): boolean {
    if (m.gap) return this.#gap(m.gap);
    if (m.exclusions) return this.#exclusions(m.exclusions);
    if (m.captureStart) this.#captureStart(m.captureStart);
    else if (m.counters) this.#open(m.counters.capture).writer.counters = inRange(m.counters);
    else if (m.captureEnd) this.#captureEnd(m.captureEnd);
    else if (m.settingsState) this.#settings.answered(settingsStateSaid(m.settingsState));
    else if (m.alive) return true;
    else throw new ProtocolError(m.hello ? 'a second Hello' : 'a message of an unknown kind');
    return true;
  }

  #captureStart(s: rcap.v1.CaptureStart): void {
    if (!(s.capture >= 1 && s.capture <= 65_535)) throw new ProtocolError(`capture ${s.capture} is out of range`);
    if (this.#captures.has(s.capture) || this.#ended.has(s.capture))
      throw new ProtocolError(`capture ${s.capture} was started already`);
    if (this.#captures.size >= MAX_CAPTURES) {
      this.refuse(Code.LIMIT, `more than ${MAX_CAPTURES} open captures on one connection`);
      return;
    }
    this.#seen.add(s.capture);
    if (this.#seen.size > MAX_RUN_CAPTURES) {
      this.refuse(Code.LIMIT, `more than ${MAX_RUN_CAPTURES} captures of one run`);
      return;
    }
    if (!(s.linkType < 65_536)) throw new ProtocolError(`link type ${s.linkType} is out of range`);
    if (!(s.snaplen >= 1 && s.snaplen <= MAX_SNAPLEN)) throw new ProtocolError(`snaplen ${s.snaplen} is out of range`);
    if (s.addresses.length > 256) throw new ProtocolError('too many addresses');
    const from = this.#resumed.get(s.capture) ?? { sequence: 0, packets: 0, gaps: NO_PACKETS };
    const capture: Omit<Capture, 'writer'> = {
      number: s.capture,
      snaplen: s.snaplen,
      lastSequence: from.sequence,
      packets: from.packets,
      gapBytes: from.gaps.bytes,
      ended: false,
    };
    const writer = this.#collector.writer(
      {
        ...this.#series!,
        capture: s.capture,
        interface: text(s.interface, 'interface', 255),
        friendlyName: text(s.friendlyName, 'friendly name', 255),
        addresses: s.addresses.map((a) => text(a, 'address', 64)),
        linkType: s.linkType,
        snaplen: s.snaplen,
        effectiveFilter: text(s.effectiveFilter, 'filter', 65_536),
        promiscuous: s.promiscuous,
        source: text(s.source, 'source', 16),
        sourceFile: text(s.file, 'file', 255),
        timestamps: this.#collector.timestamps,
      },
      from,
      {
        acknowledge: (sequence, _, ended) => {
          if (ended) {
            this.#captures.delete(s.capture);
            this.#ended.add(s.capture);
          }
          this.#send({ ack: { capture: s.capture, sequence, ended } });
        },
        idle: () => {
          if (this.#current?.capture.number === s.capture) this.#gather();
          if (this.#blocked && !this.#over) queueMicrotask(() => this.#unblock());
        },
        failed: (e) => this.#storage(e),
        published: (file, packets) =>
          this.#collector.log(`published ${file}: ${packets} packets`, { host: this.host, file, packets }),
      },
      this.#budget,
    );
    this.#captures.set(s.capture, { ...capture, writer });
  }

  #open(number: number): Capture {
    const capture = this.#captures.get(number);
    if (!capture || capture.ended) throw new ProtocolError(`capture ${number} is not open`);
    return capture;
  }

  /** False when there is no room: the batch comes again. */
  #batch(start: number, end: number): boolean {
    const h = readBatchHeader(this.#bytes, start, end);
    const capture = this.#open(h.capture);
    if (h.sequence === 0) throw new ProtocolError('sequences count from 1');
    if (h.sequence <= capture.lastSequence) return true;
    if (h.sequence !== capture.lastSequence + 1) throw hole(capture, h.sequence);
    if (h.firstPacket !== capture.packets + 1) {
      throw new ProtocolError(`first_packet is ${h.firstPacket}, not ${capture.packets + 1}`);
    }
    const current = this.#current;
    const full = current && current.out + MAX_GROWTH * (end - start) > current.slab * SLAB_REGION + SLAB_BYTES;
    if (full || (current && current.capture !== capture)) this.#flush();
    for (;;) {
      const current = (this.#current ??= this.#slab(capture, h.sequence, h.firstPacket));
      if (!current) return false;
      const slabEnd = current.slab * SLAB_REGION + SLAB_BYTES;
      const out = this.#records.write(h.packets, end, current.out, slabEnd, capture.snaplen);
      if (out >= 0) {
        this.#wrote(current, out);
        capture.lastSequence = h.sequence;
        return true;
      }
      if (current.packets === 0) throw new ProtocolError(`the records of a batch are longer than ${SLAB_BYTES} bytes`);
      this.#flush();
    }
  }

  #wrote(current: Slabbed, out: number): void {
    const { packets, packetBytes, lastRecord } = this.#records;
    if (packets === 0) throw new ProtocolError('a batch is empty');
    current.out = out;
    current.lastRecord = lastRecord;
    current.packets += packets;
    current.packetBytes += packetBytes;
    current.capture.packets += packets;
    this.received.packets += packets;
    this.received.packetBytes += packetBytes;
  }

  #slab(capture: Capture, firstSequence: number, firstPacket: number): Slabbed | undefined {
    const slab = this.#free.pop();
    if (slab === undefined) return undefined;
    return {
      slab,
      capture,
      out: slab * SLAB_REGION,
      lastRecord: 0,
      packets: 0,
      packetBytes: 0,
      firstSequence,
      firstPacket,
      arrivedMs: this.#collector.clock.now(),
    };
  }

  /** Hands the current slab to its writer as soon as that one wants it. */
  #gather(): void {
    if (!this.#current || this.#gathering) return;
    const wait = this.#current.capture.writer.patience;
    if (wait === undefined) return;
    if (wait <= 0) this.#flush();
    else this.#gathering = this.#collector.clock.after(wait, () => this.#flush());
  }

  /** Hands the current slab to its writer. */
  #flush(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    const c = this.#current;
    if (!c) return;
    this.#current = undefined;
    const start = c.slab * SLAB_REGION;
    const release = () => {
      this.#free.push(c.slab);
      if (this.#blocked && !this.#over) queueMicrotask(() => this.#unblock());
    };
    if (c.packets === 0) {
      release();
      return;
    }
    c.capture.writer.append({
      bytes: this.#bytes.subarray(start, c.out),
      lastRecord: c.lastRecord - start,
      packets: c.packets,
      packetBytes: c.packetBytes,
      firstSequence: c.firstSequence,
      lastSequence: c.capture.lastSequence,
      firstPacket: c.firstPacket,
      arrivedMs: c.arrivedMs,
      release,
    });
  }

  #unblock(): void {
    if (!this.#blocked || this.#over) return;
    if (this.#guard(() => this.#receiver.resume())) this.#connection.ready();
  }

  /** False: not now. */
  #gap(g: rcap.v1.Gap): boolean {
    const capture = this.#open(g.capture);
    if (capture.writer.pending >= MAX_PENDING) return false;
    if (g.lastSequence <= capture.lastSequence && 1 <= g.firstSequence && g.firstSequence <= g.lastSequence)
      return true;
    if (g.firstSequence !== capture.lastSequence + 1) throw hole(capture, g.firstSequence);
    const [packets, bytes] = [capture.packets + g.packets, capture.gapBytes + g.bytes];
    if (!(g.lastSequence >= g.firstSequence) || ![g.lastSequence, packets, bytes].every((n) => n < MAX_NUMBER)) {
      throw new ProtocolError('a gap is out of range');
    }
    this.#flush();
    capture.lastSequence = g.lastSequence;
    capture.packets = packets;
    capture.gapBytes = bytes;
    capture.writer.gap({
      firstSequence: g.firstSequence,
      lastSequence: g.lastSequence,
      packets: g.packets,
      bytes: g.bytes,
      firstPacketTime: timeOf(g.firstTimestampNs),
      lastPacketTime: timeOf(g.lastTimestampNs),
    });
    return true;
  }

  /** False: not now. */
  #exclusions(e: rcap.v1.Exclusions): boolean {
    const { writer } = this.#open(e.capture);
    if (writer.pending >= MAX_PENDING) return false;
    writer.exclusions(exclusionsSaid(e));
    return true;
  }

  #captureEnd(e: rcap.v1.CaptureEnd): void {
    const capture = this.#open(e.capture);
    if (e.lastSequence !== capture.lastSequence) throw hole(capture, e.lastSequence);
    const reason = text(e.reason, 'reason', MAX_TEXT);
    const counters = e.counters ? inRange(e.counters) : null;
    this.#flush();
    capture.ended = true;
    capture.writer.end({ reason, counters });
    const finished = capture.writer.finished().then(() => void this.#finishing.delete(finished));
    this.#finishing.add(finished);
  }
}

function inRange(counters: rcap.v1.Counters): rcap.v1.Counters {
  if (!Object.values(counters).every(Number.isSafeInteger)) throw new ProtocolError('a counter is out of range');
  return counters;
}

const REFUSALS: Record<string, rcap.v1.Refusal.Code> = {
  TOKEN: Code.TOKEN,
  SUPERSEDED: Code.SUPERSEDED,
  SETTINGS: Code.LIMIT,
};

const hole = (c: Capture, sequence: number) =>
  new ProtocolError(`capture ${c.number} goes on at sequence ${sequence}, but ${c.lastSequence} was the last`);
