/** What the agent never captures: its own connections to collectors. */
import { isIPv6, SocketAddress } from 'node:net';

/**
 * BPF text for TCP connections to these, in both directions, by the server's address and port. By connection and not by host: what
 * else goes to that address stays visible. All agents' connections to that port are meant, else two of them on one
 * host would capture each other.
 */
export const ownTraffic = (servers: readonly (readonly [address: string, port: number])[]): string =>
  servers.map(([address, port]) => connectionsTo(address, port)).join(' or ');

function connectionsTo(serverAddress: string, serverPort: number): string {
  const address = onTheWire(serverAddress);
  const way = (d: 'dst' | 'src') => `(${d} host ${address} and tcp ${d} port ${serverPort})`;
  return `${way('dst')} or ${way('src')}`;
}

/** A mapped address is IPv4 on the wire; a zone (%eth0) isn't part of the address there; and one address has one text. */
function onTheWire(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  return isIPv6(plain) ? new SocketAddress({ address: plain, family: 'ipv6' }).address : plain;
}

/** Places that are left out at most. */
const MAX_PLACES = 64;

type Place = readonly [address: string, port: number];
const byAddressAndPort = ([a, p]: Place, [b, q]: Place) => (a === b ? p - q : a < b ? -1 : 1);

/**
 * Where we connect to: what is tried now, and where collectors were verified, since an older connection may still be seen
 * when a newer is made. What was only tried is forgotten: else whoever answers a name lookup could have addresses left out.
 */
export class OwnTraffic {
  readonly #verified = new Map<string, Place>();
  #tried: Place[] = [];

  /** One of these is connected to next. True when the filter is another one now. */
  attempt(addresses: readonly string[], port: number): boolean {
    return this.#change(() => (this.#tried = addresses.map((a) => [onTheWire(a), port])));
  }

  /** How that ended: with a collector verified at this address, or with none. True as above. */
  settle(verified: string | undefined, port: number): boolean {
    return this.#change(() => {
      this.#tried = [];
      if (!verified) return;
      const place: Place = [onTheWire(verified), port];
      this.#verified.delete(place.join());
      this.#verified.set(place.join(), place); // the last
      for (const key of [...this.#verified.keys()].slice(0, -MAX_PLACES)) this.#verified.delete(key);
    });
  }

  #change(work: () => void): boolean {
    const before = this.filter;
    work();
    return this.filter !== before;
  }

  /** BPF text; empty as long as there is nothing. */
  get filter(): string {
    const places = [...this.#verified.values(), ...this.#tried].slice(-MAX_PLACES);
    return ownTraffic([...new Map(places.map((p) => [p.join(), p])).values()].toSorted(byAddressAndPort));
  }
}
