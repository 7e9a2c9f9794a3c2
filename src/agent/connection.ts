/** One connection to a collector: Hello, Welcome, then what the spool has, one write at a time, until it is over. */
import type { Clock, Timer } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { MAX_COLLECTOR_MESSAGE } from '../packet.ts';
import { PROTOCOL, ProtocolError } from '../wire/frame.ts';
import { type Dial, type Link, type Server, serverText } from '../wire/link.ts';
import { rcap } from '../wire/messages.js';
import { Receiver, regionBytes } from '../wire/receiver.ts';
import { type Arrived, Assembler } from '../wire/settings.ts';
import type { Pace } from './pace.ts';
import type { Acknowledged, Spool } from './spool.ts';

const closed = new RcapError('CONNECTION', 'the connection was closed');
const { AgentMessage, CollectorMessage } = rcap.v1;

/** How long connecting, TLS and the collector's answer to Hello may take together, ms. */
const LOGIN_MS = 10_000;
/** Without anything else to send an Alive goes out so often, ms. */
const ALIVE_MS = 5000;
/** A collector says something every 5 s; one that was silent for so long is gone, ms. */
const SILENCE_MS = 12_000;
/** How often the two are looked at, ms. */
const TICK_MS = 1000;
/** What an orderly end may take, ms. */
const END_MS = 2000;

/** Who takes the settings that a collector sends. */
export interface SettingsTaker {
  /** SHA-256 of the document that counts now, as far as that is certain; empty for none. */
  readonly digest: Uint8Array;
  /** Never rejects. */
  take(arrived: Arrived): Promise<SettingsAnswer>;
}
export interface SettingsAnswer {
  accepted: boolean;
  /** Why not; or what of it can't be done by now. */
  reason: string;
}

export interface ConnectionEvents {
  acknowledged(what: Acknowledged): void;
  /** The collector asks the agent to end. */
  stop(reason: string): void;
  status(behind: boolean, reason: string): void;
}

export interface ConnectionOptions {
  dial: Dial;
  clock: Clock;
  /** All but what the spool knows. */
  hello: () => rcap.v1.IHello;
  spool: Spool;
  settings: SettingsTaker;
  pace: Pace;
}

export class Connection {
  readonly name: string;
  /** What the collector calls itself, printable. */
  collector = '';
  /** Why it ended, once it has; after `close`, too. */
  readonly over: Promise<RcapError>;
  /** Resolves once the settings that the Welcome announces are in force, or refused; never if it ends before. */
  readonly settled: Promise<void>;
  readonly #options: ConnectionOptions;
  readonly #events: ConnectionEvents;
  readonly #receiver: Receiver;
  #link: Link | undefined;
  #greeted = false;
  #live = false;
  #over = false;
  #writing = false;
  /** What is left of the message that is being written in pieces. */
  #rest: Uint8Array | undefined;
  readonly #assembler = new Assembler();
  /** What the Hello said of them. */
  #digest: Uint8Array = new Uint8Array(0);
  /** When the last piece of what was announced came, or the Welcome; nothing: no more is awaited. */
  #awaiting: number | undefined;
  /** What is to be said before all that the spool has. */
  readonly #answers: Uint8Array[] = [];
  #heard: number;
  #wrote = 0;
  #tick: Timer | undefined;
  #paced: Timer | undefined;
  #ending: Timer | undefined;
  #welcomed!: () => void;
  #ended!: (error: RcapError) => void;
  #settle!: () => void;

