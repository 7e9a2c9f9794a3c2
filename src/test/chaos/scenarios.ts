/** What can go wrong between agent and collector, done to the real programs again and again; then the files are read. */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Cleaner, type Finished, until } from '../support.ts';
import { dropAll, failCalls, freeze, halfOpen, killSockets, linkDown, resetAll } from './faults.ts';
import { Random } from './random.ts';
import { type Conditions, Round, Stage, usage } from './stage.ts';
import { type Sizes, writeTraffic } from './traffic.ts';
import * as verify from './verify.ts';

/** Rejects at the end if rounds failed, and tells of each round as it goes. */
export type Scenario = (t: Cleaner, conditions: Conditions) => Promise<void>;

/** More broken rounds tell nothing new. */
const MOST_FAILURES = 5;

function scenario(round: (r: Round, input: string) => Promise<string>, sizes?: Sizes): Scenario {
  return async (t, conditions) => {
    const stage = new Stage(t, conditions);
    const input = join(stage.folder, 'input.pcap');
    if (sizes) writeTraffic(input, new Random(conditions.seed), { ...sizes, packets: stage.scaled(sizes.packets) });
    const failures: Error[] = [];
    for (let number = 1; number <= conditions.rounds && failures.length < MOST_FAILURES; number++) {
      const r = stage.round(number);
      try {
        conditions.say(`round ${number}: ${await round(r, input)}`);
      } catch (cause) {
        await r.save(cause);
        const message = `${(cause as Error).message}\n${r.lastWords}`;
        failures.push(new Error(`round ${number} (seed ${r.random.seed}): ${message}`, { cause }));
        conditions.say(failures.at(-1)!.message);
      } finally {
        await r.clear();
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map((e) => e.message).join('\n'));
  };
}

const SMALL_SEGMENTS = ['--rotate-bytes', '2M', '--sync-bytes', '256K', '--sync-time', '20ms'];
/** Seldom, often, in the middle: where a fault strikes depends on it. */
function someSegments(random: Random): string[] {
  const bytes = random.one(['64K', '1M', '8M', '256M']);
  const sync = random.one(['4096', '64K', '1M', '4M']);
  return ['--rotate-bytes', bytes, '--sync-bytes', sync, '--sync-time', random.one(['0ms', '10ms', '100ms'])];
}

/** The capture file's agent ends by itself; then everything is in order, and complete to the last bit. */
async function finishReplay(r: Round, input: string, end: Finished): Promise<string> {
  await r.collector.stop();
  const capture = verify.readCapture(r.captures);
  verify.checkReplay(capture, input);
  return finish(r, capture, end);
}

/** The same for a live capture. Lost is what the agent says; `mayLose`: not only in the kernel. */
async function finishLive(r: Round, sent: number, mayLose = false): Promise<string> {
  const end = await r.stopLive();
  await r.collector.stop();
  const capture = verify.readCapture(r.captures);
  const { packets, missing } = verify.checkNumbered(capture, sent);
  const done = verify.doneOf(end);
  const { droppedByKernel, droppedByInterface } = done;
  const said = `missing ${JSON.stringify(missing.slice(0, 10))}, gaps ${JSON.stringify(capture.gaps.slice(0, 10))}`;
  assert.equal(sent, packets + capture.gapPackets + droppedByKernel + droppedByInterface, said);
  if (!mayLose) assert.equal(capture.gapPackets, 0, said);
  const kernel = droppedByKernel + droppedByInterface;
  return `${finish(r, capture, end)}, ${capture.gapPackets} in ${capture.gaps.length} gaps, ${kernel} dropped by kernel`;
}

function finish(r: Round, capture: verify.Capture, end: Finished): string {
  verify.checkEnd(capture);
  const done = verify.checkLedger(capture, end);
  verify.checkReports(
    capture,
    done,
    r.collector.programs.map((p) => p.stderr),
  );
  verify.checkTidy(r.captures);
  return `${capture.packets} packets in ${capture.segments.length} files`;
}

/** Nothing goes wrong: what the others are measured by. */
const calmReplay = scenario(
  async (r, input) => {
    await r.startCollector(someSegments(r.random));
    await r.startReplay(input);
    return finishReplay(r, input, await r.endOfAgent());
  },
  { packets: 300_000, least: 60, most: 460 },
);
const calmLive = scenario(async (r) => {
  await r.startCollector(someSegments(r.random));
  await r.startLive();
  return finishLive(r, Number((await r.stage.sender(30_000, 200, 20_000).end()).stdout));
});

/** kill -9 at any time, mostly while it is in use, sometimes in its start; and again at once or after a while. */
async function killOnce(r: Round): Promise<void> {
  const { random, collector } = r;
  if (random.chance(0.75)) await r.inUse();
  await r.pause(0, 500);
  if (!r.agent.running || !collector.program.running) return;
  await collector.kill();
  if (random.chance(0.5)) await r.pause(0, 800);
  collector.start();
}

/** Some kills, until the end; then it is left alone. */
async function killSome(r: Round, over: Promise<unknown>): Promise<void> {
  let left = r.random.between(1, 4);
  await r.meanwhile(over, () => (left-- > 0 ? killOnce(r) : Promise.race([over, sleep(1000)]).then(() => {})));
  await r.collector.up();
}

const killReplay = scenario(
  async (r, input) => {
    await r.startCollector(someSegments(r.random));
    await r.startReplay(input);
    await killSome(r, r.agent.exited);
    return `${await finishReplay(r, input, await r.endOfAgent())}, ${r.collector.programs.length - 1} kills`;
  },
  { packets: 300_000, least: 60, most: 460 },
);

const killLive = scenario(async (r) => {
  await r.startCollector(someSegments(r.random));
  await r.startLive();
  const sender = r.stage.sender(r.stage.scaled(60_000), 200, 15_000);
  await killSome(r, sender.exited);
  const sent = Number((await sender.end()).stdout);
  return `${await finishLive(r, sent)}, ${r.collector.programs.length - 1} kills`;
});

/** Returns what it was. */
async function cutOnce(r: Round): Promise<string> {
  const { random, stage } = r;
  const at = stage.here;
  await r.pause(50, 700);
  const ms = random.between(20, random.chance(0.2) ? 3000 : 500);
  const kind = random.one(['link', 'drop', 'reset', 'kill', 'freeze', 'half-open'] as const);
  if (kind === 'link') await linkDown(at, ms);
  else if (kind === 'drop') await dropAll(at, ms);
  else if (kind === 'reset') await resetAll(at, ms);
  else if (kind === 'kill') killSockets(at);
  else if (kind === 'freeze') await freeze(r.collector.program, ms);
  else await halfOpen(at, ms);
  return kind;
}

const cutReplay = scenario(
  async (r, input) => {
    await r.startCollector(someSegments(r.random));
    await r.startReplay(input);
    const kinds: string[] = [];
    await r.meanwhile(r.agent.exited, async () => void kinds.push(await cutOnce(r)));
    return `${await finishReplay(r, input, await r.endOfAgent())}, cuts: ${kinds.join(' ')}`;
  },
  { packets: 300_000, least: 60, most: 460 },
);

const cutLive = scenario(async (r) => {
  await r.startCollector(someSegments(r.random));
  await r.startLive();
  const sender = r.stage.sender(r.stage.scaled(60_000), 200, 15_000);
  const kinds: string[] = [];
  await r.meanwhile(sender.exited, async () => void kinds.push(await cutOnce(r)));
  return `${await finishLive(r, Number((await sender.end()).stdout))}, cuts: ${kinds.join(' ')}`;
});

/** The collector stands still for long: longer than the agent waits for a sign of life, by hand. */
const frozen = scenario(async (r) => {
  await r.startCollector(SMALL_SEGMENTS);
  await r.startLive();
  const seconds = r.stage.conditions.holdMs / 1000 + 3;
  const sender = r.stage.sender(Math.ceil(seconds * 5000), 200, 5000);
  await r.pause(500, 1500);
  await freeze(r.collector.program, r.stage.conditions.holdMs);
  return finishLive(r, Number((await sender.end()).stdout));
});

/** Both, and the agent keeps what it can, where it can. */
const killAndCut = (flags: (r: Round) => string[], mayLose: boolean): Scenario =>
  scenario(async (r) => {
    await r.startCollector(someSegments(r.random));
    await r.startLive(...flags(r));
    const sender = r.stage.sender(r.stage.scaled(90_000), 200, 15_000);
    const kinds: string[] = [];
    await r.meanwhile(sender.exited, async () => {
      if (r.random.chance(0.4)) await killOnce(r);
      else kinds.push(await cutOnce(r));
    });
    await r.collector.up();
    const sent = Number((await sender.end()).stdout);
    const said = await finishLive(r, sent, mayLose);
    return `${said}, ${r.collector.programs.length - 1} kills, cuts: ${kinds.join(' ')}`;
  });
const someSpool = (r: Round): string[] =>
  r.random.chance(0.4) ? [] : ['--spool', r.random.one(['1M', '2M', '8M']), '--spool-dir', spoolFolder(r)];

/** Like somebody who takes published files to another place: those that have a manifest, and manifests that changed. */
function takeAway(from: string, to: string): void {
  for (const host of readdirSync(from, { withFileTypes: true })) {
    if (!host.isDirectory()) continue;
    for (const name of readdirSync(join(from, host.name))) {
      if (!name.endsWith('.json')) continue;
      for (const file of [name.replace(/json$/, 'pcap'), name]) {
        const path = join(from, host.name, file);
        if (!existsSync(path)) continue;
        copyFileSync(path, join(to, file));
        rmSync(path);
      }
    }
  }
}

const FULL = { packets: 300_000, least: 600, most: 800 };

/** Published files are taken away only now and then, so that there is no room again and again. */
const smallDisk = (minFree: string, least: number, most: number): Scenario =>
  scenario(async (r, input) => {
    const away = join(r.folder, 'away');
    mkdirSync(away);
    const flags = ['--min-free', minFree, '--rotate-bytes', '4M'];
    const size = r.stage.scaled(64 << 20);
    await r.startCollectorOnSmallDisk(String(size), flags);
    const captures = r.seen;
    await r.startReplay(input);
    let free = size;
    await r.meanwhile(r.agent.exited, async () => {
      for (let i = 0; i < 10; i++, await sleep(100)) {
        const { bavail, bsize } = statfsSync(captures);
        free = Math.min(free, bavail * bsize);
      }
      takeAway(captures, away);
    });
    assert.ok(free >= least && free <= most, `${free} bytes were free at least`);
    const end = await r.endOfAgent();
    await r.collector.stop();
    takeAway(captures, away);
    verify.checkTidy(captures);
    const capture = verify.readCapture(away);
    verify.checkReplay(capture, input);
    return `${finish(r, capture, end)}, at least ${free} bytes free`;
  }, FULL);

/** This one meets what is done ten times a second. */
const SURE = 'fdatasync:error=EIO';
const INJECTIONS = [
  SURE,
  'fdatasync:error=EIO:when=3+5',
  'pwrite64:error=ENOSPC',
  'pwrite64:error=ENOSPC:when=5+7',
  'pwrite64:error=EIO:when=2',
  'pread64:error=EIO',
  'ftruncate:error=EIO',
  'rename,renameat,renameat2:error=EIO',
  'unlink,unlinkat:error=EIO',
  'fsync:error=EIO',
  'openat:error=EMFILE:when=2+3',
  'statfs:error=EIO',
];

/** The disk fails for a while, in one way after another; `kills`: and the collector is killed meanwhile. */
const failingDisk = (kills: boolean): Scenario =>
  scenario(
    async (r, input) => {
      await r.startCollector(SMALL_SEGMENTS);
      await r.startReplay(input, '--max-rate', `${r.stage.scaled(8)}M/s`);
      const counts = new Map<string, number>();
      await r.meanwhile(r.agent.exited, async () => {
        // Something fails in any case.
        const first = counts.size === 0;
        const inject = first ? SURE : r.random.one(INJECTIONS);
        // What it opens and reads first is itself.
        if (/^(openat|pread64)/.test(inject)) await r.collector.up();
        else await r.pause(100, 500);
        const { pid } = r.collector.program;
        const failing = failCalls(r.t, pid, r.folder, inject, first ? 1500 : r.random.between(100, 1500));
        failing.catch(() => {}); // it is awaited below
        if (kills && r.random.chance(0.3)) {
          r.collector.revive();
          await killOnce(r);
        }
        counts.set(inject, (counts.get(inject) ?? 0) + (await failing));
        if (kills) r.collector.revive();
        await r.pause(0, 500);
      });
      await r.collector.up();
      const end = await r.endOfAgent();
      assert.ok(Math.max(...counts.values()) > 0, 'no call failed, so nothing was tried');
      const said = [...counts].map(([inject, n]) => `${n} × ${inject}`).join(', ');
      return `${await finishReplay(r, input, end)}, ${r.collector.programs.length - 1} kills; ${said}`;
    },
    { packets: 300_000, least: 60, most: 460 },
  );

/** The collector is away for long while packets come: 20,000 of 500 bytes a second. */
const away = (flags: (r: Round) => string[], mayLose: boolean, mustLose: 'gaps' | 'kernel' | 'nothing'): Scenario =>
  scenario(async (r) => {
    await r.startCollector([]);
    await r.startLive(...flags(r));
    const { holdMs } = r.stage.conditions;
    const sender = r.stage.sender(20 * (holdMs + 3000), 500, 20_000);
    await sleep(1500);
    await r.collector.kill();
    await sleep(holdMs);
    r.collector.start();
    await r.collector.up();
    const said = await finishLive(r, Number((await sender.end()).stdout), mayLose);
    if (mustLose === 'gaps') assert.doesNotMatch(said, / 0 in 0 gaps/, 'nothing was lost, so nothing was tried');
    if (mustLose === 'kernel')
      assert.doesNotMatch(said, / 0 dropped by kernel/, 'nothing was lost, so nothing was tried');
    return said;
  });
/** A tenth of what comes meanwhile, so that memory is never enough. */
const spoolBytes = (r: Round): string => String(Math.max(1 << 20, r.stage.conditions.holdMs * 1000));
function spoolFolder(r: Round): string {
  const folder = join(r.folder, 'spool');
  mkdirSync(folder, { mode: 0o700 });
  return folder;
}

/** The oldest files go; what went and what is left is all that came. */
const keepBytes = scenario(
  async (r, input) => {
    const keep = 8 << 20;
    const all = r.stage.scaled(300_000);
    await r.startCollector([...SMALL_SEGMENTS, '--keep-bytes', String(keep)]);
    await r.startReplay(input);
    const end = await r.endOfAgent();
    await until('the deletions', () => verify.fileBytes(r.captures) <= keep);
    await r.collector.stop();
    const left = verify.readManifests(r.captures).filter((m) => m.file);
    const gone = verify.readDeletions(r.stage.state).filter((d) => d.run === left[0]!.run);
    let sequence = 1;
    for (const { firstSequence, lastSequence } of [...gone, ...left]) {
      assert.equal(firstSequence, sequence);
      sequence = lastSequence + 1;
    }
    const packets = [...gone, ...left].reduce((n, s) => n + s.packets, 0);
    assert.deepEqual([packets, verify.doneOf(end).acknowledged, end.code], [all, all, 0]);
    verify.checkTidy(r.captures);
    return `${gone.length} files deleted, ${left.length} left`;
  },
  { packets: 300_000, least: 60, most: 460 },
);

/** A minute a round: cuts, and what both programs hold of memory and descriptors meanwhile. */
const soak: Scenario = async (t, conditions) => {
  const minutes = conditions.rounds;
  const one = scenario(async (r) => {
    await r.startCollector(['--rotate-bytes', '64M']);
    await r.startLive();
    const sender = r.stage.sender(50 * minutes * conditions.holdMs, 64, 50_000);
    const samples: Usage[] = [];
    let next = performance.now();
    const over = sender.exited;
    const bound = (minutes + 3) * conditions.holdMs + 60_000;
    const sample = async () => {
      await Promise.race([over, sleep(conditions.holdMs / 6)]);
      samples.push({ agent: usage(r.agent.pid), collector: usage(r.collector.program.pid) });
    };
    const cut = async () => {
      next += conditions.holdMs;
      await Promise.race([over, sleep(Math.max(0, next - performance.now() - 1000))]);
      if (sender.running) await cutOnce(r);
    };
    await Promise.all([r.meanwhile(over, sample, bound), r.meanwhile(over, cut, bound)]);
    const said = await finishLive(r, Number((await over).stdout));
    return [said, ...quarters(samples)].join('\n  ');
  });
  await one(t, { ...conditions, rounds: 1 });
};

interface Usage {
  agent: ReturnType<typeof usage>;
  collector: ReturnType<typeof usage>;
}

/** Least, median and most in each quarter of the time: growth shows. */
function quarters(samples: Usage[]): string[] {
  const quarter = Math.ceil(samples.length / 4);
  return (['agent', 'collector'] as const).flatMap((program) =>
    (['anonymous', 'descriptors'] as const).map((what) => {
      const numbers = samples.map((s) => s[program][what] / (what === 'anonymous' ? 1 << 20 : 1));
      const parts = [0, 1, 2, 3].map((q) => numbers.slice(q * quarter, (q + 1) * quarter).toSorted((a, b) => a - b));
      const texts = parts.map((p) => [p[0], p[p.length >> 1], p.at(-1)].map((n) => Math.round(n ?? NaN)).join('/'));
      return `${program}, ${what === 'anonymous' ? 'anonymous MiB' : what} min/median/max: ${texts.join('  ')}`;
    }),
  );
}

export const SCENARIOS: Record<string, Scenario> = {
  'calm-replay': calmReplay,
  'calm-live': calmLive,
  'kill-replay': killReplay,
  'kill-live': killLive,
  'cut-replay': cutReplay,
  'cut-live': cutLive,
  frozen,
  'kill-and-cut': killAndCut(someSpool, false),
  lossy: killAndCut((r) => ['--spool', r.random.one(['1M', '2M']), '--spool-full', 'drop'], true),
  'small-disk': smallDisk('8M', 1, 20 << 20),
  'full-disk': smallDisk('0', 0, 1 << 20),
  'failing-disk': failingDisk(false),
  'failing-disk-and-kill': failingDisk(true),
  away: away((r) => ['--spool', spoolBytes(r), '--spool-dir', spoolFolder(r)], false, 'nothing'),
  'away-drop': away((r) => ['--spool', spoolBytes(r), '--spool-full', 'drop'], true, 'gaps'),
  'away-wait': away((r) => ['--spool', spoolBytes(r), '--spool-full', 'wait', '-B', '2M'], false, 'kernel'),
  'keep-bytes': keepBytes,
  soak,
};
