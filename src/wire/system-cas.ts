/** The CAs that whoever administers this host trusts. */
import { readFileSync } from 'node:fs';
import { getCACertificates } from 'node:tls';
import { touch } from '../footprint.ts';

/** Where the distributions of Linux keep them all in one file. */
const FILES = [
  '/etc/ssl/certs/ca-certificates.crt', // Debian, Ubuntu, Arch, Gentoo
  '/etc/pki/tls/certs/ca-bundle.crt', // Fedora, RHEL and their kin
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem', // SUSE
  '/etc/ssl/cert.pem', // Alpine
];

const HAS_ONE = /^-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/m;

/**
 * A list, which is empty where there are none: that trusts nobody, while no list would mean those that Node brings along.
 * Of macOS and Windows their stores; of Linux that file. Not as OpenSSL and Node find it: they let variables (SSL_CERT_FILE,
 * NODE_USE_SYSTEM_CA, …) put others in its place.
 */
export function systemCas(): string[] {
  if (process.platform !== 'linux') return getCACertificates('system');
  for (const file of FILES) {
    try {
      const certificates = readFileSync(file, 'utf8');
      touch('read', file, "the system's CAs");
      if (HAS_ONE.test(certificates)) return [certificates];
    } catch {
      // of another distribution
    }
  }
  return [];
}
