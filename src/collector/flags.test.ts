import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { RcapError } from '../errors.ts';
import { type PackFlags, readCollectorFlags, type ServeFlags } from './flags.ts';

const folder = mkdtempSync(join(tmpdir(), 'rcap-test-'));
after(() => rmSync(folder, { recursive: true }));

const read = (line: string) => readCollectorFlags(line.split(' ').filter(Boolean), {});
function refused(line: string, message: RegExp, hint?: RegExp): void {
  assert.throws(
    () => read(line),
    (error) => {
      assert.ok(error instanceof RcapError && error.code === 'USAGE', String(error));
      assert.match(error.message, message);
      if (hint) assert.match(error.hint ?? '', hint);
      return true;
    },
  );
}
const DEFAULTS: ServeFlags = {
  command: 'serve',
  listen: { host: '0.0.0.0', port: 9000 },
  captures: './captures',
  state: './state',
  tls: undefined,
  rotateBytes: 256 * 2 ** 20,
  rotateAgeMs: 60_000,
  rotateIdleMs: 10_000,
  timestamps: 'nano',
  keepBytes: undefined,
  keepAgeMs: undefined,
  syncBytes: 4 * 2 ** 20,
  syncMs: 100,
  minFreeBytes: 2 ** 30,
  maxConnections: 1024,
  downloads: { host: '0.0.0.0', port: 9443 },
  publicFolder: './public',
  publicGiven: false,
  http: { host: '127.0.0.1', port: 8080 },
  httpGiven: false,
  verbose: false,
  quiet: false,
  json: false,
};

test('serve is what it does without a command, with these defaults', () => {
  assert.deepEqual(read(''), DEFAULTS);
  assert.deepEqual(read('serve'), DEFAULTS);
});

test('every option of serve does something', () => {
  const line = `--listen [::]:0 --captures c --state s --tls-cert c.pem --tls-key k.pem --rotate-bytes 1M --rotate-age 5m --rotate-idle 1s
    --timestamps micro --keep-bytes 500G --keep-age 7d --min-free 8M --sync-bytes 64K --sync-time 0ms --max-connections 1 --downloads [::1]:0
    --public p --http [::1]:1 -v --json`;
  assert.deepEqual(read(line.replace(/\s+/g, ' ')), {
    command: 'serve',
    listen: { host: '::', port: 0 },
    captures: 'c',
    state: 's',
    tls: { cert: 'c.pem', key: 'k.pem' },
    rotateBytes: 2 ** 20,
    rotateAgeMs: 300_000,
    rotateIdleMs: 1000,
    timestamps: 'micro',
    keepBytes: 500 * 2 ** 30,
    keepAgeMs: 7 * 86_400_000,
    syncBytes: 65_536,
    syncMs: 0,
    minFreeBytes: 8 * 2 ** 20,
    maxConnections: 1,
    downloads: { host: '::1', port: 0 },
    publicFolder: 'p',
    publicGiven: true,
    http: { host: '::1', port: 1 },
    httpGiven: true,
    verbose: true,
    quiet: false,
    json: true,
  } satisfies ServeFlags);
});

test('keeping nothing free is allowed, keeping no file is not', () => {
  assert.equal((read('--min-free 0') as ServeFlags).minFreeBytes, 0);
  refused('--keep-bytes 0', /could not use '--keep-bytes 0': at least 1/, /--keep-bytes SIZE/);
  refused('--keep-age 0s', /could not use '--keep-age 0s': at least 1ms/, /--keep-age TIME/);
});

test('token and pin, with --state before or after', () => {
  assert.deepEqual(read('token new --state s --label ir-7 --host web-1 --expires 24h --uses 3'), {
    command: 'token new',
    state: 's',
    json: false,
    label: 'ir-7',
    host: 'web-1',
    expiresMs: 86_400_000,
    uses: 3,
  });
  assert.deepEqual(read('--state s token list --json'), { command: 'token list', state: 's', json: true });
  assert.deepEqual(read('token --state s revoke 1a2b'), {
    command: 'token revoke',
    state: 's',
    json: false,
    id: '1a2b',
  });
  assert.deepEqual(read('pin'), { command: 'pin', state: './state', json: false });
});

test('HTTP may be switched off, and its port left out', () => {
  assert.equal((read('--http none') as ServeFlags).http, undefined);
  assert.deepEqual((read('--http 10.0.0.1') as ServeFlags).http, { host: '10.0.0.1', port: 8080 });
  refused('--http http://x', /could not use '--http http:\/\/x': not HOST:PORT/, /--http ADDR:PORT\|none/);
});

test('what agents run by and what they send do not lie in each other', () => {
  for (const line of ['--public captures/p', '--public captures', '--captures public/hosts', '--public .']) {
    refused(line, /could not use public folder '.*': it and the captures folder lie in each other/, /--public DIR/);
  }
  assert.equal((read('--public captures2') as ServeFlags).publicFolder, 'captures2');
});

test('agents, stop and settings', () => {
  assert.deepEqual(read('agents --state s --json'), { command: 'agents', state: 's', json: true });
  assert.deepEqual(read('stop web-* --state s'), { command: 'stop', state: 's', json: false, host: 'web-*' });
  const settings = { command: 'settings', state: './state', json: false } as const;
  assert.deepEqual(read('settings'), { ...settings, publicFolder: './public', publicGiven: false, host: undefined });
  assert.deepEqual(read('settings web-1 --public p'), {
    ...settings,
    publicFolder: 'p',
    publicGiven: true,
    host: 'web-1',
  });
  refused('stop', /no host was given/, /agents lists them/);
  refused('stop a b', /could not use 'b'/);
  refused('agents web-1', /could not use 'web-1'/);
  refused('agents --public p', /could not use '--public' with 'rcap-collector agents'/);
});

