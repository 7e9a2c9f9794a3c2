import assert from 'node:assert/strict';
import { mkdtempSync, rmdirSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as immediate } from 'node:timers/promises';
import fc, { type Stream } from 'fast-check';
import { systemClock } from '../clock.ts';
import { BLOCK_HEAD, type Block } from '../packet.ts';
import { fuzz } from '../test/fuzz.ts';
import { BATCH_TAG, ProtocolError, readBatchHeader } from '../wire/frame.ts';
import { rcap } from '../wire/messages.js';
import { SpoolDisk } from './spool-disk.ts';
import { ENTRY_BYTES, Spool } from './spool.ts';

const BLOCK = 1000;
const FULL = 900;
const SMALL = 300;
/** Memory for so many full blocks. */
const room = (blocks: number) => blocks * (BLOCK + ENTRY_BYTES);

interface TestBlock extends Block {
  released: number;
}

/** A block that says how often it was released; its memory is overwritten then, as the capture thread would. */
function blockOf(end: number, packets: number, first = 1n, last = 2n): TestBlock {
  const bytes = Buffer.alloc(BLOCK, 0x22);
  bytes.writeBigUInt64LE(first, 0);
  bytes.writeBigUInt64LE(last, 8);
  return {
    bytes,
    end,
    packets,
    packetBytes: end - BLOCK_HEAD,
    released: 0,
    release() {
      this.released++;
      bytes.fill(0xff);
    },
  };
}

interface Batch {
  kind: 'batch';
  capture: number;
  sequence: number;
  firstPacket: number;
  /** Of all packets, encoded. */
  length: number;
}
type Message = Batch | rcap.v1.AgentMessage;

function decode(frame: Uint8Array): Message {
  let start = 0;
  while (frame[start++]! & 0x80);
  if (frame[start] !== BATCH_TAG) return rcap.v1.AgentMessage.decodeDelimited(frame);
  const h = readBatchHeader(frame, start, frame.length);
  assert.ok(frame.subarray(h.packets).every((x) => x === 0x22));
  const { capture, sequence, firstPacket, packets } = h;
  return { kind: 'batch', capture, sequence, firstPacket, length: frame.length - packets };
}

const text = (s: string) =>
  rcap.v1.AgentMessage.encodeDelimited({ captureStart: { capture: 1, interface: s } }).finish();

function words(m: Message): string {
  if (m.kind === 'batch') return 'length' in m ? `${m.capture}:${m.sequence}@${m.firstPacket}` : '';
  if (m.gap) return `${m.gap.capture}:gap ${m.gap.firstSequence}-${m.gap.lastSequence}(${m.gap.packets})`;
  return m.captureStart!.interface;
}
const nextOf = (spool: Spool): string | undefined => {
  const frame = spool.next();
  return frame && words(decode(frame));
};
/** All that is to be sent, in words. */
function take(spool: Spool): string[] {
  const list: string[] = [];
  for (let w; (w = nextOf(spool));) list.push(w);
  return list;
}

/** Captures 1 and 2 are begun, and that is sent. */
function started(limit: number, whenFull: 'wait' | 'drop' = 'drop', ...captures: number[]): Spool {
  const spool = new Spool({ limit, whenFull });
  for (const c of captures.length ? captures : [1, 2]) {
    spool.start(c, () => text(`start ${c}`));
    spool.next();
  }
  return spool;
}
const add = (spool: Spool, capture = 1, packets = 1, end = FULL): TestBlock => {
  const block = blockOf(end, packets);
  spool.add(capture, block);
  return block;
};
const reconnect = (spool: Spool, ...captures: rcap.v1.IDurable[]) => {
  spool.disconnected();
  return spool.resume(captures);
};

test('batches are numbered from 1 for each capture, packets too, and go out in the order in which they came', () => {
  const spool = started(1e6);
  for (const [capture, packets] of [[1, 3], [2, 5], [1, 2], [1, 1]] as const) add(spool, capture, packets); // prettier-ignore
  assert.equal(spool.waiting, 11);
  assert.deepEqual(take(spool), ['1:1@1', '2:1@1', '1:2@4', '1:3@6']);
  assert.deepEqual([1, 2, 3].map((c) => spool.lastSequence(c)), [3, 1, 0]); // prettier-ignore
  assert.equal(spool.waiting, 0);
});

