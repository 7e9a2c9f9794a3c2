import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FaultyDisk } from '../test/faulty-disk.ts';
import { captureEnd, captureStart, gap, hello, onePacket } from '../test/peer.ts';
import {
  fastClock,
  HandClock,
  LiveClock,
  memoryFolder,
  openIntake,
  type OpenedIntake,
  type OpenedStore,
  openStore,
  RUN,
  type StoreSetting,
  TOKEN,
} from '../test/storage.ts';
import { filesUnder, until } from '../test/support.ts';
import { frame, resume, uint } from '../test/wire.ts';
import { rcap } from '../wire/messages.js';
import { type Disk, systemDisk } from './disk.ts';

const { Code } = rcap.v1.Refusal;
const run = Buffer.from(RUN, 'hex');

const storeIn = (t: TestContext, setting: StoreSetting = {}) =>
  openStore(t, { folder: memoryFolder(t), disk: new FaultyDisk(), ...setting });

interface Coming {
  run?: Uint8Array;
  host?: string;
  /** Each a capture, and its first sequence that isn't acknowledged; onePacket has one packet a sequence. */
  resumes?: [capture: number, first: number][];
  token?: string;
  connection?: number;
}

/** A connection whose Hello is answered. */
async function comes(opened: OpenedStore, c: Coming = {}): Promise<OpenedIntake> {
  const intake = openIntake(opened, { admit: () => c.token ?? TOKEN });
  const resumes = (c.resumes ?? []).map(([capture, first]) => resume(capture, first));
  const more = Buffer.concat([...resumes, ...(c.connection ? [uint(8, c.connection)] : [])]);
  intake.intake.push(frame(hello({ host: c.host ?? 'web01', run: c.run ?? run, more })));
  await intake.greeted();
  return intake;
}
const says = (i: OpenedIntake, ...messages: Uint8Array[]) => i.intake.push(Buffer.concat(messages.map(frame)));
const stands = (i: OpenedIntake) => i.welcome()!.captures.map((d) => [d.capture, d.lastSequence, d.ended ?? false]);
const acknowledged = (i: OpenedIntake, sequence: number) =>
  until(`an acknowledgement of ${sequence}`, () => i.acks().some((a) => a.sequence === sequence));

test('a newer connection takes over, and hears exactly what is durable', async (t) => {
  const s = await storeIn(t, { options: { syncMs: 1e6 } });
  const old = await comes(s);
  says(old, captureStart(1), onePacket(1));
  await acknowledged(old, 1);
  // Received and not yet acknowledged: it is made durable first.
  says(old, onePacket(2), onePacket(3), captureStart(2), onePacket(1, 2), captureStart(3), captureEnd(3, 0));
  const newer = await comes(s, {
    resumes: [
      [1, 2],
      [2, 1],
      [3, 1],
      [4, 1],
    ],
  });
  assert.equal(old.refusal()!.code, Code.SUPERSEDED);
  assert.deepEqual(stands(newer), [
    [1, 3, false],
    [2, 1, false],
    [3, 0, true],
    [4, 0, false],
  ]);
  says(newer, captureStart(1), onePacket(4), captureEnd(1, 4), captureStart(2), captureEnd(2, 1));
  await newer.intake.end('disconnected');
  assert.equal(newer.refusal(), undefined);
  await old.intake.end('disconnected');
  assert.deepEqual(
    s.folders
      .manifests()
      .filter((m) => m.capture === 1)
      .map((m) => [m.firstSequence, m.lastSequence, m.closedBy]),
    [
      [1, 3, 'superseded'],
      [4, 4, 'end'],
    ],
  );
  assert.deepEqual(s.folders.names('.journal'), []);
});

