/** The listening socket: TLS, one Intake a connection, and the limits of connections. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { RcapError } from '../errors.ts';
import { rcap } from '../wire/messages.js';
import { readInto } from '../wire/read-into.ts';
import { TLS_OPTIONS } from '../wire/tls.ts';
import type { AgentView } from './agents.ts';
import { networkOf } from './doorkeeper.ts';
import { Intake, type IntakeHost } from './intake.ts';
import type { HostPattern } from './public/pattern.ts';

const { Code } = rcap.v1.Refusal;
/** From the connection to an accepted Hello. */
const HELLO_MS = 10_000;
const TICK_MS = 250;
/** Connections beyond the limit: room for those that are told why they can't stay. */
const SPARE = 64;
/** Who hasn't said Hello for so long must go when somebody else needs the place, ms. */
const EVICT_MS = 500;
/** Of the strangers that came first, so many are looked at for one to go. */
const EVICT_SEARCH = 64;
/** A peer that doesn't read its Refusal is cut off after this. */
const LINGER_MS = 1000;
/** Acknowledgements that a peer may leave unread, beside what the kernel holds. */
const MAX_UNREAD_BYTES = 65_536;
/** After this much silence the kernel asks whether the peer is still there. */
const KEEP_ALIVE_MS = 60_000;

export interface ServerOptions {
  address: { host: string; port: number };
  key: string;
  certificate: string;
  maxConnections: number;
}

interface Visit {
  sinceMs: number;
  network: string;
  /** Once there is TLS. */
  intake?: Intake;
}

