/** The collector's command line: its commands, their tables, and all that can be refused before anything is opened. */
import { resolve } from 'node:path';
import { usageError } from '../errors.ts';
import { fullHelp, shortHelp } from '../options/help.ts';
import { either, type Environment, load, type Meant } from '../options/load.ts';
import { nearest } from '../options/near.ts';
import { parse, type Typed } from '../options/parse.ts';
import { refuseHostName } from '../options/refuse.ts';
import type { Command, Option, Values } from '../options/table.ts';
import { type Address, MAX_TIMER_MS, parseAddress } from '../options/units.ts';
import { type Target, TARGETS } from './executables.ts';

const PLACES = 'Where';
const TLS = 'TLS';
const FILES = 'Files';
const LIMITS = 'Limits';
const TOKEN = 'The token';
const PACK = 'The agent';
const LINK = 'The link';
const GENERAL = 'General';

/** Of --http, unless told otherwise. */
export const HTTP_PORT = 8080;
/** Of --downloads, unless told otherwise. */
export const DOWNLOADS_PORT = 9443;

const OPTIONS = [
  {
    name: 'listen',
    kind: 'address',
    value: 'ADDR:PORT',
    defaultPort: 9000,
    anyPort: true,
    default: '0.0.0.0:9000',
    group: PLACES,
    help: 'where agents connect',
    more: 'Port 0 takes a free one and says which.',
  },
  {
    name: 'captures',
    kind: 'text',
    value: 'DIR',
    default: './captures',
    group: PLACES,
    help: 'the folder for capture files, which Arkime monitors',
  },
  {
    name: 'state',
    kind: 'text',
    value: 'DIR',
    default: './state',
    group: PLACES,
    help: "the folder for the collector's key, certificate and tokens",
  },
  {
    name: 'public',
    kind: 'text',
    value: 'DIR',
    default: './public',
    group: PLACES,
    help: 'the folder with what agents are to run by',
    more: 'exceptions.list, filter.txt and settings.json for all hosts, and in hosts/PATTERN/ for some. It need not exist. Who may write there says what agents capture.',
  },
  {
    name: 'http',
    kind: 'text',
    value: 'ADDR:PORT|none',
    default: `127.0.0.1:${HTTP_PORT}`,
    check: refuseHttp,
    group: PLACES,
    help: 'where GET /exceptions.list is served',
    more: 'In plain HTTP on a loopback address; on any other over HTTPS, to who shows a token. Port 0 takes a free one. Only a port that was given must be free.',
  },
  {
    name: 'tls-cert',
    kind: 'text',
    value: 'FILE',
    group: TLS,
    help: 'certificate chain (PEM)',
    defaultWords: 'made on the first start, in --state',
  },
  {
    name: 'tls-key',
    kind: 'text',
    value: 'FILE',
    group: TLS,
    help: "the certificate's private key (PEM)",
    defaultWords: 'made on the first start, in --state',
  },
  {
    name: 'rotate-bytes',
    kind: 'size',
    value: 'SIZE',
    min: 4096,
    default: '256M',
    group: FILES,
    help: 'publish a file and begin the next at this size',
  },
  {
    name: 'rotate-age',
    kind: 'duration',
    value: 'TIME',
    min: 100,
    max: MAX_TIMER_MS,
    default: '60s',
    group: FILES,
    help: 'publish a file this long after it was begun',
  },
  {
    name: 'rotate-idle',
    kind: 'duration',
    value: 'TIME',
    min: 100,
    max: MAX_TIMER_MS,
    default: '10s',
    group: FILES,
    help: 'publish a file when no packet came for this long',
  },
  {
    name: 'timestamps',
    kind: 'choice',
    value: 'nano|micro',
    choices: ['nano', 'micro'],
    default: 'nano',
    group: FILES,
    help: 'resolution of the timestamps in the files',
  },
  {
    name: 'keep-bytes',
    kind: 'size',
    value: 'SIZE',
    min: 1,
    group: FILES,
    help: 'delete the oldest published files beyond this size in all',
    more: 'With their manifests, looked for every 10 seconds; each is recorded in deleted.jsonl in --state first.',
    defaultWords: 'everything is kept',
  },
  {
    name: 'keep-age',
    kind: 'duration',
    value: 'TIME',
    min: 1,
    group: FILES,
    help: 'delete files published longer ago than this',
    more: 'With their manifests, looked for every 10 seconds; each is recorded in deleted.jsonl in --state first.',
    defaultWords: 'everything is kept',
  },
  {
    name: 'sync-bytes',
    kind: 'size',
    value: 'SIZE',
    min: 4096,
    max: 2 ** 30,
    default: '4M',
    group: LIMITS,
    help: 'write to disk and acknowledge after this many bytes',
  },
  {
    name: 'sync-time',
    kind: 'duration',
    value: 'TIME',
    max: 10_000,
    default: '100ms',
    group: LIMITS,
    help: 'or this long after the last time; what comes meanwhile is gathered',
  },
  {
    name: 'min-free',
    kind: 'size',
    value: 'SIZE',
    default: '1G',
    group: LIMITS,
    help: "room to keep free on the captures folder's disk",
    more: 'Below it the collector takes nothing more and tells the agents; it goes on when there is room again.',
  },
  {
    name: 'max-connections',
    kind: 'number',
    value: 'N',
    min: 1,
    max: 65536,
    default: '1024',
    group: LIMITS,
    help: 'connections at a time; further ones are refused',
  },
  {
    name: 'downloads',
    kind: 'address',
    value: 'ADDR:PORT',
    defaultPort: DOWNLOADS_PORT,
    anyPort: true,
    default: `0.0.0.0:${DOWNLOADS_PORT}`,
    group: PLACES,
    help: 'where links of `pack --link` are served',
    more: 'Over HTTPS. The port is open only while there are links, and an hour after.',
  },
  {
    name: 'target',
    kind: 'choice',
    value: 'SYSTEM',
    choices: TARGETS,
    group: PACK,
    help: 'the system it is for',
    more: `One of ${TARGETS.join(', ')}.`,
  },
  {
    name: 'server',
    kind: 'address',
    value: 'HOST:PORT',
    defaultPort: 9000,
    repeatable: true,
    group: PACK,
    help: 'where it finds this collector',
    more: 'As the hosts reach it.',
  },
  {
    name: 'agents',
    kind: 'text',
    value: 'DIR',
    group: PACK,
    help: 'the folder with the agents of all systems',
    more: 'As `npm run package` makes them. Where SHA256SUMS lies beside them, they must agree with it.',
    defaultWords: "the folder of the collector's executable",
  },
  {
    name: 'output',
    short: 'o',
    kind: 'text',
    value: 'FILE',
    group: PACK,
    help: 'what to write',
    defaultWords: './rcap-agent, or ./rcap-agent.exe for Windows',
  },
  { name: 'force', kind: 'flag', group: PACK, help: 'replace a file that is there' },
  {
    name: 'link',
    kind: 'flag',
    group: LINK,
    help: 'print a link that is good once, and the line to paste on the host',
    more: 'Instead of writing a file. The collector that runs with this --state serves it, see --downloads there. It ends with its token, too.',
  },
  {
    name: 'link-expires',
    kind: 'duration',
    value: 'TIME',
    min: 1000,
    default: '1h',
    group: LINK,
    help: 'good for this long',
  },
  {
    name: 'link-address',
    kind: 'address',
    value: 'HOST:PORT',
    defaultPort: DOWNLOADS_PORT,
    group: LINK,
    help: 'where hosts reach --downloads',
    defaultWords: 'the host of the first --server, port 9443',
  },
  {
    name: 'token',
    kind: 'text',
    value: 'TEXT',
    secret: true,
    group: TOKEN,
    help: 'take this one instead of making one',
    more: 'Others on this machine can see it in the process list.',
  },
  { name: 'label', kind: 'text', value: 'TEXT', group: TOKEN, help: 'what `token list` shows it as' },
  {
    name: 'host',
    kind: 'text',
    value: 'NAME',
    check: refuseHostName,
    group: TOKEN,
    help: 'good for this host name only',
    more: 'In whatever case the host writes it first. `*` for any.',
    defaultWords: 'the first host that uses it keeps it',
  },
  {
    name: 'expires',
    kind: 'duration',
    value: 'TIME',
    min: 1,
    group: TOKEN,
    help: 'good for this long',
    defaultWords: 'does not expire',
  },
  {
    name: 'uses',
    kind: 'number',
    value: 'N',
    min: 1,
    group: TOKEN,
    help: 'good for this many runs',
    defaultWords: 'any number',
  },
  {
    name: 'settings',
    kind: 'text',
    value: 'FILE',
    group: GENERAL,
    help: 'take options from this file',
    more: 'A JSON object with the long names: {"captures": "/data/captures", "rotate-age": "5m"}.',
  },
  { name: 'verbose', short: 'v', kind: 'flag', group: GENERAL, help: 'say more' },
  { name: 'quiet', short: 'q', kind: 'flag', group: GENERAL, help: 'say nothing but warnings and errors' },
  { name: 'json', kind: 'flag', group: GENERAL, help: 'output for machines: one JSON object a line' },
  { name: 'version', short: 'V', kind: 'flag', group: GENERAL, help: 'print the version and exit' },
  {
    name: 'help',
    short: 'h',
    kind: 'flag',
    group: GENERAL,
    help: 'print this list (-h) or all there is to say (--help)',
  },
] as const satisfies readonly Option[];

