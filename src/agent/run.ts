/** One run of the agent: opens, moves blocks from the sources to the spool, ends when it is told to, and accounts for all. */
import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import type { Interface } from 'node-pcap-native';
import { findInterface, interfaceOf, listInterfaces } from '../capture/interfaces.ts';
import { openLive } from '../capture/live.ts';
import { openReplay } from '../capture/replay.ts';
import type { Addon, Pool, Source, SourceHandlers } from '../capture/source.ts';
import { systemClock } from '../clock.ts';
import { exitCodeOf, RcapError } from '../errors.ts';
import { emptyLedger, imbalance, type Ledger, lost, sum } from '../ledger.ts';
import type { Block, CaptureInfo } from '../packet.ts';
import { type Place, tlsDial } from '../wire/dial.ts';
import { localAddressTo } from '../wire/reach.ts';
import { Exclusion } from './exclusion.ts';
import { admit, type Admitted, type Taken } from './limit.ts';
import { Outage } from './outage.ts';
import type { Plan, Upload } from './plan.ts';
import { type Sink, type SinkEvents, type SinkState, uploadSink } from './sink.ts';
import { fileSink } from './write.ts';

/** Blocks that a source may hold beside what is spooled: what it gathers, and what is on the way to the spool. */
const RESERVE_BLOCKS = 8;
/** A file is read no further ahead than this, bytes: more is only colder memory. */
const READ_AHEAD = 16 << 20;
const COUNTERS_MS = 1000;

export interface Capture {
  number: number;
  info: CaptureInfo;
  ledger: Ledger;
  /** Its source has ended, its end mark is on the way. */
  ending: boolean;
  /** And acknowledged. */
  ended: boolean;
}

export interface RunEvents {
  listening(capture: Capture): void;
  /** All that it captures from or reads is open, or has failed to; and what it writes to is. Once. */
  opened(): void;
  /** Once a second while it runs. */
  progress(state: Progress): void;
  /** Something that a user should know of; the run goes on. */
  trouble(error: RcapError): void;
  /** How the connection fares, and what else changes, in words. */
  notice(level: 'warning' | 'info', message: string, hint?: string): void;
}

export interface Progress extends SinkState {
  ledger: Ledger;
  /** Seconds since the start. */
  seconds: number;
}

export interface Outcome {
  captures: Capture[];
  ledger: Ledger;
  /** What ended the run before its time. */
  errors: RcapError[];
  /** Why the books don't balance, if they don't. */
  imbalance: string | undefined;
  lost: number;
}

/** 1 when it failed; 3 when packets were lost, or it gave up after it was connected: then the numbers say what arrived. */
export function exitCode({ ledger, errors, lost: packets, imbalance: unbalanced }: Omit<Outcome, 'captures'>): number {
  const failed = errors.find((e) => e.code !== 'GIVEN_UP' || ledger.captured === 0);
  if (failed) return exitCodeOf(failed);
  return errors.length > 0 || packets > 0 || unbalanced !== undefined ? 3 : 0;
}

interface OpenSource {
  source: Source;
  /** Captures by the source's own number. */
  captures: Map<number, Capture>;
  /** It is, or never will be. */
  opened: boolean;
  ended: boolean;
  /** The filter that was said last, if any was since its start. */
  saidFilter?: string;
  /** Why we end it, if we do before its time. */
  failure?: RcapError;
}

export class Run {
  readonly #plan: Plan;
  readonly #addon: Addon;
  readonly #events: RunEvents;
  readonly #sources: OpenSource[] = [];
  readonly #captures: Capture[] = [];
  readonly #errors: RcapError[] = [];
  readonly #taken: Taken = { packets: 0, packetBytes: 0 };
  readonly #started = performance.now();
  #sink!: Sink;
  readonly #outage = new Outage(systemClock);
  /** The interface that we chose ourselves. */
  #guess: Interface | undefined;
  #late: NodeJS.Timeout | undefined;
  #reason = '';
  #givenUp = false;
  readonly #exclusion: Exclusion<OpenSource>;
  #over = false;
  #resolve!: () => void;
  readonly #finished = new Promise<void>((resolve) => (this.#resolve = resolve));

