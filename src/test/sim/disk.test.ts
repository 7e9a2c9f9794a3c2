import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Disk } from '../../collector/disk.ts';
import { Arkime } from './arkime.ts';
import { SimDisk } from './disk.ts';
import { type Process, Scheduler } from './scheduler.ts';

interface World {
  scheduler: Scheduler;
  arkime: Arkime;
  disk: SimDisk;
  process: Process;
  files: Disk;
}

/** Runs `work` in many worlds, until it is over. */
async function worlds(work: (w: World) => Promise<void>, count = 200): Promise<void> {
  for (let seed = 1; seed <= count; seed++) {
    const scheduler = new Scheduler(seed);
    const arkime = new Arkime(scheduler);
    const disk = new SimDisk(scheduler, arkime);
    const process = scheduler.process('collector');
    const files = disk.for(process);
    let over = false;
    void files.makeFolder('/a', 0).then(async () => {
      await files.syncFolder('/');
      await work({ scheduler, arkime, disk, process, files });
      over = true;
    });
    await scheduler.run(() => over, { steps: 10_000, ms: 100_000 });
  }
}

const bytes = (text: string) => Buffer.from(text);
/** What a process finds after the power is back. */
async function textAfter(w: World, path: string): Promise<string | undefined> {
  const files = w.disk.for(w.scheduler.process('next'));
  return (await files.exists(path)) ? files.readText(path) : undefined;
}
const wait = (w: World, ms: number) => new Promise<void>((resolve) => void w.scheduler.after(ms, resolve));

test('what is synchronised, with its name, survives; the rest may be anything', async () => {
  const seen = new Set<string | undefined>();
  await worlds(async (w) => {
    const file = await w.files.create('/a/x');
    await file.write(bytes('safe'), 0);
    await file.datasync();
    await w.files.syncFolder('/a');
    await file.write(bytes('UNSAFE'), 4);
    w.disk.losePower(w.process);
    const text = await textAfter(w, '/a/x');
    assert.match(text!, /^safe[UNSAFE\0]*$/);
    seen.add(text);
  });
  for (const end of ['', 'UNSAFE', '\0\0\0\0\0\0', 'UNS', '\0\0\0AFE']) assert.ok(seen.has(`safe${end}`), end);
});

test('a name that was not synchronised may be gone, whatever the file did', async () => {
  const seen = new Set<string | undefined>();
  await worlds(async (w) => {
    const file = await w.files.create('/a/x');
    await file.write(bytes('safe'), 0);
    await file.datasync();
    w.disk.losePower(w.process);
    seen.add(await textAfter(w, '/a/x'));
  }, 50);
  assert.deepEqual(seen, new Set([undefined, 'safe']));
});

test('a rename that was not synchronised is there or not, never half', async () => {
  const seen = new Set<string>();
  await worlds(async (w) => {
    for (const [name, text] of [
      ['/a/x', 'old'],
      ['/a/x.new', 'new'],
    ] as const) {
      const file = await w.files.create(name);
      await file.write(bytes(text), 0);
      await file.datasync();
    }
    await w.files.syncFolder('/a');
    await w.files.rename('/a/x.new', '/a/x');
    w.disk.losePower(w.process);
    seen.add(`${await textAfter(w, '/a/x')} ${await textAfter(w, '/a/x.new')}`);
  }, 50);
  assert.deepEqual(seen, new Set(['old new', 'new undefined']));
});

test('a folder that was not synchronised takes all in it away', async () => {
  const seen = new Set<string | undefined>();
  await worlds(async (w) => {
    await w.files.makeFolder('/a/b', 0);
    const file = await w.files.create('/a/b/x');
    await file.write(bytes('safe'), 0);
    await file.datasync();
    await w.files.syncFolder('/a/b');
    w.disk.losePower(w.process);
    seen.add(await textAfter(w, '/a/b/x'));
  }, 50);
  assert.deepEqual(seen, new Set([undefined, 'safe']));
});

test('what a failed synchronisation left is read, and never durable', async () => {
  await worlds(async (w) => {
    const file = await w.files.create('/a/x');
    await w.files.syncFolder('/a');
    await file.write(bytes('lost'), 0);
    w.disk.faults.failSync = 1;
    await assert.rejects(file.datasync(), { code: 'EIO', syscall: 'fdatasync', errno: -5 });
    w.disk.faults.failSync = 0;
    await file.write(bytes('kept'), 4);
    await file.datasync();
    assert.equal(await w.files.readText('/a/x'), 'lostkept');
    w.disk.losePower(w.process);
    assert.equal(await textAfter(w, '/a/x'), '\0\0\0\0kept');
  });
});