const ANYWHERE = ['state', 'settings', 'json', 'version', 'help'];
const TOKEN_NEW = ['label', 'host', 'expires', 'uses'];
const PACK_ONLY = ['target', 'server', 'agents', 'output', 'force', 'link', 'link-expires', 'link-address', 'token'];
const only = (names: readonly string[]) => OPTIONS.filter((option) => names.includes(option.name));

const SERVE: Command = {
  name: 'rcap-collector',
  usage: '[serve] [options]',
  about: 'Takes packets from rcap-agent over TLS and writes them into pcap files that Arkime reads.',
  options: OPTIONS.filter((option) => ![...TOKEN_NEW, ...PACK_ONLY].includes(option.name)),
  notes: `Commands:
  rcap-collector token new [--label TEXT] [--host NAME] [--expires TIME] [--uses N]
  rcap-collector token list
  rcap-collector token revoke ID
  rcap-collector agents         list the agents that are connected
  rcap-collector stop HOST|PATTERN
                                ask agents to end their captures
  rcap-collector settings [HOST]
                                check the public folder, and show what a host gets
  rcap-collector pin            print the pin of the collector's key
  rcap-collector pack --target SYSTEM --server HOST:PORT [-- default flags]
                                write an agent that has its settings inside
All of them take --state DIR.

Exit codes: 0 done; 1 failed; 2 wrong usage.`,
};
/** By the words that call them. The first one needs none. */
export const COLLECTOR_COMMANDS = {
  serve: SERVE,
  'token new': {
    name: 'rcap-collector token new',
    usage: '[options]',
    about: 'Makes a credential for an agent and prints it, alone, on standard output. It is not shown again.',
    options: only([...TOKEN_NEW, ...ANYWHERE]),
  },
  'token list': {
    name: 'rcap-collector token list',
    usage: '[options]',
    about: 'Lists the credentials: ID, label, host, expiry, uses. Never the credential itself.',
    options: only(ANYWHERE),
  },
  'token revoke': {
    name: 'rcap-collector token revoke',
    usage: 'ID [options]',
    about: 'Ends a credential. The ID is what `token list` shows.',
    options: only(ANYWHERE),
  },
  agents: {
    name: 'rcap-collector agents',
    usage: '[options]',
    about:
      'Lists the agents that are connected with the collector that runs with this --state: host, peer, since when, open captures, packets on this connection, the share that their exceptions leave out, and what they made of their settings.',
    options: only(ANYWHERE),
  },
  stop: {
    name: 'rcap-collector stop',
    usage: 'HOST|PATTERN [options]',
    about:
      "Asks the connected agents of a host, or of those that match a pattern ('web-*'), to end their captures as their own users would. Names are as in the captures folder, in any case.",
    options: only(ANYWHERE),
  },
  settings: {
    name: 'rcap-collector settings',
    usage: '[HOST] [options]',
    about:
      'Checks the public folder as a start of the collector does, and shows what a host gets from it; with a running collector also what its agents made of that.',
    options: only(['public', ...ANYWHERE]),
  },
  pin: {
    name: 'rcap-collector pin',
    usage: '[options]',
    about: "Prints the pin of the collector's key, for an agent's --pin.",
    options: only(ANYWHERE),
  },
  pack: {
    name: 'rcap-collector pack',
    usage: '--target SYSTEM --server HOST:PORT [options] [-- flags of the agent ...]',
    about:
      "Writes an agent that knows where to send, whom to trust and who it is: copied to a host it runs with nothing to type. Its settings are signed with the collector's key. What follows -- are default flags and filter words for it. Flags given on the host beat all of these.",
    options: only([...PACK_ONLY, ...TOKEN_NEW, ...ANYWHERE, 'tls-cert', 'tls-key']),
    notes: `Examples:
  rcap-collector pack --target win-x64 --server ir.corp --host pc17 --expires 7d
  rcap-collector pack --target linux-x64 --server ir.corp --link -- --count 100000 not port 22`,
  },
} satisfies Record<string, Command>;
type CommandName = keyof typeof COLLECTOR_COMMANDS;
/** Behind the command's own words. */
const TAKES_WORD: CommandName[] = ['token revoke', 'stop', 'settings'];

