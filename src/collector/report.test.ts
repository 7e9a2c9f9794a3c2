import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openReportOf, reportOf } from './report.ts';
import type { Position } from './runs.ts';

const START = { host: 'web 01', interface: 'eth0', run: '00112233', capture: 1 };
const tally = (packets: number, bytes: number) => ({ packets, bytes });
const at = (more: Partial<Position> = {}): Position => ({
  sequence: 4,
  packets: 20,
  recorded: 4,
  ended: true,
  files: tally(20, 2000),
  gaps: tally(0, 0),
  ...more,
});
const SENT = { sent: 20, sentBytes: 2000, capturedBytes: 2000 };
const reported = (counters: object | null, more: Partial<Position> = {}) => {
  const { message, complete, elsewhere } = reportOf(START, at(more), { reason: 'stopped', counters });
  return [message.replace('ended (stopped): web_01, eth0: ', ''), complete, elsewhere];
};

test('a capture that is whole', () => {
  assert.deepEqual(reported(SENT), [
    '20 packets in files, 0 in gaps, 0 dropped by kernel and interface: complete',
    true,
    0,
  ]);
  const { counters, files, gaps, host, run } = reportOf(START, at(), { reason: '', counters: SENT });
  assert.deepEqual([files, gaps, host, run], [tally(20, 2000), tally(0, 0), 'web 01', '00112233']);
  // What was 0 was not on the wire.
  const zeros = { droppedBySpool: 0, droppedByKernel: 0, droppedByInterface: 0 };
  assert.deepEqual(counters, { ...SENT, ...zeros });
  const nothing = { packets: 0, files: tally(0, 0) };
  assert.deepEqual(reported({}, nothing)[1], true);
});

test('what is lost is said', () => {
  const gaps = { files: tally(19, 1900), gaps: tally(1, 100) };
  const dropped = { ...SENT, sent: 19, sentBytes: 1900, droppedBySpool: 1 };
  assert.deepEqual(reported(dropped, gaps), [
    '19 packets in files, 1 in gaps, 0 dropped by kernel and interface: 1 packet is lost',
    false,
    0,
  ]);
  assert.deepEqual(reported({ ...SENT, droppedByKernel: 5, droppedByInterface: 2 }), [
    '20 packets in files, 0 in gaps, 7 dropped by kernel and interface: 7 packets are lost',
    false,
    0,
  ]);
});

test('where the agent counts something else, in any field, it is said', () => {
  const gaps = { files: tally(19, 1900), gaps: tally(1, 100) };
  const same = { ...SENT, sent: 19, sentBytes: 1900, droppedBySpool: 1 };
  for (const field of ['sent', 'sentBytes', 'capturedBytes', 'droppedBySpool'] as const) {
    const [message, complete] = reported({ ...same, [field]: same[field] + 1 }, gaps);
    assert.match(String(message), /: 1 packet is lost; THE AGENT COUNTS /, field);
    assert.equal(complete, false);
  }
  const [message] = reported({ ...SENT, sent: 21 });
  assert.match(String(message), /: THE AGENT COUNTS 21 \(2000 bytes\) sent, 0 \(0 bytes\) dropped by spool$/);
  assert.deepEqual(reported(null).slice(0, 2), [
    '20 packets in files, 0 in gaps, 0 dropped by kernel and interface: the agent sent no counters',
    false,
  ]);
});

test('what another collector has is neither lost nor complete', () => {
  const part = { files: tally(12, 1200) };
  const elsewhere = '8 more that are not known here: another collector has them, or this one lost its record';
  assert.deepEqual(reported(SENT, part), [
    `12 packets in files, 0 in gaps, 0 dropped by kernel and interface: ${elsewhere}`,
    false,
    8,
  ]);
  assert.match(String(reported({ ...SENT, sent: 21 }, part)[0]), /THE AGENT COUNTS 21/);
});

test('a reason that goes on for ever does not', () => {
  const { message } = reportOf(START, at(), { reason: 'x'.repeat(4000), counters: SENT });
  assert.ok(message.length < 300);
});

test('a capture without an end', () => {
  const { message, complete } = openReportOf(START, at({ gaps: tally(3, 300) }), 'disconnected');
  assert.equal(message, 'without an end so far (disconnected): web_01, eth0: 20 packets in files, 3 in gaps');
  assert.equal(complete, undefined);
});
