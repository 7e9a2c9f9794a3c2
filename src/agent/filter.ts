/** What the agent never captures: its own connections to collectors. */
import { isIPv6, SocketAddress } from 'node:net';
import type { Place } from '../wire/dial.ts';

/**
 * BPF text for TCP connections to these, in both directions. By connection and not by host: what else goes to that address
 * stays visible. To a collector by its address and port, so that all agents' connections are meant: else two of them on one
 * host would capture each other. To a proxy by both ends: others' connections through it stay visible.
 */
export const ownTraffic = (places: readonly Place[]): string => places.map(connectionsTo).join(' or ');

function connectionsTo({ address, port, from }: Place): string {
  const way = (there: 'dst' | 'src', here: 'dst' | 'src') => {
    const ends = [[there, address, port], [here, from?.address, from?.port]] as const; // prettier-ignore
    const words = ends.flatMap(([d, a, p]) => [
      ...(a === undefined ? [] : [`${d} host ${onTheWire(a)}`]),
      ...(p === undefined ? [] : [`tcp ${d} port ${p}`]),
    ]);
    return `(${words.join(' and ')})`;
  };
  return `${way('dst', 'src')} or ${way('src', 'dst')}`;
}

/** A mapped address is IPv4 on the wire; a zone (%eth0) isn't part of the address there; and one address has one text. */
function onTheWire(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  return isIPv6(plain) ? new SocketAddress({ address: plain, family: 'ipv6' }).address : plain;
}

/** Places that are left out at most, beside those that we were given. */
const MAX_PLACES = 64;

const textOf = ({ address, port, from }: Place): string =>
  [onTheWire(address), port, from?.address && onTheWire(from.address), from?.port].join();
const inOrder = (a: Place, b: Place) => (textOf(a) < textOf(b) ? -1 : 1);

/**
 * Where we connect to: the addresses that we were given; what is tried now; and where collectors were verified, since an older
 * connection may still be seen when a newer is made. What was only tried is forgotten: else whoever answers a name lookup could
 * have addresses left out.
 */
export class OwnTraffic {
  readonly #given: readonly Place[];
  readonly #verified = new Map<string, Place>();
  #tried: readonly Place[] = [];

  constructor(given: readonly Place[] = []) {
    this.#given = given;
  }

  /** One of these is connected to next. True when the filter is another one now. */
  attempt(places: readonly Place[]): boolean {
    return this.#change(() => (this.#tried = places));
  }

  /** How that ended: with a collector verified there, or, without places, with none. True as above. */
  settle(verified: readonly Place[]): boolean {
    return this.#change(() => {
      // Exactly one connection of ours can be no harm, and the next try is from there, too.
      this.#tried = verified.length > 0 ? [] : this.#tried.filter((place) => place.from !== undefined);
      for (const place of verified) {
        const key = textOf(place);
        this.#verified.delete(key);
        this.#verified.set(key, place); // the last
      }
      for (const key of [...this.#verified.keys()].slice(0, -MAX_PLACES)) this.#verified.delete(key);
    });
  }

  /** Where collectors were verified. */
  get verified(): Place[] {
    return [...this.#verified.values()];
  }
  /** Unless one was verified there again since. True as above. */
  forget(places: readonly Place[]): boolean {
    return this.#change(() => {
      for (const place of places) {
        const key = textOf(place);
        if (this.#verified.get(key) === place) this.#verified.delete(key);
      }
    });
  }

  #change(work: () => void): boolean {
    const before = this.filter;
    work();
    return this.filter !== before;
  }

  /** BPF text; empty as long as there is nothing. */
  get filter(): string {
    const places = [...this.#given, ...[...this.#verified.values(), ...this.#tried].slice(-MAX_PLACES)];
    return ownTraffic([...new Map(places.map((p) => [textOf(p), p])).values()].toSorted(inOrder));
  }
}
