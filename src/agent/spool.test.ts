import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_HEAD, type Block } from '../packet.ts';
import { fuzz } from '../test/fuzz.ts';
import { type Batch, type Gap, Spool } from './spool.ts';

const BLOCK = 1000;
const FULL = 900;
const SMALL = 300;

/** A block that says how often it was released; its memory is overwritten then, as the capture thread would. */
function blockOf(end: number, packets: number, first = 1n, last = 2n): Block & { released: number } {
  const bytes = Buffer.alloc(BLOCK, 7);
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

const take = (spool: Spool): (Batch | Gap)[] => {
  const list: (Batch | Gap)[] = [];
  for (let e; (e = spool.next());) if (e.kind !== 'note') list.push(e);
  return list;
};
const isGap = (e: Batch | Gap): e is Gap => e.kind === 'gap';
/** Numbers only, for comparing. */
const numbers = (e: Batch | Gap) =>
  isGap(e)
    ? [e.capture, `gap ${e.firstSequence}-${e.lastSequence}`, e.packets]
    : [e.capture, e.sequence, e.firstPacket, e.packets];

test('batches are numbered from 1 for each capture, and packets too', () => {
  const spool = new Spool(1e6, 'drop');
  spool.add(1, blockOf(FULL, 3));
  spool.add(2, blockOf(FULL, 5));
  spool.add(1, blockOf(SMALL, 2));
  spool.add(1, blockOf(FULL, 1));
  assert.deepEqual(take(spool).map(numbers), [
    [1, 1, 1, 3],
    [2, 1, 1, 5],
    [1, 2, 4, 2],
    [1, 3, 6, 1],
  ]);
  assert.deepEqual([spool.lastSequence(1), spool.lastSequence(2), spool.lastSequence(3)], [3, 1, 0]);
});

test('a full block is kept without a copy until it is acknowledged', () => {
  const spool = new Spool(1e6, 'drop');
  const block = blockOf(FULL, 3);
  spool.add(1, block);
  const [batch] = take(spool) as Batch[];
  assert.equal(batch!.bytes, block.bytes);
  assert.deepEqual([spool.held, block.released], [BLOCK, 0]);
  assert.equal(spool.acknowledge(1, 1), 3);
  assert.deepEqual([spool.held, block.released], [0, 1]);
});

test('a small block is copied and given back at once, and only what it holds counts', () => {
  const spool = new Spool(1e6, 'drop');
  const block = blockOf(SMALL, 3);
  spool.add(1, block);
  assert.deepEqual([spool.held, block.released], [SMALL, 1]);
  const [batch] = take(spool) as Batch[];
  assert.ok(batch!.bytes.subarray(BLOCK_HEAD, SMALL).every((x) => x === 7));
  assert.equal(batch!.bytes.length, SMALL);
  spool.acknowledge(1, 1);
  assert.deepEqual([spool.held, block.released], [0, 1]);
});

test('a spool that waits drops nothing, and once it is full keeps small blocks too, so that the pool runs empty', () => {
  const spool = new Spool(2 * SMALL, 'wait');
  const blocks = Array.from({ length: 5 }, () => blockOf(SMALL, 1));
  for (const b of blocks) spool.add(1, b);
  assert.deepEqual(
    blocks.map((b) => b.released),
    [1, 1, 0, 0, 0],
  );
  assert.equal(spool.held, 2 * SMALL + 3 * BLOCK);
  assert.equal(take(spool).length, 5);
  assert.equal(spool.acknowledge(1, 5), 5);
  assert.deepEqual(
    blocks.map((b) => b.released),
    [1, 1, 1, 1, 1],
  );
  assert.equal(spool.held, 0);
});

test('a full spool drops the oldest unsent batches, and they become one gap with exact numbers', () => {
  const spool = new Spool(2 * BLOCK, 'drop');
  const blocks = [10n, 20n, 30n, 40n].map((t, i) => blockOf(FULL, i + 1, t, t + 5n));
  for (const b of blocks) spool.add(1, b);
  assert.deepEqual(
    blocks.map((b) => b.released),
    [1, 1, 0, 0],
  );
  const [gap, ...rest] = take(spool);
  assert.deepEqual(gap, {
    kind: 'gap',
    capture: 1,
    firstSequence: 1,
    lastSequence: 2,
    packets: 3,
    packetBytes: 2 * (FULL - BLOCK_HEAD),
    firstTimestamp: 10n,
    lastTimestamp: 25n,
  });
  assert.deepEqual(rest.map(numbers), [
    [1, 3, 4, 3],
    [1, 4, 7, 4],
  ]);
  assert.deepEqual(spool.dropped(1), { packets: 3, packetBytes: 2 * (FULL - BLOCK_HEAD) });
});

test('gaps of several captures stay apart, each in its place', () => {
  const spool = new Spool(BLOCK, 'drop');
  for (const capture of [1, 2, 1, 2, 2, 1]) spool.add(capture, blockOf(FULL, 1));
  assert.deepEqual(take(spool).map(numbers), [
    [1, 'gap 1-2', 2],
    [2, 'gap 1-3', 3],
    [1, 3, 3, 1],
  ]);
});

test('a gap that was sent is not added to', () => {
  const spool = new Spool(BLOCK, 'drop');
  spool.add(1, blockOf(FULL, 1));
  spool.add(1, blockOf(FULL, 1));
  assert.deepEqual(numbers(spool.next() as Gap), [1, 'gap 1-1', 1]);
  spool.add(1, blockOf(FULL, 1));
  assert.deepEqual(take(spool).map(numbers), [
    [1, 'gap 2-2', 1],
    [1, 3, 3, 1],
  ]);
});

test('a batch that was sent is never dropped, even when nothing else is left to drop', () => {
  const spool = new Spool(BLOCK, 'drop');
  const sent = blockOf(FULL, 1);
  spool.add(1, sent);
  spool.next();
  spool.add(1, blockOf(FULL, 1));
  assert.equal(sent.released, 0);
  assert.deepEqual(take(spool).map(numbers), [[1, 'gap 2-2', 1]]);
});

test('notes keep their place and are never dropped', () => {
  const spool = new Spool(BLOCK, 'drop');
  const [start, end] = [Buffer.from('start'), Buffer.from('end')];
  spool.note(1, start);
  for (let i = 0; i < 3; i++) spool.add(1, blockOf(FULL, 1));
  spool.note(1, end);
  const all = Array.from({ length: 4 }, () => spool.next()!);
  assert.deepEqual(
    all.map((e) => e.kind),
    ['note', 'gap', 'batch', 'note'],
  );
  assert.ok(all[0]?.kind === 'note' && all[0].message === start);
  assert.equal(spool.next(), undefined);
});

test('an acknowledgement lets go what it covers, of its capture only; more than was sent means nothing', () => {
  const spool = new Spool(1e6, 'drop');
  const blocks = [1, 1, 2, 1, 1].map((capture) => {
    const block = blockOf(FULL, 10);
    spool.add(capture, block);
    return block;
  });
  for (let i = 0; i < 4; i++) spool.next();
  assert.equal(spool.acknowledge(1, 2), 20);
  assert.equal(spool.acknowledge(1, 2), 0);
  assert.equal(spool.acknowledge(3, 9), 0);
  assert.equal(spool.acknowledge(1, Number.MAX_SAFE_INTEGER), 10);
  assert.deepEqual(
    blocks.map((b) => b.released),
    [1, 1, 0, 1, 0],
  );
  assert.deepEqual(take(spool).map(numbers), [[1, 4, 31, 10]]);
});

type Action =
  | { do: 'add'; capture: number; end: number; packets: number }
  | { do: 'note' | 'acknowledge'; capture: number }
  | { do: 'next' };
const capture = fc.integer({ min: 1, max: 3 });
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      capture,
      end: fc.integer({ min: BLOCK_HEAD + 1, max: BLOCK }),
      packets: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('next' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('note' as const, 'acknowledge' as const), capture }) },
);