test('a full block is kept without a copy until it is acknowledged', () => {
  const spool = started(1e6);
  const block = add(spool);
  const frame = spool.next()!;
  assert.equal(frame.buffer, block.bytes.buffer);
  assert.deepEqual([spool.held, block.released], [BLOCK + ENTRY_BYTES, 0]);
  assert.equal(spool.acknowledge(1, 1, false).packets, 1);
  assert.deepEqual([spool.held, block.released], [0, 1]);
});

test('a small block is copied and given back at once, and only what it holds counts', () => {
  const spool = started(1e6);
  const block = add(spool, 1, 3, SMALL);
  assert.deepEqual([spool.held, block.released], [SMALL + ENTRY_BYTES, 1]);
  assert.equal(nextOf(spool), '1:1@1');
  spool.acknowledge(1, 1, false);
  assert.deepEqual([spool.held, block.released], [0, 1]);
});

test('a spool that waits drops nothing, and once it is full keeps small blocks too, so that the pool runs empty', () => {
  const spool = started(2 * (SMALL + ENTRY_BYTES), 'wait');
  const blocks = Array.from({ length: 5 }, () => add(spool, 1, 1, SMALL));
  assert.deepEqual(blocks.map((b) => b.released), [1, 1, 0, 0, 0]); // prettier-ignore
  assert.equal(spool.held, 2 * SMALL + 3 * BLOCK + 5 * ENTRY_BYTES);
  assert.equal(take(spool).length, 5);
  assert.equal(spool.acknowledge(1, 5, false).packets, 5);
  assert.deepEqual(blocks.map((b) => b.released), [1, 1, 1, 1, 1]); // prettier-ignore
  assert.equal(spool.held, 0);
});

test('a full spool drops the oldest unsent batches, and they become one gap with exact numbers', () => {
  const spool = started(room(2));
  const blocks = [10n, 20n, 30n, 40n].map((t, i) => blockOf(FULL, i + 1, t, t + 5n));
  for (const b of blocks) spool.add(1, b);
  assert.deepEqual(blocks.map((b) => b.released), [1, 1, 0, 0]); // prettier-ignore
  const { gap } = decode(spool.next()!) as rcap.v1.AgentMessage;
  assert.deepEqual({ ...gap }, {
    capture: 1,
    firstSequence: 1,
    lastSequence: 2,
    packets: 3,
    bytes: 2 * (FULL - BLOCK_HEAD),
    firstTimestampNs: 10n,
    lastTimestampNs: 25n,
  }); // prettier-ignore
  assert.deepEqual(take(spool), ['1:3@4', '1:4@7']);
  assert.deepEqual(spool.dropped(1), { packets: 3, packetBytes: 2 * (FULL - BLOCK_HEAD) });
});

test('the gap of a block that --count cut ends with the last packet that was let in', () => {
  const spool = started(room(2));
  for (let i = 0; i < 3; i++) spool.add(1, { ...blockOf(FULL, 1, 10n, 25n), lastTimestamp: 12n });
  const { gap } = decode(spool.next()!) as rcap.v1.AgentMessage;
  assert.deepEqual([gap!.firstTimestampNs, gap!.lastTimestampNs], [10n, 12n]);
});

test('gaps of several captures stay apart, each in its place', () => {
  const spool = started(room(1));
  for (const capture of [1, 2, 1, 2, 2, 1]) add(spool, capture);
  assert.deepEqual(take(spool), ['1:gap 1-2(2)', '2:gap 1-3(3)', '1:3@3']);
});

test('a gap that was sent is not added to', () => {
  const spool = started(room(1));
  add(spool);
  add(spool);
  assert.equal(nextOf(spool), '1:gap 1-1(1)');
  add(spool);
  assert.deepEqual(take(spool), ['1:gap 2-2(1)', '1:3@3']);
});

test('a batch that was sent is never dropped while it is connected, even when nothing else is left to drop', () => {
  const spool = started(room(1));
  const sent = add(spool);
  spool.next();
  add(spool);
  add(spool);
  assert.equal(sent.released, 0);
  assert.deepEqual(take(spool), ['1:gap 2-3(2)']);
});

