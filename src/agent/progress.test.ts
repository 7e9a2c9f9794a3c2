import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyLedger } from '../ledger.ts';
import { progressLine, sizeText } from './progress.ts';

test('the line says what was captured and lost, what waits, and what is wrong with the connection', () => {
  const ledger = { ...emptyLedger(), captured: 12, discarded: 2, capturedBytes: 1536, droppedBySpool: 3, droppedByKernel: 1, acknowledged: 5 }; // prettier-ignore
  const fine = { ledger, seconds: 1, spoolHeld: 2 ** 20, spoolOnDisk: 0, connected: true, behind: false };
  const line = '10 packets, 1.5 KiB, 7/s, 4 dropped, spool 1.0 MiB, 5 acknowledged';
  assert.equal(progressLine(fine, 7.4), line);
  assert.equal(
    progressLine({ ...fine, spoolOnDisk: 2 ** 31, connected: false }, 7.4),
    `${line.replace('1.0 MiB', '1.0 MiB and 2.0 GiB on disk')}, not connected`,
  );
  assert.equal(progressLine({ ...fine, behind: true }, 7.4), `${line}, the collector is behind`);
  assert.equal(
    progressLine({ ...fine, ledger: { ...ledger, received: 16, excluded: 2 } }, 7.4),
    line.replace('4 dropped', '4 dropped, 12.5 % excluded'),
  );
});

test('sizes are for people', () => {
  assert.deepEqual([0, 1023, 1024, 1.5 * 2 ** 30].map(sizeText), ['0 B', '1023 B', '1.0 KiB', '1.5 GiB']); // prettier-ignore
});
