/**
 * The agent's command line: its table, and all that can be refused before anything is opened. Not in agent/, since the
 * collector reads it as well: what it packs into an agent must be what that agent takes.
 */
import { RcapError, usageError } from '../errors.ts';
import { fullHelp, shortHelp } from './help.ts';
import { asStrong, either, type Environment, forget, load, type Meant, NOT_IN_FILE, type Settings } from './load.ts';
import { parse, type Typed } from './parse.ts';
import { LOOPBACK, refuseProxy } from './proxy.ts';
import { refuseException, refuseHostName, refusePin, refuseSource } from './refuse.ts';
import { showSettings } from './show.ts';
import { type Command, type Option, variablesOf } from './table.ts';
import { type Address, formatAddress, MAX_TIMER_MS } from './units.ts';

const CAPTURE = 'What to capture';
const STOP = 'When to stop (what comes first)';
const COLLECTOR = 'Where to send it';
const SPOOL = 'What the collector has not acknowledged yet';
const GENERAL = 'General';

const OPTIONS = [
  {
    name: 'interface',
    short: 'i',
    kind: 'text',
    value: 'NAME|NUMBER',
    repeatable: true,
    group: CAPTURE,
    help: 'capture on this interface',
    more: "Its name, its number in -D's list, its friendly name, or `any`.",
    defaultWords: 'the one that routes to the server',
  },
  {
    name: 'list-interfaces',
    short: 'D',
    kind: 'flag',
    group: CAPTURE,
    help: 'list the interfaces and exit',
    more: 'Number, name, friendly name, addresses, state; with --json an array.',
  },
  {
    name: 'read',
    short: 'r',
    kind: 'text',
    value: 'FILE',
    group: CAPTURE,
    help: 'send a capture file instead of capturing',
    more: 'pcap or pcapng; `-` is standard input.',
  },
  {
    name: 'write',
    short: 'w',
    kind: 'text',
    value: 'FILE',
    group: CAPTURE,
    help: 'write classic pcap locally instead of sending',
    more: '`-` is standard output.',
  },
  {
    name: 'filter',
    short: 'f',
    kind: 'text',
    value: 'TEXT',
    mayBeEmpty: true,
    group: CAPTURE,
    help: 'capture only what this BPF text matches',
    more: "The language of tcpdump ('man pcap-filter'). Words at the end of the command line mean the same. Our own connection is always left out.",
    defaultWords: 'everything',
  },
  {
    name: 'filter-file',
    kind: 'text',
    value: 'FILE',
    group: CAPTURE,
    help: 'take the filter from this file',
    more: 'BPF text over as many lines as you like; lines that begin with # are comments.',
  },
  {
    name: 'dump-filter',
    short: 'd',
    kind: 'flag',
    group: CAPTURE,
    help: 'print the compiled filter as tcpdump -d does, and exit',
    more: 'For the interface of -i or the file of -r, else for Ethernet. `rcap-agent check` says what else will be done.',
  },
  {
    name: 'except',
    kind: 'text',
    value: 'ENTRY',
    repeatable: true,
    check: refuseException,
    group: CAPTURE,
    help: 'leave out what comes from or goes to this',
    more: 'An address, a network (192.0.2.0/24), a domain (example.com: exactly that name) or all names below one (*.example.com). What would blind the capture is refused: README.md says what.',
  },
  {
    name: 'exceptions',
    kind: 'text',
    value: 'FILE',
    repeatable: true,
    group: CAPTURE,
    help: 'leave out what this list names',
    more: "One entry a line, as for --except; `#` begins a comment. They add to each other, to --except and to the collector's.",
  },
  {
    name: 'exceptions-strict',
    kind: 'flag',
    group: CAPTURE,
    help: "don't learn the addresses of domains from DNS answers in the capture",
    more: 'Then only those count that this host looks up itself, and names below a domain have none.',
  },
  {
    name: 'snaplen',
    short: 's',
    kind: 'number',
    value: 'BYTES',
    min: 1,
    max: 262144,
    default: '262144',
    group: CAPTURE,
    help: 'keep this many bytes of each packet',
    more: 'Arkime stops on cut packets unless readTruncatedPackets=true is in its configuration.',
  },
  {
    name: 'no-promiscuous',
    short: 'p',
    kind: 'flag',
    group: CAPTURE,
    help: 'leave the interface in its ordinary mode',
  },
  {
    name: 'buffer',
    short: 'B',
    kind: 'size',
    value: 'SIZE',
    min: 2 ** 16,
    max: 2 ** 31 - 1,
    default: '32M',
    group: CAPTURE,
    help: "size of the kernel's buffer, for each interface",
  },
  {
    name: 'count',
    short: 'c',
    kind: 'number',
    value: 'N',
    min: 1,
    group: STOP,
    help: 'stop after exactly this many packets',
    more: 'Of all interfaces together.',
  },
  {
    name: 'bytes',
    kind: 'size',
    value: 'SIZE',
    min: 1,
    group: STOP,
    help: 'stop with the packet that reaches this many bytes',
    more: 'Captured lengths, of all interfaces together.',
  },
  {
    name: 'duration',
    kind: 'duration',
    value: 'TIME',
    min: 1,
    max: MAX_TIMER_MS,
    group: STOP,
    help: 'stop after this time',
  },
  {
    name: 'server',
    kind: 'address',
    value: 'HOST:PORT',
    defaultPort: 9000,
    repeatable: true,
    env: 'RCAP_SERVER',
    group: COLLECTOR,
    help: 'the rcap-collector to send to',
    more: 'Port 9000 if left out; an IPv6 address in brackets. Of several, the first that answers is taken, and after it is lost the first that answers then.',
  },
  {
    name: 'pin',
    kind: 'text',
    value: 'sha256/BASE64',
    check: refusePin,
    group: COLLECTOR,
    help: 'trust exactly the collector with this key',
    more: '`rcap-collector pin` prints it.',
  },
  {
    name: 'ca',
    kind: 'text',
    value: 'FILE',
    group: COLLECTOR,
    help: 'trust collectors whose certificate one of these CAs signed (PEM)',
    defaultWords: "without --pin and --ca, the system's CAs",
  },
  {
    name: 'token',
    kind: 'text',
    value: 'TEXT',
    secret: true,
    env: 'RCAP_TOKEN',
    group: COLLECTOR,
    help: 'the credential that `rcap-collector token new` printed',
    more: 'Others on this host can see it in the process list: prefer the variable or --token-file.',
  },
  {
    name: 'token-file',
    kind: 'text',
    value: 'FILE',
    group: COLLECTOR,
    help: 'a file that holds the credential',
  },
  {
    name: 'host-name',
    kind: 'text',
    value: 'NAME',
    check: refuseHostName,
    group: COLLECTOR,
    help: "what the collector's files are named after",
    defaultWords: "the system's host name",
  },
  {
    name: 'proxy',
    kind: 'text',
    value: 'URL',
    secret: true,
    check: refuseProxy,
    ambient: true,
    env: ['https_proxy', 'HTTPS_PROXY'],
    group: COLLECTOR,
    help: 'connect through this HTTP proxy',
    more: 'http://[USER:PASSWORD@]HOST:PORT, or https:// for TLS to the proxy as well; `none` for none. The proxy looks the name in --server up. Others on this host can see a password in the process list: prefer the variable or --settings.',
  },
  {
    name: 'no-proxy',
    kind: 'text',
    value: 'LIST',
    repeatable: true,
    env: ['no_proxy', 'NO_PROXY'],
    group: COLLECTOR,
    help: 'servers to connect to without the proxy',
    more: 'Domains (with all below them), addresses, networks (10.0.0.0/8), with a port or without, with commas between; `*` for all. Counts for a proxy from an equal or weaker place: not from the environment for a --proxy on the command line.',
    defaultWords: 'this machine itself, if the proxy comes from the environment',
  },
  {
    name: 'source',
    kind: 'text',
    value: 'ADDRESS',
    check: refuseSource,
    group: COLLECTOR,
    help: 'connect from this address of this host',
    more: 'To servers, or the proxy, of the same family (IPv4 or IPv6). The default interface follows it.',
    defaultWords: 'the system chooses',
  },
  {
    name: 'give-up',
    kind: 'duration',
    value: 'TIME|never',
    min: 1,
    max: MAX_TIMER_MS,
    never: true,
    group: COLLECTOR,
    help: 'end when there is no connection for this time',
    more: 'It captures from the start, connected or not. What is not acknowledged by then is lost, and counted. Only a connection that got something acknowledged, or lasted 10 s, makes it start anew.',
    defaultWords:
      'each server is tried once before anything is captured; after the first connection, never. A service has never',
  },
  {
    name: 'stop-within',
    kind: 'duration',
    value: 'TIME',
    min: 1,
    max: MAX_TIMER_MS,
    group: COLLECTOR,
    help: 'after a signal, deliver what is captured for this long at most',
    more: 'Also when no interface is left. What is not acknowledged by then is lost, and counted.',
    defaultWords: 'until all is delivered, or a second signal; a service has 30s',
  },
  {
    name: 'max-rate',
    kind: 'rate',
    value: 'SIZE/s',
    min: 4096,
    max: 2 ** 40,
    group: COLLECTOR,
    help: 'send at most this many bytes a second',
    more: '10M/s, or 10M. Evenly: never more than 100 ms worth at once (or 4096 bytes, if that is more). TLS and TCP add a few percent.',
    defaultWords: 'without limit',
  },
  {
    name: 'spool',
    kind: 'size',
    value: 'SIZE',
    min: 2 ** 20,
    max: 2 ** 36,
    default: '64M',
    group: SPOOL,
    help: 'memory for it',
  },
  {
    name: 'spool-dir',
    kind: 'text',
    value: 'DIR',
    group: SPOOL,
    help: 'a folder for what memory cannot hold',
    more: 'Made if it is missing; only its owner may have access (where that is root, so do the users that its agents become). Packets lie there encrypted, with a key that is in memory only, in files that have no name: the folder looks empty, and whatever ends the agent, nothing is left.',
    defaultWords: 'nothing is written on this host',
  },
  {
    name: 'spool-disk',
    kind: 'size',
    value: 'SIZE',
    min: 2 ** 24,
    max: 2 ** 44,
    default: '1G',
    group: SPOOL,
    help: 'how much to keep in that folder at most',
  },
  {
    name: 'spool-full',
    kind: 'choice',
    value: 'wait|drop',
    choices: ['wait', 'drop'],
    group: SPOOL,
    help: 'when all that is full, wait or drop the oldest',
    more: 'While it waits the kernel drops what its buffer cannot hold. Either way the loss is counted.',
    defaultWords: 'drop for a live capture, wait for a file',
  },
  {
    name: 'settings',
    kind: 'text',
    value: 'FILE',
    group: GENERAL,
    help: 'take options from this file',
    more: 'A JSON object with the long names: {"server": "ir.corp:9000", "interface": ["eth0", "eth1"]}.',
  },
  {
    name: 'show-settings',
    kind: 'flag',
    group: GENERAL,
    help: 'print each option, its value and where it comes from, and exit',
    more: 'Flag, environment, file, stamp (what `rcap-collector pack` put into this executable) or default. With --json an array. Secrets are not shown.',
  },
  {
    name: 'footprint',
    kind: 'flag',
    group: GENERAL,
    help: 'say at the end what was touched on this host',
    more: 'Files, sockets, connections, and the privileges before and after. With --json one record.',
  },
  { name: 'verbose', short: 'v', kind: 'flag', group: GENERAL, help: 'say more' },
  { name: 'quiet', short: 'q', kind: 'flag', group: GENERAL, help: 'say nothing but warnings and errors' },
  { name: 'json', kind: 'flag', group: GENERAL, help: 'messages as one JSON object a line, for machines' },
  { name: 'version', short: 'V', kind: 'flag', group: GENERAL, help: 'print the version and exit' },
  {
    name: 'help',
    short: 'h',
    kind: 'flag',
    group: GENERAL,
    help: 'print this list (-h) or all there is to say (--help)',
  },
] as const satisfies readonly Option[];

