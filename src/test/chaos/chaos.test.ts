/** One round of what goes wrong most; all of it, and many rounds, by `node src/test/chaos/run.ts`. */
import { describe, it } from 'node:test';
import { lacks } from '../support.ts';
import { SCENARIOS } from './scenarios.ts';
import { fromSource, lacksStage } from './stage.ts';

/** With how long the long fault lasts, where there is one. */
const HERE: Record<string, number> = {
  'kill-replay': 0,
  'kill-and-cut': 0,
  'cut-replay': 0,
  'full-disk': 0,
  'failing-disk': 0,
  away: 3000,
  'away-drop': 3000,
  'away-wait': 3000,
};
const NEEDS: Record<string, string[]> = { 'failing-disk': ['strace'] };

describe('chaos', { concurrency: 4, timeout: 600_000 }, () => {
  for (const [name, holdMs] of Object.entries(HERE)) {
    it(name, { skip: lacksStage || lacks(...(NEEDS[name] ?? [])) }, (t) => {
      const seed = Date.now() % 2 ** 31;
      const say = (line: string) => t.diagnostic(line);
      return SCENARIOS[name]!(t, { rounds: 1, seed, scale: 0.3, holdMs, programs: fromSource, keep: undefined, say });
    });
  }
});
