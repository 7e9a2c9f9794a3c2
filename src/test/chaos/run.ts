// Runs one scenario many times: node src/test/chaos/run.ts --scenario NAME [--rounds N] [--seed N] [--hold MS] [--packaged]
// [--keep DIR]. Needs root. Failed rounds stay in DIR: captures, and what both programs said. Ends with 1 if one failed.
import { mkdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SCENARIOS } from './scenarios.ts';
import { fromSource, lacksStage, packaged } from './stage.ts';

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: '' },
    rounds: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    hold: { type: 'string', default: '5000' },
    packaged: { type: 'boolean', default: false },
    keep: { type: 'string' },
  },
});

const steps: (() => void | Promise<void>)[] = [];
async function clean(): Promise<void> {
  for (const step of steps.splice(0).toReversed()) await step();
}
function abandon(why: unknown): void {
  console.log(why);
  void clean().finally(() => process.exit(1));
}
for (const event of ['SIGINT', 'SIGTERM', 'uncaughtException'] as const) process.on(event, abandon);

const scenario = SCENARIOS[values.scenario];
if (!scenario || lacksStage) {
  console.error(lacksStage || `chaos: error: --scenario is one of ${Object.keys(SCENARIOS).join(', ')}`);
  process.exit(2);
}
if (values.keep !== undefined) mkdirSync(values.keep, { recursive: true });
console.log(`${values.scenario}: ${values.rounds} rounds, --seed ${values.seed}`);
try {
  const conditions = {
    rounds: Number(values.rounds),
    seed: Number(values.seed),
    scale: 1,
    holdMs: Number(values.hold),
    programs: values.packaged ? packaged : fromSource,
    keep: values.keep,
    say: (line: string) => console.log(line),
  };
  await scenario({ after: (step) => void steps.push(step) }, conditions);
  console.log('passed');
} catch (e) {
  console.log(e instanceof AggregateError ? `failed: ${e.errors.length} rounds` : e);
  process.exitCode = 1;
} finally {
  await clean();
}
