'use strict';
// However it ends: the process, an environment, a callback.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const { spawn, spawnSync } = require('node:child_process');
const { Worker } = require('node:worker_threads');
const { addon, collect, folder, pcap, test, udp, write } = require('./support.js');
const { inNamespace, keepSending, send, veth } = require('./network.js');

const prelude = `
  const addon = require(${JSON.stringify(require.resolve('../index.js'))});
  const pool = addon.createPool(8);
  const handlers = { onCapture() {}, onBlock(id, block) { pool.release(block); }, onEnd() {} };
`;
const run = (program) => spawnSync(process.execPath, ['-e', prelude + program], { encoding: 'utf8', timeout: 30_000 });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const records = (count) => Array.from({ length: count }, (_, mark) => ({ data: udp({ mark, size: 200 }) }));

inNamespace(__filename, () => {
  test('a session keeps the process alive until onEnd, and no longer', () => {
    const { stdout, status, signal } = run(`
      const session = addon.open(pool, { interface: 'lo' }, { ...handlers, onEnd: () => console.log('end') });
      setTimeout(() => session.stop(), 300).unref();
      process.on('exit', () => console.log('exit'));
      setTimeout(() => {}, 400);`);
    assert.deepEqual([stdout, status, signal], ['end\nexit\n', 0, null]);
  });

  test('process.exit in the middle of a capture, from outside and from a callback', async () => {
    const { near } = veth();
    const stopSending = keepSending(near);
    for (const program of [
      `addon.open(pool, { interface: '${near}' }, handlers); setTimeout(() => process.exit(7), 200);`,
      `addon.open(pool, { interface: '${near}' }, { ...handlers, onBlock() { process.exit(7); } });`,
      `addon.open(pool, { interface: '${near}' }, { ...handlers, onCapture() { process.exit(7); } });`,
      `addon.open(pool, { interface: '${near}' }, handlers); process.exit(7);`,
    ]) {
      const { status, signal, stderr } = run(program);
      assert.deepEqual([status, signal, stderr], [7, null, '']);
    }
    stopSending();
  });

  test('exit in the middle of a capture: at once, whatever would hold the process', () => {
    const { near } = veth();
    const stopSending = keepSending(near);
    for (const program of [
      `addon.open(pool, { interface: '${near}' }, handlers); setTimeout(() => addon.exit(7), 200);`,
      `addon.open(pool, { interface: '${near}' }, { ...handlers, onBlock() { addon.exit(7); } });`,
      `process.on('exit', () => { for (;;); }); process.stdout.write('said'); addon.exit(7);`,
    ]) {
      const { status, signal, stdout, stderr } = run(program);
      assert.deepEqual([status, signal, stdout, stderr], [7, null, program.includes('said') ? 'said' : '', '']);
    }
    stopSending();
  });

  test('a signal in the middle of a capture', async () => {
    const child = spawn(process.execPath, [
      '-e',
      `${prelude} addon.open(pool, { interface: 'lo' }, { ...handlers, onCapture: () => console.log('on') })`,
    ]);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGTERM');
    const [status, signal] = await new Promise((resolve) => child.on('close', (...how) => resolve(how)));
    assert.deepEqual([status, signal], [null, 'SIGTERM']);
  });

  test('an exception in a callback is an uncaught one', () => {
    const file = write(pcap(records(10)));
    for (const name of ['onCapture', 'onBlock', 'onEnd']) {
      const { status, stderr } = run(
        `addon.open(pool, { file: ${JSON.stringify(file)} }, { ...handlers, ${name}() { throw new Error('from ${name}'); } });`,
      );
      assert.equal(status, 1, stderr);
      assert.match(stderr, new RegExp(`Error: from ${name}`));
      assert.doesNotMatch(stderr, /Warning/);
    }
  });

  test('who catches it gets all the other calls, in order', () => {
    const file = write(pcap(records(20_000)));
    const { stdout, status, stderr } = run(`
      let packets = 0, caught = 0;
      process.on('uncaughtException', () => caught++);
      const session = addon.open(pool, { file: ${JSON.stringify(file)} }, {
        onCapture() { throw new Error('one'); },
        onBlock(id, block, length, count) { packets += count; pool.release(block); throw new Error('more'); },
        onEnd(error) { setImmediate(() => console.log(packets, session.stats().captured, caught > 5, error, pool.free)); throw new Error('last'); },
      });`);
    assert.deepEqual([stdout, status, stderr], ['20000 20000 true undefined 8\n', 0, '']);
  });

  test('workers that are terminated in the middle of a capture', async () => {
    const { near } = veth();
    const stopSending = keepSending(near);
    const before = threads();
    for (let i = 0; i < 20; i++) {
      const worker = new Worker(
        `${prelude}
        const { parentPort } = require('node:worker_threads');
        addon.open(pool, { interface: '${near}' }, { ...handlers, onCapture() { parentPort.postMessage(0); }, onBlock(id, block) { if (${i % 2}) pool.release(block); } });
        if (${i % 3 === 0}) addon.compile('tcp', 1, 1);`,
        { eval: true },
      );
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await pause(i * 5);
      await worker.terminate();
    }
    stopSending();
    await settles(() => threads() <= before + 4); // libuv's own four may have come
  });

  test('workers that end by themselves, beside a session of the main thread', async () => {
    const mine = collect({ interface: 'lo' });
    await mine.started;
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        const worker = new Worker(
          `${prelude}
          const session = addon.open(pool, { interface: 'lo' }, { ...handlers, onCapture() { session.stop(); }, onEnd(error) { require('node:worker_threads').parentPort.postMessage(error ?? 'good'); } });`,
          { eval: true },
        );
        // Both at once: Node hands out the last messages and the exit in one turn.
        const said = new Promise((resolve) => worker.once('message', resolve));
        const exited = new Promise((resolve) => worker.once('exit', resolve));
        assert.equal(await said, 'good');
        assert.equal(await exited, 0);
      }),
    );
    const worker = new Worker(
      `${prelude} addon.open(pool, { interface: 'lo' }, handlers); setTimeout(() => process.exit(3), 50);`,
      { eval: true },
    );
    assert.equal(await new Promise((resolve) => worker.once('exit', resolve)), 3);
    mine.session.stop();
    assert.equal(await mine.ended, undefined);
  });

  test('200 sessions, one after the other and ten at a time: no descriptor, thread or memory is left', async () => {
    const { near } = veth();
    const file = write(pcap(records(50)));
    const round = async (count) => {
      const pool = addon.createPool(4);
      await Promise.all(
        Array.from({ length: count }, async (_, i) => {
          const live = i % 2 === 0;
          const one = collect(live ? { interface: near, bufferBytes: 1 << 20 } : { file }, { pool });
          await one.started;
          one.session.stop(i % 3 === 0);
          assert.equal(await one.ended, undefined);
        }),
      );
    };
    await round(10);
    await pause(100);
    const before = { threads: threads(), descriptors: descriptors(), rss: process.memoryUsage().rss };
    for (let i = 0; i < 100; i++) await round(1);
    for (let i = 0; i < 10; i++) await round(10);
    await settles(() => threads() <= before.threads && descriptors() <= before.descriptors);
    assert.ok(process.memoryUsage().rss - before.rss < 100 << 20);
  });

  test('a pool and a session that nobody refers to go on, and go when they are done', async () => {
    require('node:v8').setFlagsFromString('--expose-gc');
    const gc = require('node:vm').runInNewContext('gc');
    const { near } = veth();
    let packets = 0;
    let stop, begun;
    const begin = new Promise((resolve) => (begun = resolve));
    const over = new Promise((resolve) => {
      let pool = addon.createPool(4);
      const blocks = pool.blocks.length;
      const release = pool.release.bind(pool);
      const session = addon.open(
        pool,
        { interface: near },
        {
          onCapture: begun,
          onBlock(id, block, length, count) {
            packets += count;
            release(block);
            gc();
          },
          onEnd: resolve,
        },
      );
      stop = () => session.stop();
      assert.equal(blocks, 4);
      pool = undefined;
    });
    await begin;
    for (let i = 0; i < 5; i++) gc();
    await send(near, 5000, { rate: 50_000 });
    stop();
    assert.equal(await over, undefined);
    assert.equal(packets, 5000);
    stop = undefined;
    for (let i = 0; i < 5; i++) {
      gc();
      await pause(1);
    }
  });

  test('calls from within callbacks', async () => {
    const file = write(pcap(records(5000)));
    const pool = addon.createPool(2);
    const answers = [];
    const end = await new Promise((resolve) => {
      const session = addon.open(
        pool,
        { file },
        {
          onCapture() {
            answers.push(session.setFilter('udp').catch(({ code }) => code));
            session.stats();
          },
          onBlock(id, block) {
            pool.release(block);
            session.stop(false);
            answers.push(session.setFilter('tcp').catch(({ code }) => code));
          },
          onEnd(error) {
            session.stop();
            answers.push(session.setExclusion('tcp').catch(({ code }) => code));
            resolve({ error, stats: session.stats() });
          },
        },
      );
    });
    assert.equal(end.error, undefined);
    assert.equal((await Promise.all(answers)).at(-1), 'FAILED');
    assert.equal(pool.free, 2);
    assert.ok(fs.existsSync(folder));
  });
});

const threads = () => fs.readdirSync('/proc/self/task').length;
const descriptors = () => fs.readdirSync('/proc/self/fd').length;
async function settles(condition) {
  for (let i = 0; i < 100 && !condition(); i++) await pause(50);
  assert.ok(condition(), `${threads()} threads, ${descriptors()} descriptors`);
}