test('the start goes first on each connection, the end last, and it is made when it is sent', () => {
  const spool = new Spool({ limit: room(1), whenFull: 'drop' });
  add(spool);
  assert.equal(spool.next(), undefined);
  spool.start(1, () => text('start'));
  spool.end(1, () => text(`end of ${spool.lastSequence(1)}, ${spool.dropped(1).packets} dropped`));
  assert.deepEqual(spool.resumes(), []);
  assert.deepEqual(take(spool), ['start', '1:1@1', 'end of 1, 0 dropped']);
  reconnect(spool);
  spool.start(2, () => text('start 2'));
  add(spool, 2); // drops what was sent
  assert.deepEqual(take(spool), ['start', '1:gap 1-1(1)', 'end of 1, 1 dropped', 'start 2', '2:1@1']);
});

test('counters go before what waits, once, and only between start and end on a connection', () => {
  const spool = new Spool({ limit: 1e6, whenFull: 'drop' });
  spool.start(1, () => text('start'));
  spool.counters(1, () => text('too early'));
  assert.equal(nextOf(spool), 'start');
  add(spool);
  spool.counters(1, () => text('old'));
  spool.counters(1, () => text('new'));
  assert.deepEqual(take(spool), ['new', '1:1@1']);
  spool.counters(1, () => text('lost'));
  reconnect(spool);
  assert.deepEqual(take(spool), ['start', '1:1@1']);
  spool.end(1, () => text('end'));
  spool.counters(1, () => text('too late'));
  assert.deepEqual(take(spool), ['end']);
});

test('an acknowledgement lets go what it covers, of its capture only; more than was sent means nothing', () => {
  const spool = started(1e6);
  const blocks = [1, 1, 2, 1, 1].map((capture) => add(spool, capture, 10));
  for (let i = 0; i < 4; i++) spool.next();
  assert.equal(spool.acknowledge(1, 2, false).packets, 20);
  assert.equal(spool.acknowledge(1, 2, false).packets, 0);
  assert.deepEqual(spool.acknowledge(1, Number.MAX_SAFE_INTEGER, true), { capture: 1, packets: 10, ended: false });
  assert.deepEqual(blocks.map((b) => b.released), [1, 1, 0, 1, 0]); // prettier-ignore
  assert.deepEqual(take(spool), ['1:4@31']);
});

test('what was never announced is not acknowledged', () => {
  const spool = started(1e6, 'drop', 1);
  spool.start(2, () => text('start 2'));
  for (const capture of [2, 3]) {
    assert.throws(
      () => spool.acknowledge(capture, 9, false),
      new ProtocolError(`it acknowledges capture ${capture}, of which it was never told`),
    );
  }
  assert.deepEqual([spool.open, take(spool)], [2, ['start 2']]);
  assert.equal(spool.acknowledge(2, 0, false).packets, 0);
});

test('a start is made anew for each connection', () => {
  const spool = new Spool({ limit: 1e6, whenFull: 'drop' });
  let times = 0;
  spool.start(1, () => text(`start ${++times}`));
  assert.deepEqual(take(spool), ['start 1']);
  reconnect(spool);
  assert.deepEqual(take(spool), ['start 2']);
});

test('an end is acknowledged once, after all before it', () => {
  const spool = started(1e6, 'drop', 1);
  add(spool);
  spool.end(1, () => text('end'));
  spool.next();
  assert.equal(spool.acknowledge(1, 1, true).ended, false);
  assert.equal(nextOf(spool), 'end');
  assert.deepEqual(spool.acknowledge(1, 1, true), { capture: 1, packets: 0, ended: true });
  assert.equal(spool.acknowledge(1, 1, true).ended, false);
  assert.deepEqual([spool.open, spool.resumes(), reconnect(spool), take(spool)], [0, [], [], []]);
});

test('an end that a collector has from an earlier connection ends all of it', () => {
  const spool = started(room(2), 'drop', 1);
  for (let i = 0; i < 2; i++) add(spool, 1, 2);
  spool.end(1, () => text('end'));
  assert.deepEqual(take(spool), ['1:1@1', '1:2@3', 'end']);
  spool.disconnected();
  spool.start(2, () => text('start 2'));
  for (let i = 0; i < 2; i++) add(spool, 2);
  assert.equal(spool.dropped(1).packets, 4);
  assert.deepEqual(spool.resume([{ capture: 1, ended: true }]), [{ capture: 1, packets: 4, ended: true }]);
  assert.equal(spool.dropped(1).packets, 0);
  assert.deepEqual(take(spool), ['start 2', '2:1@1', '2:2@2']);
});

