/**
 * Addresses of names from the host's own DNS answers, as they pass through the capture. An answer counts only if its query was
 * seen: same client, ports, number and question. Whoever can answer the host's queries can have addresses left out; what
 * else is to be heeded (whose addresses, how many, how long) is for whoever takes them.
 */
import { decode, type DnsMessage, TYPE_A, TYPE_AAAA, TYPE_CNAME } from './dns.ts';
import { segmentIn, type Segment } from './segment.ts';
import { Streams } from './streams.ts';

/** Open queries at a time; the oldest goes. */
export const MAX_QUERIES = 4096;
/** A query is open for so long, ms. */
export const QUERY_MS = 30_000;
/** Longest chain of CNAMEs. */
export const MAX_CHAIN = 16;
const PORT = 53;

export interface LearnOptions {
  now: () => number;
  /** The entry that a name belongs to. */
  entryOf: (name: string) => string | undefined;
  /** Whether queries from there to there are this host's. */
  heeds: (client: Uint8Array, server: Uint8Array) => boolean;
  /** TTL in seconds. */
  learned: (entry: string, address: Uint8Array, ttl: number) => void;
}

export class Learner {
  readonly #options: LearnOptions;
  readonly #streams = new Streams();
  /** When each was seen. */
  readonly #queries = new Map<string, number>();

  constructor(options: LearnOptions) {
    this.#options = options;
  }

  /** A packet from its IP header on. */
  packet(packet: Uint8Array): void {
    const segment = segmentIn(packet);
    if (!segment) return;
    const isQuery = segment.toPort === PORT;
    const [client, server] = isQuery ? [segment.from, segment.to] : [segment.to, segment.from];
    if (!this.#options.heeds(client, server)) return;
    const flow = flowOf(segment, client, server, isQuery);
    const messages = segment.tcp ? this.#streams.add(`${isQuery} ${flow}`, segment) : [segment.payload];
    for (const bytes of messages) {
      const message = decode(bytes);
      if (!message || message.isAnswer === isQuery) continue;
      if (message.isAnswer) this.#answer(flow, message);
      else this.#query(flow, message);
    }
  }

  #query(flow: string, message: DnsMessage): void {
    if (message.type !== TYPE_A && message.type !== TYPE_AAAA) return;
    const key = keyOf(flow, message);
    this.#queries.delete(key);
    this.#queries.set(key, this.#options.now());
    if (this.#queries.size > MAX_QUERIES) this.#queries.delete(this.#queries.keys().next().value!);
  }

  #answer(flow: string, message: DnsMessage): void {
    const key = keyOf(flow, message);
    const asked = this.#queries.get(key);
    if (asked === undefined) return;
    this.#queries.delete(key);
    if (message.isUseless || this.#options.now() - asked > QUERY_MS) return;
    const { names, ttl } = chainOf(message);
    const entry = names.map((name) => this.#options.entryOf(name)).find((e) => e !== undefined);
    if (entry === undefined) return;
    const last = names.at(-1);
    for (const record of message.answers) {
      if (record.type === TYPE_CNAME || record.type !== message.type || record.name !== last) continue;
      this.#options.learned(entry, record.address, Math.min(ttl, record.ttl));
    }
  }
}

/** The name that was asked for, and all that it leads to. */
function chainOf({ name, answers }: DnsMessage): { names: string[]; ttl: number } {
  const aliases = new Map(answers.flatMap((r) => (r.type === TYPE_CNAME ? [[r.name, r] as const] : [])));
  const names = [name];
  let ttl = Infinity;
  for (let alias; names.length <= MAX_CHAIN && (alias = aliases.get(names.at(-1)!)) !== undefined;) {
    names.push(alias.target);
    ttl = Math.min(ttl, alias.ttl);
  }
  return { names, ttl };
}

function flowOf(segment: Segment, client: Uint8Array, server: Uint8Array, isQuery: boolean): string {
  const ports = isQuery ? [segment.fromPort, segment.toPort] : [segment.toPort, segment.fromPort];
  return [segment.tcp ? 'tcp' : 'udp', client.join('.'), server.join('.'), ...ports].join(' ');
}
const keyOf = (flow: string, { id, type, name }: DnsMessage): string => `${flow} ${id} ${type} ${name}`;
