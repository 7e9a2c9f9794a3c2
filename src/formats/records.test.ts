import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../test/fuzz.ts';
import { bytes, fixed32, fixed64, packet, records, type TestPacket, uint, varint } from '../test/wire.ts';
import { OVERREAD, OVERRUN, RecordError, RecordWriter } from './records.ts';

const SECOND = 1_000_000_000n;
const END_OF_TIME = 2n ** 32n * SECOND;
const SNAPLEN = 262_144;

interface Outcome {
  error?: string;
  end: number;
  records: Buffer;
  packets: number;
  packetBytes: number;
  lastRecord: number;
}

/** Runs the writer amid `filler`, with `room` bytes for the records, and watches what it touches. */
function write(
  input: Uint8Array,
  options: { room?: number; snaplen?: number; micro?: boolean; filler?: number; before?: TestPacket[] } = {},
): Outcome {
  const { room = 8 * input.length + 1000, snaplen = SNAPLEN, micro = false, filler = 0xaa } = options;
  const guard = 64;
  const out = guard;
  const at = out + room + OVERRUN + guard;
  const earlier = Buffer.concat((options.before ?? []).map(packet));
  const all = Buffer.from(new ArrayBuffer(at + Math.max(input.length, earlier.length) + OVERREAD)).fill(filler);
  all.set(input, at);
  const writer = new RecordWriter(all.buffer, micro ? 'micro' : 'nano');
  if (earlier.length > 0) {
    const memory = Buffer.from(all);
    all.set(earlier, at);
    writer.write(at, at + earlier.length, out, out + room, SNAPLEN);
    all.set(memory);
  }
  const outcome: Outcome = { end: 0, records: Buffer.alloc(0), packets: 0, packetBytes: 0, lastRecord: 0 };
  try {
    const end = writer.write(at, at + input.length, out, out + room, snaplen);
    outcome.end = end < 0 ? end : end - out;
    if (end >= 0) {
      outcome.records = Buffer.from(all.subarray(out, end));
      outcome.packets = writer.packets;
      outcome.packetBytes = writer.packetBytes;
      outcome.lastRecord = writer.packets ? writer.lastRecord - out : 0;
    }
  } catch (e) {
    assert.ok(e instanceof RecordError, String(e));
    outcome.error = e.message;
  }
  const untouched = Buffer.alloc(guard, filler);
  assert.ok(all.subarray(0, out).equals(untouched), 'wrote before its region');
  assert.ok(all.subarray(out + room + OVERRUN, at).equals(untouched), 'wrote behind its region');
  assert.ok(all.subarray(at, at + input.length).equals(input), 'wrote into its input');
  return outcome;
}

/** What the rules say about a batch's fields 4 and above: its packets, or why it is wrong. `padded`: not all in the shortest form. */
function read(input: Uint8Array, snaplen: number): { packets: TestPacket[]; error?: string; padded: boolean } {
  const b = Buffer.from(input);
  let padded = false;
  const packets: TestPacket[] = [];
  const readVarint = (at: number, end: number): [bigint, number] => {
    let value = 0n;
    for (let i = 0; i < 10 && at + i < end; i++) {
      value |= BigInt(b[at + i]! & 127) << BigInt(7 * i);
      if (b[at + i]! < 128) {
        if (i > 0 && b[at + i] === 0) padded = true;
        return [value, at + i + 1];
      }
    }
    throw new Error('varint');
  };
  const fields = function* (
    at: number,
    end: number,
  ): Generator<[tag: bigint, value: bigint, start: number, end: number]> {
    while (at < end) {
      const [tag, body] = readVarint(at, end);
      if (tag < 8n || tag >= 1n << 32n) throw new Error('field number');
      let [value, start, next] = [0n, body, body];
      const type = tag & 7n;
      if (type === 0n) [value, next] = readVarint(body, end);
      else if (type === 1n) next = body + 8;
      else if (type === 5n) next = body + 4;
      else if (type === 2n) {
        const [length, from] = readVarint(body, end);
        if (length > BigInt(end)) throw new Error('length');
        [start, next] = [from, from + Number(length)];
      } else throw new Error('wire type');
      if (next > end) throw new Error('cut off');
      if (tag === 9n) value = b.readBigUInt64LE(body);
      yield [tag, value, start, next];
      at = next;
    }
  };
  try {
    for (const [tag, , start, end] of fields(0, b.length)) {
      if (tag < 32n) throw new Error('header after packets');
      if (tag !== 34n) continue;
      const p = { timestampNs: 0n, original: 0, data: b.subarray(0, 0) };
      for (const [t, value, from, to] of fields(start, end)) {
        if (t === 9n) p.timestampNs = value;
        if (t === 16n) p.original = Number(value);
        if (t === 26n) p.data = b.subarray(from, to);
      }
      if (p.data.length > snaplen) throw new Error('snaplen');
      if (p.original !== 0 && p.original < p.data.length) throw new Error('original');
      if (p.original > 0xffff_ffff) throw new Error('original');
      if (packets.length === 65_536) throw new Error('too many');
      if (p.timestampNs >= END_OF_TIME) throw new Error('2106');
      packets.push(p);
    }
    return { packets, padded };
  } catch (e) {
    return { packets: [], error: (e as Error).message, padded };
  }
}