test('after a cut everything goes on behind what the collector has; gaps too', () => {
  const spool = started(room(3), 'drop', 1);
  for (let i = 0; i < 5; i++) add(spool, 1, 2);
  assert.deepEqual(take(spool), ['1:gap 1-2(4)', '1:3@5', '1:4@7', '1:5@9']);
  spool.disconnected();
  assert.equal(spool.waiting, 6);
  assert.deepEqual(spool.resumes(), [{ capture: 1, firstUnacknowledged: 1, firstPacket: 1 }]);
  assert.deepEqual(spool.resume([]), []);
  assert.deepEqual(take(spool), ['start 1', '1:gap 1-2(4)', '1:3@5', '1:4@7', '1:5@9']);
  assert.deepEqual(reconnect(spool, { capture: 1, lastSequence: 3 }), [{ capture: 1, packets: 2, ended: false }]); // prettier-ignore
  assert.deepEqual(spool.resumes(), [{ capture: 1, firstUnacknowledged: 4, firstPacket: 7 }]);
  assert.deepEqual(take(spool), ['start 1', '1:4@7', '1:5@9']);
  assert.equal(spool.acknowledge(1, 5, false).packets, 4);
  assert.equal(spool.held, 0);
});

test('what was dropped after it was sent counts as acknowledged where the collector had it, and as a gap where not', () => {
  const spool = started(room(3), 'drop', 1);
  for (let i = 0; i < 3; i++) add(spool, 1, 2);
  take(spool);
  spool.disconnected();
  for (let i = 0; i < 4; i++) add(spool, 1, 2);
  assert.equal(spool.dropped(1).packets, 8);
  const acknowledged = spool.resume([{ capture: 1, lastSequence: 2 }]);
  assert.deepEqual(acknowledged, [{ capture: 1, packets: 4, ended: false }]);
  assert.deepEqual(spool.dropped(1), { packets: 4, packetBytes: 2 * (FULL - BLOCK_HEAD) });
  assert.deepEqual(take(spool), ['start 1', '1:gap 3-3(2)', '1:gap 4-4(2)', '1:5@9', '1:6@11', '1:7@13']);
});

test('another collector that knows nothing gets the gaps one by one, so that the first may still have a part', () => {
  const spool = started(room(2), 'drop', 1);
  add(spool);
  add(spool);
  take(spool);
  spool.disconnected();
  for (let i = 0; i < 3; i++) add(spool);
  spool.resume([]);
  assert.deepEqual(take(spool), ['start 1', '1:gap 1-1(1)', '1:gap 2-2(1)', '1:gap 3-3(1)', '1:4@4', '1:5@5']);
  // As a gap it was told to somebody, so it stays one.
  assert.deepEqual(reconnect(spool, { capture: 1, lastSequence: 1 })[0]!.packets, 0);
  assert.deepEqual(take(spool), ['start 1', '1:gap 2-2(1)', '1:gap 3-3(1)', '1:4@4', '1:5@5']);
});

test('what one collector may have is not merged because another one has it not', () => {
  const spool = started(room(2), 'drop', 1);
  for (let i = 0; i < 2; i++) add(spool);
  take(spool);
  reconnect(spool, { capture: 1, lastSequence: 0 }); // another one, from an earlier visit
  for (let i = 0; i < 4; i++) add(spool);
  assert.equal(spool.dropped(1).packets, 4);
  // Back at the first, which has one of the two.
  assert.deepEqual(reconnect(spool, { capture: 1, lastSequence: 1 }), [{ capture: 1, packets: 1, ended: false }]);
  assert.equal(spool.dropped(1).packets, 3);
  assert.deepEqual(take(spool), ['start 1', '1:gap 2-2(1)', '1:gap 3-4(2)', '1:5@5', '1:6@6']);
});

test('a Welcome that claims more than was ever sent takes nothing away', () => {
  const spool = started(1e6, 'drop', 1);
  for (let i = 0; i < 3; i++) add(spool);
  spool.next();
  const acknowledged = reconnect(spool, { capture: 1, lastSequence: 99, ended: true }, { capture: 7, lastSequence: 1 });
  assert.deepEqual(acknowledged, [{ capture: 1, packets: 1, ended: false }]);
  assert.deepEqual(take(spool), ['start 1', '1:2@2', '1:3@3']);
});

