/** Keys and certificates for tests. */
import { webcrypto, X509Certificate } from 'node:crypto';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { pinOf } from '../wire/tls.ts';

export interface TestIdentity {
  key: string;
  cert: string;
  pin: string;
}

/** As PEM, self-signed; a CA if asked for, of this address if there is one. */
export async function selfSigned(name: string, ca = false, address?: string): Promise<TestIdentity> {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const made = await x509.X509CertificateGenerator.createSelfSigned(
    {
      name,
      keys: keys as never,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      extensions: [
        new x509.BasicConstraintsExtension(ca, undefined, true),
        ...(address === undefined
          ? []
          : [new x509.SubjectAlternativeNameExtension([{ type: 'ip' as const, value: address }])]),
      ],
    },
    webcrypto,
  );
  const cert = made.toString('pem');
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`;
  return { key, cert, pin: pinOf(new X509Certificate(cert).publicKey) };
}

/** One like a collector's own. */
export const identity = (): Promise<TestIdentity> => selfSigned('CN=rcap-collector');