  constructor(plan: Plan, addon: Addon, events: RunEvents) {
    this.#plan = plan;
    this.#addon = addon;
    this.#events = events;
    this.#exclusion = new Exclusion({
      clock: systemClock,
      given: plan.upload ? addressesIn(plan.upload) : [],
      // A capture that is to end needs no other filter.
      running: () => (this.#reason ? [] : this.#sources.filter((s) => !s.ended)),
      changed: (where, effectiveFilter) => this.#filterChanged(where, effectiveFilter),
      // It would capture our connection, send that, and capture what it sends. One that ends anyway needs it no more.
      failed: (where, error) => {
        if (where.ended || this.#reason) return;
        where.failure ??= error;
        // What it has by now holds nothing of that connection.
        where.source.stop(true);
      },
      kept: ({ ended }, { message, hint }) => {
        if (!ended && !this.#reason) this.#notice('warning', message, hint);
      },
    });
  }

  /** Runs to the end. Rejects when nothing could be started. */
  async run(): Promise<Outcome> {
    const plan = this.#plan;
    const spoolBytes = plan.read === undefined ? plan.spoolBytes : Math.min(plan.spoolBytes, READ_AHEAD);
    const reserve = RESERVE_BLOCKS * Math.max(2, plan.interfaces.length);
    const pool = this.#addon.createPool(Math.ceil(spoolBytes / this.#addon.BLOCK_BYTES) + reserve);
    const sink = (this.#sink = this.#makeSink(spoolBytes));
    // A file doesn't depend on the connection: read ahead while that is set up.
    if (plan.read !== undefined)
      this.#open((h) => openReplay(this.#addon, pool, { file: plan.read!, filter: plan.filter }, h));
    const timers: NodeJS.Timeout[] = [];
    try {
      const opened = sink.open();
      // Who doesn't give up at once wants the packets of the time until there is a connection, too.
      const early = plan.read === undefined && plan.upload?.giveUpMs !== undefined;
      if (early) opened.catch((e: RcapError) => this.#fail(e));
      const ready = early ? this.#wayOut(plan.upload!) : opened;
      // A signal may end the run while it still connects.
      await Promise.race([ready, this.#finished]);
      if (!this.#over && plan.read === undefined) this.#openInterfaces(pool, await ready);
      ready.catch(() => {});
      opened.then(
        (address) => this.#checkGuess(address),
        () => {}, // said above, or by whom awaits it
      );
      timers.push(setInterval(() => this.#tick(), COUNTERS_MS));
      if (plan.durationMs !== undefined) timers.push(setTimeout(() => this.stop('duration'), plan.durationMs));
      await this.#finished;
    } catch (e) {
      // A service tries again in this process.
      this.#givenUp = this.#over = true;
      await sink.close(true);
      throw e;
    } finally {
      clearTimeout(this.#late);
      for (const t of timers) clearInterval(t);
      for (const s of this.#sources) s.source.stop(false);
    }
    this.#count();
    await sink.close(this.#givenUp);
    const { ledger } = this;
    const unbalanced = this.#captures.map((c) => imbalance(c.ledger)).find((x) => x !== undefined);
    return { captures: this.#captures, ledger, errors: this.#errors, imbalance: unbalanced, lost: lost(ledger) };
  }

  readonly #notice = (level: 'warning' | 'info', message: string | undefined, hint?: string): void => {
    if (message !== undefined) this.#events.notice(level, message, hint);
  };

  #makeSink(spoolBytes: number): Sink {
    const { upload, write } = this.#plan;
    const outage = this.#outage;
    const notice = this.#notice;
    const events: SinkEvents = {
      acknowledged: (capture, packets, ended) => this.#acknowledged(capture, packets, ended),
      stop: (reason) => {
        if (!this.#reason) notice('warning', `the collector ends this run: ${reason}`);
        this.stop(reason);
      },
      failed: (error) => this.#fail(error),
      trouble: (error) => this.#events.trouble(error),
      lost: (error, retryMs) => notice('warning', outage.lost(error, retryMs), error.hint),
      connected: (...how) => {
        notice('info', outage.connected(...how));
        this.#connected();
      },
      unreached: (error) => notice('warning', error.message, error.hint),
      status: (behind, reason) => notice(behind ? 'warning' : 'info', outage.status(behind, reason)),
    };
    if (!upload) return fileSink(write!, events);
    // A file doesn't hold our connection.
    const attempts = this.#plan.read === undefined ? this.#exclusion : undefined;
    const dial = tlsDial(upload, attempts, (message, hint) => notice('warning', message, hint));
    return uploadSink(upload, this.#plan, spoolBytes, randomBytes(16), { dial, clock: systemClock, random: Math.random }, events); // prettier-ignore
  }

  /** For people now, and for the collector from the next connection on. */
  #filterChanged(entry: OpenSource, effectiveFilter: string): void {
    for (const { info } of entry.captures.values()) info.effectiveFilter = effectiveFilter;
    // Each try to connect changes it, and its end changes it back: not to be read again and again.
    if (this.#outage.once(filterWords(entry, effectiveFilter)) !== undefined) this.#sayFilter(entry, effectiveFilter);
  }

  #sayFilter(entry: OpenSource, effectiveFilter: string): void {
    entry.saidFilter = effectiveFilter;
    this.#notice('info', filterWords(entry, effectiveFilter));
  }

  /** Now it is the one that stays. */
  #connected(): void {
    for (const entry of this.#sources) {
      const now = [...entry.captures.values()][0]?.info.effectiveFilter;
      if (entry.saidFilter !== undefined && now !== undefined && now !== entry.saidFilter) this.#sayFilter(entry, now);
    }
  }

  /** It goes on, without a connection. */
  get disconnected(): boolean {
    return !this.#over && !this.#sink.state().connected;
  }
  get ledger(): Ledger {
    return sum(this.#captures.map((c) => c.ledger));
  }

  /** Ends the captures; what was captured is still delivered and acknowledged. */
  stop(reason: string): void {
    if (this.#reason) return;
    this.#reason = reason;
    for (const s of this.#sources) s.source.stop(reason !== 'count' && reason !== 'bytes');
    this.#settle();
  }

  /** Ends at once: what isn't acknowledged is lost. */
  giveUp(): void {
    if (this.#over) return;
    this.#notice('warning', 'giving up: what is not acknowledged is lost');
    this.#abandon();
  }

  #abandon(): void {
    this.#givenUp = true;
    this.#reason ||= 'given up';
    this.#finish();
  }

  #finish(): void {
    this.#over = true;
    this.#resolve();
  }

  /** The address that we will connect from, if that matters: for where there is no connection yet. */
  async #wayOut({ servers, source, proxyFor }: Upload): Promise<string | undefined> {
    if (this.#plan.interfaces.length > 0) return undefined;
    return source ?? localAddressTo(servers.map((server) => proxyFor?.(server) ?? server));
  }

  /** Before a name is known, or while routes change, the way to a collector may be another one than it is in the end. */
  #checkGuess(address: string | undefined): void {
    const guess = this.#guess;
    if (!guess || address === undefined || interfaceOf([guess], plain(address))) return;
    const what = `captures on '${guess.name}', but the collector is reached from ${plain(address)}`;
    this.#notice(
      'warning',
      what,
      "if that is another interface, name the right one with -i: 'rcap-agent -D' lists them",
    );
  }

  #openInterfaces(pool: Pool, localAddress: string | undefined): void {
    const plan = this.#plan;
    const list = listInterfaces(this.#addon);
    const chosen = plan.interfaces.length
      ? plan.interfaces.map((w) => findInterface(list, w))
      : [(this.#guess = defaultInterface(list, localAddress))];
    const exclusion = this.#exclusion.filter;
    for (const device of new Set(chosen)) {
      const { filter, snaplen, promiscuous, bufferBytes } = plan;
      this.#open((h) =>
        openLive(this.#addon, pool, { interface: device, filter, exclusion, snaplen, promiscuous, bufferBytes }, h),
      );
    }
  }

  #open(open: (h: SourceHandlers) => Source): void {
    const captures = new Map<number, Capture>();
    // Handlers run only after this turn of the event loop, when the entry is complete.
    const source = open({
      capture: (id, info) => {
        this.#opened(entry);
        this.#capture(captures, id, info);
      },
      block: (id, block) => this.#block(captures.get(id)!, block),
      end: (error) => {
        this.#opened(entry);
        this.#ended(entry, error ?? entry.failure);
      },
    });
    const entry: OpenSource = { source, captures, opened: false, ended: false };
    this.#sources.push(entry);
  }

  #opened(entry: OpenSource): void {
    if (entry.opened) return;
    entry.opened = true;
    if (this.#sources.every((s) => s.opened)) this.#events.opened();
  }

  #capture(captures: Map<number, Capture>, id: number, info: CaptureInfo): void {
    const capture: Capture = {
      number: this.#captures.length + 1,
      info,
      ledger: emptyLedger(),
      ending: false,
      ended: false,
    };
    captures.set(id, capture);
    this.#captures.push(capture);
    this.#sink.start(capture);
    this.#events.listening(capture);
  }

  #block(capture: Capture, block: Block): void {
    const { ledger } = capture;
    ledger.captured += block.packets;
    if (this.#givenUp) {
      block.release(); // captured and never acknowledged: lost, and counted so
      return;
    }
    const beyond = this.#reason === 'count' || this.#reason === 'bytes';
    const part = beyond ? NOTHING : admit(this.#taken, this.#plan.limits, block);
    ledger.capturedBytes += part.packetBytes;
    ledger.discarded += block.packets - part.packets;
    if (part.packets === 0) {
      block.release();
    } else {
      this.#taken.packets += part.packets;
      this.#taken.packetBytes += part.packetBytes;
      this.#sink.add(capture, part === block ? block : { ...block, ...part });
    }
    if (part.reached) this.stop(part.reached);
  }

  #ended(entry: OpenSource, error: RcapError | undefined): void {
    entry.ended = true;
    if (error) this.#report(error);
    this.#count();
    // What is to start it again must not wait for a collector that may never come.
    const { stopWithinMs } = this.#plan;
    if (error && !this.#reason && stopWithinMs !== undefined && this.#sources.every((s) => s.ended))
      this.#late = setTimeout(() => this.giveUp(), stopWithinMs);
    for (const capture of entry.captures.values()) {
      capture.ending = true;
      this.#sink.end(capture, error?.message ?? (this.#reason || 'end of file'));
    }
    this.#settle();
  }

  #acknowledged(number: number, packets: number, ended: boolean): void {
    const capture = this.#captures[number - 1];
    if (!capture) return;
    capture.ledger.acknowledged += packets;
    capture.ended ||= ended;
    if (ended) this.#settle();
  }

  /** Finishes when every source has ended and every capture is acknowledged. */
  #settle(): void {
    if (this.#sources.every((s) => s.ended) && this.#captures.every((c) => c.ended)) this.#finish();
  }

  /** The uplink or the file is lost: nothing more can be saved. */
  #fail(error: RcapError): void {
    if (this.#over) return;
    this.#report(error);
    this.#abandon();
  }

  #report(error: RcapError): void {
    this.#errors.push(error);
    this.#events.trouble(error);
  }

  #tick(): void {
    this.#count();
    for (const c of this.#captures) if (!c.ending) this.#sink.counters(c);
    this.#events.progress({
      ledger: this.ledger,
      ...this.#sink.state(),
      seconds: (performance.now() - this.#started) / 1000,
    });
  }

  /** Brings what the sources and the sink count into the ledgers. */
  #count(): void {
    for (const { source, captures, ended } of this.#sources) {
      const stats = source.stats();
      let others = 0;
      for (const [id, capture] of captures) {
        const l = capture.ledger;
        this.#sink.count(capture);
        if (id !== 0) {
          // A file's counters are of the whole file; its first capture carries what can't be told apart.
          l.received = l.captured;
          others += l.captured;
        }
      }
      const first = captures.get(0)?.ledger;
      if (!first) continue;
      first.droppedByKernel = stats.droppedByKernel;
      first.droppedByInterface = stats.droppedByInterface;
      first.filtered = stats.filtered;
      first.cut = stats.cut;
      first.received = stats.received - others;
      // What is in blocks that were never handed over is not captured yet.
      if (ended && !this.#givenUp) continue;
      first.received = Math.max(first.received, first.captured + first.droppedByKernel + first.filtered);
    }
  }
}

const filterWords = ({ source }: OpenSource, effectiveFilter: string): string =>
  `filter on ${source.label} is now: ${effectiveFilter || 'none'}`;

const NOTHING: Admitted = { packets: 0, packetBytes: 0, end: 0 };

/** Without what an address has beside it in a socket's name. */
const plain = (address: string): string => address.replace(/^::ffff:|%.*$/g, '');

/** What was given as addresses, and is connected to directly. */
const addressesIn = ({ servers, proxyFor }: Upload): Place[] =>
  servers.filter((s) => isIP(s.host) !== 0 && !proxyFor?.(s)).map(({ host, port }) => ({ address: host, port }));

/** The interface that routes to the collector; without a collector the first that libpcap would take. */
function defaultInterface(list: Interface[], localAddress: string | undefined): Interface {
  const found = localAddress === undefined ? list[0] : interfaceOf(list, plain(localAddress));
  if (found) return found;
  throw new RcapError('NO_SUCH_INTERFACE', 'could not choose an interface', {
    hint: "name one with -i; 'rcap-agent -D' lists them",
  });
}
