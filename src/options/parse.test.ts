import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RcapError } from '../errors.ts';
import { parse } from './parse.ts';
import type { Command, Option } from './table.ts';

const options = [
  { name: 'interface', short: 'i', kind: 'text', value: 'NAME', repeatable: true, group: 'G', help: 'x' },
  { name: 'filter', short: 'f', kind: 'text', value: 'TEXT', mayBeEmpty: true, group: 'G', help: 'x' },
  { name: 'write', short: 'w', kind: 'text', value: 'FILE', group: 'G', help: 'x' },
  { name: 'count', short: 'c', kind: 'number', value: 'N', group: 'G', help: 'x' },
  { name: 'no-promiscuous', short: 'p', kind: 'flag', group: 'G', help: 'x' },
  { name: 'verbose', short: 'v', kind: 'flag', group: 'G', help: 'x' },
] as const satisfies readonly Option[];
const command: Command = { name: 'tool', usage: '', about: '', options, words: { what: 'filter', most: Infinity } };

const read = (...argv: string[]) => {
  const { given, words } = parse(command, argv);
  return { ...Object.fromEntries(given), _: words };
};
const refused = (argv: string[], message: RegExp, hint?: RegExp) =>
  assert.throws(
    () => parse(command, argv),
    (error) => {
      assert.ok(error instanceof RcapError);
      assert.equal(error.code, 'USAGE');
      assert.match(error.message, message);
      if (hint) assert.match(error.hint ?? '', hint);
      return true;
    },
  );

test('long and short options, values apart or attached', () => {
  assert.deepEqual(read('--interface', 'eth0', '--count=5'), { interface: ['eth0'], count: ['5'], _: [] });
  assert.deepEqual(read('-i', 'eth0', '-c5'), { interface: ['eth0'], count: ['5'], _: [] });
  assert.deepEqual(read('-ieth0', '-c=5'), { interface: ['eth0'], count: ['5'], _: [] });
  assert.deepEqual(read('-vpi', 'eth0'), { verbose: ['true'], 'no-promiscuous': ['true'], interface: ['eth0'], _: [] });
  assert.deepEqual(read('-vieth0'), { verbose: ['true'], interface: ['eth0'], _: [] });
});

test('repeatable options keep their order, flags may be repeated', () => {
  assert.deepEqual(read('-i', 'b', '-i', 'a', '-vv', '-v'), { interface: ['b', 'a'], verbose: ['true'], _: [] });
});

test('--no-promiscuous is a name of its own, not a negation', () => {
  assert.deepEqual(read('--no-promiscuous'), { 'no-promiscuous': ['true'], _: [] });
  refused(['--no-verbose'], /could not use '--no-verbose': there is no such option/);
  refused(['--promiscuous'], /no such option/, /did you mean|lists all/);
});

test('words are kept as they are, wherever they stand', () => {
  assert.deepEqual(read('tcp', 'port', '080', 'or', '0x1f', '1e3'), { _: ['tcp', 'port', '080', 'or', '0x1f', '1e3'] });
  assert.deepEqual(read('tcp', '-v', 'port', '80'), { verbose: ['true'], _: ['tcp', 'port', '80'] });
  assert.deepEqual(read('-v', 'true'), { verbose: ['true'], _: ['true'] });
  assert.deepEqual(read('len', '-', '4'), { _: ['len', '-', '4'] });
});

test('after -- everything is a word', () => {
  assert.deepEqual(read('-v', '--', '-i', '--count', '--', 'x'), {
    verbose: ['true'],
    _: ['-i', '--count', '--', 'x'],
  });
  assert.deepEqual(read('--'), { _: [] });
});

test('values are taken as they are', () => {
  assert.deepEqual(read('--filter', 'a=b --count 4\nx', '-i', '007'), {
    filter: ['a=b --count 4\nx'],
    interface: ['007'],
    _: [],
  });
  assert.deepEqual(read('-w', '-'), { write: ['-'], _: [] });
  assert.deepEqual(read('-w-'), { write: ['-'], _: [] });
  assert.deepEqual(read('--write=-x'), { write: ['-x'], _: [] });
  assert.deepEqual(read('--filter', ''), { filter: [''], _: [] });
  assert.deepEqual(read('-f', '', 'x'), { filter: [''], _: ['x'] });
  assert.deepEqual(read('--filter=__proto__', '-i', 'constructor'), {
    filter: ['__proto__'],
    interface: ['constructor'],
    _: [],
  });
});

test('what is refused, and what to type instead', () => {
  refused(['--verbos'], /could not use '--verbos': there is no such option/, /^did you mean --verbose\?$/);
  refused(['--cuont=4'], /'--cuont'/, /--count/);
  refused(['--zzz'], /'--zzz'/, /^tool --help lists all options$/);
  refused(['-n'], /could not use '-n': there is no such option/);
  refused(['-vn'], /'-n'/);
  refused(['--__proto__.x=1'], /no such option/);
  refused(['--count'], /'--count': it needs a value/, /^--count N$/);
  refused(['-c'], /'--count': it needs a value/);
  refused(['--count', '-v'], /it needs a value/, /--count=-v/);
  refused(['--count', '--'], /it needs a value/);
  refused(['--write='], /'--write': its value is empty/);
  refused(['--count', '1', '-c', '2'], /'--count': it was given 2 times/);
  refused(['--verbose=false'], /--verbose takes no value/);
});

test('words are refused where a command takes none', () => {
  const none: Command = { name: 'tool', usage: '', about: '', options };
  assert.throws(() => parse(none, ['extra']), /could not use 'extra': tool takes no such word here/);
});

test('the short form is told apart', () => {
  assert.ok(parse(command, ['-v']).short.has('verbose'));
  assert.ok(!parse(command, ['--verbose']).short.has('verbose'));
});

test('any values and words come back unchanged', () => {
  const value = fc.string({ unit: 'binary', minLength: 1 });
  fc.assert(
    fc.property(fc.array(value), fc.array(fc.string({ unit: 'binary' })), (names, words) => {
      const argv = [...names.map((name) => `--interface=${name}`), '--', ...words];
      const { given, words: read } = parse(command, argv);
      assert.deepEqual(given.get('interface') ?? [], names);
      assert.deepEqual(read, words);
    }),
  );
});

test('no argument makes the parser throw anything but a usage error', () => {
  const piece = fc.oneof(
    fc.constantFrom('-', '--', '-i', '-c', '--count', '--no-promiscuous', '=', '-vp'),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(piece), (argv) => {
      try {
        parse(command, argv);
      } catch (error) {
        assert.ok(error instanceof RcapError, String(error));
      }
    }),
  );
});
