/**
 * The disk fails at each of its steps in turn, or the collector is killed there; the agent comes back and resends what
 * wasn't acknowledged. In the end every packet is in the files exactly once.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setImmediate as soon } from 'node:timers/promises';
import { fileHeader } from '../formats/pcap.ts';
import { differs, type Fault, FaultyDisk } from '../test/faulty-disk.ts';
import { captureEnd, captureStart, gap, hello } from '../test/peer.ts';
import { fastClock, Folders, memoryFolder, openIntake, openStore, type OpenedStore, RUN } from '../test/storage.ts';
import { bounded, type Cleaner } from '../test/support.ts';
import { batch, counters, frame, packet, records, resume, type TestPacket } from '../test/wire.ts';
import { type Disk } from './disk.ts';
import type { ManifestGap } from './manifest.ts';

const CLOCK = fastClock(100);
/** Small segments, so that there are several. */
const OPTIONS = { rotateBytes: 1600, syncMs: 0 };
const ITEMS = 9;
/** This one is a gap of three sequences. */
const GAP = 4;
const CAPTURES = [1, 2];
/** How often an agent comes back, and a collector is started, before that is taken for hopeless. */
const TRIES = 20;

/** One of a capture's batches, or its gap. */
interface Item {
  first: number;
  last: number;
  /** Of its first packet. */
  number: number;
  packets: TestPacket[];
  message: Uint8Array;
}

function itemsOf(capture: number): Item[] {
  const items: Item[] = [];
  let [sequence, number] = [1, 1];
  for (let n = 0; n < ITEMS; n++) {
    const last = n === GAP ? sequence + 2 : sequence;
    const packets = Array.from({ length: n === GAP ? 0 : 2 }, (_, i) => ({
      timestampNs: 1_700_000_000_000_000_000n + BigInt(number + i),
      data: Buffer.alloc(50 + 10 * n, `capture ${capture}, packet ${number + i}. `),
      original: 1500,
    }));
    const message =
      n === GAP
        ? gap(capture, sequence, last, 30)
        : batch({ capture, sequence, firstPacket: number }, Buffer.concat(packets.map(packet)));
    items.push({ first: sequence, last, number, packets, message });
    sequence = last + 1;
    number += n === GAP ? 30 : 2;
  }
  return items;
}
const ALL = new Map(CAPTURES.map((c) => [c, itemsOf(c)]));
const LAST = ALL.get(1)!.at(-1)!.last;

/** An agent's run: sends, and when it is thrown out comes back. What was acknowledged it has no more. */
class Agent {
  readonly acknowledged = new Map(CAPTURES.map((c) => [c, 0]));
  readonly ended = new Set<number>();
  #announced = false;
  #collector = 0;

  /** The collector that it is connected to is gone. */
  cut(): void {
    this.#collector++;
  }

  get done(): boolean {
    return this.ended.size === CAPTURES.length;
  }

