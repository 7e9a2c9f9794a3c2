/** Settings from the collector, whole programs: the public folder, who is sent what, and the commands that show it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { AgentView } from '../collector/agents.ts';
import type { Manifest } from '../collector/manifest.ts';
import { pcapBytes, type TestPacket } from './pcap-bytes.ts';
import { ALIVE, bytes } from './wire.ts';
import { captureEnd, captureStart, hello, onePacket, Peer, settingsState } from './peer.ts';
import {
  AGENT,
  type Cleaner,
  Collector,
  lacks,
  lacksAddon,
  lacksRoot,
  namespacePair,
  packetsIn,
  Program,
  runAgent,
  runCollector,
  temporaryFolder,
  tshark,
  until,
} from './support.ts';

type Files = Record<string, string>;

/** A collector with a public folder. */
async function withPublic(t: Cleaner, files: Files, flags: string[] = []) {
  const folder = temporaryFolder(t);
  const place = join(folder, 'public');
  const write = (more: Files) => {
    for (const [name, text] of Object.entries(more)) {
      mkdirSync(dirname(join(place, name)), { recursive: true });
      writeFileSync(join(place, name), text);
    }
  };
  write(files);
  const collector = await Collector.start(t, { folder, flags: ['--public', place, ...flags] });
  const command = (...words: string[]) => runCollector(t, [...words, '--state', collector.state]);
  const agents = async () => {
    const { stdout, stderr, code } = await command('agents', '--json');
    assert.equal(code, 0, stderr);
    return stdout.split('\n').slice(0, -1).map((line) => JSON.parse(line) as AgentView); // prettier-ignore
  };
  return { collector, place, write, command, agents };
}
const textsIn = (peer: Peer) =>
  peer
    .settings()
    ?.document?.exceptions.map((e) => e.text)
    .join('');

