import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { RcapError } from '../errors.ts';
import type { Environment } from '../options/load.ts';
import { AGENT, type AgentFlags, readAgentFlags, settingsToPack } from './agent.ts';

const PIN = `sha256/${createHash('sha256').update('key').digest('base64')}`;
const folder = mkdtempSync(join(tmpdir(), 'rcap-test-'));
after(() => rmSync(folder, { recursive: true }));

function flags(argv: string[], environment: Environment = {}): AgentFlags {
  const command = readAgentFlags(argv, environment);
  assert.ok(command.command === 'run');
  return command;
}
function refused(
  argv: string[],
  message: RegExp,
  hint?: RegExp,
  environment: Environment = { RCAP_SERVER: 'ir.corp' },
): void {
  assert.throws(
    () => readAgentFlags(argv, environment),
    (error) => {
      assert.ok(error instanceof RcapError && error.code === 'USAGE', String(error));
      assert.match(error.message, message);
      if (hint) assert.match(error.hint ?? '', hint);
      return true;
    },
  );
}

test('a proxy: flag > environment, and what is not connected to through it', () => {
  const [server, proxy] = [
    ['--server', 'ir.corp'],
    ['--proxy', 'http://me:hunter2@proxy:3128'],
  ] as const;
  const here = ['localhost', '127.0.0.0/8', '::1'];
  const of = (argv: readonly string[], environment: Environment) => {
    const { proxy, noProxy } = flags([...server, ...argv], environment);
    return [proxy, ...noProxy];
  };
  assert.deepEqual(of([], {}), [undefined]);
  assert.deepEqual(of([], { HTTPS_PROXY: 'a:1' }), ['a:1', ...here]);
  assert.deepEqual(of([], { HTTPS_PROXY: 'a:1', https_proxy: 'b:1' }), ['b:1', ...here]);
  assert.deepEqual(of([], { HTTPS_PROXY: 'a:1', https_proxy: '' }), ['a:1', ...here]);
  assert.deepEqual(of([], { HTTP_PROXY: 'a:1', ALL_PROXY: 'a:1' }), [undefined]);
  assert.deepEqual(of([], { HTTPS_PROXY: 'a:1', NO_PROXY: 'x, .corp' }), ['a:1', ...here, 'x', '.corp']);
  assert.deepEqual(of([], { HTTPS_PROXY: 'a:1', NO_PROXY: 'x', no_proxy: 'y' }), ['a:1', ...here, 'y']);
  assert.deepEqual(of(['--no-proxy', 'y'], { HTTPS_PROXY: 'a:1', NO_PROXY: 'x' }), ['a:1', ...here, 'y']);
  assert.deepEqual(of(proxy, { HTTPS_PROXY: 'a:1', NO_PROXY: '*' }), [proxy[1]]);
  assert.deepEqual(of([...proxy, '--no-proxy', 'y'], { NO_PROXY: '*' }), [proxy[1], 'y']);
  assert.deepEqual(of(['--proxy', 'none'], { HTTPS_PROXY: 'a:1' }), ['none']);
});

test('a bad proxy in the environment is refused only where something is sent', () => {
  const environment = { HTTPS_PROXY: 'socks5://me:hunter2@proxy' };
  const reason = /^could not use 'HTTPS_PROXY': socks5:\/\/ is none[^@]*$/;
  refused(['--server', 'ir.corp'], reason, /^--proxy none connects without one$/, environment);
  refused(['--server', 'ir.corp', '-r', 'x'], reason, undefined, environment);
  for (const argv of [['-D'], ['-w', 'x'], ['--server', 'ir.corp', '--proxy', 'none']]) flags(argv, environment);
  assert.equal(readAgentFlags(['--show-settings'], environment).command, 'show-settings');
});

test('a bad proxy or source is refused; the password is not said', () => {
  refused(['--proxy', 'socks5://me:hunter2@proxy'], /^could not use '--proxy': socks5:\/\/ is none/, /--proxy URL/);
  refused([], /^could not use 'HTTPS_PROXY': not http/, undefined, {
    RCAP_SERVER: 'x',
    HTTPS_PROXY: 'http://me:hunter2@/',
  });
  refused(['--source', 'eth0'], /^could not use '--source eth0': not an IPv4 or IPv6 address/);
  for (const [option, value] of [['proxy', 'proxy:1'], ['no-proxy', '*'], ['source', '10.0.0.1']] as const) {
    refused(['-w', 'x', `--${option}`, value], new RegExp(`could not use '--${option}' and '--write' together`), undefined, {});
  } // prettier-ignore
});