export const AGENT = {
  name: 'rcap-agent',
  usage: '[options] [filter words ...]',
  about:
    'Captures packets and sends them over TLS to rcap-collector, which writes pcap files that Arkime reads. Leaves nothing on this host unless told to.',
  options: OPTIONS,
  words: { what: 'filter', most: Infinity },
  notes: `Examples:
  rcap-agent --server ir.corp:9000 --pin sha256/... --token-file token --count 100000
  rcap-agent --server ir.corp -i eth0 -i eth1 --duration 10m not port 22
  rcap-agent -D
  rcap-agent check --server ir.corp:9000 -i eth0 not port 22
  rcap-agent service --help

An agent that 'rcap-collector pack' made has settings inside: flags and a settings file beat them, the
environment does not.

Exit codes: 0 done, nothing lost; 1 failed; 2 wrong usage; 3 ended, but packets were lost, or --give-up
ended it with packets captured (the numbers are printed).`,
} as const satisfies Command<typeof OPTIONS>;

export const CHECK = {
  ...AGENT,
  name: 'rcap-agent check',
  about:
    'Says what an agent with these options would do, without capturing or connecting: the filter as it will run, what each file holds, and what would be refused. What the collector adds to it is not known here.',
  notes: `Example:
  rcap-agent check --server 192.0.2.7:9000 -i eth0 --filter-file filter.txt

Exit codes: 0 all of it can be done; 2 something can not.`,
} as const satisfies Command<typeof OPTIONS>;