test('of three connections at once the last has the run, and nobody waits for ever', async (t) => {
  const s = await storeIn(t);
  const all = await Promise.all([comes(s), comes(s), comes(s)]);
  assert.deepEqual(
    all.map((i) => i.refusal()?.code),
    [Code.SUPERSEDED, Code.SUPERSEDED, undefined],
  );
  says(all[2], captureStart(1), onePacket(1), captureEnd(1, 1));
  await Promise.all(all.map((i) => i.intake.end('disconnected')));
  assert.equal(s.folders.manifests()[0]!.end!.reason, 'stopped');
});

test('of two connections that are numbered the higher one counts, however late the other comes', async (t) => {
  const s = await storeIn(t);
  const second = await comes(s, { connection: 2 });
  const first = await comes(s, { connection: 1 });
  assert.equal(first.refusal()!.code, Code.SUPERSEDED);
  assert.equal(first.welcome(), undefined);
  await first.intake.end('disconnected');
  assert.equal(second.refusal(), undefined);
  says(second, captureStart(1), onePacket(1));
  await acknowledged(second, 1);
  const third = await comes(s, { connection: 3 });
  assert.equal(second.refusal()!.code, Code.SUPERSEDED);
  for (const i of [second, third]) await i.intake.end('disconnected');
});

test('another run, and another host, take nothing over', async (t) => {
  const s = await storeIn(t);
  const [a, b, c] = [
    await comes(s),
    await comes(s, { run: Buffer.alloc(16, 1) }),
    await comes(s, { host: 'db01', run: Buffer.alloc(16, 2) }),
  ];
  for (const i of [a, b, c]) says(i, captureStart(1), onePacket(1), captureEnd(1, 1));
  for (const i of [a, b, c]) {
    await i.intake.end('disconnected');
    assert.equal(i.refusal(), undefined);
  }
  assert.deepEqual([s.folders.names('.pcap').length, s.folders.names('.pcap', 'db01').length], [2, 1]);
});

test('after a restart a capture goes on at the durable position, wherever its agent would begin', async (t) => {
  for (const first of [1, 3, 4]) {
    const folder = memoryFolder(t);
    const s = await storeIn(t, { folder });
    const i = await comes(s);
    says(i, captureStart(1), onePacket(1), onePacket(2), onePacket(3));
    await i.intake.end('stopped');
    s.store.close();
    const next = await storeIn(t, { folder });
    const again = await comes(next, { resumes: [[1, first]] });
    assert.deepEqual(stands(again), [[1, 3, false]]);
    says(again, captureStart(1), ...[1, 2, 3, 4].slice(first - 1).map((n) => onePacket(n)), captureEnd(1, 4));
    await again.intake.end('disconnected');
    assert.equal(again.refusal(), undefined);
    assert.equal(
      next.folders.manifests().reduce((n, m) => n + m.packets, 0),
      4,
    );
  }
});

test('another collector goes on at the first sequence that is not acknowledged, and a hole is refused', async (t) => {
  const s = await storeIn(t);
  const i = await comes(s, { resumes: [[1, 101]] });
  assert.deepEqual(stands(i), [[1, 100, false]]);
  says(i, captureStart(1), onePacket(101), onePacket(102));
  await i.intake.end('disconnected');
  const [m] = s.folders.manifests();
  assert.deepEqual([m!.firstSequence, m!.firstPacketNumber, m!.lastSequence], [101, 101, 102]);
  // Meanwhile a third one acknowledged more.
  const back = await comes(s, { resumes: [[1, 201]] });
  assert.deepEqual(stands(back), [[1, 200, false]]);
  says(back, captureStart(1), onePacket(203));
  assert.match(back.refusal()!.message, /goes on at sequence 203, but 200 was the last/);
  await back.intake.end('disconnected');
});

test('what the agent forgot to resume goes on all the same where it stands', async (t) => {
  const s = await storeIn(t);
  const i = await comes(s);
  says(i, captureStart(1), onePacket(1));
  await i.intake.end('disconnected');
  const again = await comes(s);
  assert.deepEqual(stands(again), []);
  says(again, captureStart(1), onePacket(1), onePacket(2), captureEnd(1, 2));
  await again.intake.end('disconnected');
  assert.equal(again.refusal(), undefined);
  assert.equal(
    s.folders.manifests().reduce((n, m) => n + m.packets, 0),
    2,
  );
});