/** All options at once, since they may stand before the command's words as well as after. */
const ALL = { ...SERVE, options: OPTIONS, words: { what: 'command', most: 3 } } satisfies Command<typeof OPTIONS>;

export interface ServeFlags {
  command: 'serve';
  listen: Address;
  captures: string;
  state: string;
  /** File names; left out: the collector's own. */
  tls: { cert: string; key: string } | undefined;
  rotateBytes: number;
  rotateAgeMs: number;
  rotateIdleMs: number;
  timestamps: 'nano' | 'micro';
  /** Undefined: without end. */
  keepBytes: number | undefined;
  keepAgeMs: number | undefined;
  syncBytes: number;
  syncMs: number;
  minFreeBytes: number;
  maxConnections: number;
  downloads: Address;
  publicFolder: string;
  /** Somebody chose it: not to find it is worth a word. */
  publicGiven: boolean;
  /** Undefined: none. */
  http: Address | undefined;
  /** Somebody chose it. */
  httpGiven: boolean;
  verbose: boolean;
  quiet: boolean;
  json: boolean;
}
export interface TokenNewFlags {
  command: 'token new';
  state: string;
  json: boolean;
  label: string | undefined;
  host: string | undefined;
  expiresMs: number | undefined;
  uses: number | undefined;
}
export interface PackFlags {
  command: 'pack';
  state: string;
  json: boolean;
  tls: { cert: string; key: string } | undefined;
  target: Target;
  /** At least one. */
  servers: Address[];
  /** Left out: beside the executable. */
  agents: string | undefined;
  output: string | undefined;
  force: boolean;
  link: boolean;
  linkExpiresMs: number;
  linkAddress: Address | undefined;
  /** Left out: one is made of the next four. */
  token: string | undefined;
  label: string | undefined;
  host: string | undefined;
  expiresMs: number | undefined;
  uses: number | undefined;
  /** The agent's default flags and filter words, as typed. */
  defaults: string[];
}
export type CollectorCommand =
  | PackFlags
  | { command: 'help'; text: string }
  | { command: 'version' }
  | ServeFlags
  | TokenNewFlags
  | { command: 'token list'; state: string; json: boolean }
  | { command: 'token revoke'; state: string; json: boolean; id: string }
  | { command: 'agents'; state: string; json: boolean }
  | { command: 'stop'; state: string; json: boolean; host: string }
  | {
      command: 'settings';
      state: string;
      json: boolean;
      publicFolder: string;
      publicGiven: boolean;
      host: string | undefined;
    }
  | { command: 'pin'; state: string; json: boolean };

