/**
 * Keeps a connection to a collector, for as long as the run lasts. What is lost with one is sent again on the next; the
 * spool knows what that is.
 * After a connection is lost, and after each round over the servers that reached none, it waits a random time, up to 0.25 s
 * first, up to twice as much after each failure, and up to 15 s at most (exponential back-off with full jitter, so that a
 * thousand agents don't come back in the same second); from the start again once a connection has got something
 * acknowledged, or has lasted for 10 s. The servers are tried in their order, each round from the first.
 */
import type { Clock, Timer } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { type Dial, type Server, serverText } from '../wire/link.ts';
import type { rcap } from '../wire/messages.js';
import { Connection, isFinal, type SettingsTaker } from './connection.ts';
import { Pace } from './pace.ts';
import type { Acknowledged, Spool } from './spool.ts';

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 15_000;
/** A connection that lasted so long was a good one, ms. */
const GOOD_MS = 10_000;

export interface UplinkOptions {
  /** At least one. */
  servers: readonly Server[];
  dial: Dial;
  clock: Clock;
  /** 0 to 1. */
  random: () => number;
  /** All but what the spool knows. */
  hello: () => rcap.v1.IHello;
  spool: Spool;
  settings: SettingsTaker;
  /**
   * Without a connection for so long, the run fails; one that wasn't good only interrupts that. Infinity: for ever. Left out:
   * one round at the start, for ever afterwards.
   */
  giveUpMs?: number | undefined;
  /** Bytes a second. */
  maxRate?: number | undefined;
  events: UplinkEvents;
}

export interface UplinkEvents {
  acknowledged(what: Acknowledged): void;
  /** The collector asks the agent to end. */
  stop(reason: string): void;
  /** What a collector says about itself, each time that it does. */
  status(behind: boolean, reason: string): void;
  /** `outageMs` is how long there was no connection, nothing for the first; `waiting` packets are to be sent. */
  connected(server: string, outageMs: number | undefined, waiting: number): void;
  /** A connection is lost, or no server was reached; the next try follows. */
  lost(error: RcapError, retryMs: number): void;
  /** Of several servers none was reached, and another one's error is the one that is told. */
  unreached?(error: RcapError): void;
  /** There will be no connection any more. */
  failed(error: RcapError): void;
}

export class Uplink {
  readonly #options: UplinkOptions;
  readonly #pace: Pace;
  readonly #abort = new AbortController();
  #connection: Connection | undefined;
  /** How many were tried. */
  #connections = 0;
  /** When the last connection was lost, or the start. */
  #lostAt: number;
  #reached = false;
  #over = false;
  /** Something was acknowledged on the connection. */
  #good = false;
  #patience: Timer | undefined;
  /** What is left of it, ms. */
  #patienceMs: number;
  #pause: { timer: Timer; resolve: () => void } | undefined;
  #lastError: RcapError | undefined;
  #first!: { resolve: (localAddress: string) => void; reject: (error: RcapError) => void };

  constructor(options: UplinkOptions) {
    this.#options = options;
    this.#pace = new Pace(options.maxRate, options.clock);
    this.#lostAt = options.clock.now();
    this.#patienceMs = options.giveUpMs ?? Infinity;
  }

  get connected(): boolean {
    return this.#connection !== undefined;
  }

