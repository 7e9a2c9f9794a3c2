import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setImmediate as immediate } from 'node:timers/promises';
import { systemClock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import type { Block } from '../packet.ts';
import { lacksRoot, temporaryFolder, until } from '../test/support.ts';
import { type DiskCalls, needsOwner, type Slot, SpoolDisk } from './spool-disk.ts';
import { ENTRY_BYTES, Spool } from './spool.ts';

const MIB = 1 << 20;
const onLinux = process.platform === 'linux' ? false : 'needs /proc';

interface Made {
  disk: SpoolDisk;
  folder: string;
  said: RcapError[];
  /** Milliseconds, as the disk's clock says. */
  time: { now: number };
}

function make(t: TestContext, limit = MIB, calls?: DiskCalls): Made {
  const folder = join(temporaryFolder(t), 'spool');
  const said: RcapError[] = [];
  const time = { now: 0 };
  const disk = new SpoolDisk(folder, limit, { ...systemClock, now: () => time.now }, (e) => said.push(e), calls);
  t.after(() => disk.close());
  return { disk, folder, said, time };
}
async function store(disk: SpoolDisk, bytes: Uint8Array): Promise<[Slot, boolean]> {
  const slot = disk.store(bytes);
  return [slot, await slot.stored];
}
const bytesOf = (length: number, value: number) => new Uint8Array(length).fill(value);

/** Files of this process in the folder that have no name. */
const nameless = (folder: string): string[] =>
  readdirSync('/proc/self/fd')
    .map((fd) => `/proc/self/fd/${fd}`)
    .filter((path) => {
      try {
        return statSync(path).nlink === 0 && readlinkSync(path).startsWith(folder);
      } catch {
        return false;
      }
    });

test('what is stored is read back, from several files, in any order', async (t) => {
  const { disk } = make(t, 1000);
  const slots: Slot[] = [];
  for (let i = 0; i < 10; i++) slots.push((await store(disk, bytesOf(100, i)))[0]);
  assert.ok(new Set(slots.map((s) => s.file)).size >= 8, 'a file is an eighth of all');
  assert.deepEqual([disk.used, disk.room(1), disk.isFull(1)], [1000, false, true]);
  for (const i of [9, 0, 5, 5]) assert.deepEqual(new Uint8Array(await disk.load(slots[i]!)), bytesOf(100, i));
  for (const s of slots) disk.free(s);
  assert.deepEqual([disk.used, disk.room(1000)], [0, true]);
});

test('a file is closed when all in it is freed, and not before', { skip: onLinux }, async (t) => {
  const { disk, folder } = make(t, 16 * MIB);
  const [a] = await store(disk, bytesOf(MIB, 1));
  const [b] = await store(disk, bytesOf(MIB, 2));
  const [c] = await store(disk, bytesOf(MIB, 3));
  assert.equal(nameless(folder).length, 2);
  disk.free(a);
  disk.free(a);
  assert.deepEqual([disk.used, nameless(folder).length], [3 * MIB, 2]);
  disk.free(b);
  await until('the file to be closed', () => nameless(folder).length === 1);
  assert.equal(disk.used, MIB);
  disk.free(c);
  await until('the other, too', () => nameless(folder).length === 0);
});

test(
  'the folder looks empty, nobody else may look into it, and what lies there is not what was stored',
  { skip: onLinux },
  async (t) => {
    const { disk, folder } = make(t);
    const secret = Buffer.from('PASSWORD=hunter2 '.repeat(100));
    await store(disk, secret);
    assert.deepEqual(readdirSync(folder), []);
    assert.equal(statSync(folder).mode & 0o7777, process.geteuid!() === 0 ? 0o1730 : 0o700);
    const [file] = nameless(folder);
    assert.equal(statSync(file!).mode & 0o777, 0o600);
    const bytes = readFileSync(file!);
    assert.equal(bytes.length, secret.length);
    assert.ok(!bytes.includes('hunter2'));
  },
);

test('the same bytes twice are not the same on disk', { skip: onLinux }, async (t) => {
  const { disk, folder } = make(t);
  await store(disk, bytesOf(64, 7));
  await store(disk, bytesOf(64, 7));
  const bytes = readFileSync(nameless(folder)[0]!);
  assert.ok(!bytes.subarray(0, 64).equals(bytes.subarray(64)));
});

test('what was changed, moved or cut is not taken', { skip: onLinux }, async (t) => {
  const { disk, folder } = make(t);
  const slots = await Promise.all([1, 2, 3].map((v) => store(disk, bytesOf(64, v)).then(([slot]) => slot)));
  const [file] = nameless(folder);
  const bytes = readFileSync(file!);
  bytes[70]! ^= 1;
  writeFileSync(file!, bytes);
  await assert.rejects(disk.load(slots[1]!), /not what was written/);
  await assert.rejects(disk.load({ ...slots[0]!, at: 128 }), /not what was written/);
  assert.deepEqual(new Uint8Array(await disk.load(slots[2]!)), bytesOf(64, 3));
  truncateSync(file!, 150);
  await assert.rejects(disk.load(slots[2]!), /shorter than what was written/);
});

/** Opens real files whose writes fail as long as `failing.code` is set; half of the bytes get there. */
function failingCalls(failing: { code: string | undefined }): DiskCalls {
  return {
    unlink,
    open: async (...args) => {
      const handle = await open(...args);
      const write = handle.write.bind(handle) as (
        b: Buffer,
        from: number,
        length: number,
        at: number,
      ) => Promise<{ bytesWritten: number }>;
      handle.write = (async (b: Buffer, from: number, length: number, at: number) => {
        if (!failing.code) return write(b, from, length, at);
        await write(b, from, Math.floor(length / 2), at);
        throw Object.assign(new Error('no'), { code: failing.code, errno: -28, syscall: 'write' });
      }) as unknown as FileHandle['write'];
      return handle;
    },
  };
}

test('a full disk is said once, is left alone for 10 s, and is used again then', async (t) => {
  const failing: { code: string | undefined } = { code: undefined };
  const { disk, said, time } = make(t, MIB, failingCalls(failing));
  const [kept] = await store(disk, bytesOf(64, 1));
  failing.code = 'ENOSPC';
  const results = await Promise.all([2, 3].map((v) => store(disk, bytesOf(64, v))));
  assert.deepEqual(results.map(([, stored]) => stored), [false, false]); // prettier-ignore
  assert.equal(said.length, 1);
  assert.match(said[0]!.message, /^could not write to '.*spool': no space left on device$/);
  assert.equal(disk.room(64), false);
  time.now = 10_000;
  assert.equal(disk.room(64), true);
  await store(disk, bytesOf(64, 4));
  assert.equal(said.length, 1);
  failing.code = undefined;
  time.now = 20_000;
  const [again, stored] = await store(disk, bytesOf(64, 5));
  assert.equal(stored, true);
  assert.deepEqual(new Uint8Array(await disk.load(kept)), bytesOf(64, 1));
  assert.deepEqual(new Uint8Array(await disk.load(again)), bytesOf(64, 5));
  failing.code = 'EIO';
  await store(disk, bytesOf(64, 6));
  assert.equal(said.length, 2);
  disk.free(kept);
  disk.free(again);
  assert.equal(disk.used, 0);
});

test('a folder that goes away is a failed write', async (t) => {
  const { disk, said } = make(t, MIB, { unlink, open: () => Promise.reject(Object.assign(new Error('gone'), { code: 'ENOENT' })) }); // prettier-ignore
  assert.equal((await store(disk, bytesOf(64, 1)))[1], false);
  assert.deepEqual([said.length, disk.used], [1, 0]);
});

test('a folder that others may use is refused; the hint is what to type', (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o750);
  const refused = (path: string, message: RegExp, hint: string | undefined) =>
    assert.throws(
      () => new SpoolDisk(path, MIB, systemClock, () => {}),
      (e) => e instanceof RcapError && message.test(e.message) && e.hint === hint,
    );
  refused(folder, /^could not use spool folder '.*': others than its owner may use it$/, `chmod 700 '${folder}'`);
  writeFileSync(join(folder, 'file'), '');
  refused(join(folder, 'file'), /^could not use spool folder '.*file': file already exists$/, undefined);
  chmodSync(folder, 0o700);
  assert.equal(new SpoolDisk(join(folder, 'a', 'b'), MIB, systemClock, () => {}).used, 0);
  assert.ok(existsSync(join(folder, 'a', 'b')));
});

