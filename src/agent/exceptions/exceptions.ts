/**
 * What one run leaves out of its captures: the lists that count, the addresses that their names have, the addon's sets made of
 * both, and what those have counted. Two sets: the lists' networks, which may be very many and change seldom, and the
 * addresses of names, which are few and change all the time.
 */
import type { Addon } from '../../capture/source.ts';
import type { Clock } from '../../clock.ts';
import { usageError } from '../../errors.ts';
import { addressText, parseAddress } from '../../formats/address.ts';
import { digestOf, type Entry, tooMany } from '../../formats/exceptions.ts';
import { Addresses, type Named } from './addresses.ts';
import { Counts, ranking } from './counts.ts';
import { Domains } from './domains.ts';
import { Events } from './events.ts';
import { Guard } from './guarding.ts';
import { Learner } from './learn.ts';
import type { Home } from './home.ts';
import { type Ask, Names } from './resolve.ts';
import { hostRules, type Rules, rulesOf } from './rules.ts';
import { Teller } from './teller.ts';
import { type Excluding, type User, Users } from './users.ts';

/** The second set is made anew this often at most, ms; live only. */
const REBUILD_MS = 100;
/** The host's addresses and name servers are looked at again after this, ms. */
const HOME_MS = 10_000;

/** As the command line gives them. */
export interface LocalExceptions {
  entries: readonly Entry[];
  /** Nothing is learned from answers in the capture. */
  strict: boolean;
}

export interface ExceptionsOptions {
  addon: Pick<Addon, 'createExceptions'>;
  clock: Clock;
  local: LocalExceptions;
  /** Not a file. */
  live: boolean;
  /** Addresses of collectors that are known from the start. */
  collectors: readonly string[];
  home: () => Home;
  nameServers: () => Uint8Array[];
  ask: Ask;
  notice: (level: 'warning' | 'info', message: string, hint?: string) => void;
}

/** This host, and by text who asks for names here, and whom. */
interface AtHome {
  home: Home;
  clients: ReadonlySet<string>;
  servers: ReadonlySet<string>;
  at: number;
}

export class Exceptions {
  readonly #options: ExceptionsOptions;
  readonly #events: Events;
  readonly #guard: Guard;
  readonly #names: Names;
  readonly #learner: Learner;
  readonly #addresses = new Addresses();
  readonly #users: Users;
  #remote: readonly Entry[] = [];
  #domains = new Domains([]);
  #entries: readonly Entry[] = [];
  /** Of the local ones: they would hide a collector, or the host. */
  readonly #dropped = new Set<string>();
  #atHomeThen: AtHome | undefined;
  #homeThen = '';
  #builtAt = -Infinity;
  #rebuilding = false;
  #full = false;
  #closed = false;

