/** Authenticode: the Windows executable signed with somebody's certificate, by osslsigncode. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { RcapError, reasonOf, usageError } from '../../src/errors.ts';

export interface Signer {
  /** Paths of PEM files; the certificate's may hold the chain, too. */
  key: string;
  certificate: string;
  /** Address of a time stamping authority (RFC 3161): the signature outlives the certificate. */
  timestamp: string | undefined;
}

/** Undefined if nobody wants to sign. */
export function signerFrom(key?: string, certificate?: string, timestamp?: string): Signer | undefined {
  if (key === undefined && certificate === undefined && timestamp === undefined) return undefined;
  if (key === undefined || certificate === undefined)
    throw usageError('could not sign: a key and its certificate are needed', '--sign-key FILE --sign-cert FILE');
  for (const file of [key, certificate])
    if (!existsSync(file)) throw usageError(`could not sign: '${file}' does not exist`);
  return { key, certificate, timestamp };
}

/** What a signed executable is made from beside the unsigned one. */
export const inputsOf = ({ key, certificate, timestamp = '' }: Signer): Record<string, Uint8Array | string> => ({
  key: readFileSync(key),
  certificate: readFileSync(certificate),
  timestamp,
});

export function signWindows(
  { key, certificate, timestamp }: Signer,
  description: string,
  unsigned: string,
  output: string,
): void {
  const words = ['sign', '-h', 'sha256', '-certs', certificate, '-key', key, '-n', description];
  if (timestamp !== undefined) words.push('-ts', timestamp);
  // Standard input stays the terminal's: a key may ask for its pass phrase.
  const { status, error, stdout, stderr } = spawnSync('osslsigncode', [...words, '-in', unsigned, '-out', output], {
    stdio: ['inherit', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  if (status === 0) return;
  const isMissing = error !== undefined && 'code' in error && error.code === 'ENOENT';
  const reason = isMissing ? 'osslsigncode is missing' : error ? reasonOf(error) : `${stdout}${stderr}`.trim();
  throw new RcapError('SIGN', `could not sign: ${reason}`, {
    hint: isMissing ? 'apt-get install osslsigncode' : undefined,
  });
}