test('whatever happens, what was sent and the gaps cover every batch once, in order, and each block is released once', async () => {
  await fuzz(
    fc.property(
      fc.array(action, { maxLength: 60, size: 'max' }),
      fc.integer({ min: 0, max: 5000 }),
      fc.boolean(),
      (actions, limit, wait) => {
        const spool = new Spool(limit, wait ? 'wait' : 'drop');
        const added = new Map<number, (Block & { released: number })[]>();
        const seen = new Map<number, (Batch | Gap)[]>();
        let [notes, notesSeen, unsent] = [0, 0, 0];
        const next = () => {
          const e = spool.next();
          if (e?.kind === 'note') notesSeen++;
          else if (e) seen.set(e.capture, [...(seen.get(e.capture) ?? []), e]);
          return e;
        };
        for (const a of actions) {
          if (a.do === 'add') {
            const block = blockOf(a.end, a.packets);
            added.set(a.capture, [...(added.get(a.capture) ?? []), block]);
            spool.add(a.capture, block);
          } else if (a.do === 'note') {
            notes++;
            spool.note(a.capture, new Uint8Array());
          } else if (a.do === 'next') next();
          else {
            // Half of what was sent.
            const sent = (seen.get(a.capture) ?? []).filter((e) => !isGap(e));
            spool.acknowledge(a.capture, sent[Math.floor(sent.length / 2)]?.sequence ?? 0);
          }
          assert.ok(spool.held >= 0);
        }
        const held = spool.held;
        while (next()) unsent++;
        if (!wait) {
          const sentButHeld = [...seen.values()].flat().filter((e) => !isGap(e)).length;
          assert.ok(held <= limit || sentButHeld > 0 || unsent === 0, 'holds more than it may');
        }
        assert.equal(notesSeen, notes);
        for (const [number, blocks] of added) {
          let [sequence, packet, lost, lostBytes] = [1, 1, 0, 0];
          for (const e of seen.get(number) ?? []) {
            const last = isGap(e) ? e.lastSequence : e.sequence;
            assert.equal(isGap(e) ? e.firstSequence : e.sequence, sequence);
            const covered = blocks.slice(sequence - 1, last);
            assert.equal(
              e.packets,
              covered.reduce((n, b) => n + b.packets, 0),
            );
            assert.equal(
              e.packetBytes,
              covered.reduce((n, b) => n + b.packetBytes, 0),
            );
            if (isGap(e)) [lost, lostBytes] = [lost + e.packets, lostBytes + e.packetBytes];
            else assert.equal(e.firstPacket, packet);
            sequence = last + 1;
            packet += e.packets;
          }
          assert.equal(sequence, blocks.length + 1);
          assert.equal(spool.lastSequence(number), blocks.length);
          assert.deepEqual(spool.dropped(number), { packets: lost, packetBytes: lostBytes });
          spool.acknowledge(number, sequence);
          assert.ok(blocks.every((b) => b.released === 1));
        }
        if (wait) assert.ok([...seen.values()].flat().every((e) => !isGap(e)));
        assert.equal(spool.held, 0);
      },
    ),
    1000,
  );
});