/** `argv` without the program's name. */
export function readCollectorFlags(argv: readonly string[], environment: Environment): CollectorCommand {
  const [own, defaults] = splitDefaults(argv);
  const typed = parse(ALL, own);
  const { name, rest } = commandOf(typed);
  const command: Command = COLLECTOR_COMMANDS[name];
  if (typed.given.has('help'))
    return { command: 'help', text: typed.short.has('help') ? shortHelp(command) : fullHelp(command) };
  if (typed.given.has('version')) return { command: 'version' };
  checkBelongs(command, typed);
  const extra = rest[TAKES_WORD.includes(name) ? 1 : 0];
  if (extra !== undefined)
    throw usageError(`could not use '${extra}': ${command.name} takes no such word here`, `${command.name} --help`);
  const meant = load(ALL, typed, environment);
  either(meant, 'verbose', 'quiet');
  const { values } = meant;
  const { state, json } = values;
  switch (name) {
    case 'serve':
      return serveFlags(meant);
    case 'token new':
      return {
        command: name,
        state,
        json,
        label: values.label,
        host: values.host,
        expiresMs: values.expires,
        uses: values.uses,
      };
    case 'token revoke': {
      const id = rest[0];
      if (!id)
        throw usageError('could not revoke: no ID was given', 'rcap-collector token revoke ID (token list shows them)');
      return { command: name, state, json, id };
    }
    case 'stop': {
      const host = rest[0];
      if (!host) throw usageError('could not stop: no host was given', 'rcap-collector stop HOST (agents lists them)');
      return { command: name, state, json, host };
    }
    case 'settings':
      return {
        command: name,
        state,
        json,
        publicFolder: values.public,
        publicGiven: meant.origins.get('public') !== 'default',
        host: rest[0],
      };
    case 'token list':
    case 'agents':
    case 'pin':
      return { command: name, state, json };
    case 'pack':
      return packFlags(meant, defaults);
  }
}

