import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  formatDuration,
  formatRate,
  formatSize,
  parseAddress,
  parseDuration,
  parseNumber,
  parseRate,
  parseSize,
} from './units.ts';

test('numbers are whole and decimal', () => {
  assert.equal(parseNumber('0'), 0);
  assert.equal(parseNumber('007'), 7);
  for (const text of ['', ' 1', '1 ', '-1', '+1', '1.0', '1e3', '0x10', '1_000', 'Infinity', 'NaN', '٣', '1\n']) {
    assert.throws(() => parseNumber(text), /not a whole number/, JSON.stringify(text));
  }
  assert.throws(() => parseNumber('9007199254740993'), /too large/);
});

test('sizes are powers of two', () => {
  assert.equal(parseSize('4096'), 4096);
  assert.equal(parseSize('64K'), 65_536);
  assert.equal(parseSize('64m'), 67_108_864);
  assert.equal(parseSize('1G'), 1_073_741_824);
  assert.equal(parseSize('2T'), 2_199_023_255_552);
  for (const text of ['', 'M', '1.5G', '64MB', '64 M', '-1M', '1P', '0x1K'])
    assert.throws(() => parseSize(text), /not a size/, text);
  assert.throws(() => parseSize('9000000T'), /too large/);
});

test('rates are sizes a second, said or not', () => {
  for (const text of ['10M/s', '10M', '10m/s', '10485760']) assert.equal(parseRate(text), 10_485_760);
  for (const text of ['', '/s', '10M/m', '10M/s/s', '10M /s', '10Mbit/s'])
    assert.throws(() => parseRate(text), /not a size/);
  assert.equal(formatRate(parseRate('64K')), '64K/s');
});

test('times need a unit', () => {
  assert.equal(parseDuration('500ms'), 500);
  assert.equal(parseDuration('30s'), 30_000);
  assert.equal(parseDuration('5m'), 300_000);
  assert.equal(parseDuration('24h'), 86_400_000);
  assert.equal(parseDuration('7d'), 604_800_000);
  for (const text of ['', '30', '1.5h', '1h30m', '5 m', '-1s', 'm', '5M', '1w']) {
    assert.throws(() => parseDuration(text), /not a time like/, text);
  }
});

test('sizes and times read back what they format', () => {
  const value = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
  fc.assert(fc.property(value, (bytes) => parseSize(formatSize(bytes)) === bytes));
  fc.assert(fc.property(value, (ms) => parseDuration(formatDuration(ms)) === ms));
  assert.equal(formatSize(64 * 2 ** 20), '64M');
  assert.equal(formatSize(1000), '1000');
  assert.equal(formatSize(0), '0');
  assert.equal(formatDuration(90_000), '90s');
  assert.equal(formatDuration(86_400_000), '1d');
});

test('addresses', () => {
  const good: [string, string, number][] = [
    ['ir.corp', 'ir.corp', 9000],
    ['ir.corp:443', 'ir.corp', 443],
    ['10.0.0.1', '10.0.0.1', 9000],
    ['10.0.0.1:0', '10.0.0.1', 0],
    ['[::1]', '::1', 9000],
    ['[2001:db8::1]:65535', '2001:db8::1', 65535],
    ['[fe80::1%eth0]:1', 'fe80::1%eth0', 1],
    ['[::ffff:10.0.0.1]:1', '::ffff:10.0.0.1', 1],
  ];
  for (const [text, host, port] of good) assert.deepEqual(parseAddress(text, 9000), { host, port }, text);
  const bad: [string, RegExp][] = [
    ['', /not HOST:PORT like ir\.corp:9000/],
    [':9000', /not HOST:PORT/],
    ['host:', /not HOST:PORT/],
    ['host:http', /not HOST:PORT/],
    ['ho st', /not HOST:PORT/],
    ['[::1', /not HOST:PORT/],
    ['[host]:1', /not HOST:PORT/],
    ['host:65536', /at most 65535/],
    ['host:-1', /not HOST:PORT/],
    ['::1', /in brackets: \[::1\]:9000/],
    ['fe80::1:9000', /in brackets/],
    ['https://ir.corp:9000', /leave out https/],
    ['a'.repeat(254), /not HOST:PORT/],
  ];
  for (const [text, reason] of bad) assert.throws(() => parseAddress(text, 9000), reason, text);
});

test('no address makes the parser throw anything but a reason', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      try {
        const { host, port } = parseAddress(text, 9000);
        assert.ok(host.length > 0 && port >= 0 && port <= 65535);
      } catch (error) {
        assert.match((error as Error).message, /HOST:PORT|brackets|65535/);
      }
    }),
  );
});
