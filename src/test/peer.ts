/** An agent's end of a connection that says what a test wants, however wrong; encoded by hand. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { rcap } from '../wire/messages.js';
import { type Arrived, Assembler } from '../wire/settings.ts';
import { type Cleaner, until } from './support.ts';
import { batch, bytes, fixed64, frame, packet, uint } from './wire.ts';

export class Peer {
  /** What the collector said. */
  readonly answers: rcap.v1.CollectorMessage[] = [];
  closed = false;
  readonly #raw: Socket;
  readonly #socket: TLSSocket;
  #held: Buffer = Buffer.alloc(0);

  private constructor(raw: Socket, socket: TLSSocket) {
    this.#raw = raw;
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    for (const s of [raw, socket]) s.on('error', () => {}).on('close', () => (this.closed = true));
  }

  static async connect(t: Cleaner, port: number, options: ConnectionOptions = {}): Promise<Peer> {
    return Peer.over(t, connect({ port, host: '127.0.0.1', noDelay: true }), options);
  }

  /** On a connection that there is. */
  static async over(t: Cleaner, raw: Socket, options: ConnectionOptions = {}): Promise<Peer> {
    t.after(() => void raw.destroy());
    const socket = connectTls({ socket: raw, rejectUnauthorized: false, ...options });
    const peer = new Peer(raw, socket);
    await once(socket, 'secureConnect');
    return peer;
  }

  /** A peer whose Hello was accepted. */
  static async greeted(t: Cleaner, port: number, token: string, host: string): Promise<Peer> {
    const peer = await Peer.connect(t, port);
    peer.send(hello({ token, host }));
    await until('Welcome', () => peer.answers[0]?.welcome);
    return peer;
  }

  send(...messages: Uint8Array[]): void {
    this.write(Buffer.concat(messages.map(frame)));
  }
  /** Bytes as they are, in one TLS record if they fit. False: much waits to be sent. */
  write(data: Uint8Array): boolean {
    return this.#socket.write(data);
  }
  /** Resolves when the kernel has it: a TLS record of its own. */
  written(message: Uint8Array): Promise<void> {
    return new Promise((resolve) => void this.#socket.write(frame(message), () => resolve()));
  }
  async drained(): Promise<void> {
    await until('the collector to read', () => this.closed || !this.#socket.writableNeedDrain);
  }
  /** Reads no more of what the collector says. */
  pause(): void {
    this.#socket.pause();
  }
  end(): void {
    this.#socket.end();
  }
  /** The connection is reset. */
  reset(): void {
    this.#raw.resetAndDestroy();
  }

  /** The settings that came last as a whole. */
  settings(): Arrived | undefined {
    const assembler = new Assembler();
    return this.answers.map((a) => a.settings && assembler.take(a.settings)).findLast(Boolean) ?? undefined;
  }

  acknowledged(capture = 1): number {
    return Math.max(0, ...this.answers.map((a) => (a.ack?.capture === capture ? a.ack.sequence : 0)));
  }
  ended(capture = 1): Promise<unknown> {
    return until(`the end of capture ${capture}`, () =>
      this.answers.some((a) => a.ack?.capture === capture && a.ack.ended),
    );
  }
  /** Waits until the collector has refused and closed. */
  async refusal(): Promise<{ code: string | undefined; message: string }> {
    await until('the collector to close the connection', () => this.closed);
    const refusal = this.answers.at(-1)?.refusal;
    if (!refusal) throw new Error(`it closed without a Refusal; it said ${JSON.stringify(this.answers, text)}`);
    return { code: rcap.v1.Refusal.Code[refusal.code], message: refusal.message };
  }

  #received(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    for (;;) {
      const head = this.#held.findIndex((byte) => byte < 128) + 1;
      if (head === 0) return;
      const length = this.#held.subarray(0, head).reduceRight((n, byte) => 128 * n + (byte & 127), 0);
      if (this.#held.length < head + length) return;
      this.answers.push(rcap.v1.CollectorMessage.decode(this.#held.subarray(head, head + length)));
      this.#held = this.#held.subarray(head + length);
    }
  }
}
const text = (_: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);

/** A Hello that differs from a good one in what is given. */
export function hello(
  h: { token?: string; host?: string; version?: bigint | number; run?: Uint8Array; more?: Uint8Array } = {},
): Buffer {
  return bytes(
    1,
    Buffer.concat([
      uint(1, h.version ?? 1),
      bytes(2, h.run ?? randomBytes(16)),
      bytes(3, bytes(1, h.host ?? 'host')),
      bytes(4, 'peer'),
      fixed64(5, BigInt(Date.now()) * 1_000_000n),
      bytes(6, h.token ?? ''),
      h.more ?? Buffer.alloc(0),
    ]),
  );
}

export function captureStart(
  capture: bigint | number = 1,
  s: { linkType?: number; snaplen?: bigint | number; name?: string } = {},
): Buffer {
  return bytes(
    2,
    Buffer.concat([uint(1, capture), bytes(2, s.name ?? 'eth0'), uint(5, s.linkType ?? 1), uint(6, s.snaplen ?? 2000)]),
  );
}

/** A batch of one packet, the `sequence`th of its capture. */
export const onePacket = (
  sequence: number,
  capture = 1,
  data: Uint8Array = Buffer.from(`packet ${sequence}`),
): Buffer =>
  batch(
    { capture, sequence, firstPacket: sequence },
    packet({ timestampNs: 1_700_000_000_000_000_000n + BigInt(sequence), data }),
  );

export const captureEnd = (capture: number, lastSequence: number): Buffer =>
  bytes(6, Buffer.concat([uint(1, capture), bytes(2, 'stopped'), uint(4, lastSequence)]));

export const settingsState = (digest: Uint8Array, accepted: boolean, reason = ''): Buffer =>
  bytes(8, Buffer.concat([bytes(1, digest), uint(2, Number(accepted)), bytes(3, reason)]));

export const gap = (
  capture: number,
  first: bigint | number,
  last: bigint | number,
  packets: bigint | number = 1,
  packetBytes: bigint | number = 100,
): Buffer =>
  bytes(4, Buffer.concat([uint(1, capture), uint(2, first), uint(3, last), uint(4, packets), uint(5, packetBytes)]));
