/**
 * Many seeds: node src/test/sim/run.ts [--from 1] [--seeds 1000] [--for MS] [--workers 2] [--all]
 * Ends with the first seed that fails and all that is known of it; with --all goes on, and says how often what failed.
 */
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { simulate, type SimulationResult } from './simulation.ts';

const { values: flags } = parseArgs({
  options: {
    from: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1000' },
    for: { type: 'string', default: 'Infinity' },
    workers: { type: 'string', default: String(availableParallelism()) },
    all: { type: 'boolean', default: false },
    worker: { type: 'string' },
  },
});
const [from, seeds, workers] = [flags.from, flags.seeds, flags.workers].map(Number) as [number, number, number];

type Report = { failed: number; message: string } | SimulationResult;

/** Every so many-th seed. */
async function work(first: number): Promise<void> {
  const end = performance.now() + Number(flags.for);
  for (let seed = first; seed < from + seeds && performance.now() < end; seed += workers) {
    const report: Report = await simulate(seed).catch((e: Error) => ({ failed: seed, message: e.message }));
    process.send!('failed' in report ? report : { ...report, trace: [] });
  }
}

function lead(): void {
  const start = performance.now();
  const sum = { seeds: 0, failed: 0, packets: 0, dropped: 0, files: 0, starts: 0 };
  const reasons = new Map<string, number[]>();
  const children = Array.from({ length: workers }, (_, i) =>
    fork(import.meta.filename, [...process.argv.slice(2), '--worker', String(from + i)]),
  );
  const progress = () => {
    const msPerSeed = ((performance.now() - start) / sum.seeds).toFixed(2);
    process.stderr.write(`\r${JSON.stringify(sum)} ${msPerSeed} ms a seed `);
  };
  const received = (report: Report) => {
    sum.seeds++;
    if ('failed' in report) {
      sum.failed++;
      const reason = report.message
        .split('\n', 1)[0]!
        .replace(/^seed \d+: /, '')
        .replace(/\d+/g, 'N');
      reasons.set(reason, [...(reasons.get(reason) ?? []), report.failed]);
      if (!flags.all) {
        for (const c of children) c.kill();
        console.log(report.message);
      }
    } else for (const k of ['packets', 'dropped', 'files', 'starts'] as const) sum[k] += report[k];
    if (sum.seeds % 100 === 0) progress();
  };
  let left = children.length;
  for (const child of children) {
    child.on('message', received);
    child.on('exit', () => {
      if (--left > 0) return;
      progress();
      process.stderr.write('\n');
      console.log(JSON.stringify(sum));
      if (!flags.all) reasons.clear();
      for (const [reason, list] of [...reasons].toSorted(([, a], [, b]) => b.length - a.length))
        console.log(`${list.length} times ${reason}: ${list.slice(0, 8).join(' ')}`);
      process.exitCode = sum.failed > 0 ? 1 : 0;
    });
  }
}

if (flags.worker === undefined) lead();
else await work(Number(flags.worker));