type Action =
  | { do: 'add'; capture: number; end: number; packets: number }
  | { do: 'next' | 'cut' | 'stranger' }
  | { do: 'acknowledge'; capture: number };
const capture = fc.integer({ min: 1, max: 3 });
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      capture,
      end: fc.integer({ min: BLOCK_HEAD + 1, max: BLOCK }),
      packets: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('next' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('acknowledge' as const), capture }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('cut' as const, 'cut' as const, 'stranger' as const) }) },
);

/** What a collector has of a capture: naive, and strict about what it is sent. */
class Model {
  /** Its start was sent. */
  known = false;
  /** By sequence: the packets of each batch, as they were added. */
  readonly added: TestBlock[] = [];
  /** On disk, and what came on the live connection behind it: packets, 0 in a gap. */
  durable = 0;
  got: number[] = [];
  acknowledged = 0;
  /** The last sequences of messages: it stores whole ones only. */
  #ends = new Set<number>();

  /** More of what came gets to the disk. */
  store(share: number): void {
    let to = this.durable + Math.floor((this.got.length - this.durable) * share);
    while (to > this.durable && !this.#ends.has(to)) to--;
    this.durable = to;
  }
  /** Forgets what isn't. */
  restart(): void {
    this.got.length = this.durable;
    for (const end of this.#ends) if (end > this.durable) this.#ends.delete(end);
  }

  take(m: Batch | rcap.v1.Gap): void {
    const first = m instanceof Object && 'sequence' in m ? m.sequence : m.firstSequence;
    assert.equal(first, this.got.length + 1, 'a hole, or twice');
    const last = 'sequence' in m ? m.sequence : m.lastSequence;
    const covered = this.added.slice(first - 1, last);
    const packets = covered.reduce((n, b) => n + b.packets, 0);
    if ('sequence' in m) {
      assert.equal(m.firstPacket, 1 + this.added.slice(0, first - 1).reduce((n, b) => n + b.packets, 0));
      assert.equal(m.length, covered[0]!.end - BLOCK_HEAD);
      this.got.push(packets);
    } else {
      assert.equal(m.packets, packets);
      assert.equal(m.bytes, covered.reduce((n, b) => n + b.packetBytes, 0)); // prettier-ignore
      for (const _ of covered) this.got.push(0);
    }
    this.#ends.add(this.got.length);
  }
}

/** Files in memory; now and then one fails. */
function memoryDisk(limit: number, random: () => number): SpoolDisk {
  let now = 0;
  const clock = { ...systemClock, now: () => (now += 1000) };
  const fail = (share: number) => {
    if (random() < share) throw Object.assign(new Error('broken'), { code: 'EIO' });
  };
  const open = async () => {
    const file = Buffer.alloc(limit);
    await immediate();
    return {
      async write(bytes: Buffer, from: number, length: number, at: number) {
        await immediate();
        fail(0.1);
        const part = Math.min(length, 700);
        bytes.copy(file, at, from, from + part);
        return { bytesWritten: part };
      },
      async read(bytes: Buffer, to: number, length: number, at: number) {
        await immediate();
        fail(0.05);
        return { bytesRead: file.copy(bytes, to, at, at + length) };
      },
      close: () => Promise.resolve(),
    } as unknown as FileHandle;
  };
  const folder = mkdtempSync(join(tmpdir(), 'rcap-spool-'));
  const disk = new SpoolDisk(folder, limit, clock, () => {}, { open, unlink: () => Promise.resolve() });
  rmdirSync(folder);
  return disk;
}

async function settle(): Promise<void> {
  for (let i = 0; i < 8; i++) await immediate();
}

async function behaves(
  actions: Action[],
  limit: number,
  whenFull: 'wait' | 'drop',
  diskBytes: number,
  random: () => number,
): Promise<void> {
  let lost = 0;
  const disk = diskBytes ? memoryDisk(diskBytes, random) : undefined;
  const spool = new Spool({ limit, whenFull, disk, trouble: () => lost++ });
  const models = [1, 2, 3].map((c) => {
    spool.start(c, () => text(`start ${c}`));
    return new Model();
  });
  const add = (number: number, end: number, packets: number) => {
    const block = blockOf(end, packets);
    models[number - 1]!.added.push(block);
    spool.add(number, block);
  };
  /** What the socket may still be writing. */
  let written: Uint8Array | undefined;
  const next = (): boolean => {
    if (written) decode(written);
    const frame = (written = spool.next());
    const m = frame && decode(frame);
    if (m?.kind === 'batch' && 'length' in m) models[m.capture - 1]!.take(m);
    else if (m && 'gap' in m && m.gap) models[m.gap.capture - 1]!.take(m.gap);
    else if (m) models[Number(words(m).slice('start '.length)) - 1]!.known = true;
    return m !== undefined;
  };
  const acknowledge = (number: number, share: number) => {
    const m = models[number - 1]!;
    if (!m.known) return;
    m.store(share);
    written = undefined;
    m.acknowledged += spool.acknowledge(number, m.durable, false).packets;
  };
  const cut = async (known: boolean) => {
    // Of what came, some got to the disk, and its acknowledgement didn't get back.
    for (const m of models) m.store(random());
    written = undefined;
    spool.disconnected();
    // Meanwhile it goes on.
    for (let n = Math.floor(random() * 6); n > 0; n--) add(1, FULL, 2);
    if (disk && random() < 0.5) await settle();
    if (known) {
      for (const m of models) m.restart();
      const acknowledged = spool.resume(models.map((m, i) => ({ capture: i + 1, lastSequence: m.durable })));
      for (const a of acknowledged) models[a.capture - 1]!.acknowledged += a.packets;
      return;
    }
    // One that remembers nothing: it has what was acknowledged, by somebody else.
    for (const r of spool.resumes()) {
      const m = models[r.capture! - 1]!;
      m.durable = r.firstUnacknowledged! - 1;
      m.restart();
    }
    spool.resume([]);
  };
  for (let n = disk ? Math.floor(random() * 20) : 0; n > 0; n--) {
    add(1 + (n % 3), FULL, 3);
    if (n % 2) await settle();
  }
  for (const a of actions) {
    if (a.do === 'add') add(a.capture, a.end, a.packets);
    else if (a.do === 'next') next();
    else if (a.do === 'acknowledge') acknowledge(a.capture, random());
    else await cut(a.do === 'cut');
    if (disk && random() < 0.3) await settle();
    assert.ok(spool.held >= 0 && spool.waiting >= 0 && spool.heldOnDisk <= diskBytes);
    if (whenFull === 'drop' && !disk) assert.ok(spool.held <= limit, 'holds more than it may');
  }
  for (let idle = 0; spool.waiting > 0; idle++) {
    assert.ok(idle < 10_000, 'it stands still');
    while (next());
    if (disk) await immediate();
  }
  while (next());
  for (const [i, m] of models.entries()) {
    acknowledge(i + 1, 1);
    assert.equal(m.got.length, m.added.length);
    const all = m.added.reduce((n, b) => n + b.packets, 0);
    assert.equal(m.acknowledged + spool.dropped(i + 1).packets, all, 'the ledger');
    if (whenFull === 'wait' && lost === 0) assert.equal(spool.dropped(i + 1).packets, 0);
    assert.ok(m.added.every((b) => b.released === 1));
  }
  assert.deepEqual([spool.held, spool.heldOnDisk], [0, 0]);
}

const actions = fc.array(action, { maxLength: 100, size: 'max' });
const limit = fc.noBias(fc.integer({ min: 0, max: 8000 }));
const whenFull = fc.constantFrom('wait' as const, 'drop' as const);
const chance = fc.infiniteStream(fc.noBias(fc.integer({ min: 0, max: 999 })));
const drawn = (stream: Stream<number>) => () => (stream.next().value as number) / 1000;

test('whatever happens, the collector has each packet once or in a gap, the numbers are exact, and each block is released once', async () => {
  await fuzz(fc.asyncProperty(actions, limit, whenFull, chance, (a, l, w, c) => behaves(a, l, w, 0, drawn(c))), 2000); // prettier-ignore
});

test('with a disk that fails now and then it does so, too', async () => {
  const size = fc.noBias(fc.integer({ min: 1, max: 20_000 }));
  await fuzz(fc.asyncProperty(actions, limit, whenFull, size, chance, (a, l, w, d, c) => behaves(a, l, w, d, drawn(c))), 300); // prettier-ignore
});