export interface AgentFlags {
  command: 'run';
  /** As typed: names, numbers or friendly names; empty for the default. */
  interfaces: string[];
  listInterfaces: boolean;
  read: string | undefined;
  write: string | undefined;
  /** '' for everything. */
  filter: string;
  /** Holds it, if one was given. */
  filterFile: string | undefined;
  dumpFilter: boolean;
  /** Entries, and files that hold more; each is an entry. */
  except: readonly string[];
  exceptions: readonly string[];
  exceptionsStrict: boolean;
  snaplen: number;
  promiscuous: boolean;
  bufferBytes: number;
  count: number | undefined;
  bytes: number | undefined;
  durationMs: number | undefined;
  /** At least one whenever something is to be sent. */
  servers: Address[];
  pin: string | undefined;
  ca: string | undefined;
  token: string | undefined;
  tokenFile: string | undefined;
  hostName: string | undefined;
  /** As given, and with a password maybe; checked. */
  proxy: string | undefined;
  /** For whom that counts not. */
  noProxy: readonly string[];
  /** An IPv4 or IPv6 address. */
  source: string | undefined;
  giveUpMs: number | undefined;
  stopWithinMs: number | undefined;
  /** Bytes a second. */
  maxRate: number | undefined;
  spoolBytes: number;
  spoolDir: string | undefined;
  spoolDiskBytes: number;
  spoolFull: 'wait' | 'drop' | undefined;
  footprint: boolean;
  verbose: boolean;
  quiet: boolean;
  json: boolean;
}
export type AgentCommand =
  { command: 'help'; text: string } | { command: 'show-settings'; text: string } | { command: 'version' } | AgentFlags;

