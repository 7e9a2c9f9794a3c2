/** `-r` with what is wrong, empty, damaged or limited; pipes and local files. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { anyPackets, coarser, FRAMES, PACKETS } from './frames.ts';
import { pcapBytes, somePackets, type TestPacket } from './pcap-bytes.ts';
import { ngBlocks } from './pcapng-bytes.ts';
import {
  AGENT,
  cleaner,
  Collector,
  type Finished,
  lacks,
  lacksAddon,
  lacksRoot,
  packetsIn,
  rewritten,
  run,
  runAgent,
  temporaryFolder,
  tshark,
} from './support.ts';

const MAX_SNAPLEN = 262_144;

describe('replay', { skip: lacksAddon || lacks('tshark', 'tcpdump', 'capinfos'), timeout: 300_000 }, () => {
  const suite = cleaner();
  let folder: string;
  let collector: Collector;
  let token: string;
  let serial = 0;

  before(async () => {
    folder = temporaryFolder(suite);
    collector = await Collector.start(suite);
    token = await collector.token('--host', '*');
  });

  const path = (name: string, bytes: Uint8Array): string => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  interface Sent extends Finished {
    /** Published, in the order of the agent's captures. */
    outputs: string[];
  }
  async function send(t: TestContext, args: string[], input?: Uint8Array): Promise<Sent> {
    const host = `h${++serial}`;
    const ended = await runAgent(t, [...args, ...collector.address, '--host-name', host], {
      env: { RCAP_TOKEN: token },
      ...(input ? { input } : {}),
    });
    const number = (name: string) => Number(/-(\d+)_\d+\.pcap/.exec(name)![1]);
    const outputs = collector.published().filter((f) => f.startsWith(join(collector.captures, host) + '/'));
    return { ...ended, outputs: outputs.toSorted((a, b) => number(a) - number(b)) };
  }
  function assertHolds(sent: Sent, code: number, packets: TestPacket[], linkType = 1): void {
    assert.equal(sent.code, code, sent.stderr);
    assert.equal(sent.outputs.length, 1, sent.stderr);
    assert.ok(readFileSync(sent.outputs[0]!).equals(pcapBytes(packets, { linkType })));
  }
  function assertNothing(sent: Sent, code: number, said: RegExp): void {
    assert.equal(sent.code, code, sent.stderr);
    assert.match(sent.stderr, said);
    assert.deepEqual(sent.outputs, []);
  }

  it('is sent whole when nobody reads any more what it says', async (t) => {
    // Standard error is a pipe whose reader has ended.
    const ended = await runAgent(
      t,
      ['-v', '-r', path('unread.pcap', pcapBytes(PACKETS)), ...collector.address, '--host-name', 'unread'],
      { env: { RCAP_TOKEN: token }, prefix: ['bash', '-c', 'exec "$@" 2> >(exec true)', 'bash'] },
    );
    assert.equal(ended.code, 0);
    const [output] = collector.published().filter((f) => f.startsWith(join(collector.captures, 'unread') + '/'));
    assert.ok(readFileSync(output!).equals(pcapBytes(PACKETS)));
  });

  describe('nothing to send', { concurrency: 3 }, () => {
    it('0 packets', async (t) => {
      assertNothing(await send(t, ['-r', path('none.pcap', pcapBytes([]))]), 0, /\b0 packets captured\n/);
    });
    it('a pcapng file without packets, and one without interfaces', async (t) => {
      const ng = ngBlocks();
      const described = path(
        'none.pcapng',
        Buffer.concat([ng.section(), ng.interface(), ng.interface({ linkType: 101 })]),
      );
      assertNothing(await send(t, ['-r', described]), 0, /\b0 packets captured\n/);
      const bare = await send(t, ['-r', path('bare.pcapng', ng.section())]);
      assert.equal(bare.code, 0, bare.stderr);
      assert.deepEqual(bare.outputs, []);
    });
    it('0 bytes', async (t) => {
      const sent = await send(t, ['-r', path('zero', Buffer.alloc(0))]);
      assertNothing(sent, 1, /^rcap-agent: error: could not read '.*zero': it is empty, not a capture file\n/m);
    });
    it('0 bytes from a pipe', async (t) => {
      assertNothing(await send(t, ['-r', '-'], Buffer.alloc(0)), 1, /error: could not read .*it is empty/);
    });
    it('text', async (t) => {
      const sent = await send(t, ['-r', path('text.pcap', Buffer.from('Dear Sir or Madam,\n'.repeat(99)))]);
      assertNothing(
        sent,
        1,
        /error: could not read '.*text\.pcap': it is not a capture file\nrcap-agent: hint: .*capinfos/,
      );
    });
    it('a folder', async (t) => {
      assertNothing(await send(t, ['-r', folder]), 1, /error: could not read '.*': Is a directory\n/);
    });
    it('missing', async (t) => {
      const sent = await send(t, ['-r', join(folder, 'missing.pcap')]);
      assertNothing(sent, 1, /error: could not open '.*missing\.pcap': No such file or directory\n/);
    });
    it('unreadable', async (t) => {
      // What even root can't read.
      assertNothing(await send(t, ['-r', '/proc/self/mem']), 1, /error: could not read '.*mem': Input\/output error\n/);
    });
    it('a future version, a link type of 32 bits', async (t) => {
      const future = pcapBytes(somePackets(3));
      future.writeUInt16LE(3, 4);
      assertNothing(await send(t, ['-r', path('future', future)]), 1, /pcap version 3\.4 is not supported/);
      const odd = path('odd', pcapBytes(somePackets(3), { linkType: 0x0001_0001 }));
      assertNothing(await send(t, ['-r', odd]), 1, /link type 0x00010001 is not valid/);
    });
    it('a filter that does not compile', async (t) => {
      const sent = await send(t, ['-r', path('f.pcap', pcapBytes(somePackets(3))), 'tpc', 'port', '80']);
      assertNothing(
        sent,
        2,
        /error: could not compile the filter 'tpc port 80': .*syntax error\nrcap-agent: hint: .*tcpdump -r \S*f\.pcap -d 'tpc port 80'/,
      );
    });
    it('a filter that matches nothing', async (t) => {
      const sent = await send(t, ['-r', path('g.pcap', pcapBytes(somePackets(3))), 'vlan 7']);
      assertNothing(sent, 0, /\b0 packets captured\n/);
    });
  });

  describe('damaged: what is whole arrives', { concurrency: 3 }, () => {
    const packets = somePackets(500);
    const whole = pcapBytes(packets);
    /** Where record n begins. */
    const offset = (n: number) => pcapBytes(packets.slice(0, n)).length;

    for (const [what, length] of [
      ['data', offset(301) - 1],
      ['a head', offset(300) + 7],
    ] as const)
      it(`ends within ${what}`, async (t) => {
        const sent = await send(t, ['-r', path(`cut-${length}.pcap`, whole.subarray(0, length))]);
        assertHolds(sent, 1, packets.slice(0, 300));
        assert.match(
          sent.stderr,
          /error: .*it ends within a record, after 300 packets\nrcap-agent: hint: all packets before/,
        );
        assert.match(sent.stderr, /\b300 packets sent, 300 acknowledged\n/);
      });
    it('ends within its header', async (t) => {
      const sent = await send(t, ['-r', path('cut-20.pcap', whole.subarray(0, 20))]);
      assertNothing(sent, 1, /it ends within its header\n/);
    });
    it('an impossible length in the middle', async (t) => {
      const bytes = Buffer.from(whole);
      bytes.writeUInt32LE(0xdead_beef, offset(200) + 8);
      const sent = await send(t, ['-r', path('length.pcap', bytes)]);
      assertHolds(sent, 1, packets.slice(0, 200));
      assert.match(sent.stderr, /error: .*packet 201 is said to have 3735928559 bytes, so the file is damaged\n/);
    });
    it('a pcapng block of which one length is wrong', async (t) => {
      const ng = ngBlocks();
      const blocks = coarser(packets, 1000).map(({ seconds, nanoseconds, data }) =>
        ng.enhanced({ units: BigInt(seconds) * 1_000_000n + BigInt(nanoseconds / 1000), data }),
      );
      blocks[200]!.writeUInt32LE(8, blocks[200]!.length - 4);
      const file = path('length.pcapng', Buffer.concat([ng.section(), ng.interface(), ...blocks]));
      const sent = await send(t, ['-r', file]);
      assertHolds(sent, 1, coarser(packets, 1000).slice(0, 200));
      assert.match(sent.stderr, /error: .*a block's two lengths differ, after 200 packets\n/);
    });
    it('a pcapng file that ends within a block, and one with a packet of no interface', async (t) => {
      const ng = ngBlocks(true);
      const packet = (n: number) => ng.enhanced({ units: 5n, data: FRAMES.arp, interface: n });
      const head = Buffer.concat([ng.section(), ng.interface(), packet(0)]);
      const expected = [{ seconds: 0, nanoseconds: 5000, data: FRAMES.arp }];
      const cut = await send(t, ['-r', path('cut.pcapng', Buffer.concat([head, packet(0).subarray(0, -1)]))]);
      assertHolds(cut, 1, expected);
      assert.match(cut.stderr, /it ends within a record, after 1 packets?\n/);
      const lost = await send(t, ['-r', path('no-interface.pcapng', Buffer.concat([head, packet(1)]))]);
      assertHolds(lost, 1, expected);
      assert.match(lost.stderr, /a packet belongs to an interface that is not described/);
    });
  });

  describe('names that a file makes up', { concurrency: 3 }, () => {
    const ng = ngBlocks();
    const packet = ng.enhanced({ units: 0n, data: FRAMES.arp });
    const expected = [{ seconds: 0, nanoseconds: 0, data: FRAMES.arp }];
    for (const [what, name] of [
      ['of 256 bytes', 'x'.repeat(256)],
      ['of 1024 bytes', 'é'.repeat(512)],
      ['that are no UTF-8', Buffer.alloc(255, 0xff)],
      ['that are a path', '../../../etc/passwd'],
      ['with a NUL, line ends and colours', 'eth\x1b[31m\r\n\0'],
    ] as const)
      it(`interface and description ${what}`, async (t) => {
        const option = (code: number) => ng.option(code, name);
        const described = ng.block(1, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), ng.options(option(2), option(3)));
        const file = path(`name-${serial}-${name.length}.pcapng`, Buffer.concat([ng.section(), described, packet]));
        assertHolds(await send(t, ['-r', file]), 0, expected);
      });
    it('of the file itself', async (t) => {
      const file = path(`${'ü'.repeat(120)} 'quoted'.pcap`, pcapBytes(expected));
      assertHolds(await send(t, ['-r', file]), 0, expected);
    });
  });

  describe('pipes and local files', { concurrency: 3 }, () => {
    it('-r - from a pipe', async (t) => {
      const sent = await send(t, ['-r', '-'], pcapBytes(PACKETS, { bigEndian: true }));
      assertHolds(sent, 0, PACKETS);
      assert.match(sent.outputs[0]!, /_stdin_/);
    });
    it('-w FILE', async (t) => {
      const out = join(folder, 'out.pcap');
      const input = path('w.pcap', pcapBytes(PACKETS));
      const ended = await runAgent(t, ['-r', input, '-w', out]);
      assert.equal(ended.code, 0, ended.stderr);
      assert.ok(readFileSync(out).equals(pcapBytes(PACKETS)));
      assert.ok(rewritten(out).equals(rewritten(input)));
      assert.equal(packetsIn(out), PACKETS.length);
    });
    it('-w -, in a pipeline', async (t) => {
      const words = ['-r', '-', '-w', '-', '-q'];
      const filtered = [...words, 'arp'];
      const script = `"$@" | ${process.execPath} ${agent} ${words.join(' ')}`;
      const args = ['-c', script, 'sh', process.execPath, agent, ...filtered];
      const bytes = pcapBytes(PACKETS, { micro: true });
      const ended = await run(t, 'sh', ['-c', `sh "$@" >${folder}/piped.pcap`, 'sh', ...args], { input: bytes });
      assert.equal(ended.code, 0, ended.stderr);
      const arp = coarser(PACKETS, 1000).filter((p) => p.data === FRAMES.arp);
      assert.ok(readFileSync(join(folder, 'piped.pcap')).equals(pcapBytes(arp)));
    });
    it('-w with two link types, and into a folder that is not there', async (t) => {
      const two = await runAgent(t, ['-r', path('two.pcapng', mixed()), '-w', join(folder, 'two.pcap')]);
      assert.equal(two.code, 1);
      assert.match(two.stderr, /error: could not write '.*two\.pcap': a pcap file holds one link type/);
      const nowhere = await runAgent(t, ['-r', path('w2.pcap', pcapBytes(PACKETS)), '-w', join(folder, 'no/such')]);
      assert.equal(nowhere.code, 1);
      assert.match(nowhere.stderr, /error: could not open '.*no\/such': ENOENT/);
    });
    it('-w onto the file that is read is refused, and the file stays', async (t) => {
      const input = path('same.pcap', pcapBytes(PACKETS));
      const before = readFileSync(input);
      const ended = await runAgent(t, ['-r', input, '-w', input]);
      assert.equal(ended.code, 2);
      assert.match(ended.stderr, /error: could not write '.*': it is the file that is read\n.*hint: /);
      assert.deepEqual(readFileSync(input), before);
    });

    it(
      '-w on a full disk: what is not written is not acknowledged',
      { skip: lacksRoot || lacks('mount') },
      async (t) => {
        const small = temporaryFolder(t);
        execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
        try {
          const input = path('large.pcap', pcapBytes(somePackets(5000)));
          const ended = await runAgent(t, ['-r', input, '-w', join(small, 'out.pcap')]);
          assert.equal(ended.code, 1);
          assert.match(ended.stderr, /error: could not write '.*out\.pcap': ENOSPC/);
          const [, lost] = /(\d+) packets? captured, but never acknowledged/.exec(ended.stderr) ?? [];
          assert.ok(Number(lost) > 0, ended.stderr);
          assert.ok(packetsIn(join(small, 'out.pcap')) < 5000, 'and what is there is whole records');
        } finally {
          execFileSync('umount', [small]);
        }
      },
    );

    it('-w without packets', async (t) => {
      const out = join(folder, 'empty-out.pcap');
      const ended = await runAgent(t, ['-r', path('e.pcap', pcapBytes([], { linkType: 113 })), '-w', out]);
      assert.equal(ended.code, 0, ended.stderr);
      assert.ok(existsSync(out) && readFileSync(out).equals(pcapBytes([], { linkType: 113 })));
    });
  });

  /** 90 packets, 30 in each of three interfaces in turn, 20 bytes each. */
  function mixed(): Buffer {
    const ng = ngBlocks();
    const described = [
      ng.interface({ name: 'a' }),
      ng.interface({ name: 'b', linkType: 101 }),
      ng.interface({ name: 'c' }),
    ];
    const blocks = Array.from({ length: 90 }, (_, i) =>
      ng.enhanced({ units: BigInt(i), data: Buffer.alloc(20, i), interface: i % 3 }),
    );
    return Buffer.concat([ng.section(), ...described, ...blocks]);
  }

  describe('filters and limits', { concurrency: 3 }, () => {
    const total = (outputs: string[]) => outputs.reduce((n, f) => n + packetsIn(f), 0);

    it('whoever writes into the same pipe afterwards finds it as it was', async (t) => {
      // Node makes it non-blocking while it runs: a large write into it would fail.
      const after = '"$@" 2>&1; echo "code $?"; head -c 300000 /dev/zero';
      const script = `( ${after} ) | ( sleep 1; cat )`;
      for (const [code, ...args] of [
        [0, '-r', path('shared.pcap', pcapBytes(PACKETS)), '-w', join(folder, 'shared-out.pcap')],
        [0, '-D'],
        [1, '-r', path('text.pcap', Buffer.from('no capture')), '-w', '-'],
      ]) {
        const { stdout, stderr } = await run(t, 'sh', [
          '-c',
          script,
          'sh',
          process.execPath,
          AGENT,
          ...args.map(String),
        ]);
        assert.match(stdout, new RegExp(`^code ${code}$`, 'm'), args.join(' '));
        assert.equal(stdout.split('\0').length - 1, 300_000);
        assert.equal(stderr, '');
      }
      // Also into a pipe that is full.
      const full = '( head -c 65536 /dev/zero; "$@" ) | ( sleep 1; cat )';
      const listed = await run(t, 'sh', ['-c', full, 'sh', process.execPath, AGENT, '-D']);
      assert.match(listed.stdout, /\blo\b/);
    });
    it('a filter leaves out, and counts what it leaves out', async (t) => {
      const input = path('all.pcap', pcapBytes(PACKETS));
      const sent = await send(t, ['-r', input, '--json', 'arp', 'or', 'icmp']);
      const expected = PACKETS.filter((p) => p.data === FRAMES.arp || p.data === FRAMES.icmp);
      assertHolds(sent, 0, expected);
      const done = sent.stderr.split('\n').map((l) => l && (JSON.parse(l) as Record<string, unknown>));
      const { received, filtered, captured, acknowledged } = done.findLast(
        (l) => l && l['message'] === 'done',
      ) as Record<string, unknown>;
      const n = expected.length;
      assert.deepEqual(
        { received, filtered, captured, acknowledged },
        { received: PACKETS.length, filtered: PACKETS.length - n, captured: n, acknowledged: n },
      );
    });
    for (const count of [1, 7, 91])
      it(`--count ${count} over three interfaces`, async (t) => {
        const sent = await send(t, ['-r', path(`m${count}.pcapng`, mixed()), '--count', String(count)]);
        assert.equal(sent.code, 0, sent.stderr);
        assert.equal(total(sent.outputs), Math.min(count, 90));
      });
    it('--bytes ends with the packet that reaches it', async (t) => {
      for (const [bytes, packets] of [
        [100, 5],
        [101, 6],
      ] as const) {
        const sent = await send(t, ['-r', path('b.pcapng', mixed()), '--bytes', String(bytes)]);
        assert.equal(sent.code, 0, sent.stderr);
        assert.equal(total(sent.outputs), packets);
      }
    });
    it('--count of one interface: the first of the file', async (t) => {
      const packets = somePackets(3000); // several blocks
      const sent = await send(t, ['-r', path('c.pcap', pcapBytes(packets)), '--count', '2001']);
      assertHolds(sent, 0, packets.slice(0, 2001));
    });
    it('--count counts what the filter lets through', async (t) => {
      const packets = PACKETS.flatMap((p) => [p, { ...p, data: FRAMES.arp }]);
      const sent = await send(t, ['-r', path('d.pcap', pcapBytes(packets)), '-c', '9', 'arp']);
      assertHolds(sent, 0, packets.filter((p) => p.data === FRAMES.arp).slice(0, 9));
      assert.deepEqual(tshark(sent.outputs[0]!, 'frame.protocols').flat(), Array(9).fill('eth:ethertype:arp'));
    });
    it('a filter that one of the link types cannot have ends it; what came before arrives', async (t) => {
      const ng = ngBlocks();
      const file = Buffer.concat([
        ng.section(),
        ng.interface(),
        ng.enhanced({ units: 0n, data: FRAMES.arp }),
        ng.interface({ linkType: 220 }),
        ...anyPackets(1).map((p) => ng.enhanced({ units: 0n, data: p.data, interface: 1 })),
      ]);
      const sent = await send(t, ['-r', path('usb.pcapng', file), 'ether proto 0x806']);
      assert.match(sent.stderr, /error: /);
      assertHolds(sent, 1, [{ seconds: 0, nanoseconds: 0, data: FRAMES.arp }]);
    });
    it('a snaplen above ours: cut, and counted', async (t) => {
      const packets = [
        { seconds: 1, nanoseconds: 2, data: Buffer.alloc(300_000, 1) },
        { seconds: 1, nanoseconds: 3, data: FRAMES.arp },
      ];
      const sent = await send(t, ['-r', path('long.pcap', pcapBytes(packets, { snaplen: 524_288, linkType: 147 }))]);
      const cut = { ...packets[0]!, data: packets[0]!.data.subarray(0, MAX_SNAPLEN), original: 300_000 };
      assertHolds(sent, 0, [cut, packets[1]!], 147);
      assert.match(sent.stderr, /\b1 packet cut to the snapshot length\n/);
    });
  });
});

const agent = new URL('../agent.ts', import.meta.url).pathname;
