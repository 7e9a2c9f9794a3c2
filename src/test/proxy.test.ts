/** Through a real squid to a collector that this host has no way to; live captures see all but our own connection. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { selfSigned } from './certificates.ts';
import { lacksSquid, Squid } from './squid.ts';
import {
  AGENT,
  type Cleaner,
  cleaner,
  cleanUp,
  Collector,
  filesUnder,
  lacks,
  lacksAddon,
  lacksRoot,
  namespacePair,
  Program,
  run,
  temporaryFolder,
  tshark,
  until,
} from './support.ts';

const skip = lacksRoot || lacksAddon || lacksSquid || lacks('ip', 'tshark', 'python3', 'openssl', 'sslsplit');
const USER = { name: 'agent', password: 'p@ss:w/rd %' };
const LOGIN = `${USER.name}:${encodeURIComponent(USER.password)}`;
/** A connection of somebody else through a proxy, from this port. */
const PROBE_PORT = 40_000;
const PROBE = (proxy: string) => `
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', ${PROBE_PORT})); s.connect(('${proxy}', 3128))
s.sendall(b'CONNECT elsewhere:22 HTTP/1.1\\r\\n\\r\\n'); s.recv(4096)`;

describe('through a proxy', { skip, timeout: 600_000 }, () => {
  const suite = cleaner();
  // host -- gateway (with the proxies) -- far (with the collector)
  const [host, gateway] = skip ? ([] as never) : namespacePair(suite);
  const far = `${host?.name}far`;
  let collector: Collector;
  let token: string;
  let squid: Squid;

  test.before(async () => {
    const ip = (...args: string[]) => execFileSync('ip', args);
    ip('netns', 'add', far);
    cleanUp(suite, () => void ip('netns', 'del', far));
    ip('link', 'add', 'out', 'netns', gateway.name, 'type', 'veth', 'peer', 'name', 'in', 'netns', far);
    for (const [name, dev, address] of [[gateway.name, 'out', '10.78.0.1/24'], [far, 'in', '10.78.0.2/24']] as const) {
      ip('-n', name, 'address', 'add', address, 'dev', dev);
      for (const up of [dev, 'lo']) ip('-n', name, 'link', 'set', up, 'up');
    } // prettier-ignore
    ip('-n', host.name, 'address', 'add', '10.77.0.7/24', 'dev', host.interface);
    collector = await Collector.start(suite, { prefix: ['ip', 'netns', 'exec', far], listen: '0.0.0.0:443' });
    token = await collector.token('--host', '*');
    const hosts = { 'ir.corp': '10.78.0.2' };
    squid = await Squid.start(suite, { prefix: gateway.prefix, listen: `${gateway.address}:3128`, hosts, user: USER });
  });

  const start = (t: Cleaner, where: string[], env: Record<string, string>, ...args: string[]) =>
    new Program(t, process.execPath, [AGENT, '--pin', collector.pin, ...args], {
      prefix: where,
      env: { RCAP_TOKEN: token, ...env },
    });
  const through = (login: string) => ({ HTTPS_PROXY: `http://${login}${login && '@'}${gateway.address}:3128` });
  const ports = (name: string) =>
    collector
      .published()
      .filter((f) => f.includes(`/${name}/`))
      .flatMap((f) => tshark(f, 'tcp.srcport', 'tcp.dstport'))
      .filter(([from]) => from !== '');
  const probe = (t: Cleaner, where: string[], proxy: string) =>
    run(t, 'python3', ['-c', PROBE(proxy)], { prefix: where });

  test('to port 443 of a name that only the proxy knows; all but our connection is in the files', async (t) => {
    const args = ['--server', 'ir.corp:443', '-i', host.interface, '--host-name', 'live', '-v'];
    const a = start(t, host.prefix, through(LOGIN), ...args);
    await a.says(/connecting to ir\.corp:443 through proxy 10\.77\.0\.2:3128/);
    await a.says(/listening on/);
    await probe(t, host.prefix, gateway.address);
    await sleep(1500); // our own packets, once a second
    // Another connection, from another port; the last packets of the one before are still about.
    await squid.restart();
    await a.says(/connected again to 'ir\.corp:443'/);
    await probe(t, host.prefix, gateway.address);
    await sleep(1500);
    a.kill('SIGINT');
    const end = await a.end();
    assert.equal(end.code, 0, end.stderr);
    const used = new Set([...end.stderr.matchAll(/tcp src port (\d+)/g)].map((m) => m[1]!));
    assert.ok(used.size >= 2, 'one port a connection');
    const seen = new Set(ports('live').flat());
    assert.deepEqual([...seen].toSorted(), ['3128', String(PROBE_PORT)]);
    assert.ok(!end.stderr.includes('p@ss') && !end.stderr.includes('p%40ss'), end.stderr);
    assert.match(squid.log.join('\n'), /200 CONNECT ir\.corp:443 agent/);
  });

  test('a proxy on this host: neither the way to it nor its own way on is captured, other connections are', async (t) => {
    await Squid.start(t, { prefix: gateway.prefix, listen: '127.0.0.1:3128' });
    const args = ['--server', '10.78.0.2:443', '--proxy', '127.0.0.1:3128', '-i', 'any', '--host-name', 'same'];
    const a = start(t, gateway.prefix, {}, ...args);
    await a.says(/listening on any/);
    assert.match(a.stderr, /warning: proxy '127\.0\.0\.1:3128' runs on this host.*\n.*'not host UPSTREAM'/);
    await probe(t, gateway.prefix, '127.0.0.1');
    await sleep(2500);
    a.kill('SIGINT');
    const end = await a.end();
    assert.equal(end.code, 0, end.stderr);
    assert.deepEqual([...new Set(ports('same').flat())].toSorted(), ['3128', String(PROBE_PORT)]);
  });

  test('what the proxy says is said, with what to do; the password never', async (t) => {
    const cases: [login: string, server: string, message: RegExp, hint: RegExp][] = [
      ['', 'ir.corp:443', /it wants a user and a password/, /HTTPS_PROXY=http:\/\/USER:PASSWORD@10\.77\.0\.2:3128/],
      ['agent:wrong-one', 'ir.corp:443', /it did not accept this user and password/, /HTTPS_PROXY/],
      [LOGIN, 'ir.corp', /it refused a connection to 'ir\.corp:9000': 403 Forbidden/, /port 443/],
      [LOGIN, 'nobody.corp:443', /it could not reach 'nobody\.corp:443': 50[03] /, /does the proxy know that name/],
      [LOGIN, '10.78.0.1:443', /it could not reach '10\.78\.0\.1:443': 503 /, /is the collector running/],
    ];
    for (const [login, server, message, hint] of cases) {
      const end = await start(t, host.prefix, through(login), '--server', server, '--json').end();
      assert.equal(end.code, 1);
      const lines = end.stderr.split('\n').filter(Boolean).map((l) => JSON.parse(l) as Record<string, string>); // prettier-ignore
      const error = lines.find((l) => l['level'] === 'error')!;
      assert.match(error['message']!, /^could not connect through proxy '10\.77\.0\.2:3128': /);
      assert.match(error['message']!, message);
      assert.match(error['hint']!, hint);
      assert.ok(!/wrong-one|p@ss|p%40ss|Basic [A-Z]/.test(end.stderr), end.stderr);
    }
  });

  test('--source is where the connection comes from, direct and to the proxy; another host, another family are refused', async (t) => {
    const source = '10.77.0.7';
    const a = start(
      t,
      host.prefix,
      through(LOGIN),
      '--server',
      'ir.corp:443',
      '--source',
      source,
      '--host-name',
      'source',
    );
    const filter = /listening on.*filter: .*dst port 3128 and src host ([\d.]+) and tcp src port (\d+)/;
    const [, from, port] = await a.says(filter);
    assert.equal(from, source);
    // As the proxy sees it.
    const seen = execFileSync('ip', ['netns', 'exec', gateway.name, 'ss', '-tnH', 'state', 'established'], { encoding: 'utf8' }); // prettier-ignore
    assert.match(seen, new RegExp(` ${source}:${port}\\s*$`, 'm'));
    assert.match(a.stderr, new RegExp(`listening on ${host.interface},`)); // the interface that has this address
    a.kill('SIGINT');
    assert.equal((await a.end()).code, 0);
    for (const [address, message] of [
      ['10.99.0.1', /could not use --source 10\.99\.0\.1: this host has no such address/],
      ['::1', /could not connect to '10\.77\.0\.2:3128': it has no IPv6 address, and --source ::1 is one/],
      ['127.0.0.1', /could not use --source 127\.0\.0\.1: from there no way leads/],
    ] as const) {
      const end = await start(t, host.prefix, through(LOGIN), '--server', 'ir.corp:443', '--source', address).end();
      assert.equal(end.code, 1);
      assert.match(end.stderr, message);
      assert.match(end.stderr, /hint: /);
    }
    const direct = start(
      t,
      gateway.prefix,
      {},
      '--server',
      '10.78.0.2:443',
      '--source',
      '10.78.0.1',
      '--host-name',
      'direct',
    );
    await direct.says(/listening on out,/);
    direct.kill('SIGINT');
    assert.equal((await direct.end()).code, 0);
    const wrong = await start(t, gateway.prefix, {}, '--server', '10.78.0.2:443', '--source', '10.99.0.1').end();
    assert.match(wrong.stderr, /could not use --source 10\.99\.0\.1: this host has no such address/);
  });

  test('an https:// proxy that the system trusts is used, TLS in TLS; its connection is left out, too', async (t) => {
    const own = await selfSigned('CN=proxy', true, gateway.address);
    const trusted = join(temporaryFolder(t), 'ca.pem');
    writeFileSync(trusted, own.cert);
    const squid = await Squid.start(t, { prefix: gateway.prefix, listen: `${gateway.address}:3130`, own });
    const env = { HTTPS_PROXY: `https://${gateway.address}:3130` };
    const args = ['--server', '10.78.0.2:443', '-i', host.interface, '--host-name', 'https'];
    const distrusting = await start(t, host.prefix, env, ...args).end();
    assert.match(distrusting.stderr, /no TLS with it: DEPTH_ZERO_SELF_SIGNED_CERT/);
    // In a mount namespace of its own the system trusts that proxy.
    const mount = 'mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"';
    const a = start(t, [...host.prefix, 'unshare', '--mount', 'sh', '-c', mount, trusted], env, ...args);
    await a.says(/listening on/);
    await probe(t, host.prefix, gateway.address);
    await sleep(1500);
    a.kill('SIGINT');
    const end = await a.end();
    assert.equal(end.code, 0, end.stderr);
    assert.deepEqual([...new Set(ports('https').flat())].toSorted(), ['3128', String(PROBE_PORT)]);
    assert.match(squid.log.join('\n'), /200 CONNECT 10\.78\.0\.2:443/);
  });

  test('a squid that opens TLS is refused, and hears nothing but the CONNECT', async (t) => {
    const inspect = await selfSigned('CN=Corp TLS Inspection', true);
    const squid = await Squid.start(t, { prefix: gateway.prefix, listen: `${gateway.address}:3129`, inspect });
    const args = ['--server', '10.78.0.2:443', '--proxy', `${gateway.address}:3129`, '-i', host.interface];
    const end = await start(t, host.prefix, {}, ...args).end();
    assert.equal(end.code, 1);
    assert.match(
      end.stderr,
      /the certificate is not the collector's: it was issued by '.*a proxy that intercepts TLS seems to be in the way/,
    );
    assert.match(end.stderr, /hint: ask for an exception from TLS inspection for 10\.78\.0\.2:443/);
    await until('its log', () => squid.log.length > 0);
    assert.deepEqual(
      squid.log.filter((line) => !/ CONNECT 10\.78\.0\.2:443| error:|NONE/.test(line)),
      [],
    );
  });

  test('an sslsplit in between, without any proxy, is refused; it decrypted not a byte', async (t) => {
    const folder = temporaryFolder(t);
    const ca = await selfSigned('CN=Corp TLS Inspection', true);
    const [cert, key] = [`${folder}/ca.crt`, `${folder}/ca.key`];
    for (const [path, text] of [[cert, ca.cert], [key, ca.key]] as const) execFileSync('tee', [path], { input: text, stdio: 'pipe' }); // prettier-ignore
    const said = `${folder}/said`;
    execFileSync('mkdir', [said]);
    const split = new Program(t, 'sslsplit', ['-D', '-u', 'root', '-k', key, '-c', cert, '-S', said, 'ssl', gateway.address, '4430', '10.78.0.2', '443'], { prefix: gateway.prefix }); // prettier-ignore
    cleanUp(t, async () => {
      split.kill('SIGTERM'); // or its child stays
      await split.end();
    });
    await split.says(/Starting main event loop|Started \d+ connection handling threads/i);
    const end = await start(t, host.prefix, {}, '--server', `${gateway.address}:4430`, '-i', host.interface).end();
    assert.equal(end.code, 1);
    assert.match(
      end.stderr,
      /it was issued by 'CN=Corp TLS Inspection'.*a proxy that intercepts TLS seems to be in the way/,
    );
    const bytes = filesUnder(said).map((f) => readFileSync(`${said}/${f}`, 'latin1')).join(''); // prettier-ignore
    assert.equal(bytes, '');
    // That it would have: another client that looks at no certificate.
    const script = `require('node:tls').connect({host:'${gateway.address}',port:4430,rejectUnauthorized:false},function(){this.end('secret words')}).on('close',()=>{}).on('error',()=>{}).resume()`;
    await run(t, process.execPath, ['-e', script], { prefix: host.prefix });
    await until('what it read', () => filesUnder(said).some((f) => readFileSync(`${said}/${f}`, 'latin1').includes('secret words'))); // prettier-ignore
  });
});
