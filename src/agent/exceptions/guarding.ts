/** The guard of one run: which addresses stay visible is known bit by bit. */
import { addressText } from '../../formats/address.ts';
import { networkText } from '../../formats/exceptions.ts';
import type { Addresses } from './addresses.ts';
import { isNoHost, isShared, type Kept, MOST_OF_NETWORK, type Network, refusal, shareOf } from './guard.ts';
import type { Home } from './home.ts';
import { allCovering, nameOf, type Rules, rulesOf, sameStart } from './rules.ts';

/** Different things that are said, of names and their addresses. */
const MAX_SAID = 1000;

export class Guard {
  /** The lists' networks that count now. */
  given: Rules = rulesOf([]);
  readonly #home: () => Home;
  readonly #collectors = new Map<string, Kept>();
  readonly #said = new Set<string>();

  constructor(home: () => Home) {
    this.#home = home;
  }

  /** A collector is there. True when that is new. */
  keep(address: Uint8Array): boolean {
    const text = addressText(address);
    const isNew = !this.#collectors.has(text);
    this.#collectors.set(text, { address, whose: 'an address of the collector' });
    return isNew;
  }

  get #kept(): Kept[] {
    const own = this.#home().addresses.map((address) => ({ address, whose: 'an address of this host' }));
    return [...this.#collectors.values(), ...own];
  }

  /** Why a list with these networks can't count. */
  refuse(rules: Rules): string | undefined {
    return refusal(rules, { kept: this.#kept, networks: this.#home().networks });
  }
  /** Entries that count and hide what must stay visible: by name, what that is. */
  hiding(): Map<string, string> {
    const found = new Map<string, string>();
    for (const { address, whose } of this.#kept) {
      for (const by of allCovering(this.given, address))
        found.set(nameOf(this.given, by), `${addressText(address)}, ${whose}`);
    }
    return found;
  }

  /** Why a name's address can't be left out beside those that are. */
  refuseHost(address: Uint8Array, others: Addresses): string | undefined {
    const kept = this.#kept.find((k) => addressText(k.address) === addressText(address));
    if (kept) return `it is ${kept.whose}`;
    if (isNoHost(address)) return 'it is not the address of a single host';
    for (const network of this.#home().networks.filter(isShared)) {
      if (!isIn(network, address)) continue;
      const size = 2 ** (address.length * 8 - network.prefix);
      const more = others.list.filter((other) => isIn(network, other.address)).length + 1;
      if (shareOf(this.given, network, MOST_OF_NETWORK) + more / size > MOST_OF_NETWORK)
        return `too much of ${networkText(network.address, network.prefix)}, a network of this host, would be`;
    }
    return undefined;
  }

  /** Whether it wasn't said yet. */
  sayOnce(what: string): boolean {
    if (this.#said.has(what) || this.#said.size >= MAX_SAID) return false;
    this.#said.add(what);
    return true;
  }
}

const isIn = ({ address, prefix }: Network, host: Uint8Array): boolean =>
  host.length === address.length && sameStart(host, 0, address, prefix);
