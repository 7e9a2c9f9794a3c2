/** TLS 1.3 on both sides, and whom the agent trusts. */
import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import * as tls from 'node:tls';
import { RcapError } from '../errors.ts';
import { systemCas } from './system-cas.ts';

/** AES-128 first: with AES in hardware the cheapest, and no weaker against anything known. */
export const TLS_OPTIONS = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
} as const satisfies tls.SecureContextOptions;

/** Whom to trust: exactly this key; or what this CA signed; or what the system's CAs signed. */
export type Trust = { pin: string } | { ca: string } | 'system';

/** `sha256/` and the base64 SHA-256 of the public key in SPKI form (as in RFC 7469, section 2.4). */
export function pinOf(key: KeyObject): string {
  return `sha256/${createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64')}`;
}

export function connectOptions(host: string, trust: Trust): tls.ConnectionOptions {
  return {
    ...TLS_OPTIONS,
    host,
    ...(isName(host) ? { servername: host } : {}),
    // Always a list, if need be an empty one, which trusts nobody: Node takes '' and undefined for its own CAs.
    ca: trust === 'system' ? systemCas() : 'ca' in trust ? certificatesIn(trust.ca) : [],
    // Decided by verifyPeer, before a byte is sent: only so can a refusal show the pin that was seen.
    rejectUnauthorized: false,
  };
}

const isName = (host: string) => !/^[\d.]+$|:/.test(host);

/**
 * Throws an RcapError that says what was seen and what to type, unless the peer is the one that we trust. A proxy on the way
 * makes it likely that one that is not is that proxy itself.
 */
export function verifyPeer(socket: tls.TLSSocket, server: string, trust: Trust, proxied = false): void {
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) throw new RcapError('CERTIFICATE', `could not trust '${server}': it showed no certificate`);
  const seen = pinOf(certificate.publicKey);
  const pin = trust !== 'system' && 'pin' in trust ? trust.pin : undefined;
  if (pin === undefined ? socket.authorized : seen === pin) return;
  if (isIntercepted(certificate, pin, proxied, socket.authorizationError))
    throw intercepted(certificate, server, seen, pin);
  const why = pin === undefined ? `${reason(socket)}; its pin is ${seen}` : `its pin is ${seen}, not ${pin}`;
  const how = pin === undefined ? 'add' : 'use';
  throw new RcapError('CERTIFICATE', `could not trust '${server}': ${why}`, {
    hint: `if that is your collector (compare with 'rcap-collector pin' there), ${how} --pin ${seen}`,
  });
}

/**
 * A collector's own certificate is its own issuer: another key that somebody else vouches for is what a firewall shows that
 * reads along. So is, through a proxy, any other key, and without a pin what nobody here trusts.
 */
function isIntercepted(c: X509Certificate, pin: string | undefined, proxied: boolean, error: unknown): boolean {
  if (pin !== undefined) return proxied || c.issuer !== c.subject;
  return proxied && UNKNOWN_ISSUER.has(String(error));
}
const UNKNOWN_ISSUER = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
]);

/** The hint has no pin to type: who is intercepted should not learn to trust that. */
function intercepted({ issuer }: X509Certificate, server: string, seen: string, pin: string | undefined): RcapError {
  const by = (issuer ?? '').replace(/\s*\n\s*/g, ', ').slice(0, MAX_ISSUER);
  const pins = pin === undefined ? `its pin is ${seen}` : `its pin is ${seen}, not ${pin}`;
  const words = `the certificate is not the collector's: it was issued by '${by}', ${pins}; a proxy that intercepts TLS seems to be in the way (nothing was sent)`;
  return new RcapError('CERTIFICATE', `could not trust '${server}': ${words}`, {
    hint: `ask for an exception from TLS inspection for ${server}; if that is your collector nevertheless ('rcap-collector pin' there prints the same), give its pin with --pin`,
  });
}
/** Of an issuer's name that is shown, characters. */
const MAX_ISSUER = 200;

function reason(socket: tls.TLSSocket): string {
  // Node puts the OpenSSL code there, or the error of the host name check.
  const e = socket.authorizationError as unknown;
  const code = e instanceof Error ? ((e as NodeJS.ErrnoException).code ?? e.message) : String(e);
  return WORDS[code] ?? code;
}
const WORDS: Record<string, string> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by a CA that is not trusted here',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by a CA that is not trusted here',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by a CA that is not trusted here',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet (or the clock here is wrong)',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
};

/**
 * The certificates in a text in PEM form, by any of the names that OpenSSL knows for them. One by one: from the whole text it
 * would take none behind anything else that is damaged. Throws when one of them is.
 */
export function certificatesIn(pem: string): string[] {
  // Editors on Windows put a mark in front, which stays in the midst where files were put together.
  const parts = pem.replace(/^\uFEFF/gm, '').split(/^(?=-----BEGIN )/m);
  const certificates = parts.filter((part) => /^-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/.test(part));
  for (const certificate of certificates) pinOfCertificate(certificate); // only to parse it
  return certificates;
}

/** The public key's pin of a certificate in PEM form. */
export const pinOfCertificate = (pem: string | Buffer): string => pinOf(new X509Certificate(pem).publicKey);
