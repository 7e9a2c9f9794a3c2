/** The agent on Windows x64, as a user runs it; Windows is Wine here, Npcap is Wine's wpcap.dll or a fake one of ours. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { VERSION } from '../version.ts';
import { pcapBytes } from './pcap-bytes.ts';
import { PACKETS } from './frames.ts';
import {
  AGENT,
  capinfos,
  cleaner,
  type Cleaner,
  Collector,
  type Finished,
  lacks,
  lacksRoot,
  type Namespace,
  namespacePair,
  packetsIn,
  temporaryFolder,
  tshark,
} from './support.ts';
import { lacksWine, NODE_EXE, windowsPath, Wine, type WineProgramOptions } from './wine.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const PACKAGED = join(root, 'dist/rcap-agent-win-x64.exe');
const packaged = existsSync(PACKAGED);
const SENDER = fileURLToPath(new URL('send_frames.py', import.meta.url));
const GCC = 'x86_64-w64-mingw32-gcc';
const ADDON = join(root, 'native/prebuilds/win32-x64/node-pcap-native.node');
const lacksAddon =
  existsSync(ADDON) && (packaged || existsSync(NODE_EXE))
    ? false
    : 'needs the addon for Windows: sh scripts/setup.sh all';
const skip = lacksRoot || lacksWine || lacksAddon || lacks('ip', 'tshark', 'capinfos', 'python3', GCC);

/** Wine without its own wpcap.dll: like a Windows where nobody has installed Npcap. */
const NO_NPCAP = { env: { WINEDLLOVERRIDES: 'mscoree=;mshtml=;winemenubuilder.exe=;wpcap=n' } };

interface Listed {
  name: string;
  friendlyName?: string;
  description?: string;
  addresses: { address: string; family: string }[];
}

