/**
 * Who is turned away before a token of theirs was accepted. It is said in the log, but not each time; and beyond a few times
 * they wait for their answer, so that trying again and again leads nowhere. (A token has 256 random bits: no rate of guessing
 * finds one. This keeps the log readable.) A valid token passes whatever others did: behind NAT or a load balancer all of
 * them have one address.
 */
import type { Clock } from '../clock.ts';

/** Times that an address (of IPv6 a /64) is answered and logged at once, and how often there is one more, ms. */
const BURST = 10;
const EVERY_MS = 6000;
/** All addresses together. */
const ALL_BURST = 200;
const ALL_EVERY_MS = 500;
/** How long others wait for their answer, ms. They could have kept the connection longer by saying nothing. */
const DELAY_MS = 3000;
/** Addresses that are remembered; the one that was quiet the longest is forgotten for a new one. */
const MAX_VISITORS = 4096;
/** What wasn't logged is summed up this often, ms. */
const SUMMARY_MS = 60_000;

/** So many times more, as of then. */
interface Allowance {
  left: number;
  atMs: number;
}
interface Visitor extends Allowance {
  /** Since the last summary. */
  unsaid: number;
}

export class Doorkeeper {
  readonly #clock: Clock;
  readonly #log: (line: string) => void;
  /** Who came last is last. */
  readonly #visitors = new Map<string, Visitor>();
  readonly #all: Allowance;
  #unsaid = 0;
  /** Addresses of which something is unsaid were forgotten: how many, and who came most often, isn't known. */
  #forgot = false;

  constructor(clock: Clock, log: (line: string) => void) {
    this.#clock = clock;
    this.#log = log;
    this.#all = { left: ALL_BURST, atMs: clock.now() };
  }

  /** `line` says who (ADDRESS:PORT) is turned away, and why. Returns how long they are to wait for their answer, ms. */
  turnAway(peer: string, line: string): number {
    const visitor = this.#visitor(networkOf(peer.slice(0, peer.lastIndexOf(':'))));
    const now = this.#clock.now();
    // One who has used up their own takes nothing of what is for all.
    if (take(visitor, now, BURST, EVERY_MS) && take(this.#all, now, ALL_BURST, ALL_EVERY_MS)) {
      this.#log(line);
      return 0;
    }
    visitor.unsaid++;
    if (this.#unsaid++ === 0) this.#clock.after(SUMMARY_MS, () => this.#sumUp());
    return DELAY_MS;
  }

  #visitor(network: string): Visitor {
    const visitor = this.#visitors.get(network) ?? { left: BURST, atMs: this.#clock.now(), unsaid: 0 };
    this.#visitors.delete(network);
    this.#visitors.set(network, visitor);
    if (this.#visitors.size > MAX_VISITORS) this.#forgetOne();
    return visitor;
  }

  #forgetOne(): void {
    const [network, { unsaid }] = this.#visitors.entries().next().value!;
    this.#visitors.delete(network);
    this.#forgot ||= unsaid > 0;
  }

  #sumUp(): void {
    const unsaid = [...this.#visitors].filter(([, v]) => v.unsaid > 0).toSorted(([, a], [, b]) => b.unsaid - a.unsaid);
    const times = `${this.#unsaid} more time${this.#unsaid === 1 ? '' : 's'} in the last ${SUMMARY_MS / 1000} s`;
    const addresses = `${unsaid.length} address${unsaid.length === 1 ? '' : 'es'}`;
    const from = this.#forgot ? `from at least ${addresses}` : `from ${addresses}, most often ${unsaid[0]![0]}`;
    this.#log(`turned away ${times}, ${from}`);
    this.#unsaid = 0;
    this.#forgot = false;
    for (const [, visitor] of unsaid) visitor.unsaid = 0;
  }
}

function take(from: Allowance, now: number, most: number, everyMs: number): boolean {
  from.left = Math.min(most, from.left + (now - from.atMs) / everyMs);
  from.atMs = now;
  if (from.left < 1) return false;
  from.left--;
  return true;
}

/** An IPv4 address, or the /64 of an IPv6 address: who has one of its addresses has them all. */
export function networkOf(address: string): string {
  const ipv4 = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (ipv4) return ipv4;
  const [head = '', tail] = address.replace(/%.*/, '').split('::');
  const groups = (text = '') => text.split(':').filter((g) => g !== '');
  const [first, last] = [groups(head), groups(tail)];
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  const all = [...first, ...Array<string>(zeros).fill('0'), ...last];
  return `${all.slice(0, 4).map((g) => g.replace(/^0+(?=.)/, '').toLowerCase()).join(':')}::/64`; // prettier-ignore
}
