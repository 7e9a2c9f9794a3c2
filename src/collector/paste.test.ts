import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { temporaryFolder } from '../test/support.ts';
import { identityOf } from './authority.ts';
import { curlLine, type Download, powershellLine } from './paste.ts';

const download = async (t: Parameters<typeof temporaryFolder>[0], host = 'ir.corp'): Promise<Download> => ({
  ...(await identityOf(temporaryFolder(t))),
  at: { host, port: 9443 },
  secret: 's'.repeat(43),
  sha256: 'ab'.repeat(32),
  name: 'rcap-agent.exe',
});

test('curl gets the pin, quoted, and the whole link', async (t) => {
  const d = await download(t);
  const line = curlLine({ ...d, name: 'rcap-agent' });
  assert.ok(line.includes(`--pinnedpubkey 'sha256//${d.pin.slice(7)}'`));
  assert.ok(line.includes(`printf 'url="%s"\\n' 'https://ir.corp:9443/${d.secret}' | curl -q `));
  // Of curl's own arguments none is the link.
  assert.ok(!line.slice(line.indexOf('| curl')).includes(d.secret));
  assert.ok(curlLine(await download(t, '2001:db8::1')).includes("'https://[2001:db8::1]:9443/"));
});

test('PowerShell gets one line that names the certificate and the file by SHA-256, and asks for the link after TLS', async (t) => {
  const d = await download(t);
  const line = powershellLine(d);
  assert.ok(!line.includes('\n'));
  const fingerprint = new X509Certificate(d.certificate).fingerprint256.replaceAll(':', '');
  assert.ok(line.includes(`-eq '${fingerprint}'`));
  assert.ok(line.includes(`-ne '${d.sha256.toUpperCase()}'`));
  assert.ok(line.indexOf('AuthenticateAsClient') < line.indexOf(`GET /${d.secret} HTTP/1.0`));
  for (const [open, close] of ['{}', '()', '[]'])
    assert.equal(line.split(open!).length, line.split(close!).length, open);
  for (const quote of [`'`, '"']) assert.equal(line.split(quote).length % 2, 1, quote);
});
