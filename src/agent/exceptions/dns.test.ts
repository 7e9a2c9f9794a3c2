import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as packet from 'dns-packet';
import fc from 'fast-check';
import { addressText } from '../../formats/address.ts';
import { decode } from './dns.ts';

const A = { type: 'A', class: 'IN' } as const;
const encoded = (p: packet.Packet) => new Uint8Array(packet.encode(p));

test('a message as another implementation writes it', () => {
  const message = decode(
    encoded({
      id: 7,
      type: 'response',
      questions: [{ ...A, name: 'WWW.Example.com' }],
      answers: [
        { type: 'CNAME', name: 'www.example.com', ttl: 300, data: 'edge.example.net' },
        { ...A, name: 'edge.example.net', ttl: 20, data: '192.0.2.7' },
        { type: 'AAAA', name: 'edge.example.net', ttl: 30, data: '2001:db8::7' },
        { type: 'TXT', name: 'edge.example.net', ttl: 30, data: 'x' },
      ],
    }),
  );
  assert.ok(message);
  const { answers, ...head } = message;
  assert.deepEqual(head, { id: 7, isAnswer: true, isUseless: false, name: 'www.example.com', type: 1 });
  assert.deepEqual(
    answers.map((r) => [r.name, r.ttl, r.type === 5 ? r.target : addressText(r.address)]),
    [
      ['www.example.com', 300, 'edge.example.net'],
      ['edge.example.net', 20, '192.0.2.7'],
      ['edge.example.net', 30, '2001:db8::7'],
    ],
  );
});

/** With names compressed, which dns-packet doesn't do. */
// prettier-ignore
const COMPRESSED = Uint8Array.of(
  0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0,
  1, 97, 2, 98, 99, 0, 0, 1, 0, 1, // a.bc, at 12
  0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1,
);

test('compressed names; a pointer never leads forward or around', () => {
  assert.deepEqual(decode(COMPRESSED)?.answers, [
    { name: 'a.bc', ttl: 60, type: 1, address: Uint8Array.of(192, 0, 2, 1) },
  ]);
  const pointer = COMPRESSED.indexOf(0xc0);
  for (const to of [pointer, pointer + 2, 255]) {
    const bytes = COMPRESSED.slice();
    bytes[pointer + 1] = to;
    assert.deepEqual(decode(bytes)?.answers, []);
  }
});

test('what is no use: several questions, another class, an error, a message cut off', () => {
  const changed = (at: number, value: number) => decode(COMPRESSED.map((b, i) => (i === at ? value : b)));
  assert.equal(changed(5, 2), undefined);
  assert.equal(changed(21, 3), undefined);
  assert.equal(changed(2, 0x91), undefined);
  assert.equal(changed(3, 0x83)?.isUseless, true);
  assert.equal(changed(2, 0x83)?.isUseless, true);
  assert.equal(changed(3, 0x00)?.isUseless, false);
  // The highest bit of a TTL, and an address of another length.
  assert.equal(changed(28, 0x80)?.answers[0]?.ttl, 0);
  assert.deepEqual(changed(33, 3)?.answers, []);
});

test('a dot within a label is no end of it', () => {
  const name = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 97, 46, 98, 0, 0, 1, 0, 1];
  assert.equal(decode(Uint8Array.from(name))?.name, 'a\\046b');
});

test('any bytes are a message or none, also every part of one', () => {
  for (let end = 0; end <= COMPRESSED.length; end++) decode(COMPRESSED.subarray(0, end));
  const near = fc.array(fc.tuple(fc.nat(COMPRESSED.length - 1), fc.nat(255)), { maxLength: 6 }).map((changes) => {
    const bytes = COMPRESSED.slice();
    for (const [at, value] of changes) bytes[at] = value;
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(near, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      const message = decode(bytes);
      if (!message) return;
      for (const name of [message.name, ...message.answers.map((r) => r.name)]) assert.ok(name.length <= 253);
    }),
    { numRuns: 20_000 },
  );
});

test('a name goes along few pointers: a ladder of them would cost much to climb again and again', () => {
  const ladder = (rungs: number) => {
    const head = Buffer.from('123481800001000100000000' + '01610000010001', 'hex');
    const steps = Array.from({ length: rungs }, (_, i) => [
      0xc0 | ((i === 0 ? 12 : 27 + 2 * i) >> 8),
      (i === 0 ? 12 : 27 + 2 * i) & 255,
    ]);
    // An answer of another type holds the ladder; the next one's name begins at its top.
    const other = Buffer.from([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, 2 * rungs, ...steps.flat().slice(0, 2 * rungs)]);
    head.writeUInt16BE(2, 6);
    const top = 31 + 2 * (rungs - 1);
    const last = Buffer.from([0xc0 | (top >> 8), top & 255, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    return decode(Buffer.concat([head, other, last]))!;
  };
  for (const [rungs, found] of [
    [1, 1],
    [10, 1],
    [100, 0],
  ] as const)
    assert.equal(ladder(rungs).answers.length, found, `${rungs}`);
});
