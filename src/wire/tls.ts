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
    ca: trust === 'system' ? systemCas() : 'ca' in trust ? trust.ca : [],
    // Decided by verifyPeer, before a byte is sent: only so can a refusal show the pin that was seen.
    rejectUnauthorized: false,
  };
}

const isName = (host: string) => !/^[\d.]+$|:/.test(host);

/** Throws an RcapError that says what was seen and what to type, unless the peer is the one that we trust. */
export function verifyPeer(socket: tls.TLSSocket, server: string, trust: Trust): void {
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) throw new RcapError('CERTIFICATE', `could not trust '${server}': it showed no certificate`);
  const seen = pinOf(certificate.publicKey);
  if (trust !== 'system' && 'pin' in trust) {
    if (seen === trust.pin) return;
    throw new RcapError('CERTIFICATE', `could not trust '${server}': its pin is ${seen}, not ${trust.pin}`, {
      hint: `if that is your collector (compare with 'rcap-collector pin' there), use --pin ${seen}`,
    });
  }
  if (socket.authorized) return;
  throw new RcapError('CERTIFICATE', `could not trust '${server}': ${reason(socket)}; its pin is ${seen}`, {
    hint: `if that is your collector (compare with 'rcap-collector pin' there), add --pin ${seen}`,
  });
}

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

/** The public key's pin of a certificate in PEM form. */
export const pinOfCertificate = (pem: string | Buffer): string => pinOf(new X509Certificate(pem).publicKey);
