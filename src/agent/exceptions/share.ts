/** How much of what comes the exceptions leave out: said when it is more than anybody will have meant. */
import { type Ledger, plural } from '../../ledger.ts';

/** Of the packets that were received. */
const TOO_MUCH = 1 / 2;
/** Fewer say nothing. */
const ENOUGH = 1000;

export const shareOfAll = ({ excluded, received }: Ledger): number => (received === 0 ? 0 : excluded / received);

/** `12.5 %` */
export const shareText = (l: Ledger): string => `${Number((shareOfAll(l) * 100).toFixed(1))} %`;

export class Share {
  readonly #warn: (message: string, hint: string) => void;
  #warned = false;

  constructor(warn: (message: string, hint: string) => void) {
    this.#warn = warn;
  }

  look(l: Ledger): void {
    if (this.#warned || l.received < ENOUGH || shareOfAll(l) <= TOO_MUCH) return;
    this.#warned = true;
    this.#warn(
      `the exceptions leave out ${shareText(l)} of what is received (${plural(l.excluded, 'so far')})`,
      'the closing report names the entries that most was left out for',
    );
  }
}