/** What is done with the options; each of them may be given for all of these. */
export type Purpose = 'run' | 'check';

/** `argv` without the program's name; `stamp` reads what is packed into the executable, if something is. */
export function readAgentFlags(
  argv: readonly string[],
  environment: Environment,
  stamp: () => Settings | undefined = () => undefined,
  purpose: Purpose = 'run',
): AgentCommand {
  const command: Command = purpose === 'check' ? CHECK : AGENT;
  const typed = parse(command, argv);
  if (typed.given.has('help'))
    return { command: 'help', text: typed.short.has('help') ? shortHelp(command) : fullHelp(command) };
  if (typed.given.has('version')) return { command: 'version' };
  const { flags, meant } = checkAgentFlags(typed, environment, stamp(), purpose);
  return meant.values['show-settings']
    ? { command: 'show-settings', text: showSettings(AGENT, meant, meant.values.json) }
    : flags;
}

/** As meant, and what was meant in the texts that were given. Throws when the options don't fit together. */
export function checkAgentFlags(
  typed: Typed,
  environment: Environment,
  stamped: Settings | undefined,
  purpose: Purpose = 'run',
): { flags: AgentFlags; meant: MeantAgent } {
  const meant = load(AGENT, typed, environment, stamped);
  checkWords(meant, typed.words);
  checkTogether(meant, typed.words.length > 0, purpose);
  const filter = typed.words.length > 0 ? typed.words.join(' ') : (meant.values.filter ?? '');
  checkPin(meant, stamped?.['pin']?.[0]);
  if (sends(meant)) {
    checkToken(meant, stamped?.['pin']?.[0]);
    checkProxy(meant, environment);
  }
  if (typed.words.length > 0) {
    meant.texts.set('filter', [filter]);
    meant.origins.set('filter', 'flag');
  }
  return { flags: agentFlags(meant, filter), meant };
}

