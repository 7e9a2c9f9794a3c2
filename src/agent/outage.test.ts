import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { Outage } from './outage.ts';

function stage() {
  const time = { now: 0 };
  const outage = new Outage({ ...systemClock, now: () => time.now });
  return { time, outage, lost: (words: string, ms = 1234) => outage.lost(new RcapError('X', words), ms) };
}

test('a loss is said with its next try, and what follows it', () => {
  const { outage, lost } = stage();
  assert.equal(outage.connected('x', undefined, 0), undefined);
  assert.equal(lost('gone'), 'gone; trying again in 1.2 s');
  assert.equal(outage.connected('x', 12_300, 5), "connected again to 'x' after 12 s, 5 packets to send");
  assert.equal(outage.connected('x', 12_300, 5), undefined);
  assert.equal(lost('other', 3), 'other; trying again in 0.1 s');
  assert.equal(outage.connected('x', undefined, 1), "connected to 'x', 1 packet to send");
});

test('the same words are said once a minute', () => {
  const { time, outage, lost } = stage();
  assert.ok(lost('a'));
  time.now = 59_999;
  assert.equal(lost('a'), undefined);
  assert.ok(lost('b'));
  outage.connected('x', 1000, 1);
  // A connection that comes and goes says nothing new either.
  assert.equal(lost('b'), undefined);
  assert.equal(outage.connected('x', 1000, 1), undefined);
  time.now = 60_000;
  assert.ok(lost('a'));
  assert.equal(lost('a'), undefined);
});

test('how a collector stands is said when it changes; with the connection that is forgotten', () => {
  const { time, outage, lost } = stage();
  assert.equal(outage.status(false, ''), undefined);
  assert.equal(outage.status(true, 'a slow disk'), 'the collector is behind: a slow disk');
  time.now = 60_000;
  assert.equal(outage.status(true, 'a slow disk'), undefined);
  assert.equal(outage.status(true, ''), 'the collector is behind: it does not say why');
  assert.equal(outage.status(false, 'x'), 'the collector is no longer behind');
  time.now = 120_000;
  assert.ok(outage.status(true, 'a'));
  lost('gone');
  assert.equal(outage.status(false, ''), undefined);
});

test('one that is behind now and then is said to be once a minute; one that stays so, then', () => {
  const { time, outage } = stage();
  const said: string[] = [];
  for (; time.now < 60_000; time.now += 5000) {
    const words = outage.status(time.now % 10_000 === 0, `at ${time.now}`);
    if (words) said.push(words);
  }
  assert.deepEqual(said, ['the collector is behind: at 0', 'the collector is no longer behind']);
  time.now = 59_000;
  assert.equal(outage.status(true, 'x'), undefined);
  assert.equal(outage.status(false, ''), undefined);
  outage.status(true, 'x');
  time.now = 60_000;
  assert.equal(outage.status(true, 'x'), 'the collector is behind: x');
});
