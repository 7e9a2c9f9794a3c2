import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { emptyLedger, imbalance, type Ledger, lost, report, sum, unacknowledged, unread } from './ledger.ts';

const ledger = (some: Partial<Ledger>): Ledger => ({ ...emptyLedger(), ...some });
const n = fc.nat(1000);

/** A capture that ended in order, from what happened to its packets. */
const ended = fc.record({ kernel: n, device: n, filtered: n, ring: n, discarded: n, spool: n, sent: n }).map((h) => ({
  ...h,
  ledger: ledger({
    received: h.kernel + h.filtered + h.ring + h.discarded + h.spool + h.sent,
    droppedByKernel: h.kernel,
    droppedByInterface: h.device,
    filtered: h.filtered,
    captured: h.discarded + h.spool + h.sent,
    discarded: h.discarded,
    droppedBySpool: h.spool,
    sent: h.sent,
    acknowledged: h.sent,
  }),
}));

test('a capture that ended in order balances, and what is lost is what was dropped', () => {
  fc.assert(
    fc.property(ended, (h) => {
      assert.equal(imbalance(h.ledger), undefined);
      assert.equal(unread(h.ledger), h.ring);
      assert.equal(unacknowledged(h.ledger), 0);
      assert.equal(lost(h.ledger), h.kernel + h.device + h.spool);
    }),
  );
});

test('one packet too many or too few anywhere on the way is found', () => {
  fc.assert(
    fc.property(
      ended,
      fc.constantFrom('captured', 'discarded', 'droppedBySpool', 'sent', 'acknowledged'),
      fc.constantFrom(-1, 1),
      (h, counter, off) => assert.notEqual(imbalance({ ...h.ledger, [counter]: h.ledger[counter] + off }), undefined),
    ),
  );
});

test('more packets captured than received is said', () => {
  const l = ledger({ received: 2, captured: 3, sent: 3, acknowledged: 3 });
  assert.equal(imbalance(l), '3 captured of 2 received');
});

test('packets that were never acknowledged are lost', () => {
  const l = ledger({ received: 9, captured: 9, sent: 9, acknowledged: 4 });
  assert.equal(imbalance(l), '9 sent, but 4 acknowledged');
  assert.equal(lost(l), 5);
});

test('the sum of ledgers adds each counter', () => {
  const each = Object.fromEntries(Object.keys(emptyLedger()).map((k, i) => [k, i + 1])) as unknown as Ledger;
  assert.deepEqual(sum([each, each]), Object.fromEntries(Object.entries(each).map(([k, v]) => [k, 2 * v])));
  assert.deepEqual(sum([]), emptyLedger());
});

test("the report is in tcpdump's words, and only says what there is to say", () => {
  assert.deepEqual(report(ledger({ received: 1, captured: 1, sent: 1, acknowledged: 1 })), [
    '1 packet captured',
    '1 packet received by filter',
    '0 packets dropped by kernel',
    '1 packet sent, 1 acknowledged',
  ]);
  assert.deepEqual(
    report(
      ledger({
        received: 20,
        droppedByKernel: 2,
        droppedByInterface: 3,
        filtered: 4,
        captured: 10,
        cut: 6,
        discarded: 1,
        droppedBySpool: 5,
        sent: 4,
        acknowledged: 4,
      }),
    ),
    [
      '9 packets captured',
      '20 packets received by filter',
      '2 packets dropped by kernel',
      '3 packets dropped by interface',
      '4 packets filtered out',
      '6 packets cut to the snapshot length',
      '5 packets dropped by spool',
      '4 packets sent, 4 acknowledged',
    ],
  );
});