/** What is behind `--` is the agent's, but for the commands that have none: there it is words like others. */
function splitDefaults(argv: readonly string[]): [own: readonly string[], defaults: string[]] {
  const at = argv.indexOf('--');
  return at < 0 || !argv.slice(0, at).includes('pack') ? [argv, []] : [argv.slice(0, at), argv.slice(at + 1)];
}

function commandOf({ words, given }: Typed): { name: CommandName; rest: string[] } {
  const [first, second, ...rest] = words;
  if (first === undefined) return { name: 'serve', rest: [] };
  const name = first === 'token' ? `token ${second ?? ''}` : first;
  if (Object.hasOwn(COLLECTOR_COMMANDS, name))
    return { name: name as CommandName, rest: first === 'token' ? rest : words.slice(1) };
  if (name === 'token ' && given.has('help')) return { name: 'serve', rest: [] };
  if (name === 'token ')
    throw usageError("could not use 'token' alone", 'rcap-collector token new, token list or token revoke ID');
  const near = nearest(name, Object.keys(COLLECTOR_COMMANDS));
  throw usageError(
    `could not use '${name}': there is no such command`,
    near ? `did you mean ${near}?` : 'rcap-collector --help lists them',
  );
}

function checkBelongs(command: Command, typed: Typed): void {
  const foreign = [...typed.given.keys()].find((name) => !command.options.some((option) => option.name === name));
  if (foreign !== undefined)
    throw usageError(`could not use '--${foreign}' with '${command.name}'`, `${command.name} --help`);
}