  private constructor(server: Server, options: ConnectionOptions, events: ConnectionEvents) {
    this.name = serverText(server);
    this.#options = options;
    this.#events = events;
    this.#heard = options.clock.now();
    this.over = new Promise((resolve) => (this.#ended = resolve));
    this.settled = new Promise((resolve) => (this.#settle = resolve));
    const region = new Uint8Array(regionBytes(MAX_COLLECTOR_MESSAGE));
    this.#receiver = new Receiver(region, 0, MAX_COLLECTOR_MESSAGE, (start, end) => {
      if (!this.#over) this.#message(CollectorMessage.decode(region.slice(start, end)));
      return true;
    });
  }

  /** As far as the Welcome; what the collector has is acknowledged by then. Rejects with an RcapError. */
  static async open(
    server: Server,
    options: ConnectionOptions,
    events: ConnectionEvents,
    signal: AbortSignal,
  ): Promise<Connection> {
    const connection = new Connection(server, options, events);
    const late = new AbortController();
    const timer = options.clock.after(LOGIN_MS, () => late.abort(timedOut(connection)));
    try {
      await connection.#login(server, AbortSignal.any([signal, late.signal]));
    } catch (e) {
      connection.destroy(e as RcapError);
      throw e;
    } finally {
      timer.cancel();
    }
    connection.#live = true;
    connection.#watch();
    return connection;
  }

  async #login(server: Server, signal: AbortSignal): Promise<void> {
    const { dial, hello, spool, settings } = this.#options;
    const events = { bytes: (chunk: Uint8Array) => this.#bytes(chunk), closed: (e: RcapError) => this.destroy(e) };
    const stop = () => this.destroy(signal.reason as RcapError);
    signal.addEventListener('abort', stop);
    try {
      const welcomed = new Promise<void>((resolve) => (this.#welcomed = resolve));
      this.#link = await dial(server, events, signal);
      if (this.#over) this.#link.destroy();
      else {
        const settingsDigest = (this.#digest = settings.digest);
        const message = { hello: { ...hello(), resume: spool.resumes(), settingsDigest } };
        this.#write(AgentMessage.encodeDelimited(message).finish());
      }
      const error = await Promise.race([welcomed, this.over]);
      if (error) throw error;
    } finally {
      // A signal of several lives for as long as it has a listener, and this connection with it.
      signal.removeEventListener('abort', stop);
    }
  }

  get localAddress(): string {
    return this.#link?.localAddress ?? '';
  }
  get dialled(): boolean {
    return this.#link !== undefined;
  }

  /** Sends what is there. Called whenever the spool got something. */
  pump(): void {
    if (!this.#live || this.#writing || this.#over || this.#paced) return;
    const { pace, spool } = this.#options;
    const message = (this.#rest ??= this.#answers.shift() ?? spool.next());
    if (!message) return;
    const piece = message.length > pace.piece ? message.subarray(0, pace.piece) : message;
    const waitMs = pace.take(piece.length);
    if (waitMs > 0) {
      this.#paced = this.#options.clock.after(waitMs, () => {
        this.#paced = undefined;
        this.pump();
      });
      return;
    }
    this.#rest = piece.length < message.length ? message.subarray(piece.length) : undefined;
    this.#write(piece);
  }

  /** One write under way at a time: a queue of Node's would be copied together by its TLS layer. */
  #write(bytes: Uint8Array): void {
    this.#writing = true;
    this.#wrote = this.#options.clock.now();
    this.#link!.write(bytes, this.#written);
  }
  readonly #written = (): void => {
    this.#writing = false;
    this.pump();
  };

  /** Ends it in order. */
  close(): void {
    this.#live = false;
    this.#link?.end();
    this.#ending = this.#options.clock.after(END_MS, () => this.destroy(closed));
  }

  /** Ends it at once. */
  destroy(error = closed): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of [this.#tick, this.#paced, this.#ending]) timer?.cancel();
    this.#link?.destroy();
    this.#ended(error);
  }

  #watch(): void {
    if (this.#over) return;
    this.#tick = this.#options.clock.after(TICK_MS, () => {
      const now = this.#options.clock.now();
      if (now - this.#heard >= SILENCE_MS) {
        this.destroy(new RcapError('CONNECTION', `lost the connection to '${this.name}': nothing heard for ${SILENCE_MS / 1000} s`)); // prettier-ignore
        return;
      }
      if (this.#awaiting !== undefined && now - this.#awaiting >= LOGIN_MS) {
        this.destroy(new RcapError('TIMEOUT', `lost the connection to '${this.name}': it announced settings and does not send them`)); // prettier-ignore
        return;
      }
      if (now - this.#wrote >= ALIVE_MS && !this.#writing && !this.#rest && this.#live) {
        const alive = AgentMessage.encodeDelimited({ alive: {} }).finish();
        this.#options.pace.take(alive.length, true);
        this.#write(alive);
      }
      this.#watch();
    });
  }

  #bytes(chunk: Uint8Array): void {
    this.#heard = this.#options.clock.now();
    try {
      this.#receiver.push(chunk);
    } catch (e) {
      const what = `could not understand collector '${this.name}': ${(e as Error).message}`;
      this.destroy(new RcapError('PROTOCOL', what, { cause: e }));
    }
  }

  #message(m: rcap.v1.CollectorMessage): void {
    if (m.refusal) this.destroy(refused(m.refusal));
    else if (m.welcome) this.#welcome(m.welcome);
    else if (!this.#greeted) throw new ProtocolError(`it begins with ${m.kind ?? 'nothing'}`);
    else if (m.ack) {
      this.#events.acknowledged(this.#options.spool.acknowledge(m.ack.capture, m.ack.sequence, m.ack.ended));
    } else if (m.settings) this.#piece(m.settings);
    else if (m.stop) this.#events.stop(printable(m.stop.reason));
    else if (m.status) this.#events.status(m.status.behind, printable(m.status.reason));
  }

  #welcome(welcome: rcap.v1.Welcome): void {
    if (this.#greeted) throw new ProtocolError('it says Welcome twice');
    if (welcome.protocol !== PROTOCOL)
      throw new ProtocolError(`it answers with protocol version ${welcome.protocol}, not ${PROTOCOL}`);
    for (const a of this.#options.spool.resume(welcome.captures)) this.#events.acknowledged(a);
    this.collector = printable(welcome.collector);
    this.#greeted = true;
    this.#announced(welcome.settingsDigest);
    this.#welcomed();
  }

  #announced(digest: Uint8Array): void {
    // That there are none is no document: nobody waits for an answer.
    if (digest.length === 0) void this.#options.settings.take({ digest, document: undefined }).then(this.#settle);
    else if (Buffer.compare(digest, this.#digest) === 0) this.#settle();
    else this.#awaiting = this.#options.clock.now();
  }

  #piece(piece: rcap.v1.ISettings): void {
    if (this.#awaiting !== undefined) this.#awaiting = this.#options.clock.now();
    const arrived = this.#assembler.take(piece);
    if (!arrived) return;
    this.#awaiting = undefined;
    const { digest, document } = arrived;
    void this.#options.settings.take(arrived).then(({ accepted, reason }) => {
      if (document) {
        const settingsState = { digest, accepted, reason: shortened(reason) };
        this.#answers.push(AgentMessage.encodeDelimited({ settingsState }).finish());
        this.pump();
      }
      this.#settle();
    });
  }
}

/** A refusal that ends the run; what isn't `always` one ends it unless another server has another opinion. */
export const isFinal = (error: RcapError, always: boolean): boolean =>
  (always ? /^REFUSED_(PROTOCOL|SUPERSEDED)$/ : /^REFUSED_(TOKEN|VERSION|PROTOCOL|SUPERSEDED)$/).test(error.code);

function refused(r: rcap.v1.Refusal): RcapError {
  const code = rcap.v1.Refusal.Code[r.code] ?? 'UNKNOWN';
  const text = printable(r.message) || code;
  return new RcapError(`REFUSED_${code}`, `the collector refused: ${text}`, r.hint ? { hint: printable(r.hint) } : {});
}

/** Text from the other end, safe for a terminal. */
// eslint-disable-next-line no-control-regex
const printable = (s: string) => s.slice(0, 1000).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');

/** Longest reason, bytes. */
const MAX_REASON = 4096;
const shortened = (reason: string): string => {
  const bytes = Buffer.from(reason);
  // What is left of a character that was cut is none.
  return bytes.length <= MAX_REASON ? reason : bytes.toString('utf8', 0, MAX_REASON - 3).replace(/\ufffd+$/, '');
};

function timedOut({ name, dialled }: Connection): RcapError {
  const seconds = LOGIN_MS / 1000;
  return dialled
    ? new RcapError('TIMEOUT', `could not log in at '${name}': no answer within ${seconds} s`)
    : new RcapError('TIMEOUT', `could not connect to '${name}': no answer within ${seconds} s`, {
        hint: 'does a firewall stand between? does a rcap-collector listen there?',
      });
}
