import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyLedger } from '../ledger.ts';
import { openReportOf, reportOf } from './report.ts';
import type { Position } from './runs.ts';

const START = { host: 'web 01', interface: 'eth0', friendlyName: '', run: '00112233', capture: 1 };
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
const SENT = { captured: 25, discarded: 5, sent: 20, sentBytes: 2000, capturedBytes: 2000 };
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
  const { acknowledged: _, ...zeros } = emptyLedger();
  assert.deepEqual(counters, { ...zeros, ...SENT });
  const nothing = { packets: 0, files: tally(0, 0) };
  assert.deepEqual(reported({}, nothing)[1], true);
});

test('what the exceptions left out is said', () => {
  assert.deepEqual(reported({ ...SENT, excluded: 7, excludedBytes: 700 }), [
    '20 packets in files, 0 in gaps, 0 dropped by kernel and interface, 7 excluded: complete',
    true,
    0,
  ]);
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
  for (const field of ['captured', 'discarded', 'sent', 'sentBytes', 'capturedBytes', 'droppedBySpool'] as const) {
    const [message, complete] = reported({ ...same, [field]: same[field] + 1 }, gaps);
    assert.match(String(message), /: 1 packet is lost; THE AGENT COUNTS /, field);
    assert.equal(complete, false);
  }
  const [message] = reported({ ...SENT, sent: 21 });
  assert.match(
    String(message),
    /: THE AGENT COUNTS 20 captured, 21 \(2000 bytes\) sent, 0 \(0 bytes\) dropped by spool$/,
  );
  assert.deepEqual(reported(null).slice(0, 2), [
    '20 packets in files, 0 in gaps, 0 dropped by kernel and interface: the agent sent no counters',
    false,
  ]);
});

test('what another collector has is neither lost nor complete', () => {
  const part = { files: tally(12, 1200) };
  const elsewhere = "8 more not here: another collector has them, or this one's disk lost them";
  assert.deepEqual(reported(SENT, part), [
    `12 packets in files, 0 in gaps, 0 dropped by kernel and interface: ${elsewhere}`,
    false,
    8,
  ]);
  assert.match(String(reported({ ...SENT, sent: 21 }, part)[0]), /THE AGENT COUNTS 20 captured, 21/);
});

test('names and reasons of strangers make neither a line of their own nor a long one', () => {
  const start = { ...START, host: 'h\nrcap-collector: x', interface: `e\n${'i'.repeat(300)}` };
  const { message, ...facts } = reportOf(start, at(), {
    reason: `${'x'.repeat(99)}😀\n${'y'.repeat(4000)}`,
    counters: {},
  });
  assert.match(message, /^ended \(x{99}\ufffd\): h_rcap-collector__x, e_i{30}: /);
  assert.doesNotMatch(message, /\n/);
  assert.deepEqual([facts.host, facts.interface], [start.host, start.interface]);
  assert.match(reportOf(START, at(), { reason: 'a\nb\r\n c', counters: {} }).message, /^ended \(a b c\): /);
});

test('a capture without an end', () => {
  const { message, complete } = openReportOf(START, at({ gaps: tally(3, 300) }), 'disconnected');
  assert.equal(message, 'without an end so far (disconnected): web_01, eth0: 20 packets in files, 3 in gaps');
  assert.equal(complete, undefined);
});