test('ended captures are said to be, after a restart and without a file, too', async (t) => {
  const folder = memoryFolder(t);
  const s = await storeIn(t, { folder });
  const i = await comes(s);
  says(i, captureStart(1), onePacket(1), captureEnd(1, 1));
  says(i, captureStart(2), captureEnd(2, 0), captureStart(3), gap(3, 1, 9), captureEnd(3, 9));
  await i.intake.end('disconnected');
  s.store.close();
  const next = await storeIn(t, { folder });
  const again = await comes(next, {
    resumes: [
      [3, 1],
      [2, 1],
      [1, 1],
    ],
  });
  assert.deepEqual(stands(again), [
    [3, 9, true],
    [2, 0, true],
    [1, 1, true],
  ]);
  says(again, captureStart(2));
  assert.match(again.refusal()!.message, /capture 2 was started already/);
  await again.intake.end('disconnected');
});

test('when a connection is over it is said how its captures stand, and at the end, once, how they ended', async (t) => {
  const folder = memoryFolder(t);
  const s = await storeIn(t, { folder });
  const first = await comes(s);
  says(first, captureStart(1), onePacket(1), onePacket(2), captureStart(2));
  await first.intake.end('disconnected');
  const second = await comes(s, { connection: 2 });
  // Two packets that count, in one gap.
  says(second, captureStart(1), gap(1, 3, 4, 2), onePacket(5));
  await acknowledged(second, 5);
  const third = await comes(s, { connection: 3 });
  says(third, captureStart(1), captureEnd(1, 5));
  await until('its end', () => third.acks().some((a) => a.ended));
  await third.intake.end('disconnected');
  s.store.close();
  const name = 'web01, eth0';
  const closing = (store: OpenedStore) => store.said.filter((line) => /so far|ended/.test(line));
  assert.deepEqual(closing(s), [
    `without an end so far (disconnected): ${name}: 2 packets in files, 0 in gaps`,
    `without an end so far (superseded): ${name}: 3 packets in files, 2 in gaps`,
    `warning: ended (stopped): ${name}: 3 packets in files, 2 in gaps, 0 dropped by kernel and interface: ` +
      '2 packets are lost; the agent sent no counters',
    'stopped: 1 capture ended, 3 packets in files, 2 in gaps',
  ]);
  // It has nothing more to say of it.
  const next = await storeIn(t, { folder });
  const again = await comes(next, { resumes: [[1, 1]] });
  await again.intake.end('disconnected');
  next.store.close();
  assert.deepEqual(closing(next), ['stopped: 0 captures ended, 0 packets in files, 0 in gaps']);
});

test('gaps of all connections together stay within what is counted exactly', async (t) => {
  const s = await storeIn(t);
  const first = await comes(s);
  says(first, captureStart(1), gap(1, 1, 1, 1, 2n ** 51n));
  await first.intake.end('disconnected');
  // Also behind what another collector acknowledged.
  for (const from of [2, 9]) {
    const again = await comes(s, { resumes: [[1, from]] });
    says(again, captureStart(1), gap(1, from, from, 1, 2n ** 51n));
    assert.match(again.refusal()!.message, /a gap is out of range/);
    await again.intake.end('disconnected');
  }
});