test('with a server alone, everything has its default', () => {
  assert.deepEqual(flags(['--server', 'ir.corp']), {
    command: 'run',
    interfaces: [],
    listInterfaces: false,
    read: undefined,
    write: undefined,
    filter: '',
    filterFile: undefined,
    dumpFilter: false,
    except: [],
    exceptions: [],
    exceptionsStrict: false,
    snaplen: 262144,
    promiscuous: true,
    bufferBytes: 32 * 2 ** 20,
    count: undefined,
    bytes: undefined,
    durationMs: undefined,
    servers: [{ host: 'ir.corp', port: 9000 }],
    pin: undefined,
    ca: undefined,
    token: undefined,
    tokenFile: undefined,
    hostName: undefined,
    proxy: undefined,
    noProxy: [],
    source: undefined,
    giveUpMs: undefined,
    stopWithinMs: undefined,
    maxRate: undefined,
    spoolBytes: 64 * 2 ** 20,
    spoolDir: undefined,
    spoolDiskBytes: 2 ** 30,
    spoolFull: undefined,
    footprint: false,
    verbose: false,
    quiet: false,
    json: false,
  } satisfies AgentFlags);
});

test('every option does something', () => {
  const line = `-i eth0 -i 2 -s 96 -p -B 1M -c 5 --bytes 1G --duration 5m --server [::1]:443 --server b --give-up 1h
    --except *.b.example --except ::1 --exceptions my.list --exceptions-strict --max-rate 10M/s --spool-dir d --spool-disk 2G --pin ${PIN} --token-file t
    --host-name h --spool 8M --spool-full wait -v --json not port 22`;
  assert.deepEqual(flags(line.split(/\s+/)), {
    ...flags(['--server', 'x']),
    interfaces: ['eth0', '2'],
    filter: 'not port 22',
    except: ['*.b.example', '::1'],
    exceptions: ['my.list'],
    exceptionsStrict: true,
    snaplen: 96,
    promiscuous: false,
    bufferBytes: 2 ** 20,
    count: 5,
    bytes: 2 ** 30,
    durationMs: 300_000,
    servers: [
      { host: '::1', port: 443 },
      { host: 'b', port: 9000 },
    ],
    giveUpMs: 3_600_000,
    maxRate: 10 * 2 ** 20,
    spoolDir: 'd',
    spoolDiskBytes: 2 ** 31,
    pin: PIN,
    tokenFile: 't',
    hostName: 'h',
    spoolBytes: 8 * 2 ** 20,
    spoolFull: 'wait',
    verbose: true,
    json: true,
  });
  const other = flags(['-r', 'in.pcap', '-w', '-', '-q', '--ca', 'c.pem', '--token', 't']);
  assert.deepEqual([other.read, other.write, other.quiet, other.ca, other.token], ['in.pcap', '-', true, 'c.pem', 't']);
});

test('options of later versions are unknown', () => {
  for (const name of ['--http', '--split']) refused([name, 'x'], /there is no such option/);
});

test('the filter is -f or the words at the end, not both', () => {
  assert.equal(flags(['--server', 'x', '-f', 'tcp port 080']).filter, 'tcp port 080');
  assert.equal(flags(['--server', 'x', 'tcp', 'port', '080']).filter, 'tcp port 080');
  assert.equal(flags(['--server', 'x', '--', 'len', '-', '4', '>', '0']).filter, 'len - 4 > 0');
  assert.equal(flags(['--server', 'x', '-f', '']).filter, '');
  refused(['-f', 'tcp', 'port', '80'], /could not use '--filter' and the words 'port 80' together/);
});

test('words beat a filter from the settings file', () => {
  const file = join(folder, 'filter.json');
  writeFileSync(file, JSON.stringify({ filter: 'udp', server: 'x' }));
  assert.equal(flags(['--settings', file]).filter, 'udp');
  assert.equal(flags(['--settings', file, 'tcp']).filter, 'tcp');
});

test('the environment gives server and token, and flags beat it', () => {
  const environment = { RCAP_SERVER: 'e.corp:1', RCAP_TOKEN: 'secret' };
  assert.deepEqual(flags([], environment).servers, [{ host: 'e.corp', port: 1 }]);
  const several = flags([], { RCAP_SERVER: 'a, b:1,[::1]:2' }).servers;
  assert.deepEqual(several.map((x) => `${x.host} ${x.port}`), ['a 9000', 'b 1', '::1 2']); // prettier-ignore
  assert.equal(flags([], environment).token, 'secret');
  assert.equal(flags(['--token', 'other'], environment).token, 'other');
  const byFile = flags(['--token-file', 't'], environment);
  assert.deepEqual([byFile.token, byFile.tokenFile], [undefined, 't']);
});

test('without a server there must be -w or -D; the error shows the line to type', () => {
  refused([], /could not send: no --server was given/, /rcap-agent --server HOST:PORT --pin/, {});
  refused(['-r', 'x.pcap'], /no --server/, undefined, {});
  assert.deepEqual(flags(['-w', 'x.pcap']).servers, []);
  assert.equal(flags(['-D']).listInterfaces, true);
});

