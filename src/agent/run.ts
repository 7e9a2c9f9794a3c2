/** One run of the agent: opens, moves blocks from the sources to the spool, ends when it is told to, and accounts for all. */
import { randomBytes } from 'node:crypto';
import type { Interface } from 'node-pcap-native';
import { findInterface, interfaceOf, listInterfaces } from '../capture/interfaces.ts';
import { cutWarning, openLive } from '../capture/live.ts';
import { openReplay } from '../capture/replay.ts';
import type { Addon, Installed, Pool, Source, SourceHandlers } from '../capture/source.ts';
import { systemClock } from '../clock.ts';
import { exitCodeOf, RcapError } from '../errors.ts';
import { emptyLedger, imbalance, type Ledger, lost, sum } from '../ledger.ts';
import { type Block, type CaptureInfo, MAX_SNAPLEN } from '../packet.ts';
import { type Attempts, tlsDial } from '../wire/dial.ts';
import { localAddressTo } from '../wire/reach.ts';
import type { Count } from './exceptions/counts.ts';
import { Exceptions } from './exceptions/exceptions.ts';
import { home, nameServers } from './exceptions/home.ts';
import { hostResolver } from './exceptions/resolve.ts';
import { Share } from './exceptions/share.ts';
import type { Teller } from './exceptions/teller.ts';
import type { User } from './exceptions/users.ts';
import { Exclusion } from './exclusion.ts';
import { Filters, userSpaceNote } from './filters.ts';
import { admit, type Admitted, type Taken } from './limit.ts';
import { placesOf } from './link-types.ts';
import { Outage } from './outage.ts';
import { addressesIn, type Plan, type Upload } from './plan.ts';
import { CollectorSettings } from './settings.ts';
import { type Sink, type SinkEvents, type SinkState, uploadSink } from './sink.ts';
import { type LimitName, limitsOf, type RunLimits, strictest, wordsOf } from './stricter.ts';
import { fileSink } from './write.ts';

/** Blocks that a source may hold beside what is spooled: what it gathers, and what is on the way to the spool. */
const RESERVE_BLOCKS = 8;
/** A file is read no further ahead than this, bytes: more is only colder memory. */
const READ_AHEAD = 16 << 20;
const COUNTERS_MS = 1000;
/** A file waits no longer for names to be looked up, ms. */
const RESOLVE_MS = 10_000;

export interface Capture {
  number: number;
  info: CaptureInfo;
  ledger: Ledger;
  /** What its exceptions leave out, for a collector. */
  teller?: Teller;
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
  /** What ended it; and whether that was a limit. */
  reason: string;
  byLimit: boolean;
  captures: Capture[];
  ledger: Ledger;
  /** Of each name among the exceptions, those of the most packets first. */
  excluded: [name: string, count: Count][];
  /** What ended the run before its time. */
  errors: RcapError[];
  /** Why the books don't balance, if they don't. */
  imbalance: string | undefined;
  lost: number;
}

/** 1 when it failed; 3 when packets were lost, or it gave up after it was connected: then the numbers say what arrived. */
export function exitCode({
  ledger,
  errors,
  lost: packets,
  imbalance: unbalanced,
}: Pick<Outcome, 'ledger' | 'errors' | 'lost' | 'imbalance'>): number {
  const failed = errors.find((e) => e.code !== 'GIVEN_UP' || ledger.captured === 0);
  if (failed) return exitCodeOf(failed);
  return errors.length > 0 || packets > 0 || unbalanced !== undefined ? 3 : 0;
}

interface OpenSource {
  source: Source;
  user: User;
  /** Captures by the source's own number. */
  captures: Map<number, Capture>;
  /** It is, or never will be. */
  opened: boolean;
  ended: boolean;
  /** The filter that was said last, if any was since its start. */
  saidFilter?: string;
  /** Longest packet that it was opened for, bytes. */
  snaplen: number;
  /** It was said that the kernel doesn't filter there. */
  saidUserSpace?: boolean;
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
  #byLimit = false;
  /** A limit of packets ended it: what comes behind that is left. */
  #full = false;
  /** The user's, and what the collector adds. */
  readonly #ownLimits: RunLimits;
  #limits;
  #durationTimer: NodeJS.Timeout | undefined;
  /** When it began to capture. */
  #capturing: number | undefined;
  readonly #filters: Filters<OpenSource>;
  readonly #settings: CollectorSettings;
  #allOpened!: () => void;
  readonly #opening = new Promise<void>((resolve) => (this.#allOpened = resolve));
  #givenUp = false;
  readonly #exclusion: Exclusion<OpenSource>;
  readonly #exceptions: Exceptions;
  readonly #share: Share;
  #over = false;
  #resolve!: () => void;
  readonly #finished = new Promise<void>((resolve) => (this.#resolve = resolve));

