import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { RcapError } from './errors.ts';
import { Log, type LogOptions, printable } from './log.ts';

function lines(options: LogOptions, act: (log: Log) => void): string[] {
  const written: string[] = [];
  act(new Log('tool', { ...options, write: (line) => written.push(line) }));
  return written;
}
const everything = (log: Log) => {
  log.debug('d');
  log.info('i');
  log.warning('w', 'do this');
  log.error(new RcapError('X', "could not open 'a': no", { hint: 'try b' }));
};
const ALWAYS = [
  'tool: warning: w\n',
  'tool: hint: do this\n',
  "tool: error: could not open 'a': no\n",
  'tool: hint: try b\n',
];

test('levels', () => {
  assert.deepEqual(lines({}, everything), ['tool: i\n', ...ALWAYS]);
  assert.deepEqual(lines({ verbose: true }, everything), ['tool: d\n', 'tool: i\n', ...ALWAYS]);
  assert.deepEqual(lines({ quiet: true }, everything), ALWAYS);
});

test('a stack is shown for unforeseen errors, with -v', () => {
  const act = (log: Log) => log.error(new TypeError('x is not a function'));
  assert.deepEqual(lines({}, act), ['tool: error: x is not a function\n']);
  assert.match(lines({ verbose: true }, act).join(''), /TypeError: x is not a function\n +at /);
});

test('json: one object a line, with all fields', () => {
  const written = lines({ json: true }, (log) => {
    log.info('two\nlines', { packets: 5, bytes: 2n ** 60n });
    log.error(new RcapError('X', 'm', { hint: 'h' }));
  });
  const objects = written.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.ok(written.every((line) => line.indexOf('\n') === line.length - 1));
  assert.ok(objects.every(({ time }) => new Date(String(time)).toISOString() === time));
  assert.deepEqual(
    objects.map((object) => ({ ...object, time: undefined })),
    [
      { time: undefined, level: 'info', program: 'tool', message: 'two\nlines', packets: 5, bytes: String(2n ** 60n) },
      { time: undefined, level: 'error', program: 'tool', message: 'm', hint: 'h', code: 'X' },
    ],
  );
});

test('control characters don’t reach a terminal', () => {
  assert.equal(printable('a\u001b[31mb\rc\u009bd\u202ee\nf'), 'a\\x1b[31mb\\x0dc\\x9bd\\u202ee\nf');
  assert.deepEqual(lines({}, (log) => log.info('\u0007')), ['tool: \\x07\n']); // prettier-ignore
});

test('whoever draws is told before each line', () => {
  let told = 0;
  lines({}, (log) => {
    log.beforeLine = () => told++;
    log.info('a');
    log.debug('not shown');
    log.warning('b');
  });
  assert.equal(told, 2);
});

test('a reader that went away does not end the program, nor does a closed descriptor', async () => {
  const script = `import { Log } from './src/log.ts';
    const log = new Log('tool');
    process.stdin.on('end', () => {
      for (let i = 0; i < 2000; i++) log.info('x'.repeat(1000));
      console.log('alive');
    }).resume();`;
  const words = ['--input-type=module-typescript', '-e', script];
  const child = spawn(process.execPath, words, { cwd: join(import.meta.dirname, '..'), timeout: 30_000 });
  child.stderr.destroy();
  child.stdin.end();
  assert.equal(await text(child.stdout), 'alive\n');
  const closed = ['-c', 'exec "$0" "$@" 2>&- </dev/null', process.execPath, ...words];
  assert.equal(
    await text(spawn('sh', closed, { cwd: join(import.meta.dirname, '..'), timeout: 30_000 }).stdout),
    'alive\n',
  );
});