test('a change of the folder reaches the agents that it is for, and what they make of it is shown', async (t) => {
  const { collector, write, agents, command, place } = await withPublic(t, { 'exceptions.list': '192.0.2.1\n' });
  const token = await collector.token('--host', '*');
  const [web, db] = [
    await Peer.greeted(t, collector.port, token, 'web-1'),
    await Peer.greeted(t, collector.port, token, 'db'),
  ];
  for (const peer of [web, db]) await until('settings', () => textsIn(peer) === '192.0.2.1\n');
  const alive = setInterval(() => [web, db].forEach((peer) => peer.send(ALIVE)), 5000);
  t.after(() => clearInterval(alive));
  write({ 'hosts/web-*/exceptions.list': '# for all web servers\n198.51.100.0/24\n' });
  await until('the change', () => textsIn(web) === '192.0.2.1\n198.51.100.0/24\n');
  const { digest } = web.settings()!;
  web.send(settingsState(digest, false, 'covers the agent'));
  db.send(settingsState(db.settings()!.digest, true));
  await collector.says(/web-1 \(127\.0\.0\.1:\d+\): REFUSED settings [0-9a-f]{12}: covers the agent/);
  await collector.says(/db \(127\.0\.0\.1:\d+\): took settings/);
  const hex = Buffer.from(digest).toString('hex');
  const shown = (await agents()).map((a) => [a.host, a.settings.state, a.settings.reason]);
  assert.deepEqual(
    shown.toSorted((a, b) => String(a).localeCompare(String(b))),
    [
      ['db', 'accepted', ''],
      ['web-1', 'refused', 'covers the agent'],
    ],
  );
  const table = await command('agents');
  assert.match(table.stdout, /^HOST +PEER +SINCE +CAPTURES +PACKETS +EXCLUDED +SETTINGS\n/);
  assert.match(table.stdout, new RegExp(`\nweb-1 .* ${hex.slice(0, 12)} REFUSED: covers the agent\n`));
  const checked = await command('settings', 'WEB-1', '--public', place);
  assert.equal(checked.code, 0, checked.stderr);
  assert.match(checked.stdout, new RegExp(`\nWEB-1 gets ${hex.slice(0, 12)}: 2 exceptions; no filter; no limits\n`));
  assert.match(checked.stdout, /\nweb-1 \(127\.0\.0\.1:\d+\): [0-9a-f]{12} REFUSED: covers the agent\n$/);
  // The other one was sent nothing new.
  assert.equal(db.answers.filter((a) => a.settings).length, 1);
  // A bad list changes nothing, and is said once.
  write({ 'exceptions.list': '192.0.2.1\n300.1.1.1\n' });
  await collector.says(/warning: .*exceptions\.list', line 2: '300\.1\.1\.1': .*; what it said before stays/);
  write({ 'exceptions.list': '192.0.2.7\n' });
  await until('the change', () => textsIn(db) === '192.0.2.7\n');
  assert.equal(db.answers.filter((a) => a.settings).length, 2);
  assert.equal(collector.stderr.match(/line 2/g)!.length, 1);
});

test('sixteen megabytes reach who reads; who does not is no burden', async (t) => {
  const line = '2001:db8:1234:5678:9abc:def0:1234:5678\n';
  const text = line.repeat(400_000);
  const { collector, write } = await withPublic(t, { 'exceptions.list': text });
  const token = await collector.token('--host', '*');
  const lazy = await Promise.all(
    Array.from({ length: 20 }, async (_, n) => {
      const peer = await Peer.connect(t, collector.port);
      peer.send(hello({ token, host: `lazy-${n}` }));
      peer.pause();
      return peer;
    }),
  );
  const reads = await Peer.greeted(t, collector.port, token, 'reads');
  await until('the list', () => textsIn(reads)?.length === text.length);
  const before = collector.residentBytes;
  for (let n = 0; n < 3; n++) {
    const first = `192.0.2.${n}\n`;
    write({ 'exceptions.list': first + text });
    await until('the change', () => textsIn(reads)?.startsWith(first));
  }
  // Twenty times a document would be 300 MiB for each change.
  assert.ok(collector.residentBytes - before < 200 << 20, `${(collector.residentBytes - before) >> 20} MiB more`);
  assert.ok(lazy.length === 20 && collector.running);
});

test('stop asks the agents of the hosts that match, and only those', async (t) => {
  const { collector, command } = await withPublic(t, {});
  const token = await collector.token('--host', '*');
  const peers = await Promise.all(['web-1', 'Web-2', 'db'].map((host) => Peer.greeted(t, collector.port, token, host)));
  const asked = await command('stop', 'web-*');
  assert.equal(asked.code, 0, asked.stderr);
  assert.match(
    asked.stdout,
    /^asked (web-1|Web-2) \(127\.0\.0\.1:\d+\) to stop\nasked (web-1|Web-2) \(.*\) to stop\n$/,
  );
  for (const peer of peers.slice(0, 2)) {
    const stop = await until('Stop', () => peer.answers.find((a) => a.stop));
    assert.equal(stop.stop!.reason, "stopped by the collector's administrator");
  }
  const none = await command('stop', 'mail');
  assert.deepEqual([none.code, none.stdout], [1, '']);
  assert.match(
    none.stderr,
    /could not stop 'mail': no agent of such a host is connected\n.*hint: 'rcap-collector agents'/,
  );
  const wrong = await command('stop', 'a b');
  assert.equal(wrong.code, 2);
  assert.ok(!peers[2]!.answers.some((a) => a.stop));
});

test('a token can not change settings, nor what other hosts get', async (t) => {
  const { collector } = await withPublic(t, { 'hosts/web-1/exceptions.list': '192.0.2.1\n' });
  const token = await collector.token('--host', 'db');
  // What a collector says, said by an agent; and the host of another.
  for (const kind of [10, 11, 15]) {
    const peer = await Peer.greeted(t, collector.port, token, 'db');
    peer.send(bytes(kind, bytes(3, '192.0.2.66\n')));
    assert.equal((await peer.refusal()).code, 'PROTOCOL');
    assert.equal(peer.settings(), undefined);
  }
  const other = await Peer.connect(t, collector.port);
  other.send(hello({ token, host: 'web-1' }));
  assert.equal((await other.refusal()).code, 'TOKEN');
  const web = await Peer.greeted(t, collector.port, await collector.token('--host', 'web-1'), 'web-1');
  await until('settings', () => textsIn(web) === '192.0.2.1\n');
});

test('without a collector agents and stop say so; settings checks the folder all the same', async (t) => {
  const folder = temporaryFolder(t);
  const words = ['--state', join(folder, 'state')];
  for (const command of [['agents'], ['stop', 'web-1']]) {
    const { code, stderr } = await runCollector(t, [...command, ...words]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /error: could not ask the collector with state folder '.*': none is running\n.*hint: --state DIR/,
    );
  }
  const place = join(folder, 'public');
  mkdirSync(place);
  writeFileSync(join(place, 'settings.json'), '{"count": 5, "bytes": "1G"}');
  chmodSync(join(place, 'settings.json'), 0o646);
  const good = await runCollector(t, ['settings', ...words, '--public', place]);
  assert.equal(good.code, 0, good.stderr);
  assert.equal(
    good.stdout,
    'FILE           SAYS\nsettings.json  count 5, bytes 1G\nno collector is running with this --state\n',
  );
  assert.match(good.stderr, /settings\.json': everybody on this machine may write it/);
  writeFileSync(join(place, 'exceptions.list'), '192.0.2.1\nx y\n');
  for (const command of [
    ['settings'],
    ['serve', '--listen', '127.0.0.1:0', '--http', 'none', '--captures', join(folder, 'c')],
  ]) {
    const bad = await runCollector(t, [...command, ...words, '--public', place]);
    assert.equal(bad.code, 2, bad.stderr);
    assert.match(bad.stderr, /error: could not read '.*exceptions\.list', line 2: 'x y': /);
  }
});

test('a capture of before goes on when its settings come, and its exclusions are recorded', async (t) => {
  const { collector, write, agents } = await withPublic(t, {});
  const peer = await Peer.greeted(t, collector.port, await collector.token('--host', 'web-1'), 'web-1');
  peer.send(captureStart(), onePacket(1));
  await until('its acknowledgement', () => peer.acknowledged() === 1);
  write({ 'exceptions.list': '192.0.2.1\n' });
  await until('settings', () => textsIn(peer) === '192.0.2.1\n');
  peer.send(settingsState(peer.settings()!.digest, true), onePacket(2));
  await until('its acknowledgement', () => peer.acknowledged() === 2);
  assert.deepEqual((await agents()).map((a) => [a.captures, a.packets, a.settings.state]), [[1, 2, 'accepted']]); // prettier-ignore
  peer.send(captureEnd(1, 2));
  await peer.ended();
  assert.equal(collector.published().length, 1);
});

function manifestsOf(collector: Collector): Manifest[] {
  const files = collector.files().filter((f) => f.endsWith('.json'));
  return files.map((f) => JSON.parse(readFileSync(join(collector.captures, f), 'utf8')) as Manifest);
}

/** An Ethernet frame: an empty IPv4 packet, or ARP. */
function frameOf(n: number, ip: boolean): TestPacket {
  const ipv4 = Buffer.from('4500001400000000401100000a0000010a000002', 'hex');
  const type = Buffer.from(ip ? '0800' : '0806', 'hex');
  const data = Buffer.concat([Buffer.alloc(12, n), type, ip ? ipv4 : Buffer.alloc(28)]);
  return { seconds: 1_700_000_000 + n, nanoseconds: 0, data };
}

test(
  'an agent obeys the filter and the limits of its collector',
  { skip: lacksAddon || lacks('capinfos') },
  async (t) => {
    const { collector } = await withPublic(t, {
      'hosts/web-*/settings.json': '{"count": 7}',
      'filter.txt': '# only\nip\n',
    });
    const file = join(temporaryFolder(t), 'in.pcap');
    writeFileSync(file, pcapBytes(Array.from({ length: 40 }, (_, n) => frameOf(n, n % 2 === 0))));
    const token = await collector.token('--host', '*');
    const send = async (host: string) => {
      const words = ['--token', token, '--host-name', host, '-r', file];
      const { code, stderr } = await runAgent(t, [...collector.address, ...words]);
      assert.equal(code, 0, stderr);
      const [published] = collector.published().filter((f) => f.includes(`/${host}/`));
      const [manifest] = manifestsOf(collector).filter((m) => m.host === host);
      return { packets: packetsIn(published!), manifest: manifest!, stderr };
    };
    const web = await send('web-1');
    assert.equal(web.packets, 7);
    assert.match(web.manifest.effectiveFilter, /\bip\b/);
    assert.match(web.stderr, /set by the collector/);
    const db = await send('db');
    assert.equal(db.packets, 20);
    assert.match(collector.stderr, /web-1 \(.*\): took settings/);
  },
);

/** Datagrams to an address: nobody answers. */
const SEND = `const s = require('node:dgram').createSocket('udp4');
const [, to, count] = process.argv;
s.connect(9, to, async () => {
  for (let n = 0; n < +count; n++) await new Promise((sent) => s.send('x', sent));
  s.close();
});`;

test(
  'a list that changes while a capture runs counts at once, and stands in the manifest',
  { skip: lacksRoot || lacksAddon || lacks('ip', 'tshark') },
  async (t) => {
    const [a, b] = namespacePair(t);
    execFileSync('ip', ['-n', a.name, 'route', 'add', '192.0.2.0/24', 'via', b.address]);
    const folder = temporaryFolder(t);
    const place = join(folder, 'public');
    mkdirSync(place);
    const list = join(place, 'exceptions.list');
    writeFileSync(list, '192.0.2.1\n');
    const collector = await Collector.start(t, { folder, prefix: a.prefix, flags: ['--public', place] });
    const token = await collector.token('--host', 'web-1');
    const words = ['--token', token, '--host-name', 'web-1', '-i', a.interface];
    const agent = new Program(t, process.execPath, [AGENT, ...collector.address, ...words], { prefix: a.prefix });
    await agent.says(/listening on/);
    const send = (to: string, count: number) => {
      execFileSync(a.prefix[0]!, [...a.prefix.slice(1), process.execPath, '-e', SEND, to, `${count}`], {
        timeout: 30_000,
      });
    };
    const state = async () => {
      const { stdout } = await runCollector(t, ['agents', '--json', '--state', collector.state]);
      return (JSON.parse(stdout) as AgentView).settings;
    };
    const first = await state();
    assert.equal(first.state, 'accepted');
    send('192.0.2.1', 30);
    send('192.0.2.2', 20);
    writeFileSync(`${list}.new`, '192.0.2.1\n192.0.2.2\n');
    renameSync(`${list}.new`, list);
    await until('the change', () => (collector.stderr.match(/: took settings/g) ?? []).length === 2);
    assert.notEqual((await state()).digest, first.digest);
    send('192.0.2.1', 15);
    send('192.0.2.2', 15);
    send('192.0.2.3', 5);
    const stopped = await runCollector(t, ['stop', 'web-*', '--state', collector.state]);
    assert.equal(stopped.code, 0, stopped.stderr);
    const { code, stderr } = await agent.end();
    assert.equal(code, 0, stderr);
    const count = (address: string) =>
    collector.published().flatMap((f) => tshark(f, 'ip.dst')).filter(([dst]) => dst === address).length; // prettier-ignore
    assert.deepEqual(['192.0.2.1', '192.0.2.2', '192.0.2.3'].map(count), [0, 20, 5]);
    const all = manifestsOf(collector).flatMap((m) => m.exclusions ?? []);
    const names = Object.assign({}, ...all.map((e) => e.names)) as Record<string, { packets: number }>;
    assert.deepEqual([names['192.0.2.1']?.packets, names['192.0.2.2']?.packets], [45, 15]);
    const lists = all.flatMap((e) => e.events).filter((e) => e.kind === 'list');
    assert.deepEqual(lists.map((e) => e.entries), [1, 2]); // prettier-ignore
    const digest = createHash('sha256').update('192.0.2.1\n192.0.2.2\n').digest('hex');
    assert.equal(lists[1]!.digest, digest);
    const settings = all.flatMap((e) => e.events).filter((e) => e.kind === 'settings');
    assert.deepEqual(settings.map((e) => e.words), ['1 exception (exceptions.list)', '2 exceptions (exceptions.list)']); // prettier-ignore
    assert.equal(settings[0]!.digest, first.digest);
    assert.match(collector.stderr, /ended \(.*\): web-1, .*, 60 excluded: complete/);
  },
);
