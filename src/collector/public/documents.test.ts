import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_SETTINGS } from '../../wire/settings.ts';
import { documentOf, exceptionsText, filesFor, sealFor } from './documents.ts';
import type { Content, PublicFile } from './files.ts';
import { limitWords, parseLimits, strictest } from './limits.ts';
import { patternOf } from './pattern.ts';

let version = 0;
const file = (hosts: string, content: Content): PublicFile => ({
  name: `${hosts === '' ? '' : `hosts/${hosts}/`}${content.kind}`,
  hosts: hosts === '' ? undefined : patternOf(hosts),
  version: ++version,
  ...content,
});
const list = (hosts: string, ...entries: string[]) =>
  file(hosts, { kind: 'exceptions', text: entries.map((e) => `${e}\n`).join(''), entries: entries.length, domains: 0 });
const filter = (hosts: string, text: string) => file(hosts, { kind: 'filter', text });
const limits = (hosts: string, text: string) => file(hosts, { kind: 'limits', limits: parseLimits(text) });

const FILES = [
  filter('web-1', 'port 1'),
  list('web-*', '192.0.2.2'),
  limits('', '{"count": 10, "bytes": "1G"}'),
  list('', '192.0.2.1'),
  filter('*', 'port 3'),
  filter('web-*', 'port 2'),
  limits('web-1', '{"count": 20, "snaplen": 96}'),
  list('web-1', '192.0.2.3'),
  filter('', 'port 4'),
];
const documentFor = (host: string | undefined, files = FILES) => documentOf(filesFor(files, host));

test('exceptions add up, of filters the most specific counts, of limits the strictest', () => {
  const exceptions = ['exceptions', 'hosts/web-*/exceptions', 'hosts/web-1/exceptions'];
  assert.deepEqual(documentFor('WEB-1'), {
    filter: { name: 'hosts/web-1/filter', text: 'port 1' },
    exceptions: exceptions.map((name, i) => ({ name, text: `192.0.2.${i + 1}\n` })),
    limits: { count: 10, bytes: 2 ** 30, snaplen: 96 },
  });
  assert.equal(documentFor('web-2').filter?.text, 'port 2');
  assert.equal(documentFor('db').filter?.text, 'port 3');
  assert.deepEqual(documentFor('db').exceptions, [{ name: 'exceptions', text: '192.0.2.1\n' }]);
  assert.equal(documentFor(undefined).filter?.text, 'port 4');
  assert.equal(exceptionsText(filesFor(FILES, 'web-2')), '192.0.2.1\n192.0.2.2\n');
});

test('the order in which files were found makes no difference', () => {
  for (const files of [FILES.toReversed(), FILES.toSorted((a, b) => a.version - b.version)])
    assert.deepEqual(sealFor(filesFor(files, 'web-1')).digest, sealFor(filesFor(FILES, 'web-1')).digest);
});

test('an empty filter of a host takes the one for all away; nothing at all is no settings', () => {
  assert.equal(documentFor('db', [filter('', 'port 4'), filter('db', '')]).filter, undefined);
  assert.equal(sealFor([filter('', ''), list(''), limits('', '{}')]), NO_SETTINGS);
  assert.equal(sealFor([]), NO_SETTINGS);
});

test('what is too much together is refused, and says whose it is', () => {
  const lists = Array.from({ length: 101 }, (_, i) => list(`*${'a'.repeat(i)}`, '192.0.2.1'));
  assert.throws(() => sealFor(lists), /could not put together the settings in hosts\/\*\/exceptions, .*101 lists/);
  assert.ok(sealFor(lists.slice(1)));
  const many = (entries: number, domains: number) => file('', { kind: 'exceptions', text: 'x\n', entries, domains });
  assert.throws(
    () => sealFor([many(600_000, 0), many(400_001, 0)]),
    /1000001 exceptions count for it, at most 1000000/,
  );
  assert.throws(() => sealFor([many(1500, 1500), many(501, 501)]), /2001 domains count for it, at most 2000/);
  const long = file('', { kind: 'exceptions', text: 'x'.repeat(9 << 20), entries: 1, domains: 0 });
  assert.throws(() => sealFor([long, long]), /more than 16777216/);
});

test("limits have the options' names, units and ranges", () => {
  const all = '{"count": 5, "bytes": "1G", "duration": "10m", "max-rate": "10M/s", "snaplen": 256}';
  const read = parseLimits(all);
  assert.deepEqual(read, { count: 5, bytes: 2 ** 30, durationMs: 600_000, rate: 10 * 2 ** 20, snaplen: 256 });
  assert.equal(limitWords(read), 'count 5, bytes 1G, duration 10m, max-rate 10M/s, snaplen 256');
  assert.deepEqual(strictest([read, { count: 9, snaplen: 1 }, {}]), { ...read, snaplen: 1 });
  for (const [text, why] of [
    ['{', /JSON/],
    ['[]', /not a JSON object/],
    ['null', /not a JSON object/],
    ['{"max_rate": 1}', /no limit is called "max_rate"; did you mean "max-rate"\?/],
    ['{"filter": "x"}', /no limit is called "filter"; there are count, bytes/],
    ['{"__proto__": 1}', /no limit is called "__proto__"/],
    ['{"constructor": 1}', /no limit is called "constructor"/],
    ['{"count": 0}', /"count": at least 1/],
    ['{"count": 1.5}', /"count": not a whole number/],
    ['{"count": true}', /"count" takes text or a number/],
    ['{"snaplen": 262145}', /"snaplen": at most 262144/],
    ['{"duration": "10"}', /"duration": not a time/],
    ['{"max-rate": 1}', /"max-rate": at least 4K/],
  ] as const) {
    assert.throws(() => parseLimits(text), why, text);
  }
});