test('commands that are refused', () => {
  refused('srve', /could not use 'srve': there is no such command/, /did you mean serve\?/);
  refused('token', /could not use 'token' alone/, /token new/);
  refused('token nwe', /could not use 'token nwe'/, /did you mean token new\?/);
  refused('token revoke', /no ID was given/, /token revoke ID/);
  refused('token revoke a b', /could not use 'b'/);
  refused('token list extra', /could not use 'extra'/);
  refused('pin extra', /could not use 'extra'/);
  refused('serve extra', /could not use 'extra'/);
  refused('a b c d', /could not use 'd'|no such command/);
});

test('options belong to their command', () => {
  refused('--label x', /could not use '--label' with 'rcap-collector'/);
  refused('pin --listen x', /could not use '--listen' with 'rcap-collector pin'/, /rcap-collector pin --help/);
  refused('token list --uses 2', /'--uses' with 'rcap-collector token list'/);
});

test('what contradicts itself is refused', () => {
  refused('--tls-cert x', /'--tls-cert' alone/, /--tls-key FILE/);
  refused('--tls-key x', /'--tls-key' alone/, /--tls-cert FILE/);
  refused('-q -v', /'--verbose' and '--quiet' together/);
});

test('values that are refused', () => {
  for (const line of [
    '--listen :9000',
    '--rotate-bytes 1',
    '--rotate-age 1',
    '--rotate-age 0s',
    '--sync-time 11s',
    '--max-connections 0',
    '--timestamps pico',
    '--keep-bytes 10%',
    '--keep-age 7',
    '--min-free -1',
    'token new --uses 0',
    'token new --expires 5',
  ]) {
    refused(line, /could not use '--/);
  }
});

test('options of later versions are unknown', () => {
  refused('--web 127.0.0.1:8443', /there is no such option/);
});

test('help is that of the command', () => {
  const help = (line: string) => {
    const command = read(line);
    assert.ok(command.command === 'help');
    return command.text;
  };
  assert.match(help('--help'), /^Usage: rcap-collector \[serve\] \[options\]\n[^]*--listen[^]*token revoke ID/);
  assert.match(help('token new --help'), /^Usage: rcap-collector token new [^]*--expires/);
  assert.doesNotMatch(help('token new --help'), /--listen/);
  assert.match(help('token --help'), /^Usage: rcap-collector \[serve\]/);
  assert.match(help('pin -h'), /^Usage: rcap-collector pin/);
  assert.deepEqual(read('-V'), { command: 'version' });
});

test('one settings file serves all commands', () => {
  const file = join(folder, 'settings.json');
  writeFileSync(file, JSON.stringify({ state: '/var/lib/rcap', listen: '[::]:443', 'max-connections': 5 }));
  assert.equal(readCollectorFlags(['pin', '--settings', file], {}).command, 'pin');
  const serve = readCollectorFlags(['--settings', file, '--max-connections', '6'], {}) as ServeFlags;
  assert.deepEqual([serve.state, serve.listen.port, serve.maxConnections], ['/var/lib/rcap', 443, 6]);
});

test('pack: what it needs, what it takes, and what follows --', () => {
  const { command: _, ...flags } = read(
    'pack --state s --target win-x64 --server a --server [::1]:1 --agents d -o f --force --label l --host h --expires 7d --uses 2 -- -c 5 tcp -- port 443',
  ) as PackFlags;
  assert.deepEqual(flags, {
    state: 's',
    json: false,
    tls: undefined,
    target: 'win-x64',
    servers: [
      { host: 'a', port: 9000 },
      { host: '::1', port: 1 },
    ],
    agents: 'd',
    output: 'f',
    force: true,
    link: false,
    linkExpiresMs: 3_600_000,
    linkAddress: undefined,
    token: undefined,
    label: 'l',
    host: 'h',
    expiresMs: 7 * 86_400_000,
    uses: 2,
    defaults: ['-c', '5', 'tcp', '--', 'port', '443'],
  });
  const link = read(
    'pack --target linux-x64 --server a --link --link-expires 5m --link-address b --token t',
  ) as PackFlags;
  assert.deepEqual([link.link, link.linkExpiresMs, link.linkAddress, link.token], [true, 300_000, { host: 'b', port: 9443 }, 't']); // prettier-ignore
});

test('pack: what it refuses', () => {
  const whole = 'pack --target linux-x64 --server a';
  refused('pack --server a', /no --target was given/, /linux-x64\|/);
  refused('pack --target linux-x64', /no --server was given/);
  refused('pack --target amiga --server a', /not one of linux-x64/);
  refused(`${whole} --token t --host h`, /'--token' and '--host' together/);
  refused(`${whole} --link -o f`, /'--link' and '--output' together/);
  refused(`${whole} --link-expires 5m`, /'--link-expires' without '--link'/);
  refused(`${whole} --tls-key k`, /could not use '--tls-key' alone/);
  refused(`${whole} --count 5`, /no such option/);
  refused(`${whole} tcp`, /takes no such word here/);
  refused('serve --target linux-x64', /could not use '--target' with 'rcap-collector'/);
  refused('token list -- x', /takes no such word here/);
});
