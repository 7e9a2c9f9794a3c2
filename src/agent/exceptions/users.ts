/** The sources that run, each with the sets that it uses and what those have counted. */
import type { Addon, Exceptions, Source } from '../../capture/source.ts';
import { reasonOf } from '../../errors.ts';
import { type Count, Counts } from './counts.ts';
import type { Rules } from './rules.ts';

interface Built {
  set: Exceptions;
  rules: Rules;
}
/** What counts at one time. */
interface Sets {
  given: Built | undefined;
  learned: Built | undefined;
}

export type Excluding = Pick<Source, 'label' | 'setExceptions' | 'setDns' | 'excludedBy' | 'goOn'>;

export interface User {
  readonly counts: Counts;
  /** Does it now, or once the source has answered what it was asked. */
  whenIdle(work: () => void): void;
}
interface Using extends User {
  source: Excluding;
  sets: Sets;
  ended: boolean;
  busy: boolean;
  waiting: (() => void)[];
}

export class Users {
  readonly #addon: Pick<Addon, 'createExceptions'>;
  readonly #notice: (level: 'info', message: string) => void;
  readonly #users = new Map<Excluding, Using>();
  #sets: Sets = { given: undefined, learned: undefined };
  #dns = false;

  constructor(addon: Pick<Addon, 'createExceptions'>, notice: (level: 'info', message: string) => void) {
    this.#addon = addon;
    this.#notice = notice;
  }

  get toOpen(): { exceptions?: Exceptions; learned?: Exceptions; dns: boolean } {
    const { given, learned } = this.#sets;
    return { dns: this.#dns, ...(given && { exceptions: given.set }), ...(learned && { learned: learned.set }) };
  }

  /** It was opened with what `toOpen` said, in this turn of the event loop. */
  add(source: Excluding): User {
    const user: Using = {
      source,
      sets: this.#sets,
      counts: new Counts(),
      ended: false,
      busy: false,
      waiting: [],
      whenIdle: (work) => (user.busy ? void user.waiting.push(work) : work()),
    };
    this.#users.set(source, user);
    return user;
  }

  /** Whether they hand over packets of DNS. */
  set dns(dns: boolean) {
    if (dns === this.#dns) return;
    this.#dns = dns;
    for (const { source, ended } of this.#users.values()) if (!ended) source.setDns(dns);
  }

  /** Takes these from now on, in all of them. */
  give(rules: { given?: Rules; learned?: Rules }): void {
    this.#sets = {
      given: rules.given ? this.#build(rules.given) : this.#sets.given,
      learned: rules.learned ? this.#build(rules.learned) : this.#sets.learned,
    };
    for (const user of this.#users.values()) if (!user.busy && !user.ended) void this.#hand(user);
  }

  #build(rules: Rules): Built | undefined {
    if (rules.names.length === 0) return undefined;
    return { rules, set: this.#addon.createExceptions(rules.bytes, rules.names.length) };
  }

  /** Brings a source up to date. */
  async #hand(user: Using): Promise<void> {
    const { source, counts } = user;
    user.busy = true;
    while (user.sets !== this.#sets && !user.ended) {
      const [before, next] = [user.sets, this.#sets];
      try {
        const final = await source.setExceptions(next.given?.set, next.learned?.set);
        if (before.given && final.exceptions) counts.end(before.given.rules, final.exceptions);
        if (before.learned && final.learned) counts.end(before.learned.rules, final.learned);
        user.sets = next;
      } catch (e) {
        // Its end comes right behind.
        this.#notice('info', `could not change the exceptions of '${source.label}': ${reasonOf(e)}`);
        break;
      }
    }
    user.busy = false;
    for (const work of user.waiting.splice(0)) work();
  }

  /** Once this source has the sets that count now; or has ended. */
  whenIdle(source: Excluding, work: () => void): void {
    const user = this.#users.get(source);
    if (user) user.whenIdle(work);
    else work();
  }

  /** Takes over what was counted by now. */
  count(): void {
    for (const user of this.#users.values()) if (!user.ended) take(user);
  }
  /** It has ended, and is idle: its last numbers. */
  end(source: Excluding): void {
    const user = this.#users.get(source);
    if (!user || user.ended) return;
    take(user);
    user.ended = true;
  }

  get totals(): ReadonlyMap<string, Count>[] {
    return [...this.#users.values()].map((user) => user.counts.totals);
  }
}

function take({ source, busy, sets, counts }: Using): void {
  // Which sets the numbers are of is known when it has answered.
  if (busy) return;
  const now = source.excludedBy();
  if (sets.given) counts.take(sets.given.rules, now.exceptions);
  if (sets.learned) counts.take(sets.learned.rules, now.learned);
}
