/** What goes wrong: cuts, kills, power losses, a disk that is full, slow or broken, clocks that jump; until it is enough. */
import { type DiskFaults, NO_FAULTS } from './disk.ts';
import { CUTS, NO_NETWORK_FAULTS } from './network.ts';
import type { Random } from './random.ts';
import type { Process } from './scheduler.ts';
import type { World } from './simulation.ts';
import type { Site } from './site.ts';

/** Kinds of trouble; a seed picks some, for what is always there hides what is rare. */
const KINDS = [
  'cut',
  'network',
  'kill',
  'power',
  'power at acknowledgement',
  'stop',
  'disk errors',
  'sync errors',
  'full',
  'read only',
  'slow disk',
  'cleaner',
  'clock',
  'pause',
] as const;
type Kind = (typeof KINDS)[number];
const BROKEN_DISKS: readonly Kind[] = ['disk errors', 'sync errors', 'full', 'read only'];

/** A stop that takes longer is ended by force. */
const STOP_MS = 10_000;

export class Trouble {
  readonly over: Promise<void>;
  readonly #world: World;
  readonly #random: Random;
  readonly #kinds: Kind[];
  /** When peace begins, ms. */
  readonly #endMs: number;
  #peace = false;
  /** They will be started. */
  readonly #starting = new Set<Site>();
  #end!: () => void;

  constructor(world: World) {
    this.#world = world;
    const { random } = world.scheduler;
    this.#random = random;
    this.#kinds = random.shuffled(KINDS).slice(0, random.pick([0, 1, 2, 3, 5, 8]));
    this.#endMs = random.spread(1000, 60_000);
    this.over = new Promise((resolve) => (this.#end = resolve));
  }

  /** No step on the disk ever fails. */
  get soundDisk(): boolean {
    return !this.#kinds.some((k) => BROKEN_DISKS.includes(k));
  }

  begin(): void {
    const { scheduler } = this.#world;
    scheduler.note('trouble', 'to come:', this.#kinds.join(', '));
    scheduler.after(this.#endMs, () => this.#makePeace());
    const meanMs = this.#random.spread(50, this.#endMs);
    if (this.#kinds.length > 0) this.#later(meanMs, () => this.#again(meanMs));
  }

  #again(meanMs: number): void {
    this.#happen(this.#random.pick(this.#kinds));
    this.#later(meanMs, () => this.#again(meanMs));
  }

  /** An acknowledgement leaves. Its power loss comes before anything else can be written. */
  acknowledged(site: Site): void {
    if (this.#peace || !this.#kinds.includes('power at acknowledgement') || !this.#random.chance(0.1)) return;
    this.#world.scheduler.after(0, () => this.#kill(site, true));
  }

  #later(meanMs: number, work: () => void): void {
    this.#world.scheduler.after(this.#random.spread(meanMs / 10, meanMs * 3), () => {
      if (!this.#peace) work();
    });
  }

  #happen(kind: Kind): void {
    const { network, sites } = this.#world;
    const random = this.#random;
    const site = random.pick(sites);
    switch (kind) {
      case 'cut':
        return network.cut(random.pick(CUTS));
      case 'network':
        network.faults = {
          refuse: random.pick([0, 0.5]),
          hang: random.pick([0, 0.5]),
          early: random.pick([0, 0.5]),
          slow: random.spread(1, 100),
        };
        return this.#later(5000, () => (network.faults = { ...NO_NETWORK_FAULTS }));
      case 'kill':
        return this.#kill(site, false);
      case 'power':
      case 'power at acknowledgement':
        return this.#kill(site, true);
      case 'stop':
        return this.#stop(site);
      case 'disk errors':
        return this.#disk(site, {
          fail: random.spread(0.01, 1),
          codes: random.pick([['EIO'], ['ENOSPC'], ['EIO', 'EROFS']]),
        });
      case 'sync errors':
        return this.#disk(site, { failSync: random.spread(0.05, 1), codes: random.pick([['EIO'], ['ENOSPC']]) });
      case 'full':
        return this.#disk(site, { capacity: site.disk.used + random.below(20_000) });
      case 'read only':
        return this.#disk(site, { readOnly: true });
      case 'slow disk':
        return this.#disk(site, { slow: random.spread(5, 5000) });
      case 'cleaner':
        return this.#clean(site);
      case 'clock':
        return this.#jump(site);
      case 'pause':
        return this.#pause(random.chance(0.3) ? this.#world.agent.process : site.collector?.process);
    }
  }

  #disk(site: Site, faults: Partial<DiskFaults>): void {
    const { disk, name } = site;
    this.#world.scheduler.note('trouble', name, 'disk', JSON.stringify(faults));
    Object.assign(disk.faults, faults);
    const kept = Object.fromEntries(Object.keys(faults).map((k) => [k, NO_FAULTS[k as keyof DiskFaults]]));
    this.#later(4000, () => Object.assign(disk.faults, kept));
  }

  #kill(site: Site, dark: boolean): void {
    site.kill(dark);
    this.startLater(site);
  }

  /** A supervisor starts it again. */
  startLater(site: Site): void {
    if (this.#starting.has(site) || site.collector) return;
    this.#starting.add(site);
    this.#world.scheduler.after(this.#random.spread(50, 15_000), () => {
      this.#starting.delete(site);
      if (!site.collector) this.#start(site);
    });
  }

  /** Now and then it is killed while it recovers. */
  #start(site: Site): void {
    site.start();
    if (!this.#peace && this.#kinds.length > 2 && this.#random.chance(0.2))
      this.#later(20, () => this.#kill(site, this.#random.chance(0.5)));
  }

  #stop(site: Site): void {
    const { collector } = site;
    if (!collector?.listening) return;
    const gone = () => {
      if (site.collector === collector) this.#kill(site, false);
    };
    void collector.stop().then(gone);
    this.#world.scheduler.after(STOP_MS, gone);
  }

  #clean(site: Site): void {
    const read = new Set(site.arkime.reads.map((r) => r.path));
    const files = new Map(site.disk.root.files());
    for (const [path, file] of files) {
      if (!read.has(path) || this.#random.chance(0.3)) continue;
      const manifest = path.replace(/\.pcap$/, '.json');
      const recorded = files.get(manifest);
      if (!recorded && this.#random.chance(0.7)) continue;
      site.take(path, file);
      if (recorded && this.#random.chance(0.8)) site.take(manifest, recorded);
    }
  }

  #jump(site: Site): void {
    const ms = this.#random.pick([-1, 1]) * this.#random.spread(10, 1e8);
    if (this.#random.chance(0.3)) this.#world.agent.process.skewMs = ms;
    else site.clockIsWrongByMs = ms;
  }

  #pause(process: Process | undefined): void {
    if (!process) return;
    process.note('is paused');
    process.stoppedTo = this.#world.scheduler.now + this.#random.spread(10, 30_000);
  }

  #makePeace(): void {
    const { scheduler, network, sites } = this.#world;
    scheduler.note('trouble', 'is over');
    this.#peace = true;
    network.faults = { ...NO_NETWORK_FAULTS };
    for (const site of sites) {
      site.disk.faults = { ...NO_FAULTS };
      this.startLater(site);
    }
    this.#end();
  }
}
