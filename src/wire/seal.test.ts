import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { RcapError } from '../errors.ts';
import type { Settings } from '../options/load.ts';
import { fuzz } from '../test/fuzz.ts';
import { seal, unseal } from './seal.ts';
import { pinOf } from './tls.ts';

const KEYS: Record<string, KeyObject> = {
  'ECDSA P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  'ECDSA P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
  RSA: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  Ed25519: generateKeyPairSync('ed25519').privateKey,
};
const settingsFor = (key: KeyObject): Settings => ({
  server: ['ir.corp:9000'],
  pin: [pinOf(createPublicKey(key))],
  token: ['rcap_0123'],
  count: ['100000'],
});
const refused = (payload: Uint8Array, what?: string) =>
  assert.throws(() => unseal(payload), (e) => e instanceof RcapError && e.code === 'STAMP', what); // prettier-ignore

for (const [name, key] of Object.entries(KEYS)) {
  test(`${name}: what is sealed is read`, () => {
    const settings = settingsFor(key);
    assert.deepEqual(unseal(seal(settings, key)), settings);
  });
  test(`${name}: one byte changed anywhere is refused`, () => {
    const payload = seal(settingsFor(key), key);
    for (let at = 0; at < payload.length; at++) {
      const changed = Buffer.from(payload);
      changed[at]! ^= 1 << (at % 8);
      refused(changed, `byte ${at}`);
    }
  });
}

test('settings that were signed for another pin than their key, or name no server, are refused', () => {
  const { RSA: other, Ed25519: key } = KEYS;
  refused(seal(settingsFor(other!), key!));
  refused(seal({ ...settingsFor(key!), server: [] }, key!));
  refused(seal({ server: ['ir.corp'] }, key!));
});

test('a signature by another key is refused', () => {
  const [a, b] = [KEYS['ECDSA P-256']!, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey];
  const forged = Buffer.from(seal(settingsFor(a), b));
  const der = createPublicKey(a).export({ type: 'spki', format: 'der' });
  const bDer = createPublicKey(b).export({ type: 'spki', format: 'der' });
  der.copy(forged, forged.indexOf(bDer));
  refused(forged);
});

test('any bytes are refused', async () => {
  await fuzz(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => refused(bytes)),
    2000,
  );
});

test('a key that signs nothing is refused', () => {
  const { privateKey } = generateKeyPairSync('x25519');
  assert.throws(
    () => seal({}, createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))),
    /keys of type 'x25519'/,
  );
});

test('a signature over the settings alone is refused: the key signs other things, too', () => {
  const key = KEYS['Ed25519']!;
  const payload = Buffer.from(seal(settingsFor(key), key));
  const text = Buffer.from(JSON.stringify(settingsFor(key)));
  const bare = sign(null, text, key);
  bare.copy(payload, payload.length - bare.length);
  refused(payload);
});
