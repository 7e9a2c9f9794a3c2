import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../test/fuzz.ts';
import { LOOPBACK, parseProxy, refuseProxy } from '../options/proxy.ts';
import { bypasses } from './proxy.ts';

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

test('a proxy as people write it', () => {
  const cases: [text: string, host: string, port: number, secure?: boolean, authorization?: string][] = [
    ['http://proxy.corp:3128', 'proxy.corp', 3128],
    ['http://proxy.corp:3128/', 'proxy.corp', 3128],
    ['HTTP://Proxy.Corp:8080', 'proxy.corp', 8080],
    ['proxy.corp:3128', 'proxy.corp', 3128],
    ['proxy.corp', 'proxy.corp', 80],
    ['http://proxy.corp', 'proxy.corp', 80],
    ['http://proxy.corp:80', 'proxy.corp', 80],
    ['https://proxy.corp', 'proxy.corp', 443, true],
    ['https://proxy.corp:3129', 'proxy.corp', 3129, true],
    ['http://10.0.0.1:3128', '10.0.0.1', 3128],
    ['http://[2001:db8::1]:3128', '2001:db8::1', 3128],
    ['http://me:secret@proxy.corp:3128', 'proxy.corp', 3128, false, basic('me:secret')],
    ['me:secret@proxy.corp:3128', 'proxy.corp', 3128, false, basic('me:secret')],
    ['http://CORP%5Cme:p%40ss%3A%2F%25@proxy.corp:3128', 'proxy.corp', 3128, false, basic('CORP\\me:p@ss:/%')],
    ['http://m%C3%BCller:x@proxy.corp:3128', 'proxy.corp', 3128, false, basic('müller:x')],
    ['http://me:a:b@proxy.corp:3128', 'proxy.corp', 3128, false, basic('me:a:b')],
    ['http://me@proxy.corp:3128', 'proxy.corp', 3128, false, basic('me:')],
  ];
  for (const [text, host, port, secure = false, authorization] of cases) {
    assert.deepEqual(parseProxy(text), { host, port, secure, authorization }, text);
  }
  assert.equal(parseProxy('none'), undefined);
});

test('what is no proxy is refused with a reason that has nothing of the text', async () => {
  const cases: [text: string, reason: RegExp][] = [
    ['', /^not http:\/\/HOST:PORT/],
    ['http://', /^not http/],
    ['http://me:hunter2@', /^not http/],
    ['socks5://me:hunter2@proxy:1080', /^socks5:\/\/ is none: an HTTP proxy is needed/],
    ['http://me:hunter2@proxy:3128/path', /^not http/],
    ['http://me:hunter2@proxy:3128/?q', /^not http/],
    ['http://me:hunter2@proxy:99999', /^not http/],
    ['http://me:hunter2@proxy:0', /^port 0/],
    ['http://me:hunter2%@proxy:3128', /%25/],
    ['http://m%3Ae:hunter2@proxy:3128', /no colon/],
    ['http://pro xy:3128', /^not http/],
  ];
  for (const [text, reason] of cases) {
    assert.match(refuseProxy(text) ?? 'it was taken', reason, text);
    assert.ok(!refuseProxy(text)!.includes('hunter2'));
  }
  await fuzz(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
      const reason = refuseProxy(`http://me:hunter2${text}`);
      assert.ok(!reason?.includes('hunter2'));
    }),
    1000,
  );
});

test('who is not connected to through a proxy', () => {
  const cases: [list: string, host: string, expected: boolean, port?: number][] = [
    ['*', 'ir.corp', true],
    ['ir.corp', 'ir.corp', true],
    ['IR.corp', 'ir.CORP', true],
    ['ir.corp.', 'ir.corp', true],
    ['corp', 'ir.corp', true],
    ['.corp', 'ir.corp', true],
    ['*.corp', 'ir.corp', true],
    ['.ir.corp', 'ir.corp', true],
    ['r.corp', 'ir.corp', false],
    ['ir.corp', 'corp', false],
    ['ir.corp:9000', 'ir.corp', true],
    ['ir.corp:443', 'ir.corp', false],
    ['ir.corp:443', 'ir.corp', true, 443],
    ['other, ir.corp', 'ir.corp', true],
    ['other ir.corp', 'ir.corp', true],
    ['other,,', 'ir.corp', false],
    ['', 'ir.corp', false],
    ['10.1.2.3', '10.1.2.3', true],
    ['10.1.2.3:9000', '10.1.2.3', true],
    ['10.1.2.3', '10.1.2.30', false],
    ['1.2.3', '10.1.2.3', false],
    ['.2.3', '10.1.2.3', false],
    ['10.0.0.0/8', '10.1.2.3', true],
    ['10.0.0.0/8', '11.1.2.3', false],
    ['0.0.0.0/0', '11.1.2.3', true],
    ['10.0.0.0/33', '10.1.2.3', false],
    ['10.0.0.0/x', '10.0.0.0', false],
    ['10.0.0.0/8', 'ir.corp', false],
    ['2001:db8::/32', '2001:db8::1', true],
    ['2001:DB8:0::1', '2001:db8::1', true],
    ['[2001:db8::1]', '2001:db8::1', true],
    ['[2001:db8::1]:9000', '2001:db8::1', true],
    ['[2001:db8::1]:443', '2001:db8::1', false],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['2001:db8::/129', '2001:db8::1', false],
    ['10.0.0.0/8', '2001:db8::1', false],
  ];
  for (const [list, host, expected, port = 9000] of cases) {
    assert.equal(bypasses([list], { host, port }), expected, `${list} ${host}:${port}`);
  }
  assert.equal(bypasses(['other', 'corp'], { host: 'ir.corp', port: 1 }), true);
  for (const host of ['localhost', 'x.localhost', '127.0.0.1', '127.9.9.9', '::1']) {
    assert.ok(bypasses(LOOPBACK, { host, port: 1 }), host);
  }
  assert.ok(!bypasses(LOOPBACK, { host: '128.0.0.1', port: 1 }));
});

test('any list is taken, and names nobody by accident', () =>
  fuzz(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (list) => {
      bypasses([list], { host: '2001:db8::1', port: 1 });
      if (!list.includes('*') && !/corp/i.test(list)) assert.ok(!bypasses([list], { host: 'ir.corp', port: 1 }));
    }),
    1000,
  ));
