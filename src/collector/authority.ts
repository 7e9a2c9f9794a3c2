/** The collector's own key and certificate: made on the first start, or given with --tls-cert and --tls-key. */
import { createPrivateKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { RcapError, reasonOf } from '../errors.ts';
import { pinOfCertificate } from '../wire/tls.ts';
import { createStateFile, makeStateFolder, replaceFile, systemDisk } from './disk.ts';

export interface Identity {
  key: string;
  certificate: string;
  /** What agents trust: --pin. */
  pin: string;
  /** True when it was made just now. */
  fresh: boolean;
}

const DAYS = 3650;

export async function identityOf(stateFolder: string, given?: { cert: string; key: string }): Promise<Identity> {
  if (given) return check(read(given.key), read(given.cert), given.cert, false);
  const keyPath = join(stateFolder, 'key.pem');
  const certificatePath = join(stateFolder, 'cert.pem');
  let fresh = false;
  if (!existsSync(keyPath)) {
    const made = await make();
    makeStateFolder(stateFolder);
    // One without a key is nobody's.
    rmSync(certificatePath, { force: true });
    // Several may be here at the same moment: whose key is first, that one's pair is what all of them use.
    fresh = createdFirst(keyPath, made.key + made.certificate);
  }
  const key = read(keyPath);
  let certificate = readIfThere(certificatePath);
  if (certificate === undefined) {
    // Nobody came so far yet, or whoever did was cut short: all write the same.
    certificate = CERTIFICATE.exec(key)?.[0] ?? read(certificatePath);
    createdFirst(certificatePath, certificate);
  }
  return check(key, certificate, certificatePath, fresh);
}

/** The file of a key that was made here has its certificate, too: both are there in one step. */
const CERTIFICATE = /^-----BEGIN CERTIFICATE-----[^]*/m;

/** False: there is one already, which stays. */
function createdFirst(path: string, text: string): boolean {
  try {
    createStateFile(path, text);
    return true;
  } catch (e) {
    if (((e as RcapError).cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw e;
  }
}

/** In --state: the pin of a certificate that is elsewhere. */
const ELSEWHERE = 'tls-pin';

/** For the commands beside a collector that runs with --tls-cert: they know only --state. Not there, if it has its own. */
export async function noteIdentity(stateFolder: string, { pin }: Identity, given: boolean): Promise<void> {
  const path = join(stateFolder, ELSEWHERE);
  if (notedPin(stateFolder) === (given ? pin : undefined)) return;
  try {
    if (given) await replaceFile(systemDisk, path, `${pin}\n`, 0o600);
    else rmSync(path, { force: true });
  } catch (e) {
    throw new RcapError('STATE', `could not write '${path}': ${reasonOf(e)}`, { cause: e });
  }
}

/** What agents must trust, whatever certificate that is. */
export async function pinOf(stateFolder: string): Promise<string> {
  return notedPin(stateFolder) ?? (await identityOf(stateFolder)).pin;
}

/** As identityOf, but an error when the collector there has another key than the one that this would be. */
export async function identityToSignWith(
  stateFolder: string,
  given?: { cert: string; key: string },
): Promise<Identity> {
  const noted = notedPin(stateFolder);
  if (!given && noted !== undefined) {
    throw new RcapError(
      'CERTIFICATE',
      `could not use the key in '${stateFolder}': the collector has another, ${noted}`,
      {
        hint: '--tls-cert FILE --tls-key FILE, as the collector was started with',
      },
    );
  }
  const identity = await identityOf(stateFolder, given);
  if (given && (noted !== undefined || existsSync(join(stateFolder, 'key.pem')))) {
    const pin = noted ?? (await identityOf(stateFolder)).pin;
    if (pin !== identity.pin) {
      throw new RcapError('CERTIFICATE', `could not use the key '${given.key}': the collector has another, ${pin}`, {
        hint:
          noted === undefined
            ? 'leave out --tls-cert and --tls-key, or start the collector with them first'
            : '--tls-cert FILE --tls-key FILE, as the collector was started with; or start it with these first',
      });
    }
  }
  return identity;
}

function notedPin(stateFolder: string): string | undefined {
  const path = join(stateFolder, ELSEWHERE);
  return existsSync(path) ? read(path).trim() : undefined;
}

function check(key: string, certificate: string, path: string, fresh: boolean): Identity {
  try {
    if (!new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key)))
      throw new Error('the key is not the one of this certificate');
    return { key, certificate, pin: pinOfCertificate(certificate), fresh };
  } catch (e) {
    throw new RcapError('CERTIFICATE', `could not use certificate '${path}': ${(e as Error).message}`, { cause: e });
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return read(path);
  } catch (e) {
    if (((e as RcapError).cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw e;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (e) {
    throw new RcapError('FILE_OPEN', `could not read '${path}': ${reasonOf(e)}`, { cause: e });
  }
}

/** Self-signed, P-256. Agents trust its key by pin; the names in it don't matter. */
async function make(): Promise<{ key: string; certificate: string }> {
  // Only here: a library for certificates, for once in a collector's life.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: randomBytes(8).toString('hex'),
      name: 'CN=rcap-collector',
      notBefore: new Date(now - 86_400_000),
      notAfter: new Date(now + DAYS * 86_400_000),
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      keys: keys as never,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'rcap-collector' }])],
    },
    webcrypto,
  );
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END PRIVATE KEY-----\n`;
  return { key, certificate: `${certificate.toString('pem')}\n` };
}
