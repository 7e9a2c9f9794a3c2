/** Capture files of every kind through agent and collector: what is published has the same packets, to the last bit. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { readAgentFlags } from '../agent/flags.ts';
import { makePlan } from '../agent/plan.ts';
import { Run } from '../agent/run.ts';
import { loadAddon } from '../capture/addon.ts';
import { everyLinkType, type Fixture, KINDS, PSEUDO_HEADERS, VARIANTS } from './fixtures.ts';
import { anyPackets, coarser, PACKETS } from './frames.ts';
import { pcapBytes } from './pcap-bytes.ts';
import { assertHold, endingOf, publishedFrom } from './published.ts';
import { cleaner, Collector, lacks, lacksAddon, rewritten, runAgent, temporaryFolder, until } from './support.ts';

const skip = lacksAddon || lacks('tshark', 'tcpdump', 'capinfos', 'mergecap');

describe('files of every kind', { skip, timeout: 300_000 }, () => {
  const suite = cleaner();
  let folder: string;
  let collector: Collector;
  let token: string;

  before(async () => {
    folder = temporaryFolder(suite);
    collector = await Collector.start(suite);
    token = await collector.token('--host', '*');
  });

  function write(f: Fixture): string {
    const path = join(folder, `${f.name}.pcap`);
    writeFileSync(path, f.bytes);
    return path;
  }
  const asHost = (host: string) => [...collector.address, '--host-name', host];
  /** By the program. */
  async function send(f: Fixture): Promise<void> {
    const env = { RCAP_TOKEN: token };
    const ended = await runAgent(suite, ['-r', write(f), ...asHost(f.name)], { env });
    assert.equal(ended.code, 0, ended.stderr);
    const packets = f.captures.reduce((n, c) => n + c.packets.length, 0);
    assert.match(ended.stderr, new RegExp(`\\b${packets} packets? captured\\b`));
  }
  /** By the program's run alone, which saves starting a process. */
  async function sendFromHere(f: Fixture, host = f.name): Promise<void> {
    const flags = readAgentFlags(['-r', write(f), ...asHost(host), '--token', token], {});
    assert.ok(flags.command === 'run');
    const events = { listening() {}, opened() {}, progress() {}, notice() {}, trouble: (e: Error) => assert.fail(e) };
    const { lost, imbalance, errors } = await new Run(makePlan(flags), loadAddon(), events).run();
    assert.deepEqual({ lost, imbalance, errors }, { lost: 0, imbalance: undefined, errors: [] });
  }
  function check(f: Fixture): void {
    const input = join(folder, `${f.name}.pcap`);
    const outputs = publishedFrom(collector, f.name);
    const expected = f.captures.filter((c) => c.packets.length > 0);
    assertHold(outputs, expected, f.name);
    if (f.readBy === undefined) {
      // tcpdump writes the same from the input: packets, lengths, nanoseconds, link type, snaplen.
      const theirs = rewritten(input);
      theirs.writeUInt32LE(expected[0]!.snaplen, 16); // but that of a modified pcap is 14 more
      theirs.writeUInt32LE(expected[0]!.linkType, 20); // and the length of a check sequence stays in there
      assert.ok(readFileSync(outputs[0]!).equals(theirs), 'tcpdump reads the input differently');
    } else if (f.readBy === 'tshark') {
      const merged = join(folder, `${f.name}-merged.pcapng`);
      execFileSync('mergecap', ['-a', '-F', 'pcapng', '-w', merged, ...outputs]);
      assert.deepEqual(rowsOf(merged), rowsOf(input));
    }
  }

  describe('kinds', { concurrency: 4 }, () => {
    for (const f of KINDS) it(f.name, async () => send(f).then(() => check(f)));
  });
  describe('variants', { concurrency: 4 }, () => {
    for (const f of VARIANTS) it(f.name, async () => sendFromHere(f).then(() => check(f)));
  });

  it('capinfos counts the same packets in all of them', () => {
    const known = [...KINDS, ...VARIANTS].filter((f) => f.name !== 'unknown-link-type');
    const outputs = known.flatMap((f) => publishedFrom(collector, f.name));
    const table = execFileSync('capinfos', ['-T', '-M', '-r', '-c', '-E', ...outputs], { encoding: 'utf8' });
    const rows = table
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t').slice(1));
    const expected = known.flatMap((f) => f.captures.filter((c) => c.packets.length > 0));
    assert.deepEqual(
      rows,
      expected.map((c) => [WIRESHARK_NAMES[c.linkType], String(c.packets.length)]),
    );
  });

  it('pseudo headers from a machine of the other byte order have the same fields', () => {
    const merge = (name: string, files: string[]) => {
      const merged = join(folder, name);
      execFileSync('mergecap', ['-a', '-F', 'pcapng', '-w', merged, ...files]);
      return dissected(merged);
    };
    const big = PSEUDO_HEADERS.map((f) => f.name).filter((name) => name.endsWith('big'));
    const said = merge(
      'pseudo-in',
      big.map((name) => join(folder, `${name}.pcap`)),
    );
    for (const words of ['isodesc 1 [Cross-device link', 'UID: 1001', 'IFINDEX_INDEV: 2', 'ID: 1193046 (0x123456)'])
      assert.ok(said.includes(words), `no '${words}' in:\n${said}`);
    assert.equal(
      merge(
        'pseudo-out',
        big.flatMap((name) => publishedFrom(collector, name)),
      ),
      said,
    );
  });

  it('every link type that libpcap names, as pcap of both byte orders', async () => {
    const linkTypes = namedLinkTypes();
    const fixtures = linkTypes.map((linkType) => {
      const file = { linkType, bigEndian: linkType % 2 === 1, snaplen: 2000 + linkType };
      return { name: `type${linkType}`, bytes: pcapBytes(anyPackets(linkType), file), captures: [] };
    });
    const inputs = fixtures.map(write);
    const theirs = allRewritten(inputs);
    for (let i = 0; i < fixtures.length; i += 4)
      await Promise.all(fixtures.slice(i, i + 4).map((f) => sendFromHere(f, 'types')));
    await theirs;
    const outputs = publishedFrom(collector, 'types');
    assert.equal(outputs.length, inputs.length);
    for (const [i, input] of inputs.entries()) {
      const output = outputs.find((path) => basename(path).startsWith(`types_type${linkTypes[i]}_`));
      // A host's own number for a link type becomes the one for files, in both programs.
      const expected = readFileSync(`${input}.tcpdump`);
      assert.ok(readFileSync(output!).equals(expected), `link type ${linkTypes[i]}`);
      assert.match(output!, endingOf(expected.readUInt32LE(20)));
    }
  });

  /** Without those from 11 to 19, which a host has numbers of its own for. */
  it('every link type in one file', async () => {
    const f = everyLinkType(namedLinkTypes().filter((n) => n < 11 || n > 19));
    await send(f);
    check(f);
  });

  it('a collector that writes microseconds', async (t) => {
    const other = await Collector.start(t, { flags: ['--timestamps', 'micro'] });
    const input = write({ name: 'coarse', bytes: pcapBytes(PACKETS, { snaplen: 0 }), captures: [] });
    const env = { RCAP_TOKEN: await other.token() };
    const ended = await runAgent(t, ['-r', input, ...other.address, '--host-name', 'h'], { env });
    assert.equal(ended.code, 0, ended.stderr);
    const [output] = publishedFrom(other, 'h');
    assert.ok(readFileSync(output!).equals(pcapBytes(PACKETS, { micro: true })));
    assert.ok(rewritten(output!).equals(pcapBytes(coarser(PACKETS, 1000))));
  });

  it('a manifest says what each one is', async () => {
    const [output] = publishedFrom(collector, 'usb-big');
    const path = output!.replace(/\.pcap.*$/, '.json');
    const manifest = await until(
      'the manifest',
      () => collector.files().some((f) => path.endsWith(f)) && JSON.parse(readFileSync(path, 'utf8')),
    );
    const {
      interface: name,
      sourceFile,
      source,
      linkType,
      packets,
      notForArkime,
    } = manifest as Record<string, unknown>;
    assert.deepEqual(
      { name, sourceFile, source, linkType, packets, notForArkime },
      {
        name: 'usb-big',
        sourceFile: 'usb-big.pcap',
        source: 'file',
        linkType: 189,
        packets: 1,
        notForArkime: 'Arkime exits on link type 189',
      },
    );
  });
});