export class CollectorServer {
  readonly #intakes = new Map<Intake, TLSSocket>();
  /** Intakes whose connection is over, but whose files aren't published yet. */
  readonly #finishing = new Set<Promise<void>>();
  readonly #sockets = new Set<Socket>();
  /** Those whose token wasn't accepted yet, the oldest first; and how many a network has. */
  readonly #strangers = new Map<Socket, Visit>();
  readonly #crowds = new Map<string, number>();
  readonly #server: Server;
  readonly #host: IntakeHost;
  readonly #options: ServerOptions;
  readonly #secureContext: SecureContext;
  #ticker: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(host: IntakeHost, options: ServerOptions) {
    this.#host = host;
    this.#options = options;
    this.#secureContext = createSecureContext({ ...TLS_OPTIONS, key: options.key, cert: options.certificate });
    this.#server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }, (s) =>
      this.#accepted(s),
    );
  }

  /** Resolves with the port once it listens. */
  listen(): Promise<number> {
    const { host, port } = this.#options.address;
    return new Promise((resolve, reject) => {
      this.#server.on('error', (e: NodeJS.ErrnoException) => reject(explain(e, host, port)));
      this.#server.listen({ host, port }, () => {
        this.#ticker = setInterval(() => {
          for (const i of this.#intakes.keys()) i.tick();
        }, TICK_MS);
        resolve((this.#server.address() as { port: number }).port);
      });
    });
  }

  /** Accepts nothing more, makes durable and publishes what there is. */
  async stop(): Promise<void> {
    clearInterval(this.#ticker);
    this.#stopping = true;
    this.#server.close();
    const ends = [...this.#intakes].map(async ([intake, socket]) => {
      socket.pause();
      await intake.end('stopped');
      intake.stopping();
      socket.end();
      // A close with bytes unread would be a reset, and the last acknowledgements might be lost with it.
      socket.resume();
      await Promise.race([once(socket, 'close').catch(() => {}), sleep(LINGER_MS)]);
    });
    await Promise.all(ends);
    await Promise.all(this.#finishing);
    for (const s of this.#sockets) s.destroy();
  }

  /** Those whose Hello was accepted. */
  agents(): AgentView[] {
    return [...this.#intakes.keys()].flatMap((i) => i.view ?? []);
  }

  /** Asks the agents of the hosts that match to end; those that were asked. */
  ask(pattern: HostPattern, reason: string): AgentView[] {
    return [...this.#intakes.keys()].flatMap((intake) => {
      const { view } = intake;
      if (!view || !pattern.matches(view.host)) return [];
      intake.ask(reason);
      return view;
    });
  }

  #accepted(raw: Socket): void {
    const network = networkOf(raw.remoteAddress ?? '');
    if (this.#sockets.size >= this.#options.maxConnections + SPARE && !this.#evict(network)) {
      raw.destroy();
      return;
    }
    const visit: Visit = { sinceMs: this.#host.clock.now(), network };
    const peer = `${raw.remoteAddress ?? '?'}:${raw.remotePort ?? '?'}`;
    const socket = new TLSSocket(raw, { isServer: true, secureContext: this.#secureContext });
    this.#sockets.add(raw);
    this.#strangers.set(raw, visit);
    this.#crowds.set(network, this.#crowd(network) + 1);
    const late = setTimeout(() => {
      if (!visit.intake) socket.destroy();
      else if (!visit.intake.host) visit.intake.refuse(Code.LIMIT, `no Hello within ${HELLO_MS / 1000} s`);
    }, HELLO_MS);
    const failed = (e: NodeJS.ErrnoException) => {
      if (!visit.intake && !socket.destroyed) this.#host.turnAway(peer, `no TLS with ${peer}: ${e.code ?? e.message}`);
      socket.destroy();
      raw.destroy();
    };
    for (const s of [raw, socket]) s.on('error', failed);
    socket.on('_tlsError', failed);
    socket.on('secure', () => {
      if (this.#stopping) socket.destroy();
      else this.#serve(raw, socket, peer, visit);
    });
    raw.on('close', () => {
      clearTimeout(late);
      this.#sockets.delete(raw);
      this.#noStranger(raw);
      socket.destroy();
      if (visit.intake) this.#finish(visit.intake);
    });
  }

  /**
   * Strangers must not keep out who has a token: for one from this network the one goes that waits the longest, once it has
   * waited for a while; at once if more of its network are about than of this one. False: nobody could but `newcomer`, which
   * is one of them already.
   */
  #evict(network: string, newcomer?: Socket): boolean {
    const before = this.#host.clock.now() - EVICT_MS;
    let searched = 0;
    for (const [socket, visit] of this.#strangers) {
      if (searched++ === EVICT_SEARCH) return false;
      if (socket === newcomer || socket.destroyed) continue;
      if (visit.sinceMs > before && this.#crowd(visit.network) <= this.#crowd(network) + 1) continue;
      this.#noStranger(socket);
      socket.destroy();
      return true;
    }
    return false;
  }

  #crowd(network: string): number {
    return this.#crowds.get(network) ?? 0;
  }

  /** Its token was accepted, or it left. */
  #noStranger(socket: Socket): void {
    const visit = this.#strangers.get(socket);
    if (!visit) return;
    this.#strangers.delete(socket);
    const crowd = this.#crowd(visit.network) - 1;
    if (crowd > 0) this.#crowds.set(visit.network, crowd);
    else this.#crowds.delete(visit.network);
  }

  #serve(raw: Socket, socket: TLSSocket, peer: string, visit: Visit): void {
    /** Of what is unread, pieces that come one at a time. */
    let expected = 0;
    const intake = (visit.intake = new Intake(this.#host, {
      peer,
      send: (bytes, taken) => {
        if (!socket.writable) return;
        // A peer that doesn't read its acknowledgements must not fill our memory with them.
        if (socket.writableLength - expected > MAX_UNREAD_BYTES) socket.destroy();
        else if (taken) {
          expected += bytes.length;
          socket.write(bytes, () => {
            expected -= bytes.length;
            taken();
          });
        } else socket.write(bytes);
      },
      ready: () => socket.resume(),
      close: () => {
        socket.end();
        setTimeout(() => socket.destroy(), LINGER_MS).unref();
      },
    }));
    const onBytes = (bytes: Uint8Array) => {
      const all = intake.push(bytes);
      if (intake.host) this.#noStranger(raw);
      return all;
    };
    if (!readInto(socket, onBytes)) {
      socket.on('data', (chunk) => {
        if (!onBytes(chunk)) socket.pause();
      });
    }
    socket.resume();
    this.#intakes.set(intake, socket);
    if (this.#intakes.size > this.#options.maxConnections && !this.#evict(visit.network, raw)) {
      intake.refuse(
        Code.LIMIT,
        `more than ${this.#options.maxConnections} connections`,
        'rcap-collector --max-connections N allows more',
      );
    }
  }

  #finish(intake: Intake): void {
    this.#intakes.delete(intake);
    const end = intake.end('disconnected').then(() => {
      if (intake.host) this.#host.log(`disconnected: ${intake.name}, ${intake.received.packets} packets received`);
      this.#finishing.delete(end);
    });
    this.#finishing.add(end);
  }
}

function explain(e: NodeJS.ErrnoException, host: string, port: number): RcapError {
  const at = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const [reason, hint] = LISTEN_REASONS[e.code ?? ''] ?? [
    e.code ?? e.message,
    'choose another with --listen ADDR:PORT',
  ];
  return new RcapError('LISTEN', `could not listen on '${at}': ${reason}`, { hint, cause: e });
}
const LISTEN_REASONS: Record<string, [reason: string, hint: string]> = {
  EADDRINUSE: ['the port is in use', "'ss -ltnp' shows by whom; choose another with --listen ADDR:PORT"],
  EADDRNOTAVAIL: ['this host has no such address', '--listen 0.0.0.0:9000 takes all addresses'],
  EACCES: ['no permission', 'ports below 1024 need root, or: sudo setcap cap_net_bind_service+ep rcap-collector'],
};
