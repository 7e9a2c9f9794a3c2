import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { RcapError } from '../errors.ts';
import { fuzz } from '../test/fuzz.ts';
import { temporaryFolder, until } from '../test/support.ts';
import { type TokenOptions, Tokens } from './tokens.ts';

const run = (n: number) => n.toString(16).padStart(32, '0');

function fresh(t: TestContext) {
  const state = temporaryFolder(t);
  const tokens = new Tokens(state);
  const create = (o: Partial<TokenOptions> = {}) =>
    tokens.create({ label: '', host: undefined, expiresMs: undefined, uses: undefined, ...o });
  const idOf = (token: string) => token.split('_')[1]!;
  const file = (token: string, ending = 'json') => join(state, 'tokens', `${idOf(token)}.${ending}`);
  return { state, tokens, create, idOf, file };
}

/** Why it was refused; fails when it was not. */
function refusal(tokens: Tokens, token: string, host = 'web01', r = run(1)): RcapError {
  try {
    tokens.admit(token, host, r);
  } catch (e) {
    if (e instanceof RcapError) return e;
    throw e;
  }
  return assert.fail('it was admitted');
}

test('a new token is admitted, and its id returned', (t) => {
  const { tokens, create, idOf } = fresh(t);
  const token = create();
  assert.match(token, /^rcap_[0-9a-f]{8}_[A-Za-z0-9_-]{43}$/);
  assert.equal(tokens.admit(token, 'web01', run(1)), idOf(token));
});

test('another collector on the same folder admits it too', (t) => {
  const { state, create, idOf } = fresh(t);
  const token = create();
  assert.equal(new Tokens(state).admit(token, 'web01', run(1)), idOf(token));
});

test('the secret is nowhere on disk, and only the owner may read what is', (t) => {
  const { state, tokens, create } = fresh(t);
  const token = create({ label: 'x' });
  tokens.admit(token, 'web01', run(1));
  const secret = token.slice(-43);
  for (const name of readdirSync(join(state, 'tokens'))) {
    const path = join(state, 'tokens', name);
    assert.ok(!readFileSync(path, 'utf8').includes(secret));
    assert.equal(statSync(path).mode & 0o077, 0, name);
  }
  assert.equal(statSync(join(state, 'tokens')).mode & 0o077, 0);
});

test('a wrong secret is refused like an unknown id', (t) => {
  const { tokens, create } = fresh(t);
  const token = create();
  const wrong = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A');
  const unknown = `rcap_00000000_${token.slice(-43)}`;
  assert.equal(refusal(tokens, wrong).message, 'the token is not known');
  assert.equal(refusal(tokens, unknown).message, refusal(tokens, wrong).message);
  assert.equal(refusal(tokens, wrong).code, 'TOKEN');
});

test('without a host a token belongs to the first that uses it', (t) => {
  const { tokens, create } = fresh(t);
  const token = create();
  tokens.admit(token, 'web01', run(1));
  tokens.admit(token, 'web01', run(2));
  const { message, hint } = refusal(tokens, token, 'web02', run(3));
  assert.equal(message, "the token is for host 'web01', not 'web02'");
  assert.match(hint!, /--host-name web01/);
});

test('a refused host does not become the owner', (t) => {
  const { tokens, create } = fresh(t);
  const token = create({ host: 'web01' });
  refusal(tokens, token, 'web02');
  tokens.admit(token, 'web01', run(1));
});

test("a token for '*' is for any host", (t) => {
  const { tokens, create } = fresh(t);
  const token = create({ host: '*' });
  for (const [i, host] of ['web01', 'web02', '*', '../../etc'].entries()) tokens.admit(token, host, run(i));
});

test('hosts are the same when their folders are', (t) => {
  const { tokens, create } = fresh(t);
  const token = create({ host: 'web 01' });
  tokens.admit(token, 'web/01', run(1));
  assert.match(refusal(tokens, token, '*').message, /is for host 'web_01', not '_'/);
});

test('a revoked token is refused for good', (t) => {
  const { tokens, create, idOf } = fresh(t);
  const token = create();
  tokens.admit(token, 'web01', run(1));
  tokens.revoke(idOf(token));
  assert.equal(refusal(tokens, token).message, 'the token is revoked');
  tokens.revoke(idOf(token));
});