  /** Throws a usage error when what was given locally can't count. */
  constructor(options: ExceptionsOptions) {
    const { clock, local, live } = options;
    this.#options = options;
    this.#users = new Users(options.addon, options.notice);
    this.#events = new Events(() => clock.date());
    this.#guard = new Guard(() => (live ? this.#atHome.home : { addresses: [], networks: [] }));
    for (const text of options.collectors) this.#keep(text);
    this.#names = new Names({
      clock,
      ask: options.ask,
      found: (name, answers) => {
        for (const { address, ttl } of answers) this.#found(name, address, ttl, 'RESOLVED');
      },
    });
    this.#learner = new Learner({
      now: () => clock.now(),
      entryOf: (name) => this.#domains.entryOf(name),
      heeds: (client, server) => this.#heeds(client, server),
      learned: (entry, address, ttl) => this.#found(entry, address, ttl, 'LEARNED'),
    });
    if (local.entries.length === 0) return;
    const reason = this.#count(local.entries, 'from the command line');
    if (reason !== undefined) throw usageError(`could not use the exceptions: ${reason}`, 'name less, or more exactly');
  }

  /** For a source that is opened now. */
  get toOpen(): Users['toOpen'] {
    return this.#users.toOpen;
  }

  /** Right after it was opened. */
  use(source: Excluding): User {
    return this.#users.add(source);
  }

  /** A packet of DNS that it handed over. */
  packet(source: Excluding, packet: Uint8Array): void {
    if (this.#domains.size > 0) this.#learner.packet(packet);
    // The reader goes on behind what this packet taught.
    if (!this.#options.live) this.#users.whenIdle(source, () => source.goOn());
  }

  /** Resolves once each name was looked up, or after so many milliseconds. */
  async resolved(withinMs: number): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(withinMs, late.resolve);
    await Promise.race([this.#names.first(), late.promise]);
    timer.cancel();
  }

  /** Why these can't count beside the local ones, or undefined: nothing changes. */
  checkRemote(entries: readonly Entry[]): string | undefined {
    return this.#prepare([...this.#local, ...entries]).reason;
  }
  /**
   * From now on these count beside the local ones, instead of those before; none for an empty list. Returns the reason when they
   * can't: then those before stay. `words` say where they come from.
   */
  setRemote(entries: readonly Entry[], words: string): string | undefined {
    if (entries.length === 0 && this.#remote.length === 0) return undefined;
    const reason = this.#count([...this.#local, ...entries], words);
    if (reason === undefined) this.#remote = entries;
    return reason;
  }

  /** What else the collector changed, for its manifests. */
  noteSettings(digest: Uint8Array, words: string): void {
    this.#events.add({ kind: 'SETTINGS', digest: () => digest, words });
  }

  /** Collectors were verified there: they stay visible, whatever counts until now. */
  keep(addresses: readonly string[]): void {
    const more = addresses.filter((text) => this.#keep(text));
    if (more.length === 0) return;
    const hidden = this.#addresses.remove(({ address }) => more.includes(addressText(address)));
    if (hidden.length > 0) this.#expired(hidden);
    this.#dropHiding();
  }

  /** Once a second. */
  tick(): void {
    this.#lookHome();
    const gone = this.#addresses.expire(this.#options.clock.now());
    if (gone.length > 0) this.#expired(gone);
    this.#users.count();
  }

  /** It has ended: its last numbers. */
  ended(source: Excluding): void {
    this.#users.end(source);
  }

  /** What a collector is told of a capture of this source. */
  teller(capture: number, user: User | undefined): Teller {
    return new Teller(capture, this.#events, user?.counts ?? new Counts());
  }
  /** Names, those that most packets were left out for first. */
  get ranking(): ReturnType<typeof ranking> {
    return ranking(this.#users.totals);
  }

  close(): void {
    this.#closed = true;
    this.#names.close();
  }

  get #local(): readonly Entry[] {
    const { entries } = this.#options.local;
    return this.#dropped.size === 0 ? entries : entries.filter((e) => !this.#dropped.has(e.text));
  }

  #keep(text: string): boolean {
    const address = parseAddress(text);
    return address !== undefined && this.#guard.keep(address);
  }

  #prepare(entries: readonly Entry[]): { rules: Rules; domains: Domains; reason: string | undefined } {
    const networks = entries.filter((e) => e.kind === 'network');
    const domains = new Domains(entries.filter((e) => e.kind === 'domain'));
    const rules = rulesOf(networks);
    this.#atHomeThen = undefined; // as it is now
    const reason = tooMany(entries) ?? this.#guard.refuse(rules);
    return { rules, domains, reason };
  }

  /** From now on these entries count, or the reason why not. */
  #count(entries: readonly Entry[], words: string): string | undefined {
    const { rules, domains, reason } = this.#prepare(entries);
    const digest = once(() => digestOf(entries));
    if (reason !== undefined) {
      this.#events.add({ kind: 'REFUSED', digest, words: `${words}: ${reason}` });
      return reason;
    }
    this.#events.add({ kind: 'LIST', digest, entries: entries.length, words });
    this.#entries = entries;
    this.#domains = domains;
    this.#guard.given = rules;
    const gone = this.#addresses.remove(({ name }) => !domains.has(name));
    if (gone.length > 0) this.#expired(gone);
    this.#users.dns = domains.size > 0 && !this.#options.local.strict;
    this.#names.set(domains.names);
    this.#users.give({ given: rules });
    return undefined;
  }

  /** What hides an address that must stay visible, as is known now, counts no more. */
  #dropHiding(): void {
    const hiding = this.#guard.hiding();
    if (hiding.size === 0) return;
    for (const [name, words] of hiding) {
      this.#dropped.add(name);
      this.#options.notice('warning', `'${name}' is no longer an exception: it covers ${words}`);
    }
    const left = this.#entries.filter((e) => !hiding.has(e.text));
    const reason = this.#count(
      left,
      `without ${[...hiding].map(([name, words]) => `'${name}', which covers ${words}`).join(' and ')}`,
    );
    if (reason === undefined) return;
    this.#options.notice('warning', `no exceptions count any more: ${reason}`);
    this.#count([], 'none, since what was left could not count');
  }

  /** The host may have got other addresses: they stay visible, too. */
  #lookHome(): void {
    if (!this.#options.live || this.#entries.length === 0) return;
    const { clients } = this.#atHome;
    const now = [...clients].join();
    if (now === this.#homeThen) return;
    this.#homeThen = now;
    const hidden = this.#addresses.remove(({ address }) => clients.has(addressText(address)));
    if (hidden.length > 0) this.#expired(hidden);
    this.#dropHiding();
  }

  #found(name: string, address: Uint8Array, ttl: number, kind: 'RESOLVED' | 'LEARNED'): void {
    if (this.#closed) return;
    const reason = this.#guard.refuseHost(address, this.#addresses);
    if (reason !== undefined) {
      this.#refused(name, address, reason);
      return;
    }
    const boundMs = Addresses.boundMs(ttl, kind === 'RESOLVED' ? this.#names.roundMs : undefined);
    const put = this.#addresses.put(name, address, this.#options.clock.now() + boundMs);
    if (put === 'new') {
      this.#events.add({ kind, name, address: addressText(address) });
      this.#rebuildSoon();
    } else if (put === 'full' && !this.#full) {
      this.#full = true;
      this.#options.notice(
        'warning',
        'the names among the exceptions have too many addresses: further ones are captured',
      );
    }
  }

  #refused(name: string, address: Uint8Array, reason: string): void {
    if (!this.#guard.sayOnce(`${name} ${addressText(address)}`)) return;
    const words = `'${name}' has the address ${addressText(address)}, which is not left out: ${reason}`;
    this.#events.add({ kind: 'REFUSED', digest: once(() => digestOf(this.#entries)), words });
    this.#options.notice('warning', words);
  }

  #expired(gone: readonly Named[]): void {
    for (const { name, address } of gone) this.#events.add({ kind: 'EXPIRED', name, address: addressText(address) });
    this.#full = false;
    this.#rebuildSoon();
  }

  #rebuildSoon(): void {
    const { clock, live } = this.#options;
    if (this.#rebuilding) return;
    const waitMs = live ? this.#builtAt + REBUILD_MS - clock.now() : 0;
    if (waitMs <= 0) {
      this.#rebuild();
      return;
    }
    this.#rebuilding = true;
    clock.after(waitMs, () => {
      this.#rebuilding = false;
      if (!this.#closed) this.#rebuild();
    });
  }

  #rebuild(): void {
    this.#builtAt = this.#options.clock.now();
    this.#users.give({ learned: hostRules(this.#addresses.list) });
  }

  get #atHome(): AtHome {
    const { clock, home, nameServers, live } = this.#options;
    const then = this.#atHomeThen;
    if (then && clock.now() - then.at < HOME_MS) return then;
    const found = home();
    const servers = live ? nameServers() : [];
    return (this.#atHomeThen = {
      home: found,
      clients: new Set(found.addresses.map(addressText)),
      servers: new Set(servers.map(addressText)),
      at: clock.now(),
    });
  }

  /** A file's host is another one, or was. */
  #heeds(client: Uint8Array, server: Uint8Array): boolean {
    if (!this.#options.live) return true;
    const { clients, servers } = this.#atHome;
    return clients.has(addressText(client)) && servers.has(addressText(server));
  }
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
