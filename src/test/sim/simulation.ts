/**
 * A whole life of captures under one seed: an agent, a collector that is killed and started again, the network and the
 * disk between and below them, and all that may go wrong. Then everything comes to rest, and the books must be right.
 */
import type { rcap } from '../../wire/messages.js';
import { type AgentOptions, HOST, SimAgent } from './agent.ts';
import { poolBuffers } from './buffers.ts';
import { Durability } from './durability.ts';
import { guard } from './guard.ts';
import { SimNetwork } from './network.ts';
import { Scheduler } from './scheduler.ts';
import { Site } from './site.ts';
import { Trouble } from './trouble.ts';
import { check, type Remains } from './verdict.ts';

/** The longest that were seen need a sixth of this. */
const LIMITS = { steps: 50_000, ms: 600_000 };

export interface SimulationOptions {
  /** Keeps the whole trace. */
  trace?: boolean;
}

export interface SimulationResult {
  seed: number;
  steps: number;
  /** Of simulated time. */
  ms: number;
  packets: number;
  /** Lost in gaps. */
  dropped: number;
  files: number;
  starts: number;
  trace: string[];
}

/** Runs one seed. Throws with all that is known when anything isn't as it must be. */
export async function simulate(seed: number, options: SimulationOptions = {}): Promise<SimulationResult> {
  try {
    return await once(new World(seed, options.trace ?? false), 0);
  } catch {
    // Again, for the stacks.
    const world = new World(seed, false);
    const e = await once(world, 10).then(
      () => new Error('it failed, and then did not: something else than the seed decides'),
      (e: unknown) => e as Error,
    );
    const trace = world.scheduler.trace().join('\n');
    throw new Error(`seed ${seed}: ${e.message}\n${trace}\nseed ${seed}: ${e.stack}`, { cause: e });
  }
}

/** Stacks cost more than all the rest: `frames` of each are kept. */
async function once(world: World, frames: number): Promise<SimulationResult> {
  const { stackTraceLimit } = Error;
  const ends = [guard(), poolBuffers()];
  Error.stackTraceLimit = frames;
  try {
    return await world.run();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    for (const end of ends) end();
  }
}

/** Everything that there is in one simulation. */
export class World {
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly sites: Site[];
  readonly agent: SimAgent;
  readonly #durability: Durability;
  readonly #trouble: Trouble;

  constructor(seed: number, trace: boolean) {
    this.seed = seed;
    this.scheduler = new Scheduler(seed, trace);
    const { scheduler } = this;
    this.network = new SimNetwork(scheduler);
    // A second collector, which knows nothing of the first one, is not the rule.
    const names = scheduler.random.chance(0.15) ? ['collector', 'other'] : ['collector'];
    this.sites = names.map((name) => this.#site(name));
    this.agent = new SimAgent(scheduler.process('agent'), this.network, this.#chooseAgent(names));
    this.#durability = new Durability(
      this.sites.map((s) => s.disk.root),
      this.agent.truths,
    );
    this.#trouble = new Trouble(this);
  }

  #site(name: string): Site {
    return new Site(this.scheduler, this.network, name, {
      says: (site, m) => this.#says(site, m),
      failed: (site) => this.#trouble.startLater(site),
      taken: (path, file) => this.#durability.take(path, file),
    });
  }

  #chooseAgent(servers: string[]): AgentOptions {
    const { random } = this.scheduler;
    const blockBytes = random.between(1024, 4096);
    return {
      seed: this.seed,
      servers,
      captures: random.pick([1, 1, 2, 3]),
      blocks: Math.floor(random.spread(3, 60)),
      pauseMs: random.spread(2, 1000),
      blockBytes,
      reserve: random.between(8, 20),
      spoolBytes: Math.floor(random.spread(blockBytes, 100_000)),
      spoolFull: random.pick(['wait', 'drop', 'drop']),
      // Every tenth one that Arkime doesn't know.
      linkType: random.chance(0.1) ? 147 : 1,
      maxRate: random.chance(0.1) ? Math.floor(random.spread(5000, 100_000)) : undefined,
    };
  }

  async run(): Promise<SimulationResult> {
    const { scheduler, sites } = this;
    let over = false;
    const failed = (e: Error) => scheduler.fail(e);
    scheduler.after(0, () => void this.#live().then(() => (over = true), failed));
    await scheduler.run(() => over, LIMITS);
    const all = [...this.agent.ledgers.values()];
    return {
      seed: this.seed,
      steps: scheduler.steps,
      ms: scheduler.now,
      packets: all.reduce((n, l) => n + l.captured, 0),
      dropped: all.reduce((n, l) => n + l.droppedBySpool, 0),
      files: sites.reduce((n, s) => n + s.arkime.reads.length, 0),
      starts: sites.reduce((n, s) => n + s.starts, 0),
      trace: scheduler.trace(),
    };
  }

  async #live(): Promise<void> {
    for (const site of this.sites) site.start();
    this.agent.start();
    this.#trouble.begin();
    await this.agent.finished;
    await this.#trouble.over;
    await this.agent.close();
    for (const site of this.sites) await site.comeToRest();
    check(this.remains());
  }

  /** What there is when all is at rest. */
  remains(): Remains {
    return {
      truths: this.agent.truths,
      ledgers: this.agent.ledgers,
      hostFolder: `/captures/${HOST}`,
      sites: this.sites.map((s) => ({
        ...s.remains(),
        reports: s.reports,
        starts: s.starts,
        arkime: s.arkime,
        timestamps: s.options.timestamps,
        soundDisk: this.#trouble.soundDisk,
      })),
    };
  }

  /** Each acknowledgement is looked at before it leaves. */
  #says(site: Site, m: rcap.v1.CollectorMessage): void {
    const { scheduler } = this;
    const durables = m.ack ? [{ ...m.ack, lastSequence: m.ack.sequence }] : (m.welcome?.captures ?? []);
    for (const { capture, lastSequence, ended } of durables) {
      scheduler.note(site.name, 'acknowledges', capture, lastSequence, ended ? 'ended' : '');
      const why = this.#durability.objection(capture, lastSequence);
      if (why) scheduler.fail(new Error(`acknowledged too early: ${why}`));
      if (ended && site.has(new RegExp(`-${capture}_\\d+\\.pcap.*\\.part$`)))
        scheduler.fail(new Error(`capture ${capture} is said to have ended, and isn't published`));
    }
    if (m.ack) this.#trouble.acknowledged(site);
  }
}