function namedLinkTypes(): number[] {
  const addon = loadAddon();
  const all = Array.from({ length: 512 }, (_, n) => n).filter((n) => addon.linkTypeName(n) !== undefined);
  assert.ok(all.length > 150);
  return all;
}

/** Beside each file `f` one `f.tcpdump`, as tcpdump writes it again. */
async function allRewritten(files: string[]): Promise<void> {
  const script =
    'for f; do tcpdump -r - -w - --time-stamp-precision=nano <"$f" >"$f.tcpdump" 2>/dev/null || exit; done';
  await promisify(execFile)('sh', ['-c', script, 'sh', ...files]);
}

/** Every packet as tshark reads it: link type, time, lengths, bytes. Sorted: a file for each interface has another order. */
function rowsOf(file: string): string[] {
  const args = ['-n', '-r', file, '-T', 'json', '-x', '-j', 'frame'];
  const text = execFileSync('tshark', args, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const packets = JSON.parse(text) as {
    _source: { layers: { frame: Record<string, string>; frame_raw?: [string] } };
  }[];
  return packets
    .map(({ _source: { layers } }) => {
      const { frame, frame_raw: raw } = layers;
      const said = ['encap_type', 'time_epoch', 'cap_len', 'len'].map((name) => frame[`frame.${name}`]);
      return [...said, raw?.[0] ?? ''].join(' ');
    })
    .toSorted();
}

/** All fields of the pseudo headers and what is in them. */
function dissected(file: string): string {
  const args = ['-n', '-r', file, '-O', 'usb,nflog,pflog,sll,can,ip,udp'];
  return execFileSync('tshark', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Wireshark's own names of the link types in the fixtures. */
const WIRESHARK_NAMES: Record<number, string> = {
  1: 'ether',
  101: 'rawip',
  113: 'linux-sll',
  117: 'pflog',
  127: 'ieee-802-11-radiotap',
  189: 'usb-linux',
  220: 'usb-linux-mmap',
  227: 'socketcan',
  239: 'nflog',
  249: 'usb-usbpcap',
};
