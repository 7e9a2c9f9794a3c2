/** A collector's process: the production code from the connection to the disk, driven as server.ts drives it. */
import { Intake, type IntakeHost } from '../../collector/intake.ts';
import type { Report } from '../../collector/report.ts';
import { Store, type StoreOptions } from '../../collector/store.ts';
import { rcap } from '../../wire/messages.js';
import { NO_SETTINGS } from '../../wire/settings.ts';
import type { SimDisk } from './disk.ts';
import type { SimNetwork, Socket, SocketEvents } from './network.ts';
import type { Process } from './scheduler.ts';

const { CollectorMessage } = rcap.v1;
/** As in server.ts. */
const HELLO_MS = 10_000;
const TICK_MS = 250;
const LINGER_MS = 1000;
const MAX_UNREAD_BYTES = 65_536;

export interface CollectorEvents {
  /** The collector is about to say so. */
  says(message: rcap.v1.CollectorMessage): void;
  warns(message: string): void;
  /** How a capture ended. */
  reports(report: Report): void;
  /** It accepts connections. */
  listens(): void;
  /** It couldn't start. */
  failed(): void;
}

export class SimCollector {
  readonly process: Process;
  readonly #network: SimNetwork;
  readonly #name: string;
  readonly #events: CollectorEvents;
  readonly #intakes = new Map<Intake, Socket>();
  readonly #finishing = new Set<Promise<void>>();
  #store: Store | undefined;
  #stopping = false;

  /** `name`: under which agents reach it. */
  constructor(process: Process, network: SimNetwork, name: string, events: CollectorEvents) {
    this.process = process;
    this.#network = network;
    this.#name = name;
    this.#events = events;
  }

  get listening(): boolean {
    return this.#store !== undefined && !this.#stopping;
  }

  async start(disk: SimDisk, options: StoreOptions): Promise<void> {
    const { process } = this;
    process.note('starts');
    const reports = (message: string, fields: Record<string, unknown> = {}) => {
      if ('complete' in fields && fields.complete !== undefined)
        this.#events.reports({ ...(fields as unknown as Report), message });
    };
    try {
      this.#store = await Store.open(options, disk.for(process), process, {
        info: (message, fields) => {
          process.note(message);
          reports(message, fields);
        },
        warning: (message, fields) => {
          process.note('warning:', message);
          reports(message, fields);
          this.#events.warns(message);
        },
      });
    } catch (e) {
      process.note('could not start:', (e as Error).message);
      this.#events.failed();
      return;
    }
    process.note('listens');
    this.#network.listen(this.#name, { process, accept: (socket) => this.#accept(socket) });
    this.#tick();
    this.#events.listens();
  }

  #tick(): void {
    if (this.#stopping) return;
    for (const intake of this.#intakes.keys()) intake.tick();
    this.process.after(TICK_MS, () => this.#tick());
  }

  /** Accepts nothing more, makes durable and publishes what there is. */
  async stop(): Promise<void> {
    this.process.note('stops');
    this.#stopping = true;
    this.#network.listen(this.#name, undefined);
    const ends = [...this.#intakes].map(async ([intake, socket]) => {
      socket.pause();
      await intake.end('stopped');
      intake.stopping();
      const closed = new Promise<void>((resolve) => {
        this.process.after(LINGER_MS, resolve);
        socket.events = { bytes() {}, closed: resolve };
      });
      socket.end();
      socket.resume();
      await closed;
    });
    await Promise.all(ends);
    await Promise.all(this.#finishing);
    this.#store!.close();
    this.process.note('stopped');
  }

  get #host(): IntakeHost {
    const store = this.#store!;
    return {
      version: 'rcap-collector simulated',
      clock: this.process,
      timestamps: store.timestamps,
      get full() {
        return store.full;
      },
      admit: () => 'token-1',
      standing: () => 'valid',
      turnAway: () => 0,
      enter: (...run) => store.enter(...run),
      leave: (...run) => store.leave(...run),
      settings: () => NO_SETTINGS,
      writer: (...series) => store.writer(...series),
      log: (message) => this.process.note(message),
      warn: (message) => this.process.note(message),
    };
  }

  #accept(socket: Socket): SocketEvents {
    const { process } = this;
    const intake = new Intake(this.#host, {
      peer: '192.0.2.1:1',
      send: (bytes) => {
        if (!socket.writable) return;
        this.#events.says(CollectorMessage.decodeDelimited(bytes));
        if (socket.queued > MAX_UNREAD_BYTES) this.#destroy(intake, socket);
        else socket.write(bytes);
      },
      ready: () => socket.resume(),
      close: () => {
        socket.end();
        process.after(LINGER_MS, () => this.#destroy(intake, socket));
      },
    });
    this.#intakes.set(intake, socket);
    process.after(HELLO_MS, () => {
      if (!intake.host) intake.refuse(rcap.v1.Refusal.Code.LIMIT, 'no Hello');
    });
    return {
      bytes: (chunk) => {
        if (!intake.push(chunk)) socket.pause();
      },
      closed: () => this.#finish(intake),
    };
  }

  /** What a socket's 'close' would follow. */
  #destroy(intake: Intake, socket: Socket): void {
    if (socket.over) return;
    socket.destroy();
    this.process.after(0, () => this.#finish(intake));
  }

  #finish(intake: Intake): void {
    if (!this.#intakes.delete(intake)) return;
    const end = intake.end('disconnected').then(() => void this.#finishing.delete(end));
    this.#finishing.add(end);
  }
}
