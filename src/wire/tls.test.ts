import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createPublicKey, randomBytes, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';
import * as tls from 'node:tls';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { RcapError } from '../errors.ts';
import { lacks, temporaryFolder } from '../test/support.ts';
import { certificatesIn, connectOptions, pinOf, pinOfCertificate, TLS_OPTIONS, type Trust, verifyPeer } from './tls.ts';

interface Certificate {
  pem: string;
  key: string;
  name: string;
  keys: CryptoKeyPair;
}
type CryptoKeyPair = Awaited<ReturnType<typeof newKeys>>;

const DAY = 86_400_000;
const newKeys = () => webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);

async function certificate(options: {
  issuer?: Certificate;
  names?: [type: 'dns' | 'ip', value: string][];
  ca?: boolean;
  notBefore?: number;
  notAfter?: number;
}): Promise<Certificate> {
  const keys = await newKeys();
  const name = `CN=rcap test ${randomBytes(4).toString('hex')}`;
  const { issuer, names = [['ip', '127.0.0.1']], ca = false, notBefore = -DAY, notAfter = DAY } = options;
  const made = await x509.X509CertificateGenerator.create(
    {
      serialNumber: `01${randomBytes(8).toString('hex')}`,
      subject: name,
      issuer: issuer?.name ?? name,
      notBefore: new Date(Date.now() + notBefore),
      notAfter: new Date(Date.now() + notAfter),
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      publicKey: keys.publicKey as never,
      signingKey: (issuer?.keys ?? keys).privateKey as never,
      extensions: [
        new x509.BasicConstraintsExtension(ca, undefined, true),
        new x509.SubjectAlternativeNameExtension(names.map(([type, value]) => ({ type, value }))),
      ],
    },
    webcrypto,
  );
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return {
    pem: made.toString('pem'),
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
    name,
    keys,
  };
}

const authority = await certificate({ ca: true });
const own = await certificate({});