  /** One connection, until all is acknowledged, or it is refused. */
  async connect(opened: OpenedStore): Promise<void> {
    const i = openIntake(opened);
    const collector = this.#collector;
    const over = () => i.closed() > 0 || this.#collector !== collector;
    const heard = async () => {
      for (const { capture, sequence, ended } of i.acks()) {
        this.acknowledged.set(capture, Math.max(this.acknowledged.get(capture)!, sequence));
        if (ended) this.ended.add(capture);
      }
      await soon();
    };
    const open = CAPTURES.filter((c) => !this.ended.has(c));
    i.intake.push(frame(hello({ host: 'web01', run: Buffer.from(RUN, 'hex'), more: this.#resumes(open) })));
    while (!i.welcome() && !over()) await soon();
    const stands = new Map(i.welcome()?.captures.map((d) => [d.capture, d]));
    for (const c of this.#announced ? open : []) {
      const at = stands.get(c);
      // What was acknowledged is there, whatever happened.
      if (at) assert.ok(at.lastSequence >= this.acknowledged.get(c)!, `capture ${c} fell back`);
      if (at?.ended) this.ended.add(c);
    }
    const going = i.welcome() ? open.filter((c) => !this.ended.has(c)) : [];
    const queues = going.map((c) => this.#left(c, stands.get(c)?.lastSequence ?? 0));
    for (let n = 0; !over() && queues.some((q) => n < q.length); n++) {
      for (const q of queues) {
        const before = i.ready();
        if (!q[n] || over() || i.intake.push(frame(q[n]!))) continue;
        while (i.ready() === before && !over()) await soon();
      }
      this.#announced = true;
      await heard();
    }
    while (!this.done && !over()) await heard();
    await heard();
    const reason = i.refusal();
    assert.ok(!reason || reason.code === 6, `refused: ${reason?.message}`);
    await i.intake.end('disconnected');
    await heard();
  }

  #resumes(open: number[]): Buffer {
    if (!this.#announced) return Buffer.alloc(0);
    return Buffer.concat(
      open.map((c) => {
        const next = ALL.get(c)!.find((i) => i.first > this.acknowledged.get(c)!);
        return resume(c, next?.first ?? LAST + 1, next?.number ?? 2 * (ITEMS - 1) + 30 + 1);
      }),
    );
  }

  #left(capture: number, from: number): Uint8Array[] {
    const items = ALL.get(capture)!.filter((i) => i.last > from);
    for (const i of items) assert.ok(i.first > this.acknowledged.get(capture)!, 'it has been thrown away');
    const messages = items.map((i) => i.message);
    return [captureStart(capture), ...messages, counters(capture, 99), captureEnd(capture, LAST)];
  }
}

/** Holds all that is on the disk against all that was sent. */
function verify(folders: Folders): void {
  const leftOver = folders.names().filter((n) => !/\.(pcap|json)$/.test(n));
  assert.deepEqual(leftOver, []);
  const manifests = folders.manifests();
  assert.deepEqual(
    folders.names('.pcap').toSorted(),
    manifests.flatMap((m) => (m.file ? [m.file] : [])).toSorted(),
    'files and manifests',
  );
  for (const capture of CAPTURES) {
    const mine = manifests.filter((m) => m.capture === capture);
    const found: Uint8Array[] = [];
    const gaps: ManifestGap[] = [];
    let [next, number] = [1, 1];
    for (const m of mine) {
      assert.deepEqual([m.firstSequence, m.firstPacketNumber], [next, number]);
      next = m.lastSequence + 1;
      number += m.packets + m.gaps.reduce((n, g) => n + g.packets, 0);
      gaps.push(...m.gaps);
      if (m.file === '') continue;
      const bytes = folders.bytes(m.file);
      assert.equal(m.sha256, createHash('sha256').update(bytes).digest('hex'));
      assert.ok(bytes.subarray(0, 24).equals(fileHeader(1, 2000, 'nano')));
      assert.equal(bytes.length, 24 + 16 * m.packets + m.packetBytes);
      found.push(bytes.subarray(24));
    }
    assert.equal(next, LAST + 1);
    const sent = ALL.get(capture)!.flatMap((i) => i.packets);
    assert.ok(Buffer.concat(found).equals(records(sent)), 'the packets are others');
    const { first, last } = ALL.get(capture)![GAP]!;
    assert.deepEqual(
      gaps.map((g) => [g.firstSequence, g.lastSequence, g.packets, g.bytes]),
      [[first, last, 30, 100]],
    );
    const ends = mine.filter((m) => m.end !== null);
    assert.ok(ends.length > 0, 'no manifest has the end mark');
    assert.equal(mine.at(-1)!.end?.reason, 'stopped');
  }
}

/** A whole run with this disk; where it is said to fail, on the same collector or, when that was killed, on a new one. */
async function trouble(t: Cleaner, disk: FaultyDisk): Promise<void> {
  const folders = new Folders(memoryFolder(t));
  const agent = new Agent();
  const open = (disk: Disk) => openStore(t, { folder: folders.folder, disk, clock: CLOCK, options: OPTIONS });
  let opened: OpenedStore | undefined;
  const work = async () => {
    // A collector that can't read its folders doesn't start.
    for (let n = 0; n < TRIES && !opened; n++) opened = await open(disk).catch(() => undefined);
    for (let n = 0; n < TRIES && !agent.done; n++) await agent.connect(opened!);
    assert.ok(agent.done, 'it never ended');
  };
  try {
    await bounded('the run', Promise.race([work(), disk.dead]));
    if (!agent.done) {
      agent.cut();
      opened?.store.close();
      await disk.closeAll();
      opened = await open(new FaultyDisk());
      for (let n = 0; n < 2 && !agent.done; n++) await agent.connect(opened);
      assert.ok(agent.done, 'it never ended');
    }
    opened!.store.close();
    verify(folders);
  } catch (e) {
    const files = existsSync(folders.host()) ? readdirSync(folders.host()) : [];
    const words = `${disk.fault} ${disk.failed} (step ${disk.at}): ${(e as Error).message}\n${files.join('\n')}`;
    throw new Error(`${words}\n${opened?.said.join('\n')}`, { cause: e });
  }
  rmSync(join(folders.folder), { recursive: true });
}

describe('a disk that fails', { timeout: 600_000 }, () => {
  const faults: [fault: Fault, code: 'EIO' | 'ENOSPC', lasting: number][] = [
    ['before', 'EIO', 1],
    ['after', 'EIO', 1],
    ['torn', 'ENOSPC', 1],
    ['before', 'ENOSPC', 12],
    ['killed before', 'EIO', 1],
    ['killed after', 'EIO', 1],
  ];
  for (const [fault, code, lasting] of faults) {
    it(`${fault}, ${lasting} times, at each step: every packet is there once`, async (t) => {
      // In what order they come differs a little each time.
      const plain = new FaultyDisk();
      await trouble(t, plain);
      const all = plain.steps.flatMap((step, n) => (differs(fault, step) ? [n + 1] : []));
      let failed = 0;
      while (all.length > 0) {
        const disks = all.splice(0, 8).map((at) => new FaultyDisk({ fault, code, lasting, at }));
        const ended = await Promise.allSettled(disks.map((d) => trouble(t, d)));
        for (const e of ended) if (e.status === 'rejected') throw e.reason;
        failed += disks.filter((d) => d.failed).length;
      }
      t.diagnostic(`${failed} steps`);
      assert.ok(failed > 30, `only ${failed} steps failed`);
    });
  }
});