function agentFlags(meant: MeantAgent, filter: string): AgentFlags {
  const { values } = meant;
  return {
    command: 'run',
    interfaces: values.interface,
    listInterfaces: values['list-interfaces'],
    read: values.read,
    write: values.write,
    filter,
    filterFile: values['filter-file'],
    dumpFilter: values['dump-filter'],
    except: values.except,
    exceptions: values.exceptions,
    exceptionsStrict: values['exceptions-strict'],
    snaplen: values.snaplen,
    promiscuous: !values['no-promiscuous'],
    bufferBytes: values.buffer,
    count: values.count,
    bytes: values.bytes,
    durationMs: values.duration,
    servers: values.server,
    pin: values.pin,
    ca: values.ca,
    token: values.token,
    tokenFile: values['token-file'],
    hostName: values['host-name'],
    proxy: values.proxy,
    noProxy: noProxyOf(meant),
    source: values.source,
    giveUpMs: values['give-up'],
    stopWithinMs: values['stop-within'],
    maxRate: values['max-rate'],
    spoolBytes: values.spool,
    spoolDir: values['spool-dir'],
    spoolDiskBytes: values['spool-disk'],
    spoolFull: values['spool-full'],
    footprint: values.footprint,
    verbose: values.verbose,
    quiet: values.quiet,
    json: values.json,
  };
}

type MeantAgent = Meant<typeof OPTIONS>;

/** Who types --proxy means it, whatever this host's environment says of exceptions. */
function noProxyOf(meant: MeantAgent): readonly string[] {
  const { values, origins } = meant;
  const said = asStrong(meant, 'no-proxy', 'proxy') ? values['no-proxy'] : [];
  return origins.get('proxy') === 'environment' ? [...LOOPBACK, ...said] : said;
}

/** A filter in words is typed now: it goes before one that was set elsewhere. */
function checkWords(meant: MeantAgent, words: string[]): void {
  if (words.length === 0) return;
  for (const name of ['filter', 'filter-file'] as const) {
    if (meant.origins.get(name) === 'flag') {
      throw usageError(
        `could not use '--${name}' and the words '${words.join(' ')}' together`,
        'put the whole filter in one of the two places',
      );
    }
    forget(meant, name);
  }
}

/** What -D may stand beside: how to say it. */
const BESIDE_LIST = new Set(['list-interfaces', 'footprint', 'verbose', 'quiet', 'json', 'settings']);
/** A file has its own, or none. */
const LIVE_ONLY = ['snaplen', 'buffer', 'no-promiscuous'];
/** What is written here is sent nowhere. */
const SEND_ONLY = [
  'proxy',
  'no-proxy',
  'source',
  'give-up',
  'stop-within',
  'max-rate',
  'spool',
  'spool-dir',
  'spool-disk',
  'spool-full',
];

