/** The CAs that whoever administers this host trusts. */
import { readFileSync } from 'node:fs';
import { getCACertificates } from 'node:tls';
import { touch } from '../footprint.ts';

/** Where the distributions keep them, in one file. */
const FILES = [
  '/etc/ssl/certs/ca-certificates.crt', // Debian, Ubuntu, Arch, Gentoo
  '/etc/pki/tls/certs/ca-bundle.crt', // Fedora, RHEL and their kin
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem', // SUSE
  '/etc/ssl/cert.pem', // Alpine
];

/**
 * Of macOS and Windows their stores; of Linux the distribution's file, as PEM. Not as OpenSSL and Node find it: they let
 * variables (SSL_CERT_FILE, SSL_CERT_DIR, with NODE_USE_SYSTEM_CA before our first line) put others in its place.
 */
export function systemCas(): string | string[] {
  if (process.platform !== 'linux') return getCACertificates('system');
  for (const file of FILES) {
    try {
      const text = readFileSync(file, 'utf8');
      touch('read', file, "the system's CAs");
      return text;
    } catch {
      // of another distribution
    }
  }
  return [];
}
