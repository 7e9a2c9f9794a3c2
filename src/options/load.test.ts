import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { RcapError } from '../errors.ts';
import { either, type Environment, load } from './load.ts';
import { parse } from './parse.ts';
import type { Command, Option } from './table.ts';

const options = [
  { name: 'interface', short: 'i', kind: 'text', value: 'NAME', repeatable: true, group: 'G', help: 'x' },
  { name: 'filter', kind: 'text', value: 'TEXT', mayBeEmpty: true, group: 'G', help: 'x' },
  { name: 'count', kind: 'number', value: 'N', min: 1, max: 10, group: 'G', help: 'x' },
  { name: 'buffer', kind: 'size', value: 'SIZE', min: 65536, default: '32M', group: 'G', help: 'x' },
  { name: 'duration', kind: 'duration', value: 'TIME', max: 60_000, group: 'G', help: 'x' },
  { name: 'server', kind: 'address', value: 'HOST:PORT', defaultPort: 9000, env: 'T_SERVER', group: 'G', help: 'x' },
  { name: 'listen', kind: 'address', value: 'HOST:PORT', defaultPort: 9000, anyPort: true, group: 'G', help: 'x' },
  { name: 'full', kind: 'choice', value: 'wait|drop', choices: ['wait', 'drop'], group: 'G', help: 'x' },
  { name: 'token', kind: 'text', value: 'TEXT', secret: true, env: 'T_TOKEN', group: 'G', help: 'x' },
  { name: 'token-file', kind: 'text', value: 'FILE', group: 'G', help: 'x' },
  {
    name: 'odd',
    kind: 'text',
    value: 'TEXT',
    check: (text) => (text.length % 2 ? undefined : 'it is even'),
    group: 'G',
    help: 'x',
  },
  { name: 'verbose', kind: 'flag', group: 'G', help: 'x' },
  { name: 'settings', kind: 'text', value: 'FILE', group: 'G', help: 'x' },
] as const satisfies readonly Option[];
const command = { name: 'tool', usage: '', about: '', options } as const satisfies Command<typeof options>;