test('how an admitted token stands: revoked and removed are the end of it, damage is not', async (t) => {
  const { state, tokens, create, idOf, file } = fresh(t);
  const admitted = (o: Partial<TokenOptions> = {}) => {
    const token = create(o);
    tokens.admit(token, 'web01', run(1));
    return token;
  };
  const [revoked, removed, hurt, expired, used] = [admitted(), admitted(), admitted(), admitted({ expiresMs: 2000 }), admitted({ uses: 1 })]; // prettier-ignore
  const standing = () => [revoked, removed, hurt, expired, used].map((token) => tokens.standing(idOf(token)));
  assert.deepEqual(standing().slice(0, 3), ['valid', 'valid', 'valid']);
  for (const token of [revoked, hurt, expired]) {
    writeFileSync(file(token), '{');
    writeFileSync(file(token, 'use'), '{');
  }
  rmSync(file(removed));
  // As another process does it.
  new Tokens(state).revoke(idOf(revoked));
  await until('the end of one', () => tokens.standing(idOf(expired)) === 'expired');
  assert.deepEqual(standing(), ['revoked', 'revoked', 'valid', 'expired', 'valid']);
  tokens.revoke(idOf(hurt));
  assert.equal(tokens.standing(idOf(hurt)), 'revoked');
});

test('names that differ in case are different hosts', (t) => {
  const { tokens, create } = fresh(t);
  const token = create({ host: 'Web01' });
  tokens.admit(token, 'Web01', run(1));
  for (const host of ['web01', 'WEB01']) {
    const { message, hint } = refusal(tokens, token, host);
    assert.equal(message, `the token is for host 'Web01', not '${host}'`);
    assert.match(hint!, /--host-name Web01/);
  }
});

test('the first use settles the case of a name', (t) => {
  const { tokens, create } = fresh(t);
  const token = create({ host: 'pc17' });
  assert.match(refusal(tokens, token, 'PC18').message, /is for host 'pc17', not 'PC18'/);
  tokens.admit(token, 'PC17', run(1));
  tokens.admit(token, 'PC17', run(2));
  for (const host of ['pc17', 'Pc17'])
    assert.match(refusal(tokens, token, host).message, /is for host 'PC17', not '[Pp]c17'/);
});

test('uses are counted on after a restart, whatever the order', (t) => {
  const { state, create } = fresh(t);
  const token = create({ uses: 3 });
  for (const r of [1, 2, 3]) new Tokens(state).admit(token, 'web01', run(r));
  assert.equal(refusal(new Tokens(state), token, 'web01', run(4)).message, 'the token is used up');
  new Tokens(state).admit(token, 'web01', run(2));
});

test('what is no id cannot be revoked, and is never a path', (t) => {
  const { tokens, create } = fresh(t);
  create();
  for (const id of ['', 'abc', '00000000', '../../../x', '*', 'ABCDEF01'])
    assert.throws(() => tokens.revoke(id), RcapError);
});

test('a token expires', async (t) => {
  const { tokens, create } = fresh(t);
  const [soon, later] = [create({ expiresMs: 1 }), create({ expiresMs: 60_000 })];
  await sleep(20);
  assert.equal(refusal(tokens, soon).message, 'the token is expired');
  tokens.admit(later, 'web01', run(1));
});

test('a token with uses counts runs, not connections', (t) => {
  const { tokens, create } = fresh(t);
  const token = create({ uses: 2 });
  for (const r of [run(1), run(1), run(2), run(1), run(2)]) tokens.admit(token, 'web01', r);
  assert.equal(refusal(tokens, token, 'web01', run(3)).message, 'the token is used up');
  // A run that was admitted may come back after a cut.
  tokens.admit(token, 'web01', run(2));
});

test('a token without a limit of uses stays valid over thousands of runs, and its file stays small', (t) => {
  const { tokens, create, file } = fresh(t);
  const token = create();
  for (let i = 0; i < 1100; i++) tokens.admit(token, 'web01', run(i));
  assert.ok(statSync(file(token, 'use')).size < 40_000);
  assert.equal(tokens.list()[0]!.state, 'valid');
});

