/** Variables that whoever owns the host may have set change neither whom the agent trusts nor what it runs or writes. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { VERSION } from '../version.ts';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { assertHold, publishedFrom } from './published.ts';
import {
  AGENT,
  cleaner,
  Collector,
  type Finished,
  lacks,
  lacksAddon,
  lacksRoot,
  run,
  temporaryFolder,
} from './support.ts';

const PACKAGED = join(import.meta.dirname, '../../dist/rcap-agent-linux-x64');
const skipPackaged = !existsSync(PACKAGED) && 'needs the executables: npm run package';
const PROGRAMS: [name: string, command: string[], skip: string | false][] = [
  ['packaged', [PACKAGED], skipPackaged],
  ['from source', [process.execPath, AGENT], lacksAddon],
];
const PLANTED = [
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_TLS_REJECT_UNAUTHORIZED',
  'NODE_USE_SYSTEM_CA',
] as const;
const SYSTEM_CAS = '/etc/ssl/certs/ca-certificates.crt';
const PACKETS = somePackets(20);

describe('variables of the host', { skip: lacks('openssl', 'gcc'), timeout: 120_000 }, () => {
  const suite = cleaner();
  let folder: string;
  let collector: Collector;
  let token: string;
  const at = (name: string) => join(folder, name);

  /** A CA of ours, and a collector whose certificate it signed. */
  before(async () => {
    folder = temporaryFolder(suite);
    for (const name of ['planted', 'other']) {
      const made = [
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-days',
        '2',
        '-subj',
        `/CN=${name}`,
      ];
      openssl('req', '-x509', ...made, '-keyout', at(`${name}.key`), '-out', at(`${name}.pem`));
    }
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at('collector.key')];
    const signed = ['-CA', at('planted.pem'), '-CAkey', at('planted.key'), '-days', '2', '-subj', '/CN=localhost'];
    const names = ['-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE'];
    openssl('req', '-x509', ...key, ...signed, ...names, '-out', at('collector.pem'));
    mkdirSync(at('certs'));
    const hash = openssl('x509', '-in', at('planted.pem'), '-noout', '-hash').trim();
    symlinkSync(at('planted.pem'), at(`certs/${hash}.0`));
    writeFileSync(at('some.pcap'), pcapBytes(PACKETS));
    collector = await Collector.start(suite, {
      flags: ['--tls-cert', at('collector.pem'), '--tls-key', at('collector.key')],
    });
    token = await collector.token('--host', '*');
  });

  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const send = (command: string[], trust: string[], variables: Record<string, string>, host = 'h'): Promise<Finished> =>
    run(suite, command[0]!, [...command.slice(1), ...sending(trust, host)], {
      prefix: [
        'env',
        '-i',
        `RCAP_TOKEN=${token}`,
        ...Object.entries(variables).map(([name, value]) => `${name}=${value}`),
      ],
    });
  const sending = (trust: string[], host: string) => {
    const where = ['--server', `localhost:${collector.port}`, '--host-name', host];
    return ['-r', at('some.pcap'), ...where, ...trust];
  };
  const planted = (): Record<(typeof PLANTED)[number], string> => ({
    NODE_EXTRA_CA_CERTS: at('planted.pem'),
    SSL_CERT_FILE: at('planted.pem'),
    SSL_CERT_DIR: at('certs'),
    NODE_TLS_REJECT_UNAUTHORIZED: '0',
    NODE_USE_SYSTEM_CA: '1',
  });
  const writing = (): Record<string, string> => ({
    NODE_V8_COVERAGE: at('written/coverage'),
    NODE_COMPILE_CACHE: at('written/cache'),
    NODE_REDIRECT_WARNINGS: at('written/warnings'),
    NODE_DEBUG: 'tls,net,stream',
    NODE_DEBUG_NATIVE: 'crypto',
  });

  for (const [name, command, skip] of PROGRAMS) {
    describe(name, { skip }, () => {
      for (const variable of [...PLANTED, 'all of them'] as const) {
        const variables = () => (variable === 'all of them' ? planted() : { [variable]: planted()[variable] });

        it(`${variable}: a CA that is planted is not one of the system's`, async () => {
          const { code, stderr } = await send(command, [], variables());
          assert.equal(code, 1, stderr);
          assert.match(
            stderr,
            /could not trust 'localhost:\d+': its certificate is signed by a CA that is not trusted here/,
          );
        });
      }
      // The system's file, for this process alone, is the planted CA.
      it("a CA that is the system's is trusted", { skip: lacksRoot || lacks('unshare', 'mount') }, async () => {
        const script = `mount --make-rprivate / && mount --bind ${at('planted.pem')} ${SYSTEM_CAS} && exec "$@"`;
        const inside = ['unshare', '-m', 'sh', '-c', script, 'sh', ...command];
        const { code, stderr } = await send(inside, [], {}, `system-${name.replace(' ', '-')}`);
        assert.equal(code, 0, stderr);
      });
      it('all of them: another CA, and a wrong pin, are refused', async () => {
        const ca = await send(command, ['--ca', at('other.pem')], planted());
        assert.equal(ca.code, 1, ca.stderr);
        assert.match(
          ca.stderr,
          /could not trust 'localhost:\d+': its certificate is signed by a CA that is not trusted here/,
        );
        const wrong = `sha256/${Buffer.alloc(32).toString('base64')}`;
        const pin = await send(command, ['--pin', wrong], planted());
        assert.equal(pin.code, 1, pin.stderr);
        assert.ok(pin.stderr.includes(`its pin is ${collector.pin}, not ${wrong}`), pin.stderr);
        assert.deepEqual(publishedFrom(collector, 'h'), []);
      });
      it('all of them: the right CA and the right pin are good', async () => {
        for (const [host, trust] of [
          ['ca', ['--ca', at('planted.pem')]],
          ['pin', ['--pin', collector.pin]],
        ] as const) {
          const { code, stderr } = await send(command, [...trust], planted(), `${host}-${name.replace(' ', '-')}`);
          assert.equal(code, 0, stderr);
        }
      });
    });
  }

  describe('the executable', { skip: skipPackaged }, () => {
    it('writes nothing where a variable says, and sends the same', async () => {
      mkdirSync(at('written'));
      const { code, stderr } = await send(
        [PACKAGED],
        ['--pin', collector.pin],
        { ...planted(), ...writing() },
        'writing',
      );
      assert.equal(code, 0, stderr);
      const expected = [{ interface: '', linkType: 1, snaplen: 262_144, packets: PACKETS }];
      assertHold(publishedFrom(collector, 'writing'), expected, 'writing', 'some');
      const env = { ...planted(), ...writing() };
      assert.equal(
        execFileSync(PACKAGED, ['--version'], { env, encoding: 'utf8', stdio: 'pipe' }),
        `rcap-agent ${VERSION}\n`,
      );
      assert.deepEqual(readdirSync(at('written')), []);
    });

    it('loads no library that OPENSSL_CONF names', () => {
      const source = `#include <stdio.h>
        __attribute__((constructor)) static void run(void) { fclose(fopen("${at('ran')}", "w")); }`;
      execFileSync('gcc', ['-shared', '-fPIC', '-x', 'c', '-', '-o', at('planted.so')], { input: source });
      const lines = [
        'nodejs_conf = a',
        '[a]',
        'providers = b',
        '[b]',
        'p = c',
        '[c]',
        `module = ${at('planted.so')}`,
        'activate = 1',
      ];
      writeFileSync(at('planted.cnf'), lines.join('\n'));
      const env = { OPENSSL_CONF: at('planted.cnf') };
      assert.equal(execFileSync(PACKAGED, ['--version'], { env, encoding: 'utf8' }), `rcap-agent ${VERSION}\n`);
      assert.ok(!existsSync(at('ran')), 'the planted library ran');
      // Node itself does load it (and then finds no random numbers there, and aborts).
      spawnSync(process.execPath, ['-e', ''], { env });
      assert.ok(existsSync(at('ran')), 'not even Node ran it');
    });
  });
});