const BLOCK = 4096;
function blockOf(value: number): Block & { released: number } {
  return {
    bytes: new Uint8Array(BLOCK).fill(value),
    end: BLOCK,
    packets: 1,
    packetBytes: 1,
    released: 0,
    release() {
      this.released++;
      this.bytes.fill(0xff);
    },
  };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** A spool with memory for six blocks, three of which may be on their way to the disk; capture 1 is begun. */
function spoolOn(disk: SpoolDisk, trouble?: (e: RcapError) => void): { spool: Spool; calls: { ready: number } } {
  const calls = { ready: 0 };
  const spool = new Spool({
    limit: 6 * (BLOCK + ENTRY_BYTES),
    whenFull: 'wait',
    disk,
    ready: () => calls.ready++,
    trouble,
  });
  spool.start(1, () => Buffer.from('start'));
  spool.next();
  return { spool, calls };
}

test('what memory cannot hold waits on disk without memory, and comes back in order', async (t) => {
  const { disk, folder } = make(t);
  const { spool, calls } = spoolOn(disk);
  const blocks = Array.from({ length: 20 }, (_, i) => blockOf(i));
  for (const block of blocks) {
    spool.add(1, block);
    await settle();
  }
  assert.deepEqual(blocks.map((b) => b.released), [0, 0, 0, ...Array<number>(17).fill(1)]); // prettier-ignore
  assert.equal(spool.held, 3 * BLOCK + 20 * ENTRY_BYTES);
  assert.equal(spool.heldOnDisk, 17 * BLOCK);
  const seen: number[] = [];
  for (let i = 0; seen.length < 20; i++) {
    assert.ok(i < 10_000);
    for (let frame; (frame = spool.next());) seen.push(frame.at(-1)!);
    await immediate();
  }
  assert.deepEqual(seen, Array.from({ length: 20 }, (_, i) => i)); // prettier-ignore
  assert.ok(calls.ready > 0);
  // Sent, the copy on disk is enough.
  assert.deepEqual([spool.held, spool.heldOnDisk], [3 * BLOCK + 20 * ENTRY_BYTES, 17 * BLOCK]);
  assert.equal(spool.acknowledge(1, 20, false).packets, 20);
  assert.deepEqual([spool.held, spool.heldOnDisk], [0, 0]);
  assert.deepEqual(readdirSync(folder), []);
});

test('as long as something waits on disk what comes goes there, too; then memory is used again', async (t) => {
  const { disk } = make(t);
  const { spool } = spoolOn(disk);
  for (let i = 0; i < 11; i++) {
    spool.add(1, blockOf(i));
    await settle();
  }
  for (let i = 0; i < 3; i++) spool.next();
  spool.acknowledge(1, 3, false);
  const toDisk = blockOf(5);
  spool.add(1, toDisk);
  await settle();
  assert.deepEqual([toDisk.released, spool.heldOnDisk], [1, 9 * BLOCK]);
  while (spool.waiting > 0) {
    spool.next();
    await immediate();
  }
  const toMemory = blockOf(6);
  spool.add(1, toMemory);
  await settle();
  assert.equal(toMemory.released, 0);
});

test(
  'a failed write leaves the batch in memory; what cannot be read back becomes a gap, and is said',
  { skip: onLinux },
  async (t) => {
    const failing: { code: string | undefined } = { code: undefined };
    const { disk, folder } = make(t, MIB, failingCalls(failing));
    const said: string[] = [];
    const { spool } = spoolOn(disk, (e) => said.push(e.message));
    for (let i = 0; i < 5; i++) {
      failing.code = i === 4 ? 'ENOSPC' : undefined;
      spool.add(1, blockOf(i));
      await settle();
    }
    assert.equal(spool.held, 4 * BLOCK + 5 * ENTRY_BYTES);
    writeFileSync(nameless(folder)[0]!, 'x');
    const kinds: number[] = [];
    while (spool.waiting > 0 || kinds.length < 5) {
      for (let frame; (frame = spool.next());) kinds.push(frame[frame[0]! > 127 ? 2 : 1]!);
      await immediate();
    }
    const [batch, gap] = [0x1a, 0x22];
    assert.deepEqual(kinds, [batch, batch, batch, gap, batch]);
    assert.match(
      said[0]!,
      /^could not read 1 packet back from the spool folder: the file is shorter than what was written$/,
    );
    assert.equal(spool.dropped(1).packets, 1);
  },
);

test("another user's folder is refused, whatever its mode", { skip: lacksRoot }, (t) => {
  const folder = temporaryFolder(t);
  chownSync(folder, 65_534, 65_534);
  assert.throws(
    () => new SpoolDisk(folder, MIB, systemClock, () => {}),
    new RcapError('SPOOL_DISK', `could not use spool folder '${folder}': it belongs to another user`, {
      hint: `name a folder that is missing, or: chown 0 '${realpathSync(folder)}'`,
    }),
  );
});

test('a link is followed once: turned afterwards, it leads nowhere', { skip: onLinux }, async (t) => {
  const folder = temporaryFolder(t);
  const [ours, other, link] = ['ours', 'other', 'link'].map((name) => join(folder, name)) as [string, string, string];
  for (const path of [ours, other]) mkdirSync(path, 0o700);
  symlinkSync(ours, link);
  const disk = new SpoolDisk(link, MIB, systemClock, assert.fail);
  t.after(() => disk.close());
  rmSync(link);
  symlinkSync(other, link);
  assert.equal((await store(disk, bytesOf(64, 1)))[1], true);
  assert.deepEqual([nameless(ours).length, nameless(other).length], [1, 0]);
  chmodSync(other, 0o755);
  assert.throws(() => new SpoolDisk(link, MIB, systemClock, assert.fail), /others than its owner/);
});

test('root lends an empty folder to the agents, also a second time, and no other', { skip: lacksRoot }, async (t) => {
  const folder = temporaryFolder(t);
  const path = (name: string) => join(folder, name);
  const use = (name: string) => {
    const disk = new SpoolDisk(path(name), MIB, systemClock, assert.fail);
    t.after(() => disk.close());
    return store(disk, bytesOf(64, 1));
  };
  for (const name of ['spool', 'spool', 'home']) {
    if (name === 'home') {
      mkdirSync(path('home'), 0o700);
      writeFileSync(path('home/file'), '');
    }
    assert.equal((await use(name))[1], true);
  }
  const { mode, uid, gid } = statSync(path('spool'));
  assert.deepEqual([mode & 0o7777, uid, gid], [0o1730, 0, 2_100_000_000]);
  const home = statSync(path('home'));
  assert.deepEqual([home.mode & 0o7777, home.gid], [0o700, 0]);
  assert.deepEqual([needsOwner(path('spool')), needsOwner(path('home'))], [false, true]);
  // Not whom it is lent to otherwise.
  chownSync(path('spool'), 0, 65_534);
  assert.throws(() => new SpoolDisk(path('spool'), MIB, systemClock, assert.fail), /others than its owner/);
});
