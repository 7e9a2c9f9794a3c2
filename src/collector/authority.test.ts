import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RcapError } from '../errors.ts';
import { temporaryFolder } from '../test/support.ts';
import { pinOfCertificate } from '../wire/tls.ts';
import { identityOf, identityToSignWith, noteIdentity, pinOf } from './authority.ts';

const hasCode = (code: string, words: RegExp) => (e: unknown) =>
  e instanceof RcapError && e.code === code && words.test(e.message);

test('the first start makes a key that only the owner reads, and a certificate for ten years', async (t) => {
  const state = temporaryFolder(t);
  const identity = await identityOf(state);
  assert.equal(identity.fresh, true);
  assert.equal(statSync(join(state, 'key.pem')).mode & 0o777, 0o600);
  const certificate = new X509Certificate(identity.certificate);
  assert.ok(certificate.checkPrivateKey(createPrivateKey(identity.key)));
  assert.ok(certificate.verify(certificate.publicKey));
  const days = (Date.parse(certificate.validTo) - Date.now()) / 86_400_000;
  assert.ok(days > 3600 && Date.parse(certificate.validFrom) < Date.now());
  assert.equal(identity.pin, pinOfCertificate(identity.certificate));
});

test('a later start uses the same', async (t) => {
  const state = temporaryFolder(t);
  const first = await identityOf(state);
  assert.deepEqual(await identityOf(state), { ...first, fresh: false });
});

test('two collectors have two keys', async (t) => {
  const [a, b] = [await identityOf(temporaryFolder(t)), await identityOf(temporaryFolder(t))];
  assert.notEqual(a.pin, b.pin);
});

test('a start that was cut short before the key was written makes a new pair', async (t) => {
  const state = temporaryFolder(t);
  const first = await identityOf(state);
  rmSync(join(state, 'key.pem'));
  const second = await identityOf(state);
  assert.ok(second.fresh && second.pin !== first.pin);
});

test('a given certificate and key are used, and nothing is made', async (t) => {
  const given = temporaryFolder(t);
  const made = await identityOf(given);
  const state = temporaryFolder(t);
  const identity = await identityOf(state, { cert: join(given, 'cert.pem'), key: join(given, 'key.pem') });
  assert.deepEqual(identity, { ...made, fresh: false });
  assert.throws(() => statSync(join(state, 'key.pem')));
});

test("a key that is not the certificate's is refused", async (t) => {
  const [a, b] = [temporaryFolder(t), temporaryFolder(t)];
  await Promise.all([identityOf(a), identityOf(b)]);
  const given = { cert: join(a, 'cert.pem'), key: join(b, 'key.pem') };
  await assert.rejects(identityOf(a, given), hasCode('CERTIFICATE', /the key is not the one of this certificate/));
});

test('files that are missing, empty, exchanged or nonsense are refused by their name', async (t) => {
  const state = temporaryFolder(t);
  await identityOf(state);
  const [cert, key] = [join(state, 'cert.pem'), join(state, 'key.pem')];
  const nonsense = join(state, 'nonsense.pem');
  await assert.rejects(
    identityOf(state, { cert: join(state, 'none.pem'), key }),
    hasCode('FILE_OPEN', /none\.pem': no such file/),
  );
  await assert.rejects(identityOf(state, { cert: state, key }), hasCode('FILE_OPEN', /directory/));
  await assert.rejects(identityOf(state, { cert: key, key: cert }), hasCode('CERTIFICATE', /key\.pem/));
  for (const text of ['', 'x', readFileSync(cert, 'utf8').slice(0, 200)]) {
    writeFileSync(nonsense, text);
    await assert.rejects(identityOf(state, { cert: nonsense, key }), hasCode('CERTIFICATE', /nonsense\.pem/));
    await assert.rejects(identityOf(state, { cert, key: nonsense }), hasCode('CERTIFICATE', /cert\.pem/));
  }
});

test('beside a collector with a certificate from elsewhere, its pin is shown, and no other key signs', async (t) => {
  const [state, elsewhere] = [temporaryFolder(t), temporaryFolder(t)];
  const given = { cert: join(elsewhere, 'cert.pem'), key: join(elsewhere, 'key.pem') };
  const { pin } = await identityOf(elsewhere);
  await noteIdentity(state, await identityOf(state, given), true);
  assert.equal(await pinOf(state), pin);
  await assert.rejects(identityToSignWith(state), (e) => {
    assert.ok(
      e instanceof RcapError && e.message.includes(pin) && e.hint?.startsWith('--tls-cert FILE --tls-key FILE'),
    );
    return true;
  });
  assert.deepEqual(readdirSync(state), ['tls-pin'], 'no key is made');
  assert.equal((await identityToSignWith(state, given)).pin, pin);
  // And after a start without it.
  const own = await identityOf(state);
  await noteIdentity(state, own, false);
  assert.equal(await pinOf(state), own.pin);
  assert.equal((await identityToSignWith(state)).pin, own.pin);
});
