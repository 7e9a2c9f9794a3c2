/** Properties over a stranger's bytes: a few seconds in the suite, RCAP_FUZZ_MS milliseconds each by hand. */
import fc from 'fast-check';

const LONG_MS = Number(process.env.RCAP_FUZZ_MS ?? 0);
const SHORT_MS = 3000;

export async function fuzz<T>(property: fc.IProperty<T> | fc.IAsyncProperty<T>, runs: number): Promise<void> {
  const limits = LONG_MS
    ? { numRuns: 1e9, interruptAfterTimeLimit: LONG_MS }
    : { numRuns: runs, interruptAfterTimeLimit: SHORT_MS };
  const details = await fc.check(property as fc.IAsyncProperty<T>, limits);
  if (LONG_MS) console.error(`${details.numRuns} inputs`);
  // An interrupted run counts as what it found until then.
  if (details.failed && !(details.interrupted && details.counterexample === null)) {
    throw new Error(fc.defaultReportMessage(details), { cause: details.errorInstance });
  }
}