  constructor(plan: Plan, addon: Addon, events: RunEvents) {
    this.#plan = plan;
    this.#addon = addon;
    this.#events = events;
    this.#exceptions = this.#makeExceptions();
    this.#share = new Share((...words) => this.#notice('warning', ...words));
    this.#exclusion = new Exclusion({
      clock: systemClock,
      given: plan.upload ? addressesIn(plan.upload) : [],
      running: () => this.#running(),
      changed: (where, installed) => this.#filterChanged(where, installed),
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
    this.#ownLimits = limitsOf(plan);
    this.#limits = strictest(this.#ownLimits, {});
    this.#filters = new Filters({
      user: plan.filter,
      compile: addon.compile,
      running: () => this.#running(),
      linkTypes: () => this.#linkTypes(),
      slow: () =>
        this.#notice('info', "compiling the collector's filter takes long: its settings count once that is done"),
      changed: (where, installed) => this.#filterChanged(where, installed),
    });
    this.#settings = new CollectorSettings({
      checkFilter: (filter) => this.#filters.check(filter),
      setFilter: (filter) => this.#filters.set(filter),
      setExceptions: (entries, from) => this.#exceptions.setRemote(entries, from),
      setLimits: (limits) => this.#setLimits(limits),
      counts: (digest, words) => this.#exceptions.noteSettings(digest, words),
      notice: this.#notice,
    });
  }

  /** A capture that is to end needs no other filter. */
  #running(): OpenSource[] {
    return this.#reason ? [] : this.#sources.filter((s) => !s.ended);
  }

  /** Of all that is captured from, or will be, as far as that is known. */
  async #linkTypes(): Promise<number[] | undefined> {
    if (this.#sources.length > 0) {
      // Privileges may be gone by now, to open it a second time.
      await Promise.race([this.#opening, this.#finished]);
      return [...new Set(this.#captures.filter((c) => !c.ended).map((c) => c.info.linkType))];
    }
    return (await placesOf(this.#addon, this.#plan))?.map((place) => place.linkType);
  }

  #setLimits(collector: RunLimits): string[] {
    const before = this.#limits;
    const limits = (this.#limits = strictest(this.#ownLimits, collector));
    this.#sink.setRate(limits.rate);
    const snaplen = limits.snaplen ?? MAX_SNAPLEN;
    const running = this.#running();
    for (const { source, snaplen: most } of running) source.setSnaplen(Math.min(snaplen, most)).catch(() => {}); // it has ended
    if (limits.collectors.has('snaplen') && limits.snaplen !== before.snaplen) {
      const [words, hint] = cutWarning(snaplen);
      this.#notice('warning', words, hint);
    }
    if (limits.count !== undefined && this.#taken.packets >= limits.count) this.#reached('count');
    else if (limits.bytes !== undefined && this.#taken.packetBytes >= limits.bytes) this.#reached('bytes');
    this.#watchDuration();
    return running.flatMap(({ source, snaplen: most }) =>
      snaplen > most ? [`${wordsOf('snaplen', snaplen)}: '${source.label}' was opened with ${most}`] : [],
    );
  }

  #watchDuration(): void {
    clearTimeout(this.#durationTimer);
    const { durationMs } = this.#limits;
    if (durationMs === undefined || this.#capturing === undefined) return;
    const left = durationMs - (performance.now() - this.#capturing);
    this.#durationTimer = setTimeout(() => this.#reached('durationMs'), Math.max(0, left));
  }

  #reached(limit: LimitName): void {
    if (this.#reason) return;
    this.#byLimit = true;
    this.#full = limit !== 'durationMs';
    const name = limit === 'durationMs' ? 'duration' : limit;
    this.stop(this.#limits.collectors.has(limit) ? `${name} (set by the collector)` : name);
  }

  /** Runs to the end. Rejects when nothing could be started. */
  async run(): Promise<Outcome> {
    const plan = this.#plan;
    const spoolBytes = plan.read === undefined ? plan.spoolBytes : Math.min(plan.spoolBytes, READ_AHEAD);
    const reserve = RESERVE_BLOCKS * Math.max(2, plan.interfaces.length);
    const pool = this.#addon.createPool(Math.ceil(spoolBytes / this.#addon.BLOCK_BYTES) + reserve);
    const sink = (this.#sink = this.#makeSink(spoolBytes));
    const timers: NodeJS.Timeout[] = [];
    try {
      const opened = sink.open();
      // Who doesn't give up at once wants the packets of the time until there is a connection, too.
      const early = plan.read === undefined && plan.upload?.giveUpMs !== undefined;
      if (early) opened.catch((e: RcapError) => this.#fail(e));
      const ready = early ? this.#wayOut(plan.upload!) : opened;
      // A signal may end the run while it still connects.
      await Promise.race([ready, this.#finished]);
      if (!this.#over && !this.#reason) {
        if (plan.read === undefined) this.#openInterfaces(pool, await ready);
        else await this.#readFile(pool, plan.read);
        this.#capturing = performance.now();
        this.#watchDuration();
      }
      ready.catch(() => {});
      opened.then(
        (address) => this.#checkGuess(address),
        () => {}, // said above, or by whom awaits it
      );
      timers.push(setInterval(() => this.#tick(), COUNTERS_MS));
      await this.#finished;
    } catch (e) {
      // A service tries again in this process.
      this.#givenUp = this.#over = true;
      await sink.close(true);
      throw e;
    } finally {
      this.#exceptions.close();
      clearTimeout(this.#late);
      clearTimeout(this.#durationTimer);
      for (const t of timers) clearInterval(t);
      for (const s of this.#sources) s.source.stop(false);
    }
    this.#count();
    await sink.close(this.#givenUp);
    const { ledger } = this;
    const unbalanced = this.#captures.map((c) => imbalance(c.ledger)).find((x) => x !== undefined);
    this.#share.look(ledger);
    const reason = this.#reason || 'end of file';
    return {
      reason,
      byLimit: this.#byLimit,
      captures: this.#captures,
      excluded: this.#exceptions.ranking,
      ledger,
      errors: this.#errors,
      imbalance: unbalanced,
      lost: lost(ledger),
    };
  }

  readonly #notice = (level: 'warning' | 'info', message: string | undefined, hint?: string): void => {
    if (message !== undefined) this.#events.notice(level, message, hint);
  };

  /** Throws when those that were given can't count. */
  #makeExceptions(): Exceptions {
    const { exceptions: local, read, upload } = this.#plan;
    return new Exceptions({
      addon: this.#addon,
      clock: systemClock,
      local,
      live: read === undefined,
      collectors: upload ? upload.servers.map((server) => server.host) : [],
      home,
      nameServers,
      ask: hostResolver(systemClock),
      notice: (...words) => this.#notice(...words),
    });
  }

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
      settings: this.#settings,
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
    const attempts = this.#plan.read === undefined ? this.#attempts : undefined;
    const dial = tlsDial(upload, attempts, (message, hint) => notice('warning', message, hint));
    return uploadSink(upload, this.#plan, spoolBytes, randomBytes(16), { dial, clock: systemClock, random: Math.random }, events); // prettier-ignore
  }

  readonly #attempts: Attempts = {
    attempt: (places) => this.#exclusion.attempt(places),
    settle: (verified) => {
      this.#exclusion.settle(verified);
      this.#exceptions.keep(verified.map((place) => place.address));
    },
  };

  /** For people now, and for the collector from the next connection on. */
  #filterChanged(entry: OpenSource, { filter: effectiveFilter, inKernel, instructions }: Installed): void {
    for (const { info } of entry.captures.values()) Object.assign(info, { effectiveFilter, inKernel, instructions });
    this.#noteUserSpace(entry);
    // Each try to connect changes it, and its end changes it back: not to be read again and again.
    if (this.#outage.once(filterWords(entry, effectiveFilter)) !== undefined) this.#sayFilter(entry, effectiveFilter);
  }

  /** Once, and again after the kernel has filtered in between. */
  #noteUserSpace(entry: OpenSource): void {
    const info = [...entry.captures.values()][0]?.info;
    const note = info && userSpaceNote(info);
    if (note !== undefined && !entry.saidUserSpace) this.#notice('warning', ...note);
    entry.saidUserSpace = note !== undefined;
  }

  #sayFilter(entry: OpenSource, effectiveFilter: string): void {
    entry.saidFilter = effectiveFilter;
    this.#notice('info', filterWords(entry, effectiveFilter));
  }

  /** Now it is the one that stays. */
  #connected(): void {
    for (const { teller } of this.#captures) teller?.restart();
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
    for (const s of this.#sources) s.source.stop(!this.#full);
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
    const filter = this.#filters.list;
    const snaplen = this.#limits.snaplen ?? MAX_SNAPLEN;
    for (const device of new Set(chosen)) {
      const { promiscuous, bufferBytes } = plan;
      const options = { interface: device, filter, exclusion, snaplen, promiscuous, bufferBytes };
      this.#open(snaplen, (h) => openLive(this.#addon, pool, { ...options, ...this.#exceptions.toOpen }, h));
    }
  }

  /** Names that are looked up count from its first packet on. */
  async #readFile(pool: Pool, file: string): Promise<void> {
    await Promise.race([this.#exceptions.resolved(RESOLVE_MS), this.#finished]);
    if (!this.#over && !this.#reason) this.#openFile(pool, file);
  }

  #openFile(pool: Pool, file: string): void {
    const options = { file, filter: this.#filters.list, ...this.#exceptions.toOpen };
    const { source } = this.#open(MAX_SNAPLEN, (h) => openReplay(this.#addon, pool, options, h));
    // Before its first packet.
    if (this.#limits.snaplen !== undefined) source.setSnaplen(this.#limits.snaplen).catch(() => {});
  }

  #open(snaplen: number, open: (h: SourceHandlers) => Source): OpenSource {
    const captures = new Map<number, Capture>();
    // Handlers run only after this turn of the event loop, when the entry is complete.
    const source = open({
      capture: (id, info) => {
        this.#opened(entry);
        this.#capture(entry, id, info);
        this.#noteUserSpace(entry);
      },
      block: (id, block) => this.#block(captures.get(id)!, block),
      dns: (packet) => this.#exceptions.packet(source, packet),
      end: (error) =>
        entry.user.whenIdle(() => {
          this.#opened(entry);
          this.#ended(entry, error ?? entry.failure);
        }),
    });
    const user = this.#exceptions.use(source);
    const entry: OpenSource = { source, user, captures, opened: false, ended: false, snaplen };
    this.#sources.push(entry);
    return entry;
  }

  #opened(entry: OpenSource): void {
    if (entry.opened) return;
    entry.opened = true;
    if (!this.#sources.every((s) => s.opened)) return;
    this.#allOpened();
    this.#events.opened();
  }

  #capture({ captures, user }: OpenSource, id: number, info: CaptureInfo): void {
    const capture: Capture = {
      number: this.#captures.length + 1,
      info,
      ledger: emptyLedger(),
      ending: false,
      ended: false,
    };
    // A file's counters are of the whole file.
    capture.teller = this.#exceptions.teller(capture.number, id === 0 ? user : undefined);
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
    const part = this.#full ? NOTHING : admit(this.#taken, this.#limits, block);
    ledger.capturedBytes += part.packetBytes;
    ledger.discarded += block.packets - part.packets;
    if (part.packets === 0) {
      block.release();
    } else {
      this.#taken.packets += part.packets;
      this.#taken.packetBytes += part.packetBytes;
      this.#sink.add(capture, part === block ? block : { ...block, ...part });
    }
    if (part.reached) this.#reached(part.reached);
  }

  #ended(entry: OpenSource, error: RcapError | undefined): void {
    entry.ended = true;
    this.#exceptions.ended(entry.source);
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
    this.#exceptions.tick();
    this.#count();
    this.#share.look(this.ledger);
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
      first.excluded = stats.excluded;
      first.excludedBytes = stats.excludedBytes;
      first.cut = stats.cut;
      first.received = stats.received - others;
      // What is in blocks that were never handed over is not captured yet.
      if (ended && !this.#givenUp) continue;
      const counted = first.captured + first.droppedByKernel + first.filtered + first.excluded;
      first.received = Math.max(first.received, counted);
    }
  }
}

const filterWords = ({ source }: OpenSource, effectiveFilter: string): string =>
  `filter on ${source.label} is now: ${effectiveFilter || 'none'}`;

const NOTHING: Admitted = { packets: 0, packetBytes: 0, end: 0 };

/** Without what an address has beside it in a socket's name. */
const plain = (address: string): string => address.replace(/^::ffff:|%.*$/g, '');

/** The interface that routes to the collector; without a collector the first that libpcap would take. */
function defaultInterface(list: Interface[], localAddress: string | undefined): Interface {
  const found = localAddress === undefined ? list[0] : interfaceOf(list, plain(localAddress));
  if (found) return found;
  throw new RcapError('NO_SUCH_INTERFACE', 'could not choose an interface', {
    hint: "name one with -i; 'rcap-agent -D' lists them",
  });
}
