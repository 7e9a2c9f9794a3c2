import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ProtocolError } from './frame.ts';
import { Assembler, MAX_DOCUMENT, MAX_PIECE, NO_SETTINGS, piecesOf, sealDocument } from './settings.ts';

const textOf = (length: number) => ({ exceptions: [{ name: 'exceptions.list', text: 'x'.repeat(length) }] });

test('a document comes out as it went in, whatever its length', () => {
  fc.assert(
    fc.property(fc.nat(3 * MAX_PIECE), fc.nat(5), (length, limit) => {
      const sealed = sealDocument({ ...textOf(length), limits: { count: limit } });
      const assembler = new Assembler();
      const arrived = piecesOf(sealed).map((piece) => assembler.take(piece));
      const { document, digest } = arrived.pop()!;
      assert.ok(arrived.every((a) => a === undefined));
      assert.deepEqual(Buffer.from(digest), Buffer.from(sealed.digest));
      assert.equal(document!.exceptions[0]!.text.length, length);
      assert.equal(document!.limits!.count, limit);
    }),
  );
});

test('no settings at all are one message, and another document may begin in the middle of one', () => {
  const assembler = new Assembler();
  assert.deepEqual(
    piecesOf(NO_SETTINGS).map((p) => assembler.take(p)?.document),
    [undefined],
  );
  const [long, short] = [piecesOf(sealDocument(textOf(MAX_PIECE + 1))), piecesOf(sealDocument(textOf(3)))];
  assert.equal(assembler.take(long[0]!), undefined);
  assert.equal(assembler.take(short[0]!)!.document!.exceptions[0]!.text, 'xxx');
  // From its start again.
  assert.equal(assembler.take(long[0]!), undefined);
  assert.ok(assembler.take(long[1]!));
});

test('what does not fit is refused', () => {
  const [first, second] = piecesOf(sealDocument(textOf(MAX_PIECE + 1)));
  const cases = [
    [{ ...first!, digest: Buffer.alloc(31) }],
    [{ ...first!, length: MAX_DOCUMENT + 1 }],
    [first!, { ...second!, length: second!.length! + 1 }],
    [first!, first!],
    [{ ...first!, piece: first!.piece!.subarray(0, 1023) }],
    [{ ...first!, piece: Buffer.alloc(0) }],
    [first!, { ...second!, piece: Buffer.alloc(second!.piece!.length) }],
    [{ ...piecesOf(sealDocument(textOf(1)))[0]!, digest: Buffer.alloc(32) }],
  ];
  for (const pieces of cases) {
    const assembler = new Assembler();
    assert.throws(() => pieces.map((p) => assembler.take(p)), ProtocolError);
  }
  assert.throws(() => sealDocument(textOf(MAX_DOCUMENT)), RangeError);
});
