/** The files that say whom to trust, and who we are. What is wrong with one is said before anything starts. */
import { readFileSync } from 'node:fs';
import { reasonOf, RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import { certificatesIn } from '../wire/tls.ts';

/** A copy that was cut short must be noticed here: it would look like a collector that can't be trusted. */
export function readCertificates(path: string): string {
  const text = readText(path, 'CA file');
  const refuse = (why: string, cause?: unknown) =>
    new RcapError('CERTIFICATE', `could not use CA file '${path}': ${why}`, {
      hint: "it needs a CA's certificate in PEM form (-----BEGIN CERTIFICATE-----); or use --pin",
      cause,
    });
  let certificates;
  try {
    certificates = certificatesIn(text);
  } catch (e) {
    throw refuse('a certificate in it is damaged', e);
  }
  if (certificates.length === 0) throw refuse('there is no certificate in it');
  return text;
}

/** The token alone, without the line's end. */
export function readToken(path: string): string {
  const token = readText(path, 'token file').trim();
  if (token === '')
    throw new RcapError('TOKEN', `could not use token file '${path}': it is empty`, {
      hint: "'rcap-collector token new' on the collector's host prints a token to put there",
    });
  return token;
}

function readText(path: string, what: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    touch('read', path, what);
    return text;
  } catch (e) {
    throw new RcapError('FILE_OPEN', `could not read ${what} '${path}': ${reasonOf(e)}`, { cause: e });
  }
}