test('-w beats a server from the environment, and conflicts with one on the command line', () => {
  assert.deepEqual(flags(['-w', 'x'], { RCAP_SERVER: 'x' }).servers, []);
  refused(['-w', 'x', '--server', 'y'], /could not use '--write' and '--server' together/);
});

test('what contradicts itself is refused', () => {
  refused(['-r', 'x', '-i', 'eth0'], /'--read' and '--interface' together/);
  refused(['-r', 'x', '-s', '96'], /'--snaplen' and '--read' together/);
  refused(['-r', 'x', '-p'], /'--no-promiscuous' and '--read' together/);
  refused(['--pin', PIN, '--ca', 'x'], /'--pin' and '--ca' together/);
  refused(['--token', 'a', '--token-file', 'b'], /'--token' and '--token-file' together/);
  refused(['-q', '-v'], /'--verbose' and '--quiet' together/);
  refused(['-D', '-i', 'eth0'], /'--list-interfaces' and '--interface' together/, /rcap-agent -D/);
  refused(['-D', 'tcp'], /'--list-interfaces' and '--filter' together/);
  refused(['-i', 'eth0', '-i', 'eth0'], /'--interface eth0': it was given twice/);
  refused(['--server', 'a', '--server', 'a:9000'], /'--server a:9000': it was given twice/);
  refused(['--spool-disk', '2G'], /'--spool-disk' without '--spool-dir'/, /add --spool-dir DIR/);
  for (const name of ['give-up', 'max-rate', 'spool', 'spool-dir', 'spool-disk']) {
    const value = { 'give-up': '5m', 'max-rate': '1M/s' }[name] ?? '64M';
    refused(['-w', 'x', `--${name}`, value], new RegExp(`'--${name}' and '--write' together`), undefined, {});
  }
  assert.equal(flags(['-D', '--json', '-q']).json, true);
  assert.equal(flags(['-q', '--json', '--server', 'x']).quiet, true);
});

test('values that are refused', () => {
  const bad: [string, string][] = [
    ['--snaplen', '0'],
    ['--snaplen', '262145'],
    ['--snaplen', '64K'],
    ['--count', '0'],
    ['--count', '-5'],
    ['--count', '1e6'],
    ['--bytes', '0'],
    ['--duration', '10'],
    ['--duration', '0s'],
    ['--duration', '25d'],
    ['--buffer', '2G'],
    ['--buffer', '1'],
    ['--spool', '1'],
    ['--spool-full', 'explode'],
    ['--spool-disk', '1M'],
    ['--give-up', '0s'],
    ['--give-up', '10'],
    ['--max-rate', '1K'],
    ['--max-rate', '10M/m'],
    ['--max-rate', '/s'],
    ['--server', 'https://x'],
    ['--server', 'x:0'],
    ['--pin', 'sha256/x'],
    ['--host-name', 'x'.repeat(10_000)],
  ];
  for (const [name, value] of bad) refused([`${name}=${value}`], new RegExp(`could not use '${name} `));
});

test('help and version win over everything else that is wrong', () => {
  const short = readAgentFlags(['-h', '-q', '-v'], {});
  const full = readAgentFlags(['--help', '-c', 'nonsense'], {});
  assert.ok(short.command === 'help' && full.command === 'help');
  assert.ok(short.text.length < full.text.length);
  assert.deepEqual(readAgentFlags(['-V'], {}), { command: 'version' });
  assert.deepEqual(readAgentFlags(['--version', '--settings', '/none'], {}), { command: 'version' });
});

test('letters are those of tcpdump', () => {
  const letters = Object.fromEntries(
    AGENT.options.flatMap((option) => ('short' in option ? [[option.short, option.name]] : [])),
  );
  assert.deepEqual(letters, {
    i: 'interface',
    D: 'list-interfaces',
    r: 'read',
    w: 'write',
    f: 'filter',
    d: 'dump-filter',
    s: 'snaplen',
    p: 'no-promiscuous',
    B: 'buffer',
    c: 'count',
    v: 'verbose',
    q: 'quiet',
    V: 'version',
    h: 'help',
  });
});

const TO = { server: ['ir.corp:9000'], pin: PIN, token: 'rcap_secret' };

test('what is packed comes out again as if typed', () => {
  const stamp = settingsToPack(['--count', '5', '-pi', 'eth0', '--spool=1M', 'tcp', 'port', '443'], TO);
  const packed = readAgentFlags([], {}, () => stamp);
  const typed = [...'-c 5 -p -i eth0 --spool 1M --server ir.corp:9000 --token rcap_secret --pin'.split(' '), PIN];
  assert.deepEqual(packed, readAgentFlags([...typed, 'tcp port 443'], {}));
  const other = readAgentFlags(['-c', '7', 'icmp'], {}, () => stamp);
  assert.ok(other.command === 'run');
  assert.deepEqual([other.count, other.filter, other.token], [7, 'icmp', 'rcap_secret']);
});

