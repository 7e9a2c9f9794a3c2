import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Link } from '../../wire/link.ts';
import { CUTS, SimNetwork, type Socket } from './network.ts';
import { type Process, Scheduler } from './scheduler.ts';

interface World {
  scheduler: Scheduler;
  network: SimNetwork;
  agent: Process;
  collector: Process;
  /** What the collector's side got, and its sockets. */
  got: { socket: Socket; text: string; closed: boolean }[];
  /** What the agent's side got. */
  text: string;
  closed: boolean;
  connect(signal?: AbortSignal): Promise<Link>;
  wait(ms: number): Promise<void>;
}

async function worlds(work: (w: World) => Promise<void>, count = 100): Promise<void> {
  for (let seed = 1; seed <= count; seed++) {
    const scheduler = new Scheduler(seed);
    const network = new SimNetwork(scheduler);
    const [agent, collector] = [scheduler.process('agent'), scheduler.process('collector')];
    const dial = network.dial(agent);
    const w: World = {
      scheduler,
      network,
      agent,
      collector,
      got: [],
      text: '',
      closed: false,
      connect: (signal = new AbortController().signal) =>
        dial(
          { host: 'collector', port: 9000 },
          {
            bytes: (chunk) => void (w.text += Buffer.from(chunk).toString()),
            closed: () => void (w.closed = true),
          },
          signal,
        ),
      wait: (ms) => new Promise((resolve) => void scheduler.after(ms, resolve)),
    };
    network.listen('collector', {
      process: collector,
      accept(socket) {
        const it = { socket, text: '', closed: false };
        w.got.push(it);
        return {
          bytes: (chunk) => void (it.text += Buffer.from(chunk).toString()),
          closed: () => void (it.closed = true),
        };
      },
    });
    let over = false;
    scheduler.after(0, () => void work(w).then(() => (over = true)));
    await scheduler.run(() => over, { steps: 10_000, ms: 10_000_000 });
  }
}

const LONG = Buffer.from('0123456789'.repeat(100));
const writing = (link: Link, bytes: Uint8Array) => new Promise<void>((resolve) => link.write(bytes, resolve));

test('all arrives in order, both ways, and the end behind it', async () => {
  await worlds(async (w) => {
    const link = await w.connect();
    for (let i = 0; i < 3; i++) await writing(link, LONG);
    w.got[0]!.socket.write(LONG);
    link.end();
    await w.wait(1000);
    assert.equal(w.got[0]!.text, LONG.toString().repeat(3));
    assert.equal(w.text, LONG.toString());
    assert.ok(w.closed && w.got[0]!.closed);
  });
});

test('who does not read stops the writer', async () => {
  let stopped = 0;
  await worlds(async (w) => {
    const link = await w.connect();
    w.got[0]!.socket.pause();
    let done = 0;
    for (let i = 0; i < 3; i++) {
      void writing(link, LONG).then(() => done++);
      await w.wait(1000);
    }
    if (done < 3) stopped++;
    w.got[0]!.socket.resume();
    await w.wait(1000);
    assert.equal(w.got[0]!.text, LONG.toString().repeat(3));
    assert.equal(done, 3);
  });
  assert.ok(stopped > 20);
});

test('cuts: what arrives is a beginning of what was sent, and each side learns it or not', async () => {
  const seen = new Set<string>();
  await worlds(async (w) => {
    const link = await w.connect();
    const kind = w.scheduler.random.pick(CUTS);
    for (let i = 0; i < 3; i++) link.write(LONG, () => {});
    await w.wait(w.scheduler.random.below(20));
    w.network.cut(kind);
    await w.wait(100);
    const early = w.closed;
    await w.wait(200_000);
    const { text, closed } = w.got[0]!;
    assert.ok(LONG.toString().repeat(3).startsWith(text));
    seen.add(`${kind} ${early} ${w.closed} ${closed} ${text.length === 3000}`);
  }, 500);
  const some = (pattern: RegExp) =>
    assert.ok(
      [...seen].some((s) => pattern.test(s)),
      `${pattern}`,
    );
  for (const s of ['both true true true false', 'agent true true false true', 'agent true true true true'])
    some(new RegExp(s));
  some(/^collector false false true/);
  some(/^collector false true true/);
  some(/^stall false false false true/);
  assert.ok(![...seen].some((s) => /^stall.* false$/.test(s) || /^both .*false .*(true|false)$/.test(s.slice(0, -6))));
});

test('a killed collector: refused; without power: silence', async () => {
  const seen = new Set<string>();
  await worlds(async (w) => {
    await w.connect();
    const dark = w.scheduler.random.chance(0.5);
    w.got[0]!.socket.write(LONG);
    w.collector.kill();
    w.network.gone('collector', dark);
    await w.wait(100_000);
    seen.add(`${dark} ${w.closed} ${w.text.length > 0}`);
    const giveUp = new AbortController();
    w.scheduler.after(10_000, () => giveUp.abort());
    await assert.rejects(w.connect(giveUp.signal), dark ? /aborted/ : /ECONNREFUSED/);
  });
  const [dark, light] = ['true', 'false'];
  assert.ok(!seen.has(`${light} false true`) && !seen.has(`${light} false false`));
  for (const s of ['true true', 'true false', 'false true', 'false false']) assert.ok(seen.has(`${dark} ${s}`), s);
});

test('an attempt that is ended leaves nothing behind', async () => {
  await worlds(async (w) => {
    const giveUp = new AbortController();
    const attempt = w.connect(giveUp.signal);
    w.scheduler.after(w.scheduler.random.real() * 20, () => giveUp.abort());
    const link = await attempt.catch(() => undefined);
    if (link) return;
    await w.wait(1000);
    assert.ok(w.got.every((g) => g.closed));
  });
});