test('a full disk takes a part', async () => {
  await worlds(async (w) => {
    w.disk.faults.capacity = 6;
    const file = await w.files.create('/a/x');
    await file.write(bytes('1234'), 0);
    assert.equal(await w.files.free('/a'), 2);
    await assert.rejects(file.write(bytes('5678'), 4), { code: 'ENOSPC' });
    assert.equal(await w.files.readText('/a/x'), '123456');
    await assert.rejects(w.files.create('/a/y'), { code: 'ENOSPC' });
    await file.truncate(3);
    await file.write(bytes('456'), 3);
  }, 20);
});

test('a killed process: each of its steps happened, in part, or not; its promises never settle', async () => {
  const seen = new Set<string>();
  await worlds(async (w) => {
    const file = await w.files.create('/a/x');
    let settled = false;
    for (const step of [file.write(bytes('1234'), 0), w.files.create('/a/y')]) void step.then(() => (settled = true));
    w.process.kill();
    await wait(w, 1000);
    assert.equal(settled, false);
    seen.add(`${await textAfter(w, '/a/x')} ${await textAfter(w, '/a/y')}`);
  });
  for (const text of [' undefined', '1234 undefined', ' ', '12 ', '1234 ']) assert.ok(seen.has(text), text);
});

test('steps of one moment happen in any order; what is written is what the bytes are then', async () => {
  const seen = new Set<string>();
  await worlds(async (w) => {
    const file = await w.files.create('/a/x');
    const text = bytes('a');
    const both = [file.write(text, 0), file.write(bytes('b'), 0)];
    if (w.scheduler.random.chance(0.5)) text[0] = 0x63;
    await Promise.all(both);
    seen.add(await w.files.readText('/a/x'));
  });
  assert.deepEqual(seen, new Set(['a', 'b', 'c']));
});

test('Arkime reads what is closed after it was renamed, and what a kill closes', async () => {
  const published = async (w: World, close: boolean) => {
    await wait(w, 1000);
    const file = await w.files.create('/a/x.pcap.part');
    await file.write(bytes('packets'), 0);
    await w.files.rename('/a/x.pcap.part', '/a/x.pcap');
    if (close) await file.close();
  };
  await worlds(async (w) => {
    await published(w, true);
    const reader = await w.files.open('/a/x.pcap', 'read');
    await reader.close();
    assert.deepEqual(
      w.arkime.reads.map((r) => [r.path, Buffer.from(r.content).toString()]),
      [['/a/x.pcap', 'packets']],
    );
  }, 20);
  await worlds(async (w) => {
    await published(w, false);
    w.process.kill();
    assert.equal(w.arkime.reads.length, 1);
  }, 20);
  await worlds(async (w) => {
    await published(w, false);
    w.disk.losePower(w.process);
    assert.equal(w.arkime.reads.length, 0);
    assert.deepEqual(w.arkime.uncertain, new Set(['/a/x.pcap']));
  }, 20);
  await worlds(async (w) => {
    const file = await w.files.create('/a/x.pcap');
    await file.close();
    assert.deepEqual([w.arkime.reads.length, w.arkime.missed.length], [0, 1]);
  }, 20);
});

test('faults: any step, as they say', async () => {
  await worlds(async (w) => {
    const file = await w.files.create('/a/x');
    w.disk.faults.readOnly = true;
    await assert.rejects(file.write(bytes('1'), 0), { code: 'EROFS' });
    await assert.rejects(w.files.rename('/a/x', '/a/y'), { code: 'EROFS', syscall: 'rename' });
    assert.equal(await w.files.readText('/a/x'), '');
    w.disk.faults = { ...w.disk.faults, readOnly: false, fail: 1, codes: ['ENOSPC'] };
    await assert.rejects(w.files.list('/a'), { code: 'ENOSPC' });
    await assert.rejects(w.files.exists('/a/x'), { code: 'ENOSPC' });
    await assert.rejects(file.close(), { code: 'ENOSPC' });
    await file.close().catch(() => {});
    await assert.rejects(file.size(), { code: 'EBADF' });
  }, 20);
});