test('default flags that the agent would refuse are refused when they are packed', () => {
  const bad = (argv: string[], reason: RegExp) => assert.throws(() => settingsToPack(argv, TO), reason);
  bad(['--cuont', '5'], /could not use '--cuont'/);
  bad(['--count', 'many'], /not a whole number/);
  bad(['-vq'], /'--verbose' and '--quiet' together/);
  bad(['-r', 'x', '--snaplen', '5'], /'--snaplen' and '--read' together/);
  for (const name of ['server', 'pin', 'token', 'token-file', 'ca', 'settings'])
    bad([`--${name}=x`], /no default flag/);
  for (const name of ['help', 'version', 'list-interfaces', 'show-settings']) bad([`--${name}`], /no default flag/);
});

test('a pin that is typed must be the one of the stamp', () => {
  const stamp = () => settingsToPack([], TO);
  assert.equal(readAgentFlags(['--pin', PIN], {}, stamp).command, 'run');
  const other = `sha256/${createHash('sha256').update('other').digest('base64')}`;
  assert.throws(
    () => readAgentFlags(['--pin', other], {}, stamp),
    (e) => e instanceof RcapError && e.code === 'STAMP' && e.message.includes(PIN) && e.message.includes(other),
  );
});

test('the token of a stamp is for its own collector alone', () => {
  const stamp = () => settingsToPack([], TO);
  const run = (...argv: string[]) => {
    const command = readAgentFlags(argv, {}, stamp);
    assert.ok(command.command === 'run');
    return command.token;
  };
  for (const argv of [
    ['--ca', 'x'],
    ['--ca', 'x', '--server', 'other'],
  ])
    assert.throws(
      () => run(...argv),
      (e) => e instanceof RcapError && e.code === 'USAGE' && e.message.startsWith('could not use the token in this'),
    );
  assert.equal(run('--ca', 'x', '--server', 'other', '--token', 'mine'), 'mine');
  assert.equal(run('--ca', 'x', '--token-file', 'mine'), undefined);
  // Another way to the same collector, whose pin is still asked for.
  assert.equal(run('--server', 'other'), TO.token);
  assert.equal(run('--ca', 'x', '-w', 'here'), TO.token);
});

test('help and version look at no stamp; everything else does', () => {
  const damaged = () => {
    throw new RcapError('STAMP', 'damaged');
  };
  assert.equal(readAgentFlags(['--help'], {}, damaged).command, 'help');
  assert.equal(readAgentFlags(['-V'], {}, damaged).command, 'version');
  for (const argv of [[], ['-D'], ['--show-settings'], ['--server', 'x', '--pin', PIN]])
    assert.throws(() => readAgentFlags(argv, {}, damaged), /damaged/);
});

test('--show-settings says where each value comes from, and no secret', () => {
  const file = join(folder, 'shown.json');
  writeFileSync(file, JSON.stringify({ spool: '128M' }));
  const stamp = () => settingsToPack(['--count', '5'], TO);
  const show = (...argv: string[]) => {
    const shown = readAgentFlags(['--show-settings', ...argv], { RCAP_TOKEN: 'planted' }, stamp);
    assert.ok(shown.command === 'show-settings');
    return shown.text;
  };
  const list = JSON.parse(show('--json', '--settings', file, '-p', 'udp')) as { name: string }[];
  const of = (name: string) => list.find((s) => s.name === name);
  assert.deepEqual(of('count'), { name: 'count', value: '5', from: 'stamp' });
  assert.deepEqual(of('server'), { name: 'server', value: 'ir.corp:9000', from: 'stamp' });
  assert.deepEqual(of('token'), { name: 'token', value: '(secret)', from: 'stamp' });
  assert.deepEqual(of('spool'), { name: 'spool', value: '128M', from: 'file' });
  assert.deepEqual(of('no-promiscuous'), { name: 'no-promiscuous', value: 'yes', from: 'flag' });
  assert.deepEqual(of('filter'), { name: 'filter', value: 'udp', from: 'flag' });
  assert.deepEqual(of('buffer'), { name: 'buffer', value: '32M', from: 'default' });
  assert.match(show(), /^count +5 +stamp$/m);
  assert.doesNotMatch(show(), /rcap_secret|planted/);
  // Also of an agent that nobody packed, and without a server.
  const plain = readAgentFlags(['--show-settings', '--json'], { RCAP_TOKEN: 't' });
  assert.ok(plain.command === 'show-settings');
  assert.match(plain.text, /\{"name":"token","value":"\(secret\)","from":"environment"\}/);
});
