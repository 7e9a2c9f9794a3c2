import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { fuzz } from '../test/fuzz.ts';
import { temporaryFolder } from '../test/support.ts';
import { Links } from './links.ts';

function fresh(t: TestContext) {
  const state = temporaryFolder(t);
  const path = join(state, 'agent');
  writeFileSync(path, 'an agent');
  const links = new Links(state);
  const payload = Buffer.from('with a token');
  const create = (expiresMs = 60_000) =>
    links.create({ expiresMs, path, name: 'rcap-agent', tokenId: '01234567', payload });
  return { state, path, links, payload, create };
}

test('a link is found by its secret, also by another collector', (t) => {
  const { state, path, payload, create } = fresh(t);
  const secret = create();
  assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
  const { id: _, ...link } = new Links(state).find(secret)!;
  assert.deepEqual(link, { path, name: 'rcap-agent', tokenId: '01234567', payload, over: undefined });
});

test('what is no link is none', async (t) => {
  const { links, create } = fresh(t);
  const secret = create();
  for (const text of ['', 'x', `${secret}x`, secret.toLowerCase(), '../tokens', '%', 'a'.repeat(43)])
    assert.equal(links.find(text), undefined, text);
  await fuzz(
    fc.property(fc.string(), (text) => assert.equal(links.find(text), undefined)),
    300,
  );
});

test('neither the secret nor the token is on disk, and only the owner may read what is', (t) => {
  const { state, links, payload, create } = fresh(t);
  const secret = create();
  links.begin(links.find(secret)!.id);
  const folder = join(state, 'links');
  assert.equal(statSync(folder).mode & 0o077, 0);
  assert.equal(readdirSync(folder).length, 2);
  for (const name of readdirSync(folder)) {
    const text = readFileSync(join(folder, name), 'utf8');
    assert.ok(!`${name}${text}`.includes(secret) && !text.includes(payload.toString('base64')));
    assert.equal(statSync(join(folder, name)).mode & 0o077, 0);
  }
});

test('it is over once all was sent, after five that broke off, when it expires, and when the file is another', async (t) => {
  const { links, path, create } = fresh(t);
  const [sent, broken, late, changed] = [create(), create(), create(30), create()];
  const over = (secret: string) => links.find(secret)!.over;
  const id = (secret: string) => links.find(secret)!.id;
  links.begin(id(sent));
  assert.equal(over(sent), undefined);
  links.done(id(sent));
  assert.match(over(sent)!, /^it was used at 20/);
  for (let tries = 0; tries < 5; tries++) {
    assert.equal(over(broken), undefined);
    links.begin(id(broken));
  }
  assert.match(over(broken)!, /^5 transfers broke off/);
  await sleep(40);
  assert.match(over(late)!, /^it expired at/);
  writeFileSync(path, 'something else');
  assert.match(over(changed)!, /is not what it was/);
});

test('there are none, then there are', (t) => {
  const { links, create } = fresh(t);
  assert.equal(links.any, false);
  create();
  assert.equal(links.any, true);
});

test('they are seen although the folder seems as old as before', (t) => {
  const { state, links, create } = fresh(t);
  const now = new Date();
  const touch = () => utimesSync(join(state, 'links'), now, now);
  touch();
  assert.equal(links.any, false);
  create();
  touch();
  assert.equal(links.any, true);
});

test('what cannot be read stays for a day', (t) => {
  const { state, create } = fresh(t);
  const [young, old] = ['young', 'old'].map((name) => join(state, 'links', `${name}.json`)) as [string, string];
  for (const file of [young, old]) writeFileSync(file, '{"exp');
  const twoDaysAgo = new Date(Date.now() - 48 * 3_600_000);
  utimesSync(old, twoDaysAgo, twoDaysAgo);
  create();
  assert.deepEqual(readdirSync(join(state, 'links')).filter((f) => f.length < 20), ['young.json']); // prettier-ignore
});

test('one is over although that cannot be written', (t) => {
  const { state, links, create } = fresh(t);
  const secret = create();
  const { id } = links.find(secret)!;
  links.begin(id);
  mkdirSync(join(state, 'links', `${id}.use.new`));
  assert.throws(() => links.done(id));
  assert.match(links.find(secret)!.over!, /^it was used at/);
});

test('a damaged file is no link, a damaged count is used up', (t) => {
  const { state, links, create } = fresh(t);
  const [a, b] = [create(), create()];
  const file = (secret: string, ending: string) => join(state, 'links', `${links.find(secret)!.id}.${ending}`);
  writeFileSync(file(b, 'use'), '{"tries":-1}');
  assert.match(links.find(b)!.over!, /broke off/);
  writeFileSync(file(a, 'json'), '{"expires":1}');
  assert.equal(links.find(a), undefined);
});
