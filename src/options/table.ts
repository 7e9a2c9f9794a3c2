/** What an option is. One table of these makes the parser, `-h`, `--help` and the README's list. */
import type { Address } from './units.ts';

interface Row {
  /** The long name, without dashes. */
  readonly name: string;
  /** One letter; only where tcpdump has the same with the same meaning. */
  readonly short?: string;
  /** Heading that it stands under. */
  readonly group: string;
  /** One sentence, for -h; lower case, no full stop. */
  readonly help: string;
  /** What --help adds to it: whole sentences. */
  readonly more?: string;
  /** Read when no flag gives it, the first that is set; of a repeatable option it holds several, with commas between. */
  readonly env?: string | readonly string[];
  /** What applies when nothing gives it, in words, where no fixed `default` does. */
  readonly defaultWords?: string;
}
interface Valued extends Row {
  /** What stands for the value in help. */
  readonly value: string;
  /** As somebody would type it. */
  readonly default?: string;
}
export interface FlagOption extends Row {
  readonly kind: 'flag';
}
export interface TextOption extends Valued {
  readonly kind: 'text';
  readonly repeatable?: true;
  /** Never shown in a message. */
  readonly secret?: true;
  /** An empty value means something (for example: no filter). */
  readonly mayBeEmpty?: true;
  /** The reason to refuse a value, if there is one. */
  readonly check?: (text: string) => string | undefined;
  /** Its variables are not ours alone: what they say is not checked here, but by whom needs it. */
  readonly ambient?: true;
}
export interface NumberOption extends Valued {
  readonly kind: 'number' | 'size' | 'rate' | 'duration';
  readonly min?: number;
  readonly max?: number;
  /** `never` is a value, too, and means Infinity. */
  readonly never?: true;
}
export interface AddressOption extends Valued {
  readonly kind: 'address';
  readonly defaultPort: number;
  readonly repeatable?: true;
  /** Port 0: the system picks a free one. */
  readonly anyPort?: true;
}
export interface ChoiceOption extends Valued {
  readonly kind: 'choice';
  readonly choices: readonly string[];
}
export type Option = FlagOption | TextOption | NumberOption | AddressOption | ChoiceOption;

/** A program or one of its commands. */
export interface Command<Options extends readonly Option[] = readonly Option[]> {
  /** As typed: "rcap-agent", "rcap-collector token new". */
  readonly name: string;
  /** What follows the name in the usage line. */
  readonly usage: string;
  /** One or two sentences. */
  readonly about: string;
  readonly options: Options;
  /** What words that are no options stand for, and how many there may be. */
  readonly words?: { readonly what: string; readonly most: number };
  /** Ends --help; lines are kept as they are. */
  readonly notes?: string;
}

type One<O> = O extends { kind: 'flag' }
  ? boolean
  : O extends { kind: 'number' | 'size' | 'rate' | 'duration' }
    ? number
    : O extends { kind: 'address' }
      ? Address
      : O extends { kind: 'choice'; choices: readonly (infer Choice)[] }
        ? Choice
        : string;
type Meaning<O> = O extends { repeatable: true }
  ? One<O>[]
  : O extends { default: string } | { kind: 'flag' }
    ? One<O>
    : One<O> | undefined;
/** As meant: each option's value in the unit that the program works with, by long name. */
export type Values<Options extends readonly Option[]> = {
  [O in Options[number] as O['name']]: Meaning<O>;
};

/** The environment variables of an option, the strongest first. */
export const variablesOf = (option: Option): readonly string[] => (option.env === undefined ? [] : [option.env].flat());

/** As typed, for messages: --interface NAME|NUMBER. */
export const spelled = (option: Option): string =>
  option.kind === 'flag' ? `--${option.name}` : `--${option.name} ${option.value}`;