/** Times where a shortcut could go wrong: around seconds, and 2^32 ns from one another. */
const anyTime: fc.Arbitrary<bigint> = fc
  .oneof(
    fc.bigInt({ min: 0n, max: END_OF_TIME - 1n }),
    fc
      .tuple(fc.bigInt({ min: 0n, max: 2n ** 32n }), fc.integer({ min: -5000, max: 5000 }))
      .map(([s, d]) => s * SECOND + BigInt(d)),
    fc
      .tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: -3, max: 3 }))
      .map(([k, d]) => 1_700_000_000n * SECOND + (BigInt(k) << 32n) + BigInt(d)),
    fc
      .tuple(fc.bigInt({ min: 0n, max: 10n ** 9n }), fc.integer({ min: -3, max: 3 }))
      .map(([k, d]) => (k << 32n) + BigInt(d)),
    fc.nat(10_000_000_000).map((ns) => 1_700_000_000n * SECOND + BigInt(ns)),
    fc.constantFrom(0n, 1n, SECOND - 1n, SECOND, END_OF_TIME - SECOND, END_OF_TIME - 1n),
  )
  .map((t) => (t < 0n ? 0n : t >= END_OF_TIME ? END_OF_TIME - 1n : t));

const anyLength = fc.oneof(
  { weight: 6, arbitrary: fc.nat(70) },
  { weight: 3, arbitrary: fc.integer({ min: 120, max: 300 }) },
  { weight: 1, arbitrary: fc.constantFrom(16_383, 16_384, 65_535, 262_144) },
);

const DATA = Buffer.from(Array.from({ length: SNAPLEN + 256 }, (_, i) => ((i % 251) * 7) & 255));

const anyPacket: fc.Arbitrary<TestPacket> = fc
  .record({
    timestampNs: anyTime,
    length: anyLength,
    seed: fc.nat(255),
    cut: fc.option(fc.oneof(fc.nat(300), fc.constant(0xffff_ffff - 262_144)), { nil: undefined }),
  })
  .map(({ timestampNs, length, seed, cut }) => ({
    timestampNs,
    data: DATA.subarray(seed, seed + length),
    ...(cut === undefined ? {} : { original: length + cut }),
    [fc.toStringMethod]: () => `${timestampNs} ns, ${length} bytes from ${seed}, cut ${cut}`,
  }));

const unknownField: fc.Arbitrary<Buffer> = fc
  .record({
    field: fc.integer({ min: 5, max: 0x1fff_ffff }),
    kind: fc.nat(3),
    value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    body: fc.uint8Array({ maxLength: 20 }),
  })
  .map(
    ({ field, kind, value, body }) =>
      [uint(field, value), fixed64(field, value), bytes(field, body), fixed32(field, Number(value & 0xffff_ffffn))][
        kind
      ]!,
  );

/** A packet in any way that protobuf allows: fields in any order, repeated (the last one counts), unknown ones between. */
const anyForm = fc
  .record({
    meant: anyPacket,
    other: anyPacket,
    unknown: fc.array(unknownField, { maxLength: 3 }),
    dice: fc.array(fc.nat(1000), { minLength: 12, maxLength: 12 }),
  })
  .map(({ meant, other, unknown, dice }) => {
    const real = [
      ...(meant.timestampNs === 0n && dice[0]! % 2 ? [] : [fixed64(1, meant.timestampNs)]),
      ...(meant.original === undefined ? [] : [uint(2, meant.original)]),
      ...(meant.data.length === 0 && dice[1]! % 2 ? [] : [bytes(3, meant.data)]),
    ];
    const early =
      dice[2]! % 3 === 0
        ? [
            fixed64(1, other.timestampNs),
            ...(meant.original === undefined ? [] : [uint(2, 3)]),
            bytes(3, other.data.subarray(0, 50)),
          ]
        : [];
    // Early ones only where the real one follows.
    const first = early.filter((e) => real.some((r) => r[0] === e[0]));
    const order = (list: Buffer[], at: number) =>
      list
        .map((x, i) => ({ x, key: dice[(at + i) % 12]! }))
        .toSorted((a, b) => a.key - b.key)
        .map(({ x }) => x);
    return { meant, form: bytes(4, Buffer.concat([...first, ...order([...real, ...unknown], 3)])) };
  });

