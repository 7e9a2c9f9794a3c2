/** The CAs that this system trusts; Node reads them at the first call and keeps them. */
import { existsSync } from 'node:fs';
import { getCACertificates } from 'node:tls';
import { touch } from '../footprint.ts';

const WHY = "the system's CAs";

export function systemCas(): string[] {
  const cas = getCACertificates('system');
  // Windows and macOS have no files for it. Here Node takes OpenSSL's places, and the variables that name others.
  if (process.platform !== 'linux') return cas;
  const { SSL_CERT_FILE = '/etc/ssl/cert.pem', SSL_CERT_DIR = '/etc/ssl/certs' } = process.env;
  if (existsSync(SSL_CERT_FILE)) touch('read', SSL_CERT_FILE, WHY);
  for (const folder of SSL_CERT_DIR.split(':').filter((f) => existsSync(f))) {
    touch('read', folder, WHY);
    touch('read', `${folder}/*`, WHY);
  }
  return cas;
}
