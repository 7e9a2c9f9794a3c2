/** The one connection to the collector: opened, verified, greeted; then it sends what the spool has, one write at a time. */
import { type TLSSocket, connect } from 'node:tls';
import { RcapError } from '../errors.ts';
import { MAX_COLLECTOR_MESSAGE } from '../packet.ts';
import { ProtocolError, writeBatchHeader } from '../wire/frame.ts';
import { rcap } from '../wire/messages.js';
import { Receiver, regionBytes } from '../wire/receiver.ts';
import { type Trust, connectOptions, verifyPeer } from '../wire/tls.ts';
import type { Spool } from './spool.ts';

const { AgentMessage, CollectorMessage } = rcap.v1;

/** Version of the protocol. */
export const PROTOCOL = 1;
/** How long connecting, TLS and the collector's answer to Hello may take together, ms. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Silence after which TCP asks whether the collector is still there, ms. */
const KEEP_ALIVE_MS = 10_000;

export interface Server {
  host: string;
  port: number;
}

export interface UplinkEvents {
  ack(capture: number, sequence: number, ended: boolean): void;
  /** The collector asks the agent to end. */
  stop(reason: string): void;
  /** The connection is over; `error` says why unless `close` was called. */
  closed(error?: RcapError): void;
}

export class Uplink {
  readonly collector: string;
  readonly #socket: TLSSocket;
  readonly #spool: Spool;
  readonly #events: UplinkEvents;
  #writing = false;
  #closing = false;
  #over = false;

  /** Use Uplink.connect. */
  private constructor(greeted: Greeted, spool: Spool, events: UplinkEvents) {
    this.collector = greeted.welcome.collector;
    this.#socket = greeted.socket;
    this.#spool = spool;
    this.#events = events;
    const socket = this.#socket;
    greeted.listen({
      message: (m) => this.#message(m),
      over: (error) => this.#end(error),
    });
    socket.setNoDelay(true);
    // A collector whose machine is gone sends nothing; without this a drain would wait for it for ever.
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
  }

  static async connect(
    server: Server,
    trust: Trust,
    hello: rcap.v1.IHello,
    spool: Spool,
    events: UplinkEvents,
  ): Promise<Uplink> {
    return new Uplink(await greet(server, trust, hello), spool, events);
  }

  get localAddress(): string {
    return this.#socket.localAddress ?? '';
  }
  get remoteAddress(): string {
    return this.#socket.remoteAddress ?? '';
  }

  /** Sends what is there. Called whenever the spool got something. */
  pump(): void {
    if (this.#writing || this.#over) return;
    const bytes = this.#fromSpool();
    if (!bytes) return;
    // One write under way at a time: a queue of Node's would be copied together by its TLS layer.
    this.#writing = true;
    this.#socket.write(bytes, this.#written);
  }

  readonly #written = (): void => {
    this.#writing = false;
    this.pump();
  };

  #fromSpool(): Uint8Array | undefined {
    const entry = this.#spool.next();
    if (!entry) return undefined;
    if (entry.kind === 'batch') return entry.bytes.subarray(writeBatchHeader(entry.bytes, entry.end, entry), entry.end);
    if (entry.kind === 'note') return entry.message;
    return encodeGap(entry);
  }

  /** Ends the connection in order; `closed` follows. */
  close(): void {
    this.#closing = true;
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), 2000).unref();
  }

  /** Ends it at once. */
  abort(): void {
    this.#closing = true;
    this.#socket.destroy();
  }

  #message(m: rcap.v1.CollectorMessage): void {
    if (m.ack) this.#events.ack(m.ack.capture, m.ack.sequence, m.ack.ended);
    else if (m.stop) this.#events.stop(m.stop.reason);
    else if (m.refusal) this.#end(refused(m.refusal));
  }

  #end(error: RcapError | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.destroy();
    this.#events.closed(this.#closing ? undefined : error);
  }
}

function encodeGap(gap: import('./spool.ts').Gap): Uint8Array {
  return AgentMessage.encodeDelimited({
    gap: {
      capture: gap.capture,
      firstSequence: gap.firstSequence,
      lastSequence: gap.lastSequence,
      packets: gap.packets,
      bytes: gap.packetBytes,
      firstTimestampNs: gap.firstTimestamp,
      lastTimestampNs: gap.lastTimestamp,
    },
  }).finish();
}

interface Listener {
  message(m: rcap.v1.CollectorMessage): void;
  over(error: RcapError): void;
}
interface Greeted {
  socket: TLSSocket;
  welcome: rcap.v1.IWelcome & { collector: string };
  /** Hands what comes after the Welcome to the uplink. */
  listen(listener: Listener): void;
}