/** A TLS server on loopback with this certificate; closed after the test. */
async function serve(
  t: TestContext,
  { pem, key }: Certificate,
  options: tls.TlsOptions = TLS_OPTIONS,
): Promise<number> {
  const server = tls.createServer({ ...options, cert: pem, key }, (socket) => {
    socket.on('error', () => {});
    socket.resume();
  });
  server.on('tlsClientError', () => {});
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

/** Connects as the agent does. Undefined when the peer is trusted, else the error. */
async function trusts(
  t: TestContext,
  port: number,
  trust: Trust,
  host = '127.0.0.1',
  proxied = false,
): Promise<RcapError | undefined> {
  const lookup = (_: string, __: object, found: (e: null, list: { address: string; family: number }[]) => void) =>
    found(null, [{ address: '127.0.0.1', family: 4 }]);
  const socket = tls.connect({ ...connectOptions(host, trust), port, lookup: lookup });
  t.after(() => socket.destroy());
  await once(socket, 'secureConnect');
  assert.equal(socket.getProtocol(), 'TLSv1.3');
  try {
    verifyPeer(socket, `${host}:${port}`, trust, proxied);
    return undefined;
  } catch (e) {
    assert.ok(e instanceof RcapError);
    assert.equal(e.code, 'CERTIFICATE');
    return e;
  } finally {
    socket.destroy();
  }
}

test('a pin is what OpenSSL makes of the public key', (t) => {
  assert.match(pinOfCertificate(own.pem), /^sha256\/[A-Za-z0-9+/]{43}=$/);
  assert.equal(pinOf(createPublicKey(own.key)), pinOfCertificate(own.pem));
  const script =
    'openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64';
  const { status, stdout } = spawnSync('sh', ['-c', script], { input: own.pem, encoding: 'utf8' });
  if (status !== 0 || !stdout) t.skip('the comparison needs openssl');
  else assert.equal(`sha256/${stdout.trim()}`, pinOfCertificate(own.pem));
});

test('a self-signed certificate with the right pin is trusted, whatever names and dates are in it', async (t) => {
  const old = await certificate({ notBefore: -3 * DAY, notAfter: -DAY, names: [['dns', 'elsewhere.example']] });
  for (const c of [own, old])
    assert.equal(await trusts(t, await serve(t, c), { pin: pinOfCertificate(c.pem) }), undefined);
});

test('another pin is refused, even of a certificate that a CA signed; the message says which was seen, the hint what to type', async (t) => {
  const signed = await certificate({ issuer: authority });
  const wanted = pinOfCertificate(authority.pem);
  for (const [c, proxied, intercepted] of [
    [own, false, false],
    [own, true, true],
    [signed, false, true],
    [signed, true, true],
  ] as const) {
    const seen = pinOfCertificate(c.pem);
    const error = await trusts(t, await serve(t, c), { pin: wanted }, '127.0.0.1', proxied);
    assert.match(error!.message, /^could not trust '127\.0\.0\.1:\d+': .*its pin is sha256/);
    assert.ok(error!.message.includes(`its pin is ${seen}, not ${wanted}`));
    // Who reads along must not be offered as somebody to trust.
    assert.equal(error!.hint!.includes(`--pin ${seen}`), !intercepted);
    assert.equal(/intercepts TLS/.test(error!.message), intercepted);
    if (intercepted) {
      const issuer = c === own ? own.name : authority.name;
      assert.ok(error!.message.includes(`the certificate is not the collector's: it was issued by '${issuer}'`));
      assert.match(error!.hint!, /ask for an exception from TLS inspection for 127\.0\.0\.1:\d+/);
    }
  }
});

test('without a pin, who is not trusted is taken for an intercepting proxy only where there is a proxy', async (t) => {
  const ca = { ca: authority.pem };
  const stranger = await certificate({ issuer: await certificate({ ca: true }) });
  const other = await certificate({ issuer: authority, names: [['dns', 'elsewhere.example']] });
  for (const [c, proxied, intercepted] of [
    [stranger, false, false],
    [stranger, true, true],
    [own, true, true],
    [other, true, false],
  ] as const) {
    const error = await trusts(t, await serve(t, c), ca, '127.0.0.1', proxied);
    assert.equal(/intercepts TLS/.test(error!.message), intercepted, error!.message);
  }
  assert.equal(await trusts(t, await serve(t, own), { ca: own.pem }, '127.0.0.1', true), undefined);
});

test('what the given CA signed is trusted, by address and by name', async (t) => {
  const ca = { ca: authority.pem };
  const port = await serve(
    t,
    await certificate({
      issuer: authority,
      names: [
        ['ip', '127.0.0.1'],
        ['dns', 'collector.example'],
      ],
    }),
  );
  assert.equal(await trusts(t, port, ca), undefined);
  assert.equal(await trusts(t, port, ca, 'collector.example'), undefined);
});

test('a self-signed certificate that is given as the CA is trusted', async (t) => {
  assert.equal(await trusts(t, await serve(t, own), { ca: own.pem }), undefined);
});

test('without the right CA, for another name, or at another time nobody is trusted, and the hint has the pin', async (t) => {
  const other = await certificate({ ca: true });
  const ca = { ca: authority.pem };
  const cases: [Certificate, Trust, host: string, words: RegExp][] = [
    [own, ca, '127.0.0.1', /self-signed/],
    [own, 'system', '127.0.0.1', /self-signed/],
    [await certificate({ issuer: other }), ca, '127.0.0.1', /a CA that is not trusted here/],
    [await certificate({ issuer: authority }), 'system', '127.0.0.1', /a CA that is not trusted here/],
    [
      await certificate({ issuer: authority, names: [['dns', 'elsewhere.example']] }),
      ca,
      '127.0.0.1',
      /for another name/,
    ],
    [
      await certificate({ issuer: authority, names: [['dns', 'elsewhere.example']] }),
      ca,
      'collector.example',
      /for another name/,
    ],
    [await certificate({ issuer: authority, names: [['ip', '127.0.0.2']] }), ca, '127.0.0.1', /for another name/],
    [await certificate({ issuer: authority, notBefore: -3 * DAY, notAfter: -DAY }), ca, '127.0.0.1', /has expired/],
    [await certificate({ issuer: authority, notBefore: DAY, notAfter: 3 * DAY }), ca, '127.0.0.1', /not valid yet/],
  ];
  for (const [c, trust, host, words] of cases) {
    const error = await trusts(t, await serve(t, c), trust, host);
    assert.match(error?.message ?? 'trusted', words);
    assert.ok(error!.hint!.includes(`--pin ${pinOfCertificate(c.pem)}`));
  }
});

test('a server that speaks TLS 1.2 only is refused before anything is sent', async (t) => {
  const port = await serve(t, own, { maxVersion: 'TLSv1.2' });
  const socket = tls.connect({ ...connectOptions('127.0.0.1', { pin: pinOfCertificate(own.pem) }), port });
  t.after(() => socket.destroy());
  socket.on('secureConnect', () => assert.fail('it connected'));
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  assert.match(error.code ?? '', /^ERR_SSL_|EPROTO/);
});

test('an agent that speaks TLS 1.2 only is refused', async (t) => {
  const socket = tls.connect({
    port: await serve(t, own),
    host: '127.0.0.1',
    maxVersion: 'TLSv1.2',
    rejectUnauthorized: false,
  });
  t.after(() => socket.destroy());
  await assert.rejects(once(socket, 'secureConnect'));
});

test('an empty CA trusts nobody, whatever CAs the environment adds to those that Node brings along', async (t) => {
  const planted = join(temporaryFolder(t), 'planted.pem');
  writeFileSync(planted, authority.pem);
  const port = await serve(t, await certificate({ issuer: authority }));
  const script = `
    import { connect } from 'node:tls';
    import { connectOptions } from '${new URL('tls.ts', import.meta.url).href}';
    const cas = [undefined, connectOptions('127.0.0.1', { ca: '' }).ca, connectOptions('127.0.0.1', { pin: '' }).ca, []];
    for (const ca of cas) {
      const socket = connect({ host: '127.0.0.1', port: ${port}, ca, rejectUnauthorized: false });
      await new Promise((resolve) => socket.on('secureConnect', resolve));
      console.log(socket.authorized);
      socket.destroy();
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: planted },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  assert.deepEqual((await text(child.stdout)).trim().split('\n'), ['true', 'false', 'false', 'false']);
});

test('certificates are found, and none is damaged', () => {
  assert.deepEqual(certificatesIn(''), []);
  assert.deepEqual(certificatesIn(own.key), []);
  assert.equal(certificatesIn(`comment\n${own.pem}\n# another\r\n${authority.pem}`).length, 2);
  for (const form of [PEM, X509, TRUSTED]) {
    for (const cut of [60, own.pem.length / 2, own.pem.length - 20]) {
      const short = form(own.pem).slice(0, cut);
      assert.throws(() => certificatesIn(`${authority.pem}\n${short}`), String(cut));
      assert.throws(() => certificatesIn(`${short}\n${authority.pem}`), String(cut));
    }
  }
});

const PEM = (pem: string) => pem;
const X509 = (pem: string) => pem.replaceAll(' CERTIFICATE-', ' X509 CERTIFICATE-');
/** What OpenSSL writes with -trustout, without limits of its trust. */
const TRUSTED = (pem: string) => pem.replaceAll(' CERTIFICATE-', ' TRUSTED CERTIFICATE-');

test('a CA is trusted in whatever form its file has it, and whatever else is in there', async (t) => {
  const port = await serve(t, await certificate({ issuer: authority }));
  const damaged = '-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n';
  for (const form of [PEM, X509, TRUSTED]) {
    const ca = form(authority.pem);
    for (const text of [
      ca,
      `\uFEFF${ca}`,
      `${own.pem}\n# and\r\n\uFEFF${ca}\n${damaged}`,
      `${damaged}${own.key}${ca}`,
    ]) {
      assert.equal(certificatesIn(text).length, text.includes(own.pem) ? 2 : 1);
      assert.equal(await trusts(t, port, { ca: text }), undefined, text);
    }
  }
});

test("what a CA's file says that it is not to be trusted for, it is not", { skip: lacks('openssl') }, async (t) => {
  const port = await serve(t, await certificate({ issuer: authority }));
  for (const [limit, trusted] of [
    ['-addtrust serverAuth', true],
    ['-addtrust emailProtection', false],
    ['-addreject serverAuth', false],
  ] as const) {
    const { stdout } = spawnSync('openssl', ['x509', '-trustout', ...limit.split(' ')], {
      input: authority.pem,
      encoding: 'utf8',
    });
    assert.equal(certificatesIn(stdout).length, 1);
    assert.equal((await trusts(t, port, { ca: stdout })) === undefined, trusted, limit);
  }
});