const folder = mkdtempSync(join(tmpdir(), 'rcap-test-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;
function settings(content: unknown): string {
  const file = join(folder, `${files++}.json`);
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

const read = (argv: string[], environment: Environment = {}) => load(command, parse(command, argv), environment);
const refused = (argv: string[], message: RegExp, environment: Environment = {}) =>
  assert.throws(
    () => read(argv, environment),
    (error) => {
      assert.ok(error instanceof RcapError && error.code === 'USAGE', String(error));
      assert.match(error.message, message);
      return true;
    },
  );

test('texts become values, in the program’s units', () => {
  const { values } = read([
    '--count',
    '5',
    '--buffer',
    '1M',
    '--duration',
    '5s',
    '--server',
    'a',
    '--full',
    'wait',
    '--verbose',
  ]);
  assert.deepEqual(
    { ...values },
    {
      interface: [],
      filter: undefined,
      count: 5,
      buffer: 2 ** 20,
      duration: 5000,
      server: { host: 'a', port: 9000 },
      listen: undefined,
      full: 'wait',
      token: undefined,
      'token-file': undefined,
      odd: undefined,
      verbose: true,
      settings: undefined,
    },
  );
});

test('flag beats environment beats file beats default, and each is told apart', () => {
  const file = settings({ server: 'from-file', buffer: '2M' });
  const environment = { T_SERVER: 'from-environment' };
  const where = (argv: string[], env: Environment = {}) => {
    const { values, origins } = read(argv, env);
    return [values.server?.host, origins.get('server'), values.buffer, origins.get('buffer')];
  };
  assert.deepEqual(where([]), [undefined, undefined, 2 ** 25, 'default']);
  assert.deepEqual(where(['--settings', file]), ['from-file', 'file', 2 ** 21, 'file']);
  assert.deepEqual(where(['--settings', file], environment), ['from-environment', 'environment', 2 ** 21, 'file']);
  assert.deepEqual(where(['--settings', file, '--server', 'flag', '--buffer', '1M'], environment), [
    'flag',
    'flag',
    2 ** 20,
    'flag',
  ]);
  // Set but empty counts as not set.
  assert.deepEqual(where([], { T_SERVER: '' }), [undefined, undefined, 2 ** 25, 'default']);
});

test('what a value must not be', () => {
  refused(['--count', '0'], /could not use '--count 0': at least 1/);
  refused(['--count', '11'], /at most 10/);
  refused(['--count', 'ten'], /could not use '--count ten': not a whole number/);
  refused(['--buffer', '1K'], /at least 64K/);
  refused(['--duration', '2m'], /at most 1m/);
  refused(['--full', 'maybe'], /could not use '--full maybe': not one of wait, drop/);
  refused(['--server', 'a:0'], /port 0/);
  assert.equal(read(['--listen', 'a:0']).values.listen?.port, 0);
  refused(['--odd', 'ab'], /it is even/);
  refused([], /could not use 'T_SERVER a:b:c': an IPv6 address/, { T_SERVER: 'a:b:c' });
});

test('a settings file takes text, numbers, true and false, and arrays where repeatable', () => {
  const file = settings({ interface: ['eth0', 1], count: 3, verbose: true, filter: '' });
  const { values } = read(['--settings', file]);
  assert.deepEqual([values.interface, values.count, values.verbose, values.filter], [['eth0', '1'], 3, true, '']);
  assert.deepEqual(read(['--settings', settings({ interface: 'eth0' })]).values.interface, ['eth0']);
  // A flag replaces the whole list.
  assert.deepEqual(read(['--settings', file, '-i', 'lo']).values.interface, ['lo']);
});

test('settings files that are refused', () => {
  const bad = (content: unknown, reason: RegExp) => refused(['--settings', settings(content)], reason);
  refused(['--settings', join(folder, 'none')], /could not use settings file '.*none': no such file or directory/);
  refused(['--settings', folder], /illegal operation on a directory/);
  bad('{', /not JSON/);
  bad('', /not JSON/);
  bad('[]', /not a JSON object/);
  bad('null', /not a JSON object/);
  bad({ sever: 'x' }, /no setting is called 'sever'/);
  bad({ settings: 'x' }, /no setting is called 'settings'/);
  bad('{"__proto__": "x"}', /no setting is called '__proto__'/);
  bad({ server: ['x'] }, /"server" takes text or a number/);
  bad({ server: null }, /"server" takes text/);
  bad({ interface: [{}] }, /"interface" takes text/);
  bad({ 'token-file': '' }, /"token-file" is empty/);
  bad({ verbose: 'yes' }, /"verbose" takes true or false/);
  bad({ count: 1.5 }, /could not use 'count in .* 1\.5': not a whole number/);
  bad({ filter: 'a\0b' }, /NUL/);
});

test('a secret is never shown', () => {
  const file = settings({ token: 'hunter2\0' });
  assert.throws(() => read(['--settings', file]), (error: Error) => !error.message.includes('hunter2')); // prettier-ignore
});

test('either: an error from equal places, else the stronger one wins', () => {
  const pair = (argv: string[], environment: Environment = {}) => {
    const meant = read(argv, environment);
    either(meant, 'token', 'token-file');
    return [meant.values.token, meant.values['token-file']];
  };
  assert.deepEqual(pair(['--token', 'a']), ['a', undefined]);
  assert.deepEqual(pair(['--token-file', 'b'], { T_TOKEN: 'a' }), [undefined, 'b']);
  assert.deepEqual(pair(['--settings', settings({ 'token-file': 'b' })], { T_TOKEN: 'a' }), ['a', undefined]);
  assert.throws(
    () => pair(['--token', 'a', '--token-file', 'b']),
    /could not use '--token' and '--token-file' together/,
  );
});

test('a stamp beats the default, a settings file and flags beat it, the environment does not reach what it sets', () => {
  const stamp = { server: ['stamped'], interface: ['eth0', 'eth1'], verbose: ['true'] };
  const where = (argv: string[], environment: Environment = {}) => {
    const { values, origins } = load(command, parse(command, argv), environment, stamp);
    return [values.server?.host, origins.get('server'), values.interface.join(), values.token];
  };
  assert.deepEqual(where([]), ['stamped', 'stamp', 'eth0,eth1', undefined]);
  assert.deepEqual(where([], { T_SERVER: 'planted', T_TOKEN: 't' }), ['stamped', 'stamp', 'eth0,eth1', 't']);
  assert.deepEqual(where(['--settings', settings({ server: 'mine' })]), ['mine', 'file', 'eth0,eth1', undefined]);
  assert.deepEqual(where(['--server', 'mine', '-i', 'lo']), ['mine', 'flag', 'lo', undefined]);
  assert.equal(load(command, parse(command, []), {}, stamp).values.verbose, true);
});

test('a stamp that sets what nobody knows, or what is no setting, is refused', () => {
  for (const name of ['sever', 'settings']) {
    assert.throws(
      () => load(command, parse(command, []), {}, { [name]: ['x'] }),
      (e) => e instanceof RcapError && e.code === 'STAMP' && e.message.includes(`'${name}'`),
    );
  }
});