test('records are exactly what an independent writer makes of the packets, to the nanosecond and to the microsecond', async () => {
  await fuzz(
    fc.property(
      fc.array(anyPacket, { maxLength: 12 }),
      fc.array(anyPacket, { maxLength: 2 }),
      fc.boolean(),
      (packets, before, micro) => {
        const got = write(Buffer.concat(packets.map(packet)), {
          micro,
          before,
          room: records([...packets, ...before]).length,
        });
        assert.equal(got.error, undefined);
        assert.ok(got.records.equals(records(packets, micro ? 1_000_000n : SECOND)));
        assert.equal(got.packets, packets.length);
        assert.equal(
          got.packetBytes,
          packets.reduce((n, p) => n + p.data.length, 0),
        );
        assert.equal(got.lastRecord, records(packets.slice(0, -1)).length);
      },
    ),
    100,
  );
});

test('any order of fields, repeated and unknown ones make the same records', async () => {
  await fuzz(
    fc.property(fc.array(fc.oneof(anyForm, unknownField), { maxLength: 8 }), (list) => {
      const input = Buffer.concat(list.map((x) => ('form' in x ? x.form : x)));
      const meant = list.flatMap((x) => ('form' in x ? [x.meant] : []));
      const got = write(input);
      assert.equal(got.error, undefined);
      assert.ok(got.records.equals(records(meant)));
    }),
    100,
  );
});

test('a clock that jumps by exactly 2^32 ns, or multiples, is followed', () => {
  const times = [0n, 1n, 5n, 1n, 2n, 3n, 0n, 1_000_000n].map((k) => 1_700_000_000_999_999_999n + (k << 32n));
  const packets = [...times, ...times.map((t) => t + 1n)].map((timestampNs) => ({
    timestampNs,
    data: Buffer.alloc(1),
  }));
  assert.ok(write(Buffer.concat(packets.map(packet))).records.equals(records(packets)));
});

test('steps of every length up to ten seconds, forth and back, are followed', () => {
  const packets: TestPacket[] = [];
  for (let step = 0n; step <= 10n * SECOND; step += SECOND / 7n) {
    for (const d of [0n, step, 0n, step + 1n])
      packets.push({ timestampNs: 1_700_000_000_500_000_000n + d, data: DATA.subarray(0, 1) });
  }
  assert.ok(write(Buffer.concat(packets.map(packet))).records.equals(records(packets)));
});

test('every nanosecond around a second is exact, at both ends of time', () => {
  for (const second of [0n, 1n, 1_700_000_000n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n]) {
    const packets: TestPacket[] = [];
    for (let d = -5000n; d <= 5000n; d++) {
      const timestampNs = second * SECOND + d;
      if (timestampNs >= 0n && timestampNs < END_OF_TIME)
        packets.push({ timestampNs, data: Buffer.alloc(0), original: 1 });
    }
    assert.ok(write(Buffer.concat(packets.map(packet))).records.equals(records(packets)), `around ${second}`);
  }
});

test('2106-02-07T06:28:16Z and later is refused, whatever came before', () => {
  const last = { timestampNs: END_OF_TIME - 1n, data: Buffer.alloc(1) };
  for (const timestampNs of [END_OF_TIME, END_OF_TIME + 1n, END_OF_TIME + SECOND, 2n ** 63n, 2n ** 64n - 1n]) {
    const late = { timestampNs, data: Buffer.alloc(1) };
    assert.match(write(packet(late)).error!, /after 2106/);
    assert.match(write(Buffer.concat([packet(last), packet(late)])).error!, /after 2106/);
  }
});

test('too little room is -1, one byte less than needed or many, and exactly enough is enough', async () => {
  await fuzz(
    fc.property(fc.array(anyPacket, { minLength: 1, maxLength: 8 }), fc.nat(), (packets, dice) => {
      const needed = records(packets).length;
      const input = Buffer.concat(packets.map(packet));
      assert.equal(write(input, { room: needed }).end, needed);
      assert.equal(write(input, { room: needed - 1 }).end, -1);
      assert.equal(write(input, { room: dice % needed }).end, -1);
    }),
    100,
  );
});

test('a packet may be as long as the snaplen, and original_length as long as a pcap file can say', () => {
  const p = { timestampNs: 5n, data: Buffer.alloc(96), original: 0xffff_ffff };
  assert.equal(write(packet(p), { snaplen: 96 }).error, undefined);
  assert.match(write(packet(p), { snaplen: 95 }).error!, /longer than the snaplen 95/);
  assert.match(write(packet({ ...p, original: 95 })).error!, /below the captured length 96/);
  for (const original of [2 ** 32, 2 ** 35 - 1, 2 ** 35, Number.MAX_SAFE_INTEGER]) {
    assert.match(write(packet({ ...p, original })).error!, /no 32-bit number/);
  }
});