  /** Begins; resolves with the local address of the first connection, once the settings that it brought are taken. */
  start(): Promise<string> {
    const first = new Promise<string>((resolve, reject) => (this.#first = { resolve, reject }));
    this.#lostAt = this.#options.clock.now();
    this.#wait();
    void this.#run();
    return first;
  }

  /** Sends what is there. Called whenever the spool got something. */
  pump(): void {
    this.#connection?.pump();
  }

  /** Bytes a second from now on; nothing: without limit. */
  setRate(rate: number | undefined): void {
    this.#pace.setRate(rate);
  }

  /** Ends the connection in order, and tries no other. */
  async close(): Promise<void> {
    this.#end();
    this.#connection?.close();
    await this.#connection?.over;
  }

  /** Ends at once. */
  abort(): void {
    this.#end();
    this.#connection?.destroy();
  }

  #end(): void {
    this.#over = true;
    this.#patience?.cancel();
    this.#pause?.timer.cancel();
    this.#pause?.resolve();
    this.#abort.abort(new RcapError('CONNECTION', 'no connection is wanted any more'));
  }

  async #run(): Promise<void> {
    const { clock, random, events, giveUpMs } = this.#options;
    for (let failures = 0; ; failures++) {
      const [[error, ...others], final] = await this.#round();
      if (this.#over) return;
      if (final || (!this.#reached && failures === 0)) for (const e of others) events.unreached?.(e);
      if (final || (!this.#reached && giveUpMs === undefined)) {
        this.#fail(error);
        return;
      }
      this.#lastError = error;
      if (this.#good) failures = 0;
      this.#good = false;
      const waitMs = random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures);
      events.lost(error, waitMs);
      await new Promise<void>((resolve) => {
        this.#pause = { timer: clock.after(waitMs, resolve), resolve };
      });
      if (this.#over) return;
    }
  }

  /**
   * Tries each server until one is reached, and stays for as long as that lasts. What it ended with, or, if none was, what
   * each said, the most telling first; is that final?
   */
  async #round(): Promise<[errors: [RcapError, ...RcapError[]], final: boolean]> {
    const errors: RcapError[] = [];
    const { servers } = this.#options;
    for (const server of servers) {
      try {
        const error = await this.#stay(server);
        return [[error], isFinal(error, servers.length > 1)];
      } catch (e) {
        const error = e as RcapError;
        if (this.#over || isFinal(error, true)) return [[error, ...errors], true];
        errors.push(error);
      }
    }
    const [first, ...others] = errors.toSorted((a, b) => telling(a) - telling(b));
    return [[first!, ...others], errors.every((e) => isFinal(e, false))];
  }

  /** Rejects when the server isn't reached; resolves with what ended the connection. */
  async #stay(server: Server): Promise<RcapError> {
    const { clock, spool, events, giveUpMs } = this.#options;
    const connectionEvents = {
      ...events,
      acknowledged: (what: Acknowledged) => {
        this.#good ||= what.packets > 0 || what.ended;
        events.acknowledged(what);
      },
    };
    const number = ++this.#connections;
    const hello = () => ({ ...this.#options.hello(), connection: number });
    const options = { ...this.#options, hello, pace: this.#pace };
    const connection = await Connection.open(server, options, connectionEvents, this.#abort.signal);
    if (this.#over) {
      connection.destroy();
      return connection.over;
    }
    this.#patience?.cancel();
    this.#connection = connection;
    const since = clock.now();
    this.#patienceMs -= since - this.#lostAt;
    events.connected(serverText(server), this.#reached ? since - this.#lostAt : undefined, spool.waiting);
    this.#reached = true;
    void connection.settled.then(() => this.#first.resolve(connection.localAddress));
    connection.pump();
    const error = await connection.over;
    this.#connection = undefined;
    spool.disconnected();
    this.#lostAt = clock.now();
    this.#good ||= this.#lostAt - since >= GOOD_MS;
    // A collector that greets and then fails, again and again, is none.
    if (this.#good) this.#patienceMs = giveUpMs ?? Infinity;
    if (!this.#over) this.#wait();
    return error;
  }

  /** From now on patience wears out, as far as it isn't worn already. */
  #wait(): void {
    const { giveUpMs, clock } = this.#options;
    if (giveUpMs === undefined || giveUpMs === Infinity) return;
    this.#patience = clock.after(this.#patienceMs, () => {
      const last = this.#lastError;
      const words = `gave up after ${giveUpMs / 1000} s without a connection`;
      this.#fail(new RcapError('GIVEN_UP', last ? `${words}: ${last.message}` : words, { hint: last?.hint }));
    });
  }

  #fail(error: RcapError): void {
    this.#end();
    if (this.#reached) this.#options.events.failed(error);
    else this.#first.reject(error);
  }
}

/** How much an error says of why a server isn't reached: a collector's own words, then who is there, then that nobody is. */
const telling = ({ code }: RcapError): number => (code.startsWith('REFUSED_') ? 0 : code === 'CERTIFICATE' ? 1 : 2);