test('a limit of many uses is counted to its end', (t) => {
  const { tokens, create } = fresh(t);
  const token = create({ uses: 1050 });
  for (let i = 0; i < 1050; i++) tokens.admit(token, 'web01', run(i));
  assert.equal(refusal(tokens, token, 'web01', run(9999)).message, 'the token is used up');
});

test('the list shows each token with its state, and no secret', async (t) => {
  const { tokens, create, idOf } = fresh(t);
  const valid = create({ label: 'first', host: 'web01' });
  const revoked = create({ label: 'second' });
  const expired = create({ expiresMs: 1 });
  const used = create({ uses: 1 });
  tokens.revoke(idOf(revoked));
  tokens.admit(used, 'web01', run(1));
  await sleep(20);
  const list = new Map(tokens.list().map((s) => [s.id, s]));
  assert.deepEqual(
    [valid, revoked, expired, used].map((token) => list.get(idOf(token))!.state),
    ['valid', 'revoked', 'expired', 'used up'],
  );
  assert.deepEqual([list.get(idOf(valid))!.label, list.get(idOf(valid))!.host], ['first', 'web01']);
  assert.ok(!JSON.stringify([...list.values()]).includes('secret'));
});

test('a damaged file refuses its own token, and hides no other', (t) => {
  for (const damage of ['', '{', 'null', '5', '{}', '{"secretSha256":"00"}']) {
    const { tokens, create, idOf, file } = fresh(t);
    const [hurt, whole] = [create(), create()];
    writeFileSync(file(hurt), damage);
    assert.match(refusal(tokens, hurt).message, /damaged|not known/);
    tokens.admit(whole, 'web01', run(1));
    const states = new Map(tokens.list().map((s) => [s.id, s.state]));
    assert.deepEqual([states.get(idOf(hurt)), states.get(idOf(whole))], ['damaged', 'valid'], damage);
  }
});

test('when the uses can not be read, nobody is admitted, and the agent hears neither path nor content', (t) => {
  const { state, tokens, create, file } = fresh(t);
  const token = create({ uses: 3 });
  for (const damage of ['', '{"host": "topsecret', '{}', '7']) {
    writeFileSync(file(token, 'use'), damage);
    const { code, message } = refusal(tokens, token);
    assert.equal(code, 'STATE');
    assert.ok(!message.includes(state) && !message.includes('topsecret'), message);
  }
});

test('hostile token texts are refused, and never a path', async (t) => {
  const { tokens, create } = fresh(t);
  const good = create();
  for (const token of [
    '',
    'x',
    `${good}\n`,
    ` ${good}`,
    good.toUpperCase(),
    `${good}A`,
    good.slice(0, -1),
    `rcap_../../../_${good.slice(-43)}`,
    '\0'.repeat(1000),
    '🦈',
  ]) {
    assert.equal(refusal(tokens, token).code, 'TOKEN', JSON.stringify(token));
  }
  assert.match(refusal(tokens, '').message, /a token is needed/);
  const any = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc
      .tuple(fc.stringMatching(/^[0-9a-f]{8}$/), fc.stringMatching(/^[A-Za-z0-9_-]{43}$/))
      .map(([id, secret]) => `rcap_${id}_${secret}`),
  );
  await fuzz(
    fc.property(any, fc.string({ unit: 'binary' }), (token, host) =>
      assert.equal(refusal(tokens, token, host).code, 'TOKEN'),
    ),
    300,
  );
});

test('idOf knows our own tokens as long as they are good', (t) => {
  const { tokens, create, idOf } = fresh(t);
  const [good, revoked, used] = [create(), create(), create({ uses: 1 })];
  assert.equal(tokens.idOf(good), idOf(good));
  tokens.revoke(idOf(revoked));
  tokens.admit(used, 'web01', run(1));
  const refused = (token: string, reason: RegExp) =>
    assert.throws(() => tokens.idOf(token), (e) => e instanceof RcapError && e.code === 'TOKEN' && reason.test(e.message)); // prettier-ignore
  refused('rcap_', /has not the form/);
  refused(fresh(t).create(), /not known here/);
  refused(`${good.slice(0, -2)}AA`, /not known here/);
  refused(revoked, /it is over/);
  refused(used, /it is over/);
  assert.deepEqual(
    [good, revoked, used].map((token) => tokens.admits(idOf(token))),
    [true, false, false],
  );
  assert.equal(tokens.admits('00000000'), false);
});