function checkTogether(meant: MeantAgent, words: boolean, purpose: Purpose): void {
  const { values, origins } = meant;
  const isFlag = (name: string) => origins.get(name) === 'flag';
  if (values['list-interfaces']) {
    const other =
      [...origins.keys()].find((name) => isFlag(name) && !BESIDE_LIST.has(name)) ?? (words ? 'filter' : undefined);
    if (other !== undefined)
      throw usageError(`could not use '--list-interfaces' and '--${other}' together`, 'rcap-agent -D');
  }
  either(meant, 'filter', 'filter-file');
  either(meant, 'read', 'interface');
  either(meant, 'write', 'server');
  either(meant, 'pin', 'ca');
  either(meant, 'token', 'token-file');
  either(meant, 'verbose', 'quiet');
  either(meant, 'footprint', 'quiet');
  const live = values.read === undefined ? undefined : LIVE_ONLY.find(isFlag);
  if (live !== undefined) throw usageError(`could not use '--${live}' and '--read' together`, `leave out --${live}`);
  const send = values.write === undefined ? undefined : SEND_ONLY.find(isFlag);
  if (send !== undefined) throw usageError(`could not use '--${send}' and '--write' together`, `leave out --${send}`);
  if (isFlag('spool-disk') && values['spool-dir'] === undefined) {
    throw usageError("could not use '--spool-disk' without '--spool-dir'", 'add --spool-dir DIR');
  }
  refuseTwice('interface', values.interface);
  refuseTwice('server', values.server.map(formatAddress));
  if (sends(meant) && values.server.length === 0 && purpose === 'run') {
    throw usageError(
      'could not send: no --server was given',
      'rcap-agent --server HOST:PORT --pin sha256/... --token-file FILE (the collector prints that line), or -w FILE to keep it here',
    );
  }
}

/** Whoever gives a pin says which collector is meant: an agent that another one packed is not his. */
function checkPin({ values, origins }: MeantAgent, stamped: string | undefined): void {
  if (stamped === undefined || values.pin === undefined || values.pin === stamped) return;
  throw new RcapError(
    'STAMP',
    `could not use the settings in this executable: the collector that packed it has the pin ${stamped}, not ${values.pin}${origins.get('pin') === 'file' ? ' as in the settings file' : ''}`,
    { hint: "don't trust this file, unless the pin is mistyped (compare with 'rcap-collector pin')" },
  );
}

const sends = ({ values }: MeantAgent): boolean =>
  values.write === undefined && !values['list-interfaces'] && !values['show-settings'] && !values['dump-filter'];

/** A token is for the collector that packed it, which its pin proves. Who trusts somebody else brings a token of theirs. */
function checkToken({ values, origins }: MeantAgent, stamped: string | undefined): void {
  if (origins.get('token') !== 'stamp' || values.pin === stamped) return;
  throw usageError(
    'could not use the token in this executable: it is for the collector with the pin in it, and --ca trusts others',
    '--token-file FILE with a token of that collector',
  );
}

function checkProxy({ values, origins }: MeantAgent, environment: Environment): void {
  if (values.proxy === undefined || origins.get('proxy') !== 'environment') return;
  const reason = refuseProxy(values.proxy);
  if (reason === undefined) return;
  const variable = variablesOf(AGENT.options.find((o) => o.name === 'proxy')!).find((name) => environment[name]);
  throw usageError(`could not use '${variable}': ${reason}`, '--proxy none connects without one');
}

/** What a collector says itself when it packs an agent, or what makes no sense for the next start. */
const NOT_PACKED = new Set([...NOT_IN_FILE, 'server', 'pin', 'ca', 'token', 'token-file', 'filter-file']);

/** What `rcap-collector pack` puts into an agent: where to go, and default flags, checked as this agent will. */
export function settingsToPack(
  defaults: readonly string[],
  to: { server: string[]; pin: string; token: string },
): Settings {
  const typed: Typed = parse(AGENT, defaults);
  const wrong = [...typed.given.keys()].find((name) => NOT_PACKED.has(name));
  if (wrong !== undefined) {
    throw usageError(
      `could not pack '--${wrong}': it is no default flag`,
      "server, pin and token are pack's own options, before the --",
    );
  }
  const settings: Settings = {
    server: to.server,
    pin: [to.pin],
    token: [to.token],
    ...Object.fromEntries(typed.given),
  };
  if (typed.words.length > 0) settings['filter'] = [typed.words.join(' ')];
  // As flags, and as the stamp that they become.
  readAgentFlags(defaults, {}, () => ({ server: to.server, pin: [to.pin], token: [to.token] }));
  readAgentFlags([], {}, () => settings);
  return settings;
}

function refuseTwice(name: string, texts: string[]): void {
  const twice = texts.find((text, at) => texts.indexOf(text) !== at);
  if (twice !== undefined) throw usageError(`could not use '--${name} ${twice}': it was given twice`);
}