test('an end that the disk lets be saved only later is reported once, and nothing else of it', async (t) => {
  const ends = async (disk: FaultyDisk) => {
    const s = await storeIn(t, { disk, options: { rotateIdleMs: 0 } });
    const i = await comes(s);
    says(i, captureStart(1), onePacket(1));
    await until(
      'a manifest',
      () =>
        (s.folders.manifests().length === 1 && s.folders.names('.journal').length === 0) || (i.intake.tick(), false),
    );
    const before = disk.steps.length;
    says(i, captureEnd(1, 1));
    await until('its end', () => i.acks().some((a) => a.ended) || i.refusal() !== undefined);
    await i.intake.end('disconnected');
    const again = await comes(s, { resumes: [[1, 1]] });
    assert.deepEqual(stands(again), [[1, 1, true]]);
    await again.intake.end('disconnected');
    s.store.close();
    const closing = s.said.filter((line) => /so far|ended \(/.test(line));
    assert.equal(closing.length, 1, closing.join('\n'));
    assert.match(closing[0]!, /^warning: ended \(stopped\): web01, eth0: 1 packet in files/);
    return [before, disk.steps.length] as const;
  };
  const plain = new FaultyDisk();
  const [before] = await ends(plain);
  const saves = plain.steps.findIndex((step, n) => n >= before && step.includes(`${RUN}.json`)) + 1;
  for (const fault of ['before', 'after'] as const) await ends(new FaultyDisk({ at: saves, fault }));
});

test('a run that another token began is refused, and its connection stays', async (t) => {
  const s = await storeIn(t);
  const own = await comes(s);
  says(own, captureStart(1), onePacket(1));
  await acknowledged(own, 1);
  const other = await comes(s, { token: '99999999', resumes: [[1, 1]] });
  assert.equal(other.refusal()!.code, Code.TOKEN);
  await other.intake.end('disconnected');
  assert.equal(own.refusal(), undefined);
  says(own, onePacket(2), captureEnd(1, 2));
  await own.intake.end('disconnected');
  assert.equal(s.folders.manifests()[0]!.packets, 2);
  // Afterwards, too.
  const later = await comes(s, { token: '99999999' });
  assert.equal(later.refusal()!.code, Code.TOKEN);
  await later.intake.end('disconnected');
});

/** What a collector leaves that was killed with two packets acknowledged and a third one written. */
async function killed(t: TestContext, folder: string): Promise<void> {
  const disk = new FaultyDisk();
  const s = await storeIn(t, { folder, disk, options: { syncMs: 1e6 } });
  const i = await comes(s);
  says(i, captureStart(1), onePacket(1));
  await acknowledged(i, 1);
  s.store.close();
  await disk.closeAll();
  assert.deepEqual(
    readdirSync(s.folders.host())
      .map((n) => n.replace(/^[^.]*/, ''))
      .toSorted(),
    ['.journal', '.pcap.part'],
  );
}

test('what can not be recovered is said; its run is told to come later, and goes on once it can', async (t) => {
  const folder = memoryFolder(t);
  await killed(t, folder);
  let broken = true;
  const open: Disk['open'] = async (path, access) => {
    if (broken && path.endsWith('.part'))
      throw Object.assign(new Error('EIO: i/o error, open'), { code: 'EIO', errno: -5, syscall: 'open' });
    return systemDisk.open(path, access);
  };
  const s = await storeIn(t, { folder, disk: { ...systemDisk, open }, clock: fastClock(50) });
  await until('a warning', () => s.said.some((line) => line.startsWith('warning: could not recover')));
  for (let n = 0; n < 2; n++) {
    const early = await comes(s, { resumes: [[1, 2]] });
    assert.deepEqual([early.refusal()!.code, early.welcome()], [Code.STORAGE, undefined]);
    assert.ok(!early.refusal()!.message.includes(folder));
    await early.intake.end('disconnected');
  }
  // Others aren't kept waiting.
  const other = await comes(s, { run: Buffer.alloc(16, 7), host: 'db01' });
  says(other, captureStart(1), onePacket(1), captureEnd(1, 1));
  await other.intake.end('disconnected');
  assert.equal(s.folders.manifests('db01').length, 1);
  // Said once, and not every five seconds.
  await sleep(400);
  assert.equal(s.said.filter((line) => /could not recover/.test(line)).length, 1);
  broken = false;
  await until('its recovery', () => s.said.some((line) => line.startsWith('warning: recovered')));
  const i = await comes(s, { resumes: [[1, 2]] });
  assert.deepEqual(stands(i), [[1, 1, false]]);
  says(i, captureStart(1), onePacket(2), captureEnd(1, 2));
  await i.intake.end('disconnected');
  assert.deepEqual(
    s.folders.manifests().map((m) => [m.firstSequence, m.lastSequence, m.packets, m.closedBy]),
    [
      [1, 1, 1, 'recovered'],
      [2, 2, 1, 'end'],
    ],
  );
});

test('what was left is recovered at the next Hello, before any timer', async (t) => {
  const folder = memoryFolder(t);
  const clock = new HandClock();
  // The first step on the segment's file after the first acknowledgement fails.
  const disk = new FaultyDisk();
  const s = await storeIn(t, { folder, disk, clock });
  const i = await comes(s);
  clock.turn(1000);
  says(i, captureStart(1), onePacket(1));
  await acknowledged(i, 1);
  disk.at = disk.steps.length + 1;
  clock.turn(10);
  says(i, onePacket(2));
  await until('a refusal', () => i.refusal());
  assert.equal(i.refusal()!.code, Code.STORAGE);
  await i.intake.end('disconnected');
  assert.equal(s.folders.names('.journal').length, 1);
  const again = await comes(s, { resumes: [[1, 2]] });
  assert.deepEqual(stands(again), [[1, 1, false]]);
  assert.deepEqual([s.folders.names('.journal'), s.folders.names('.pcap').length], [[], 1]);
  await again.intake.end('disconnected');
});

test('without room nothing is written, and once there is it goes on', async (t) => {
  const clock = new LiveClock();
  const disk = new FaultyDisk();
  const s = await storeIn(t, { clock, disk, options: { minFreeBytes: 1e6 } });
  const i = await comes(s);
  says(i, captureStart(1), onePacket(1));
  await acknowledged(i, 1);
  disk.room = 999_999;
  await until('that to be seen', () => s.store.full);
  assert.match(s.said.at(-1)!, /^warning: taking nothing more: 1\.0 MiB are free .*--min-free/);
  says(i, onePacket(2));
  // What there was is published first: it may be taken away to make room.
  await until('the file', () => s.folders.manifests()[0]);
  assert.deepEqual([s.folders.manifests()[0]!.closedBy, s.folders.manifests()[0]!.packets], ['full', 1]);
  i.intake.tick();
  assert.match(i.statuses().at(-1)!.reason, /nearly full/);
  await sleep(700);
  assert.deepEqual([s.folders.names('.part'), i.acks().at(-1)!.sequence], [[], 1]);
  assert.equal(i.closed(), 0);
  disk.room = 1.2e6;
  await acknowledged(i, 2);
  assert.equal(s.said.at(-1), 'there is room on the disk again');
  i.intake.tick();
  assert.equal(i.statuses().at(-1)!.behind, false);
  says(i, captureEnd(1, 2));
  await i.intake.end('disconnected');
  assert.deepEqual(
    s.folders.manifests().map((m) => [m.firstSequence, m.packets]),
    [
      [1, 1],
      [2, 1],
    ],
  );
});

for (const how of ['disconnected', 'stopped', 'superseded'] as const) {
  test(`a connection that is ${how} while the disk is full ends at once, and nothing of the rest is said to be durable`, async (t) => {
    const disk = new FaultyDisk();
    const s = await storeIn(t, { disk, options: { minFreeBytes: 1e6 } });
    const i = await comes(s);
    says(i, captureStart(1), onePacket(1));
    await acknowledged(i, 1);
    disk.room = 0;
    await until('that to be seen', () => s.store.full);
    says(i, onePacket(2), gap(1, 3, 4), captureEnd(1, 4));
    await sleep(50);
    const begun = performance.now();
    const newer = how === 'superseded' ? await comes(s, { resumes: [[1, 2]] }) : undefined;
    if (!newer) await i.intake.end(how);
    assert.ok(performance.now() - begun < 5000);
    assert.ok(i.acks().every((a) => a.sequence === 1 && !a.ended));
    assert.deepEqual(s.folders.names('.part'), []);
    disk.room = 1e9;
    await until('that to be seen', () => !s.store.full);
    const again = newer ?? (await comes(s, { resumes: [[1, 2]] }));
    assert.deepEqual(stands(again), [[1, 1, false]]);
    says(again, captureStart(1), onePacket(2), gap(1, 3, 4), captureEnd(1, 4));
    await again.intake.end('disconnected');
    assert.equal(again.refusal(), undefined);
    assert.equal(
      s.folders.manifests().reduce((n, m) => n + m.packets, 0),
      2,
    );
    assert.equal(s.folders.manifests().at(-1)!.end?.reason, 'stopped');
  });
}

test('two runs whose names collide: one of them waits, and neither loses a packet', async (t) => {
  // The same first half of their ids, host, capture, interface and second.
  const clock = new HandClock();
  const s = await storeIn(t, { clock });
  const runs = [run, Buffer.concat([run.subarray(0, 8), Buffer.alloc(8, 0xee)])];
  const first = await comes(s, { run: runs[0]! });
  clock.turn(1000);
  says(first, captureStart(1), onePacket(1));
  await acknowledged(first, 1);
  const second = await comes(s, { run: runs[1]! });
  says(second, captureStart(1), onePacket(1, 1, Buffer.from('of the second')));
  await until('an answer', () => second.refusal() ?? second.acks()[0]);
  const live = first.acks().length;
  // Time enough for whatever is done with what is left.
  for (let n = 0; n < 30; n++) {
    clock.turn(250);
    await sleep(2);
  }
  says(first, onePacket(2), onePacket(3));
  for (let n = 0; n < 20; n++) {
    clock.turn(100);
    await sleep(2);
  }
  assert.equal(first.refusal(), undefined, first.refusal()?.message ?? '');
  assert.ok(first.acks().length > live);
  says(first, captureEnd(1, 3));
  await until('its end', () => first.acks().some((a) => a.ended));
  for (const i of [first, second]) await i.intake.end('disconnected');
  const ours = s.folders.manifests().filter((m) => m.run === RUN);
  assert.deepEqual(
    ours.map((m) => [m.firstSequence, m.lastSequence, m.packets, m.fileBytes]),
    [[1, 3, 3, s.folders.bytes(ours[0]!.file).length]],
  );
});

test('a folder that is not a host’s, and files beside them, do not keep a store from opening', async (t) => {
  const folder = memoryFolder(t);
  mkdirSync(join(folder, 'captures', 'empty'), { recursive: true });
  writeFileSync(join(folder, 'captures', 'x.journal'), 'not in a folder');
  mkdirSync(join(folder, 'captures', 'odd'));
  writeFileSync(join(folder, 'captures', 'odd', 'odd.journal'), 'nonsense\nand more\n');
  const s = await storeIn(t, { folder });
  const i = await comes(s);
  says(i, captureStart(1), onePacket(1), captureEnd(1, 1));
  await i.intake.end('disconnected');
  assert.equal(s.folders.manifests().length, 1);
  assert.ok(filesUnder(s.folders.captures).includes('x.journal'));
});

test('a host’s folder that somebody removed meanwhile is made again', async (t) => {
  const s = await storeIn(t);
  const first = await comes(s);
  await first.intake.end('disconnected');
  rmSync(s.folders.host(), { recursive: true });
  const again = await comes(s);
  says(again, captureStart(1), onePacket(1), captureEnd(1, 1));
  await again.intake.end('disconnected');
  assert.equal(s.folders.manifests().length, 1);
});