/** TCP, TLS, verification, Hello, Welcome. Nothing is sent before the collector is verified. */
function greet(server: Server, trust: Trust, hello: rcap.v1.IHello): Promise<Greeted> {
  const name = serverText(server);
  return new Promise((resolve, reject) => {
    let listener: Listener | undefined;
    let verified = false;
    let welcomed = false;
    const early: rcap.v1.CollectorMessage[] = [];
    const socket = connect({ ...connectOptions(server.host, trust), port: server.port });
    const timer = setTimeout(() => fail(timedOut(name, verified)), CONNECT_TIMEOUT_MS);
    const fail = (error: RcapError) => {
      clearTimeout(timer);
      if (listener) listener.over(error);
      else reject(error);
      socket.destroy();
    };
    const region = new Uint8Array(regionBytes(MAX_COLLECTOR_MESSAGE));
    const receiver = new Receiver(region, 0, MAX_COLLECTOR_MESSAGE, (start, end) => {
      const m = CollectorMessage.decode(region.slice(start, end));
      if (listener) listener.message(m);
      else if (m.welcome && !welcomed) {
        welcomed = true;
        clearTimeout(timer);
        if (m.welcome.protocol !== PROTOCOL) {
          throw new ProtocolError(`it answers with protocol version ${m.welcome.protocol}, not ${PROTOCOL}`);
        }
        resolve({
          socket,
          welcome: { ...m.welcome, collector: m.welcome.collector ?? '' },
          listen: (l) => {
            listener = l;
            for (const e of early.splice(0)) l.message(e);
          },
        });
      } else if (m.refusal && !welcomed) fail(refused(m.refusal));
      else early.push(m);
      return true;
    });
    socket.on('secureConnect', () => {
      try {
        verifyPeer(socket, name, trust);
      } catch (e) {
        fail(e as RcapError);
        return;
      }
      verified = true;
      socket.write(AgentMessage.encodeDelimited({ hello }).finish());
    });
    socket.on('data', (chunk) => {
      if (!verified) return;
      try {
        receiver.push(chunk);
      } catch (e) {
        fail(
          new RcapError('PROTOCOL', `could not understand collector '${name}': ${(e as Error).message}`, { cause: e }),
        );
      }
    });
    socket.on('error', (e: NodeJS.ErrnoException) => fail(explain(e, name, verified)));
    socket.on('close', () =>
      fail(
        verified
          ? new RcapError('CONNECTION', `lost the connection to '${name}': it was closed`)
          : new RcapError(
              'CONNECTION',
              `could not connect to '${name}': it closed the connection before TLS was set up`,
              {
                hint: 'is that port a rcap-collector?',
              },
            ),
      ),
    );
  });
}

export const serverText = (s: Server): string =>
  s.host.includes(':') ? `[${s.host}]:${s.port}` : `${s.host}:${s.port}`;

function timedOut(name: string, verified: boolean): RcapError {
  return verified
    ? new RcapError('TIMEOUT', `could not log in at '${name}': no answer within ${CONNECT_TIMEOUT_MS / 1000} s`)
    : new RcapError('TIMEOUT', `could not connect to '${name}': no answer within ${CONNECT_TIMEOUT_MS / 1000} s`, {
        hint: 'does a firewall stand between? does a rcap-collector listen there?',
      });
}

function refused(r: rcap.v1.IRefusal): RcapError {
  const code = rcap.v1.Refusal.Code[r.code ?? 0] ?? 'UNKNOWN';
  const text = printable(r.message ?? '') || code;
  return new RcapError(`REFUSED_${code}`, `the collector refused: ${text}`, r.hint ? { hint: printable(r.hint) } : {});
}

/** Text from the other end, safe for a terminal. */
// eslint-disable-next-line no-control-regex
const printable = (s: string) => s.slice(0, 1000).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');

function explain(e: NodeJS.ErrnoException, name: string, verified: boolean): RcapError {
  const options = { cause: e };
  if (verified) return new RcapError('CONNECTION', `lost the connection to '${name}': ${e.code ?? e.message}`, options);
  const [reason, hint] = REASONS[e.code ?? ''] ?? [isTlsError(e) ? NOT_TLS : (e.code ?? e.message), IS_IT];
  return new RcapError('CONNECTION', `could not connect to '${name}': ${reason}`, { ...options, hint });
}
const isTlsError = (e: NodeJS.ErrnoException) => /^ERR_SSL_|EPROTO/.test(e.code ?? '');
const NOT_TLS = 'it does not speak TLS 1.3';
const IS_IT = 'is that the address and port of a rcap-collector?';
const REASONS: Record<string, [reason: string, hint: string]> = {
  ECONNREFUSED: [
    'connection refused',
    'is the collector running? does it listen on that address? (rcap-collector --listen 0.0.0.0:9000)',
  ],
  ECONNRESET: ['connection reset', IS_IT],
  ENOTFOUND: ['no such host', 'check the name in --server, or use an address'],
  EAI_AGAIN: ['its name could not be looked up', 'check the name server, or use an address in --server'],
  EHOSTUNREACH: ['no route to the host', "'ip route get ADDRESS' shows the way"],
  ENETUNREACH: ['the network is unreachable', "'ip route get ADDRESS' shows the way"],
  ETIMEDOUT: ['no answer', 'does a firewall stand between?'],
};
