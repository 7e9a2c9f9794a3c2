import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { simulate } from './simulation.ts';

/** How long to look, ms. */
const SIM_MS = Number(process.env['RCAP_SIM_MS'] ?? 20_000);
const FIRST = Number(process.env['RCAP_SIM_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

test('a seed decides everything that happens', async () => {
  for (const seed of [1, 2, 3, FIRST]) {
    const [a, b] = [await simulate(seed, { trace: true }), await simulate(seed, { trace: true })];
    assert.deepEqual(a, b);
    assert.ok(a.trace.length > 20);
  }
});

test('whatever happens: each packet is in a file or in a gap, once, and all books agree', (t) => {
  // Printed now: a test that hangs says nothing later.
  console.log(`RCAP_SIM_SEED=${FIRST}`);
  // In programs of their own: the test runner watches every promise, and that takes more time than all the rest.
  const flags = ['--from', String(FIRST), '--seeds', 'Infinity', '--for', String(SIM_MS)];
  const { status, stdout } = spawnSync(process.execPath, [join(import.meta.dirname, 'run.ts'), ...flags], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  assert.equal(status, 0, stdout);
  t.diagnostic(`seeds from ${FIRST}: ${stdout.trim()}`);
  const sum = JSON.parse(stdout) as Record<'seeds' | 'packets' | 'dropped' | 'files' | 'starts', number>;
  // Else nothing was tried.
  assert.ok(sum.seeds > 10 && sum.packets > 20 * sum.seeds && sum.files > sum.seeds, stdout);
  if (sum.seeds > 200) assert.ok(sum.dropped > 0 && sum.starts > 2 * sum.seeds, stdout);
});
