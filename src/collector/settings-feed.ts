/** Settings for one agent: told in the Welcome and when they change, sent a piece at a time, and what came of it. */
import { rcap } from '../wire/messages.js';
import { NO_SETTINGS, piecesOf, type Sealed } from '../wire/settings.ts';
import type { SettingsView } from './agents.ts';
import type { SettingsStateSaid } from './said.ts';

const { CollectorMessage } = rcap.v1;

export interface FeedOptions {
  /** As they are now. Throws an RcapError. */
  settings(): Sealed;
  /** `taken`: the kernel has it. */
  send(bytes: Uint8Array, taken: () => void): void;
  /** Nothing may be sent any more. */
  over(): boolean;
  /** `refused` is for a warning. */
  log(line: string, refused: boolean, fields: Record<string, unknown>): void;
}

/** As they are sent, of each document once: a thousand agents get the same. */
const messages = new WeakMap<Sealed, Uint8Array[]>();

function messagesOf(sealed: Sealed): Uint8Array[] {
  let all = messages.get(sealed);
  if (!all) {
    all = piecesOf(sealed).map((settings) => CollectorMessage.encodeDelimited({ settings }).finish());
    messages.set(sealed, all);
  }
  return all;
}

const hex = (digest: Uint8Array) => Buffer.from(digest).toString('hex');
/** So much of a digest is shown in a line. */
export const SHOWN_DIGEST = 12;
/** Longest part of an agent's reason that is logged, characters. */
const SHOWN_REASON = 300;

export class SettingsFeed {
  readonly #options: FeedOptions;
  /** Of what the agent runs by since an earlier connection, hex. */
  #before = '';
  #told: Sealed | undefined;
  #toldDigest = '';
  #state: SettingsView['state'] = 'none';
  #reason = '';
  /** What is still to be sent of the document, and whether the kernel has the piece before. */
  #rest: Uint8Array[] = [];
  #sending = false;

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  known(digest: string): void {
    this.#before = digest;
  }

  /** What the Welcome says. */
  begin(): Uint8Array {
    const now = this.#options.settings();
    this.#tell(now);
    // The Welcome itself says that there are none.
    if (this.#toldDigest === '') this.#state = 'none';
    else if (this.#toldDigest === this.#before) this.#state = 'kept';
    return now.digest;
  }

  /** After the Welcome. */
  follow(): void {
    if (this.#state === 'sent') this.#queue();
  }

  /** Called now and then: sends what has changed. */
  look(): void {
    const now = this.#now();
    if (!this.#told || now === this.#told) return;
    if (hex(now.digest) === this.#toldDigest) {
      this.#told = now;
      return;
    }
    this.#tell(now);
    this.#queue();
    if (this.#toldDigest === '') this.#state = 'none';
  }

  /** Where nobody knows by now what they are, the old ones stay. */
  #now(): Sealed {
    try {
      return this.#options.settings();
    } catch {
      return this.#told ?? NO_SETTINGS;
    }
  }

  #tell(sealed: Sealed): void {
    this.#told = sealed;
    this.#toldDigest = hex(sealed.digest);
    this.#state = 'sent';
    this.#reason = '';
  }

  #queue(): void {
    this.#rest = [...messagesOf(this.#told!)];
    this.#next();
  }

  /** Another one may wait only when the one before is on its way: who doesn't read must not fill our memory. */
  #next(): void {
    if (this.#sending || this.#options.over()) return;
    const piece = this.#rest.shift();
    if (!piece) return;
    this.#sending = true;
    this.#options.send(piece, () => {
      this.#sending = false;
      this.#next();
    });
  }

  /** Only the first answer to what it was told last counts; others may come late, or from a hostile agent. */
  answered({ digest, accepted, reason }: SettingsStateSaid): void {
    if (digest !== this.#toldDigest || this.#state !== 'sent') return;
    this.#state = accepted ? 'accepted' : 'refused';
    this.#reason = reason;
    const why = reason.replace(/\s+/g, ' ').slice(0, SHOWN_REASON).toWellFormed();
    const what = `${accepted ? 'took' : 'REFUSED'} settings ${digest.slice(0, SHOWN_DIGEST)}`;
    this.#options.log(why ? `${what}: ${why}` : what, !accepted, { settings: digest, accepted, reason });
  }

  get state(): SettingsView {
    return { digest: this.#toldDigest, state: this.#state, reason: this.#reason };
  }
}
