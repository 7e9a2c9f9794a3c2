/**
 * What a stamp holds: settings for an agent, signed with the key of the collector that they lead to.
 *
 *     length (u32)  settings, JSON    length (u32)  public key, SPKI DER    length (u32)  signature
 *
 * What this protects: nobody without the collector's key can change a setting, or take one out, and have the agent still use
 * the stamp; the pin in it is the signing key's own. What it doesn't: whoever can write the whole file can replace the
 * program too, or put in a stamp of his own, with his own key. Against that helps only to compare the file's SHA-256, or to
 * run the agent with the collector's --pin, which a stamp has to agree with. Nor is anything in it hidden: it holds a token.
 */
import { constants, createHash, createPublicKey, type KeyObject, sign, type SigningOptions, verify } from 'node:crypto';
import { RcapError } from '../errors.ts';
import { damaged } from '../formats/stamp.ts';
import type { Settings } from '../options/load.ts';

/** No other signature by this key begins so: TLS 1.3 signs 64 spaces first. */
const CONTEXT = Buffer.from('rcap stamp 1\0');

interface Scheme {
  hash: string | undefined;
  options: SigningOptions;
}
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
/** By the type of key. One spelling for each signature: r and s of fixed length for ECDSA. */
const SCHEMES: Record<string, Scheme> = {
  ec: { hash: 'sha256', options: { dsaEncoding: 'ieee-p1363' } },
  rsa: { hash: 'sha256', options: PSS },
  'rsa-pss': { hash: 'sha256', options: PSS },
  ed25519: { hash: undefined, options: {} },
};
const schemeOf = (key: KeyObject) => SCHEMES[key.asymmetricKeyType ?? ''];

/** Settings by option, as typed, to a stamp's payload. Throws an RcapError where the key can't sign. */
export function seal(settings: Settings, key: KeyObject): Uint8Array {
  const scheme = schemeOf(key);
  if (!scheme) {
    throw new RcapError('KEY', `could not sign settings: keys of type '${key.asymmetricKeyType}' can't`, {
      hint: 'use an ECDSA, RSA or Ed25519 key',
    });
  }
  const text = Buffer.from(JSON.stringify(settings));
  const signature = sign(scheme.hash, signed(text), { key, ...scheme.options });
  return join([text, createPublicKey(key).export({ type: 'spki', format: 'der' }), signature]);
}

/** Reads what `seal` made, and no other. The signature is checked before anything in it is looked at. */
export function unseal(payload: Uint8Array): Settings {
  const [text, der, signature] = split(payload);
  try {
    const key = createPublicKey({ key: der, type: 'spki', format: 'der' });
    const scheme = schemeOf(key)!;
    if (!verify(scheme.hash, signed(text), { key, ...scheme.options }, signature)) throw new Error('signature');
    const settings = JSON.parse(text.toString()) as Settings;
    const pin = `sha256/${createHash('sha256').update(der).digest('base64')}`;
    if (settings['pin']?.join() !== pin || !settings['server']?.length) throw new Error('not its own pin');
    return settings;
  } catch (cause) {
    throw damaged(cause);
  }
}

const signed = (text: Uint8Array) => Buffer.concat([CONTEXT, text]);

function join(parts: Uint8Array[]): Uint8Array {
  const lengthOf = (part: Uint8Array) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(part.length);
    return length;
  };
  return Buffer.concat(parts.flatMap((part) => [lengthOf(part), part]));
}

function split(payload: Uint8Array): [Buffer, Buffer, Buffer] {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  const parts: Buffer[] = [];
  let at = 0;
  while (at + 4 <= bytes.length && parts.length < 3) {
    const end = at + 4 + bytes.readUInt32LE(at);
    if (end > bytes.length) break;
    parts.push(bytes.subarray(at + 4, end));
    at = end;
  }
  if (parts.length < 3 || at !== bytes.length) throw damaged();
  return parts as [Buffer, Buffer, Buffer];
}