test('original_length 0 says the same as none', () => {
  const p = { timestampNs: 5n, data: Buffer.alloc(3) };
  assert.ok(write(packet({ ...p, original: 0 })).records.equals(records([p])));
});

test('65,536 packets are a batch, one more is too many', () => {
  const one = packet({ timestampNs: 1n, data: Buffer.alloc(0) });
  const input = Buffer.concat(Array.from({ length: 65_537 }, () => one));
  assert.equal(write(input.subarray(one.length)).packets, 65_536);
  assert.match(write(input).error!, /more than 65536 packets/);
});

test('what is wrong is refused by its name', () => {
  const good = packet({ timestampNs: 1n, data: Buffer.from('abc') });
  const cases: [wrong: Uint8Array, words: RegExp][] = [
    [uint(1, 7), /must come before the packets/],
    [Buffer.concat([good, uint(3, 7)]), /must come before the packets/],
    [good.subarray(0, -1), /past the end of its batch/],
    [bytes(4, fixed64(1, 1n).subarray(0, 5)), /timestamp is cut off/],
    [bytes(4, Buffer.concat([fixed64(1, 1n), Buffer.from([0x1a, 9, 1])])), /data runs past/],
    [bytes(4, Buffer.concat([bytes(3, 'x'), Buffer.from([0x10, 0x80])])), /varint does not end/],
    [Buffer.concat([varint(34), varint(2 ** 22), good]), /too long/],
    [Buffer.concat([good, Buffer.from([0x2b])]), /wire type 3/],
    [Buffer.concat([good, Buffer.from([0x2e])]), /wire type 6/],
    [Buffer.concat([good, varint(5n << 35n)]), /field number/],
    [Buffer.concat([good, bytes(9, 'abc').subarray(0, -1)]), /past the end/],
    [Buffer.concat([good, Buffer.alloc(11, 0xff)]), /varint does not end/],
    [Buffer.concat([varint(34, 2), good.subarray(1)]), /longer than it must be/],
    [bytes(4, Buffer.concat([varint(26, 3), varint(1), Buffer.from('x')])), /longer than it must be/],
  ];
  for (const [wrong, words] of cases)
    assert.match(write(wrong).error ?? 'taken', words, Buffer.from(wrong).toString('hex'));
});

/** Bytes that look like a batch, and then don't. */
const damaged = fc
  .record({
    list: fc.array(fc.oneof(anyForm, unknownField), { maxLength: 5 }),
    harm: fc.array(
      fc.record({
        at: fc.nat(),
        byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 0x09, 0x10, 0x1a, 0x22, 0x7f, 0x80, 0xff)),
        kind: fc.nat(3),
      }),
      { maxLength: 6 },
    ),
  })
  .map(({ list, harm }) => {
    let b = Buffer.concat(list.map((x) => ('form' in x ? x.form.subarray(0, 400) : x)));
    for (const { at, byte, kind } of harm) {
      // Mostly near the beginning of a packet, where its fields are.
      const i = at % (b.length + 1);
      if (kind === 0) b = Buffer.concat([b.subarray(0, i), Buffer.from([byte]), b.subarray(i)]);
      else if (kind === 1) b = Buffer.concat([b.subarray(0, i), b.subarray(i + 1)]);
      else if (i < b.length) b[i] = byte;
    }
    return b;
  });

function holdAgainstRules(input: Uint8Array, snaplen: number): void {
  const got = write(input, { snaplen });
  const again = write(input, { snaplen, filler: 0xff });
  const third = write(input, { snaplen, filler: 0 });
  const { error: _, ...result } = got;
  for (const { error, ...other } of [again, third]) {
    assert.deepEqual(other, result, 'depends on what lies around');
    assert.equal(error === undefined, got.error === undefined, 'depends on what lies around');
  }
  const rules = read(input, snaplen);
  if (got.error === undefined) {
    assert.equal(rules.error, undefined, 'took what the rules refuse');
    assert.ok(got.records.equals(records(rules.packets)));
    assert.equal(got.packets, rules.packets.length);
  } else if (!rules.padded) assert.notEqual(rules.error, undefined, `refused what the rules allow: ${got.error}`);
}

test('damaged batches are taken or refused as the rules say, and nothing around them is read or written', async () => {
  await fuzz(fc.property(damaged, fc.constantFrom(0, 5, 96, SNAPLEN), holdAgainstRules), 3000);
});

test('so are random bytes', async () => {
  const soup = fc.array(fc.oneof(fc.nat(255), fc.constantFrom(0x22, 0x09, 0x10, 0x1a, 0x0b, 0x80)), { maxLength: 60 });
  await fuzz(
    fc.property(soup, (list) => holdAgainstRules(Uint8Array.from(list), SNAPLEN)),
    5000,
  );
});