describe('the agent on Windows', { skip }, () => {
  const suite = cleaner();
  const [here, there] = skip ? ([] as never) : namespacePair(suite);
  let wine: Wine;

  test.before(async () => {
    wine = await Wine.start(suite, { prefix: here.prefix });
  });

  /** Built once, and put where Npcap would be, or where nobody is to look. */
  const built = temporaryFolderOf(suite);
  const build = (name: string, ...args: string[]): string => {
    const output = join(built(), name);
    const sources = join(root, 'native/test/npcap');
    execFileSync(GCC, ['-O2', '-shared', '-s', '-DBUILDING_PCAP', '-o', output, ...args], { cwd: sources });
    return output;
  };
  const command = (exe = PACKAGED): [string, string[]] => (packaged ? [exe, []] : [NODE_EXE, [windowsPath(AGENT)]]);
  const start = (t: Cleaner, args: string[], options?: WineProgramOptions) => {
    const [exe, first] = command();
    return wine.program(t, exe, [...first, ...args], options);
  };
  const agent = (t: Cleaner, args: string[], options?: WineProgramOptions): Promise<Finished> =>
    start(t, args, options).end();
  const list = async (t: Cleaner): Promise<Listed[]> => {
    const { stdout, code, stderr } = await agent(t, ['-D', '--json']);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Listed[];
  };

  test('says its version', async (t) => {
    assert.deepEqual(await agent(t, ['--version']), {
      code: 0,
      signal: null,
      stdout: `rcap-agent ${VERSION}\n`,
      stderr: '',
    });
  });

  test('-D lists the interfaces with friendly names and addresses', async (t) => {
    const found = (await list(t)).find(({ friendlyName }) => friendlyName === here.interface);
    assert.match(found!.name, /^\\Device\\NPF_\{[0-9A-F-]{36}\}$/i);
    assert.ok(found!.addresses.some(({ address }) => address === here.address));
    assert.ok(found!.addresses.some(({ family }) => family === 'link'));
  });

  describe('a live capture', () => {
    let collector: Collector;
    let env: Record<string, string>;
    test.before(async () => {
      collector = await Collector.start(suite, { prefix: here.prefix });
      env = { RCAP_TOKEN: await collector.token('--host', '*') };
    });
    const capture = (t: Cleaner, host: string, ...args: string[]) =>
      start(t, [...collector.address, '-i', here.interface, '--host-name', host, ...args], { env });
    const send = (...args: string[]) => send_(there, args);
    const filesOf = (host: string) => collector.published().filter((f) => f.includes(`/${host}/`));
    const inFiles = (host: string) => filesOf(host).reduce((n, f) => n + packetsIn(f), 0);

    test('20,000 packets go through TLS into files; Ctrl-C ends it, and the ledger balances', async (t) => {
      const a = capture(t, 'many', 'ether proto 0x88b5');
      await a.says(/listening on/);
      send('20000', '200', '20000');
      a.kill('SIGINT');
      const { code, stderr } = await a.end();
      assert.equal(code, 0, stderr);
      assert.match(stderr, /20000 packets captured\n.*20000 packets received by filter\n.*0 packets dropped by kernel/);
      assert.match(stderr, /20000 packets sent, 20000 acknowledged/);
      assert.equal(inFiles('many'), 20_000);
      // Each of them once: their numbers add up.
      const numbers = filesOf('many').flatMap((f) => tshark(f, 'frame.number'));
      assert.equal(numbers.length, 20_000);
      assert.match(filesOf('many')[0]!, new RegExp(`many_${here.interface}_`), 'the file has the friendly name');
    });

    test('the filter is applied, and a packet on a quiet link arrives without a second one', async (t) => {
      const a = capture(t, 'filtered', '--count', '1', 'ether proto 0x88b6');
      await a.says(/listening on/);
      send('500', '100', '0');
      send('hex', `02000000000102000000000288b6${'00'.repeat(50)}`);
      const { code, stderr } = await a.end();
      assert.equal(code, 0, stderr);
      assert.match(stderr, /1 packet captured\n.*1 packet received by filter/);
      assert.equal(inFiles('filtered'), 1);
    });

    test('Ctrl-C ends a capture on a silent interface', async (t) => {
      const a = capture(t, 'silent', 'ether proto 0x88b7');
      await a.says(/listening on/);
      a.kill('SIGINT');
      const { code, stderr } = await a.end();
      assert.equal(code, 0, stderr);
      assert.match(stderr, /0 packets captured/);
      assert.deepEqual(filesOf('silent'), []);
    });
  });

  test('-r reads a file, with a filter, and -w writes one; - is standard input', async (t) => {
    const folder = temporaryFolder(t);
    const [from, to] = [join(folder, 'réseau.pcap'), join(folder, 'to.pcap')];
    writeFileSync(from, pcapBytes(PACKETS, { linkType: 1 }));
    const all = await agent(t, ['-r', windowsPath(from), '-w', windowsPath(to)], NO_NPCAP);
    assert.equal(all.code, 0, all.stderr);
    assert.equal(packetsIn(to), PACKETS.length);
    const some = await agent(t, ['-r', '-', '-w', windowsPath(to), 'less 100'], { ...NO_NPCAP, input: from });
    assert.equal(some.code, 0, some.stderr);
    assert.equal(packetsIn(to), PACKETS.filter(({ data, original }) => (original ?? data.length) <= 100).length);
    const missing = await agent(t, ['-r', windowsPath(join(folder, 'missing')), '-w', windowsPath(to)], NO_NPCAP);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /could not open '.*missing': .*not found/i);
  });

  test('without Npcap it says what is missing and where that is; planted libraries are not loaded', async (t) => {
    const folder = temporaryFolder(t);
    const planted = build('planted.dll', 'planted.c');
    copyFileSync(planted, join(folder, 'wpcap.dll'));
    const [exe, first] = command(join(folder, 'agent.exe'));
    // Beside the executable, too, if that is ours.
    if (packaged) copyFileSync(PACKAGED, exe);
    const run = (...args: string[]) => wine.run(t, exe, [...first, ...args], { ...NO_NPCAP, cwd: folder });
    const listed = await run('-D');
    assert.equal(listed.code, 0, listed.stderr);
    assert.match(listed.stdout, new RegExp(`\\(${here.interface}.*${here.address}`));
    assert.match(listed.stderr, /warning: .*Npcap is not installed\n.*hint: install Npcap .*https:\/\/npcap\.com/);
    const captured = await run('-i', '1', '-w', 'out.pcap');
    assert.equal(captured.code, 1);
    assert.match(
      captured.stderr,
      /^rcap-agent: error: could not capture: Npcap is not installed\nrcap-agent: hint: .*https:\/\/npcap\.com/,
    );
    assert.ok(!existsSync(join(folder, 'out.pcap')));
    assert.ok(!existsSync(join(folder, 'planted')), 'a planted wpcap.dll was loaded');
    // Where Npcap would be it is loaded, leaves its file, and isn't enough.
    const npcap = join(wine.system32, 'Npcap');
    mkdirSync(npcap);
    t.after(() => rmSync(npcap, { recursive: true }));
    copyFileSync(planted, join(npcap, 'wpcap.dll'));
    assert.match((await run('-D')).stderr, /the installed Npcap or WinPcap is too old: it has no pcap_lib_version/);
    assert.ok(existsSync(join(folder, 'planted')));
  });

  describe('with a fake Npcap', () => {
    test.before(() => {
      const packet = build('Packet.dll', 'packet.c', '-Wl,--out-implib,' + join(built(), 'libpacket.a'));
      const headers = join(root, 'native/build-libpcap/source');
      const wpcap = build('wpcap.dll', '-I', headers, 'wpcap.c', 'wpcap.def', join(built(), 'libpacket.a'), '-lws2_32');
      const npcap = join(wine.system32, 'Npcap');
      mkdirSync(npcap);
      copyFileSync(packet, join(npcap, 'Packet.dll'));
      copyFileSync(wpcap, join(npcap, 'wpcap.dll'));
    });
    test.after(() => rmSync(join(wine.system32, 'Npcap'), { recursive: true }));

    test('it goes before any other, and its texts are UTF-8', async (t) => {
      const found = await list(t);
      assert.deepEqual(
        found.map(({ friendlyName, description }) => [friendlyName, description]),
        [
          ['lo', 'Réseau 网络'],
          ['Loopback', 'Adapter for loopback traffic capture'],
        ],
      );
    });

    test("its loopback's packets have the link type NULL; those from before the filter are no part of the capture", async (t) => {
      const to = join(temporaryFolder(t), 'to.pcap');
      const { code, stderr } = await agent(t, ['-i', 'loopback', '-w', windowsPath(to), '--duration', '1s', 'ip6']);
      assert.equal(code, 0, stderr);
      assert.match(stderr, /listening on Loopback \(\\Device\\NPF_Loopback\), link-type NULL/);
      assert.match(stderr, /500 packets captured\n.*500 packets received by filter\n.*0 packets dropped by kernel/);
      assert.equal(packetsIn(to), 500);
      assert.equal(capinfos(to).get('File encapsulation'), 'null');
    });

    test('--snaplen cuts packets, with a filter and without', async (t) => {
      const to = join(temporaryFolder(t), 'to.pcap');
      for (const filter of [[], ['ip6']]) {
        const args = ['-i', 'loopback', '-w', windowsPath(to), '-s', '40', '--count', '10', ...filter];
        const { code, stderr } = await agent(t, args);
        assert.equal(code, 0, stderr);
        assert.deepEqual(new Set(tshark(to, 'frame.cap_len').flat()), new Set(['40']));
      }
    });

    test('a new filter makes the driver forget: the counters go on', async (t) => {
      const script = join(temporaryFolder(t), 'script.cjs');
      writeFileSync(script, COUNTERS_SCRIPT);
      const { code, stdout, stderr } = await wine.run(t, NODE_EXE, [
        windowsPath(script),
        windowsPath(join(root, 'native')),
      ]);
      assert.equal(code, 0, stderr);
      assert.deepEqual(JSON.parse(stdout), { filter: 'tcp', received: 500, droppedByKernel: 0, captured: 500 });
    });
  });

  test(
    'its library is in a folder of its own, which a later run deletes',
    { skip: !packaged && 'needs the executable: npm run package' },
    async (t) => {
      // As one of a run long ago; a running copy has another one.
      const old = join(wine.temporary, 'rcap-addon-oldold');
      mkdirSync(old);
      writeFileSync(join(old, 'node-pcap-native.node'), readFileSync(ADDON));
      utimesSync(old, 0, 0);
      const nothing = temporaryFolder(t);
      const running = start(t, ['-i', here.interface, '-w', 'NUL'], { cwd: nothing });
      await running.says(/listening on/);
      const folders = readdirSync(wine.temporary).filter((name) => /^rcap-addon-\w{6}$/.test(name));
      assert.deepEqual(
        folders.flatMap((name) => readdirSync(join(wine.temporary, name))),
        folders.map(() => 'node-pcap-native.node'),
      );
      running.kill('SIGINT');
      assert.equal((await running.end()).code, 0);
      assert.ok(!existsSync(old));
      // The device, not a file of that name.
      assert.deepEqual(readdirSync(nothing), []);
    },
  );
});

/** Made when it is first asked for. */
function temporaryFolderOf(t: Cleaner): () => string {
  let folder: string | undefined;
  return () => (folder ??= temporaryFolder(t));
}

const send_ = (from: Namespace, args: string[]) =>
  execFileSync('ip', ['netns', 'exec', from.name, 'python3', SENDER, from.interface, ...args]);

/** Takes 500 packets, asks for another filter, and prints what was counted. */
const COUNTERS_SCRIPT = `
const native = require(process.argv[2]);
const { name } = native.interfaces()[0];
const pool = native.createPool(16);
let packets = 0;
const session = native.open(pool, { interface: name }, {
  onCapture() {},
  async onBlock(id, block, length, count) {
    pool.release(block);
    packets += count;
    if (packets < 500) return;
    const { filter } = await session.setFilter('tcp');
    session.stop();
    session.filter = filter;
  },
  onEnd(error) {
    if (error) throw error;
    const { received, droppedByKernel, captured } = session.stats();
    console.log(JSON.stringify({ filter: session.filter, received, droppedByKernel, captured }));
  },
});
`;
