import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RcapError } from '../errors.ts';
import { Collector, run, runCollector, temporaryFolder } from '../test/support.ts';
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

/** A certificate whose key never came. */
const leaveCertificate = async (state: string, elsewhere: string) => {
  await identityOf(elsewhere);
  copyFileSync(join(elsewhere, 'cert.pem'), join(state, 'cert.pem'));
};

test('several that come first at the same moment use the same, and so do later ones', async (t) => {
  for (let round = 0; round < 20; round++) {
    const state = temporaryFolder(t);
    if (round % 2) await leaveCertificate(state, temporaryFolder(t));
    const all = await Promise.all(Array.from({ length: 6 }, () => identityOf(state)));
    const [{ key, certificate }] = all as [(typeof all)[0]];
    assert.ok(all.every((i) => i.key === key && i.certificate === certificate));
    assert.equal(all.filter((i) => i.fresh).length, 1);
    assert.deepEqual(await identityOf(state), { ...all[0], fresh: false });
    assert.deepEqual(readdirSync(state).toSorted(), ['cert.pem', 'key.pem']);
  }
});

test('a collector and the commands beside it that start at the same moment show the same pin', async (t) => {
  for (let round = 0; round < 3; round++) {
    const folder = temporaryFolder(t);
    const pin = async () => (await runCollector(t, ['pin', '--state', join(folder, 'state')])).stdout.trim();
    const [collector, ...pins] = await Promise.all([Collector.start(t, { folder }), pin(), pin(), pin()]);
    assert.deepEqual([...pins, await pin()], Array<string>(4).fill(collector.pin));
    await collector.stop();
  }
});

/** Ends at its so-many-th step, as if killed there. */
const CUT_SHORT = `
  import fs from 'node:fs';
  import { syncBuiltinESMExports } from 'node:module';
  let left = Number(process.argv[1]);
  for (const name of ['mkdirSync', 'rmSync', 'writeFileSync', 'linkSync', 'renameSync', 'fsyncSync']) {
    const real = fs[name];
    fs[name] = (...words) => (left-- === 0 ? process.exit(9) : real(...words));
  }
  syncBuiltinESMExports();
  const { identityOf } = await import('${new URL('authority.ts', import.meta.url).href}');
  await identityOf(process.argv[2]);`;

test('a first start that is cut short anywhere is repaired by the next, which keeps a key that is there', async (t) => {
  for (let step = 0; ; step++) {
    const state = temporaryFolder(t);
    await leaveCertificate(state, temporaryFolder(t));
    const { code, stderr } = await run(t, process.execPath, ['--input-type=module', '-e', CUT_SHORT, String(step), state]); // prettier-ignore
    const keyPath = join(state, 'key.pem');
    const key = existsSync(keyPath) ? readFileSync(keyPath, 'utf8') : undefined;
    const next = await identityOf(state);
    assert.equal(next.fresh, key === undefined);
    if (key !== undefined) assert.equal(next.key, key);
    assert.deepEqual(await identityOf(state), { ...next, fresh: false });
    assert.equal(readFileSync(join(state, 'cert.pem'), 'utf8'), next.certificate);
    if (code === 0) return assert.ok(step >= 8, `${step} steps only`);
    assert.equal(code, 9, stderr);
  }
});

test('a key and a certificate that were made as two files are used as they are', async (t) => {
  const [state, other] = [temporaryFolder(t), temporaryFolder(t)];
  const { key, certificate, pin } = await identityOf(state);
  const alone = key.slice(0, key.indexOf('-----BEGIN CERTIFICATE-----'));
  writeFileSync(join(state, 'key.pem'), alone);
  assert.deepEqual(await identityOf(state), { key: alone, certificate, pin, fresh: false });
  copyFileSync(join((await identityOf(other), other), 'cert.pem'), join(state, 'cert.pem'));
  await assert.rejects(identityOf(state), hasCode('CERTIFICATE', /the key is not the one of this certificate/));
  rmSync(join(state, 'cert.pem'));
  await assert.rejects(identityOf(state), hasCode('FILE_OPEN', /cert\.pem': no such file/));
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
  const wrong = await filesOf(temporaryFolder(t));
  await assert.rejects(identityToSignWith(state, wrong), (e) => {
    assert.ok(hasCode('CERTIFICATE', /key\.pem': the collector has another, /)(e));
    assert.ok(e instanceof RcapError && e.message.endsWith(pin) && e.hint?.includes('or start it with these first'));
    return true;
  });
  // And after a start without it.
  const own = await identityOf(state);
  await noteIdentity(state, own, false);
  assert.equal(await pinOf(state), own.pin);
  assert.equal((await identityToSignWith(state)).pin, own.pin);
});

const filesOf = async (folder: string) => {
  await identityOf(folder);
  return { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
};

test('beside a collector with a key of its own no other signs; where there is no collector yet, any does', async (t) => {
  const [state, elsewhere] = [temporaryFolder(t), temporaryFolder(t)];
  const given = await filesOf(elsewhere);
  assert.equal((await identityToSignWith(state, given)).pin, (await identityOf(elsewhere)).pin);
  assert.deepEqual(readdirSync(state), []);
  const own = await identityOf(state);
  await assert.rejects(identityToSignWith(state, given), (e) => {
    assert.ok(e instanceof RcapError && e.code === 'CERTIFICATE' && e.message.endsWith(`has another, ${own.pin}`));
    assert.match(e.hint ?? '', /^leave out --tls-cert and --tls-key/);
    return true;
  });
  assert.equal((await identityToSignWith(state, await filesOf(state))).pin, own.pin);
});