function tlsFiles({ 'tls-cert': cert, 'tls-key': key }: Values<typeof OPTIONS>): ServeFlags['tls'] {
  if ((cert === undefined) !== (key === undefined)) {
    const [has, lacks] = cert === undefined ? ['key', 'cert'] : ['cert', 'key'];
    throw usageError(`could not use '--tls-${has}' alone`, `add --tls-${lacks} FILE`);
  }
  return cert === undefined || key === undefined ? undefined : { cert, key };
}

/** Each makes no sense beside the other. */
const PACK_EITHER = [...TOKEN_NEW.map((name) => ['token', name]), ['link', 'output'], ['link', 'force']] as [string, string][]; // prettier-ignore

function packFlags({ values, origins }: Meant<typeof OPTIONS>, defaults: string[]): PackFlags {
  const both = PACK_EITHER.find((pair) => pair.every((name) => origins.get(name) === 'flag'));
  if (both) throw usageError(`could not use '--${both[0]}' and '--${both[1]}' together`, 'leave out one of them');
  const alone = ['link-expires', 'link-address'].find((name) => origins.get(name) === 'flag');
  if (alone && !values.link) throw usageError(`could not use '--${alone}' without '--link'`, 'add --link');
  const { target } = values;
  if (target === undefined) throw usageError('could not pack: no --target was given', `--target ${TARGETS.join('|')}`);
  if (values.server.length === 0) {
    throw usageError('could not pack: no --server was given', '--server HOST:PORT, as the hosts reach this collector');
  }
  return {
    command: 'pack',
    state: values.state,
    json: values.json,
    tls: tlsFiles(values),
    target,
    servers: values.server,
    agents: values.agents,
    output: values.output,
    force: values.force,
    link: values.link,
    linkExpiresMs: values['link-expires'],
    linkAddress: values['link-address'],
    token: values.token,
    label: values.label,
    host: values.host,
    expiresMs: values.expires,
    uses: values.uses,
    defaults,
  };
}

const contains = (outer: string, inner: string): boolean => `${resolve(inner)}/`.startsWith(`${resolve(outer)}/`);

/** Of `--http`; undefined for none. Throws a plain Error. */
function httpAddress(text: string): Address | undefined {
  return text === 'none' ? undefined : parseAddress(text, HTTP_PORT);
}

function refuseHttp(text: string): string | undefined {
  try {
    httpAddress(text);
    return undefined;
  } catch (e) {
    return (e as Error).message;
  }
}

function serveFlags({ values, origins }: Meant<typeof OPTIONS>): ServeFlags {
  // A host may be called 'state', and whoever reads the captures must not find the key among them.
  if (contains(values.captures, values.state)) {
    throw usageError(
      `could not use state folder '${values.state}': it is in the captures folder`,
      'choose another with --state DIR',
    );
  }
  // What agents run by is no place for what they send.
  if (contains(values.captures, values.public) || contains(values.public, values.captures)) {
    throw usageError(
      `could not use public folder '${values.public}': it and the captures folder lie in each other`,
      'choose another with --public DIR',
    );
  }
  return {
    command: 'serve',
    listen: values.listen,
    captures: values.captures,
    state: values.state,
    tls: tlsFiles(values),
    rotateBytes: values['rotate-bytes'],
    rotateAgeMs: values['rotate-age'],
    rotateIdleMs: values['rotate-idle'],
    timestamps: values.timestamps,
    keepBytes: values['keep-bytes'],
    keepAgeMs: values['keep-age'],
    syncBytes: values['sync-bytes'],
    syncMs: values['sync-time'],
    minFreeBytes: values['min-free'],
    maxConnections: values['max-connections'],
    downloads: values.downloads,
    publicFolder: values.public,
    publicGiven: origins.get('public') !== 'default',
    http: httpAddress(values.http),
    httpGiven: origins.get('http') !== 'default',
    verbose: values.verbose,
    quiet: values.quiet,
    json: values.json,
  };
}
