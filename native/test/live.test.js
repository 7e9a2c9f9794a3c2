'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const { spawn, spawnSync } = require('node:child_process');
const { rules } = require('./addresses.js');
const { addon, collect, folder, needs, tcpdumpReads, test } = require('./support.js');
const { inNamespace, ip, send, veth } = require('./network.js');

const number = ({ data }) => data.readUInt32BE(42);

inNamespace(__filename, () => {
  test('every packet, in order, with its time; then the end', async () => {
    const { near } = veth();
    const before = BigInt(Date.now()) * 1_000_000n;
    const run = collect({ interface: near });
    assert.deepEqual(await run.started, {
      linkType: 1,
      snaplen: 262144,
      interface: near,
      description: '',
      filter: '',
      inKernel: true,
      instructions: 0,
    });
    assert.equal(await send(near, 1000, { size: 100 }), 1000);
    await run.captured(1000);
    const during = run.session.stats();
    assert.equal(during.captured, 1000);
    run.session.stop();
    assert.equal(await run.ended, undefined);
    const { packets } = run.captures[0];
    assert.deepEqual(
      packets.map(number),
      Array.from({ length: 1000 }, (_, i) => i),
    );
    assert.ok(packets.every(({ data, originalLength }) => data.length === 100 && originalLength === 100));
    const after = BigInt(Date.now() + 1) * 1_000_000n;
    for (const { timestampNs } of packets) assert.ok(timestampNs >= before - 2_000_000n && timestampNs <= after);
    const stats = run.session.stats();
    assert.deepEqual(stats, {
      received: 1000,
      droppedByKernel: 0,
      droppedByInterface: 0,
      filtered: 0,
      excluded: 0,
      excludedBytes: 0,
      captured: 1000,
      capturedBytes: 100_000,
      cut: 0,
      dnsDropped: 0,
      starvedNs: 0,
    });
    assert.equal(run.pool.free, 8);
  });

  test('timestamps are in nanoseconds', async () => {
    const { near } = veth();
    const run = collect({ interface: near });
    await run.started;
    await send(near, 100);
    run.session.stop();
    await run.ended;
    assert.ok(run.captures[0].packets.some(({ timestampNs }) => timestampNs % 1000n !== 0n));
  });

  test('stop drains: whatever was sent before it is delivered', async () => {
    const { near } = veth();
    for (let round = 0; round < 10; round++) {
      const run = collect({ interface: near });
      await run.started;
      const sent = await send(near, 5000);
      run.session.stop();
      assert.equal(await run.ended, undefined);
      const { captured, droppedByKernel } = run.session.stats();
      assert.equal(captured + droppedByKernel, sent);
      assert.equal(run.packets, captured);
      assert.equal(droppedByKernel, 0);
    }
  });

  test('stop while packets come: what was received adds up', async () => {
    const { near } = veth();
    const run = collect({ interface: near });
    await run.started;
    const sending = send(near, 200_000);
    await run.captured(10_000);
    run.session.stop();
    assert.equal(await run.ended, undefined);
    const { received, captured, droppedByKernel } = run.session.stats();
    assert.equal(captured + droppedByKernel, received);
    assert.equal(run.packets, captured);
    await sending;
  });

  test('on a silent interface: stop, with and without drain, twice, at once', async () => {
    const { near } = veth();
    for (const stops of [[true], [false], [true, true], [true, false], [false, true]]) {
      const later = collect({ interface: near });
      await later.started;
      for (const drain of stops) later.session.stop(drain);
      assert.equal(await later.ended, undefined);
      later.session.stop();
      const atOnce = collect({ interface: near });
      for (const drain of stops) atOnce.session.stop(drain);
      assert.equal(await atOnce.ended, undefined);
      assert.equal(atOnce.captures.length, 1);
      assert.equal(atOnce.session.stats().captured, 0);
    }
  });

  test('stop without drain: what is in blocks is delivered', async () => {
    const { near } = veth();
    const run = collect({ interface: near, flushMs: 3_600_000 });
    await run.started;
    await send(near, 20);
    while (run.session.stats().captured < 20) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(run.packets, 0);
    run.session.stop(false);
    assert.equal(await run.ended, undefined);
    assert.equal(run.packets, 20);
  });

  test('a pool that is used up: the kernel drops and counts, and nothing else gets lost', async () => {
    const { near } = veth();
    const pool = addon.createPool(2);
    const held = [];
    const run = collect({ interface: near, bufferBytes: 1 << 20 }, { pool, onBlock: (block) => held.push(block) });
    await run.started;
    const sent = await send(near, 30_000, { size: 1000 });
    while (held.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(pool.free, 0);
    // Answers come also while it waits for a block.
    assert.equal((await run.session.setExclusion('tcp')).filter, 'not (tcp)');
    run.session.stop();
    const releasing = setInterval(() => held.length && pool.release(held.shift()), 1);
    assert.equal(await run.ended, undefined);
    clearInterval(releasing);
    const stats = run.session.stats();
    assert.ok(stats.droppedByKernel > 0);
    assert.ok(stats.starvedNs > 0);
    assert.equal(stats.captured + stats.droppedByKernel, sent);
    assert.equal(stats.received, sent);
    assert.equal(run.packets, stats.captured);
    const numbers = run.captures[0].packets.map(number);
    assert.deepEqual(
      numbers,
      [...numbers].sort((a, b) => a - b),
    );
    assert.equal(new Set(numbers).size, numbers.length);
  });

  test('stop while it waits for a block; a drain that waits for one is cut short', async () => {
    const { near } = veth();
    for (const stops of [[false], [true, false]]) {
      const pool = addon.createPool(1);
      const held = [];
      const run = collect({ interface: near }, { pool, onBlock: (block) => held.push(block) });
      await run.started;
      await send(near, 2000, { size: 1000 });
      while (run.session.stats().starvedNs === 0) await new Promise((resolve) => setTimeout(resolve, 10));
      for (const drain of stops) run.session.stop(drain);
      assert.equal(await run.ended, undefined);
      assert.equal(held.length, 1);
      assert.equal(pool.free, 0);
      pool.release(held[0]);
      assert.throws(() => pool.release(held[0]), TypeError);
    }
  });

  test('two sessions share a pool of one block', async () => {
    const { near, far } = veth();
    const pool = addon.createPool(1);
    const runs = [near, far].map((name) => collect({ interface: name, flushMs: 5 }, { pool }));
    await Promise.all(runs.map(({ started }) => started));
    await send(near, 2000, { rate: 10_000 });
    for (const run of runs) run.session.stop();
    for (const run of runs) {
      assert.equal(await run.ended, undefined);
      assert.equal(run.packets, 2000);
    }
    assert.equal(pool.free, 1);
  });

  test('the filter is at work from the first packet on', async () => {
    const { near } = veth();
    const sending = send(near, 300_000);
    const run = collect({ interface: near, filter: 'udp port 5001', exclusion: 'udp src port 53' });
    assert.equal((await run.started).filter, '(udp port 5001) and not (udp src port 53)');
    const sent = await sending;
    run.session.stop();
    await run.ended;
    const { received, captured, droppedByKernel } = run.session.stats();
    assert.equal(captured + droppedByKernel, received);
    assert.ok(captured <= sent / 4);
    assert.ok(run.captures[0].packets.every(({ data }) => data.readUInt16BE(36) === 5001));
  });

  test('setFilter and setExclusion while capturing; a refused one changes nothing', async () => {
    const { near } = veth();
    const run = collect({ interface: near, exclusion: 'port 5003' });
    await run.started;
    assert.equal((await run.session.setFilter('udp port 5000')).filter, '(udp port 5000) and not (port 5003)');
    await assert.rejects(run.session.setFilter('udp prt 5000'), {
      name: 'Error',
      code: 'FILTER',
      message: /syntax error/,
    });
    await assert.rejects(run.session.setExclusion('udp) or (tcp'), { code: 'FILTER' });
    await send(near, 400);
    await run.captured(100);
    assert.equal((await run.session.setExclusion('')).filter, 'udp port 5000');
    assert.equal((await run.session.setFilter('')).filter, '');
    await send(near, 400);
    await run.captured(500);
    assert.equal((await run.session.setExclusion('port 5001')).filter, 'not (port 5001)');
    await send(near, 400);
    run.session.stop();
    await run.ended;
    assert.equal(run.packets, 800);
  });

  test('many filters while packets come', async () => {
    const { near } = veth();
    const run = collect({ interface: near });
    await run.started;
    const sending = send(near, 200_000);
    for (let i = 0; i < 200; i++)
      assert.equal((await run.session.setFilter(`udp port ${5000 + (i % 4)}`)).filter, `udp port ${5000 + (i % 4)}`);
    await sending;
    run.session.stop();
    assert.equal(await run.ended, undefined);
  });

  test('while a filter takes the place of another, no packet is lost', async () => {
    const { near } = veth();
    const run = collect({ interface: near, filter: 'udp' });
    await run.started;
    const progress = { changes: 0, over: false };
    const sending = send(near, 200_000).finally(() => (progress.over = true));
    while (!progress.over) await run.session.setFilter(progress.changes++ % 2 ? 'udp' : 'ip and udp');
    const sent = await sending;
    run.session.stop();
    assert.equal(await run.ended, undefined);
    const { captured, droppedByKernel } = run.session.stats();
    assert.ok(progress.changes > 20);
    assert.equal(captured + droppedByKernel, sent);
  });

  test('while exceptions take the place of others, no packet is lost, and none is left out that should not be', async () => {
    const { near } = veth();
    // Nobody has these addresses; the second are those of every packet.
    const others = addon.createExceptions(
      rules(...Array.from({ length: 5000 }, (_, i) => `192.0.${i >> 8}.${i & 255}`)),
      1,
    );
    const all = addon.createExceptions(rules('10.0.0.1'), 1);
    const run = collect({ interface: near, exceptions: others });
    await run.started;
    const progress = { changes: 0, over: false, left: 0 };
    const count = ({ exceptions, learned }) => (progress.left += (exceptions?.[0] ?? 0) + (learned?.[0] ?? 0));
    const sending = send(near, 300_000).finally(() => (progress.over = true));
    while (!progress.over || progress.changes < 100) {
      const sets = [[others, all], [all], [others], [undefined, others], []][progress.changes++ % 5];
      count(await run.session.setExceptions(...sets));
      if (progress.changes % 10 === 0) await run.session.setFilter(progress.changes % 20 ? 'udp' : ['ip', 'udp']);
      if (progress.changes % 10 === 5) await run.session.setSnaplen(40 + (progress.changes % 3));
    }
    const sent = await sending;
    run.session.stop();
    assert.equal(await run.ended, undefined);
    count(run.session.excludedBy());
    const { received, captured, excluded, excludedBytes, droppedByKernel, cut } = run.session.stats();
    assert.ok(progress.changes >= 100);
    assert.equal(received, sent);
    assert.equal(captured + excluded + droppedByKernel, sent);
    assert.equal(progress.left, excluded);
    assert.ok(excluded > 0 && captured > 0 && excludedBytes >= excluded * 40 && cut > 0);
    assert.equal(run.packets, captured);
  });

  test('the exceptions are at work from the first packet on, and a drain ends with them', async () => {
    const { near } = veth();
    const sending = send(near, 100_000);
    const exceptions = addon.createExceptions(rules('10.0.0.0/30'), 1);
    const run = collect({ interface: near, exceptions });
    await run.started;
    await sending;
    run.session.stop();
    assert.equal(await run.ended, undefined);
    const { received, excluded, captured, droppedByKernel } = run.session.stats();
    assert.equal(captured, 0);
    assert.equal(excluded + droppedByKernel, received);
    assert.deepEqual(run.session.excludedBy().exceptions, Float64Array.of(excluded, excluded * 60));
  });

  test('a filter that the kernel does not take: it is said, and it filters', async () => {
    const { near } = veth();
    const many = Array.from({ length: 2400 }, (_, i) => `len = ${i + 2000}`).join(' or ');
    const large = `${many} or udp port 5001`;
    const run = collect({ interface: near, filter: large });
    const { inKernel, instructions } = await run.started;
    assert.equal(inKernel, false);
    assert.ok(instructions > 4096);
    await send(near, 4000);
    await run.captured(1000);
    const small = await run.session.setFilter('udp port 5002');
    assert.deepEqual(small, { filter: 'udp port 5002', inKernel: true, instructions: small.instructions });
    assert.ok(small.instructions < 100);
    await send(near, 4000);
    await run.captured(2000);
    assert.equal((await run.session.setExclusion(many)).inKernel, false);
    await send(near, 4000);
    run.session.stop();
    assert.equal(await run.ended, undefined);
    const { received, filtered, captured } = run.session.stats();
    assert.deepEqual({ received, filtered, captured }, { received: 9000, filtered: 6000, captured: 3000 });
    assert.ok(run.captures[0].packets.every(({ data }, i) => data.readUInt16BE(36) === (i < 1000 ? 5001 : 5002)));
  });

  test('setSnaplen while capturing', async () => {
    const { near } = veth();
    const run = collect({ interface: near, snaplen: 80 });
    await run.started;
    for (const [snaplen, expected] of [
      [50, 50],
      [200, 80],
    ]) {
      const before = run.packets;
      await run.session.setSnaplen(snaplen);
      await send(near, 10, { size: 100 });
      await run.captured(before + 10);
      assert.ok(run.captures[0].packets.slice(before).every(({ data, originalLength }) => data.length === expected && originalLength === 100)); // prettier-ignore
    }
    run.session.stop();
    assert.equal(await run.ended, undefined);
    assert.equal(run.session.stats().cut, 10);
  });

  test('DNS is handed over, also what is left out', async () => {
    const { near } = veth();
    const exceptions = addon.createExceptions(rules('10.0.0.1'), 1);
    const pool = addon.createPool(4);
    const handed = [];
    const { promise, resolve } = Promise.withResolvers();
    const session = addon.open(pool, { interface: near, exceptions, dns: true }, {
      onCapture: resolve,
      onBlock: (id, block) => pool.release(block),
      onDns: (packet) => handed.push(packet),
      onEnd: (error) => resolve(error),
    }); // prettier-ignore
    await promise;
    await send(near, 400, { port: 51 }); // 51 to 54
    while (handed.length < 100) await new Promise((again) => setTimeout(again, 10));
    session.stop();
    assert.ok(handed.every((packet) => packet.length === 46 && packet[0] === 0x45 && packet[23] === 53));
    assert.equal(session.stats().dnsDropped, 0);
  });

  test('requests that the end overtakes are rejected', async () => {
    const { near } = veth();
    const run = collect({ interface: near });
    run.session.stop(false);
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => run.session.setFilter('udp')));
    await run.ended;
    for (const { status, reason } of outcomes) if (status === 'rejected') assert.equal(reason.code, 'FAILED');
    await assert.rejects(run.session.setFilter('udp'), { code: 'FAILED' });
  });

  test('an interface that disappears: what it had is delivered, then INTERFACE_GONE', async () => {
    const pair = veth();
    const run = collect({ interface: pair.near, flushMs: 3_600_000 });
    await run.started;
    const sent = await send(pair.near, 500);
    pair.remove();
    const error = await run.ended;
    assert.equal(error.code, 'INTERFACE_GONE');
    assert.match(error.message, /^could not go on capturing on 'near\d+': The interface disappeared$/);
    assert.equal(run.packets, sent);
  });

  test('an interface that disappears while it is silent, and while it is stopped', async () => {
    const pair = veth();
    const run = collect({ interface: pair.near });
    await run.started;
    pair.remove();
    assert.equal((await run.ended).code, 'INTERFACE_GONE');
    const other = veth();
    const stopped = collect({ interface: other.near });
    await stopped.started;
    other.remove();
    stopped.session.stop();
    await stopped.ended;
  });

  test('an interface that goes down and comes up again', async () => {
    const { near, far } = veth();
    const run = collect({ interface: near });
    await run.started;
    await send(near, 10);
    ip('link', 'set', near, 'down');
    await new Promise((resolve) => setTimeout(resolve, 200));
    ip('link', 'set', near, 'up');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await send(near, 10);
    await run.captured(20);
    ip('link', 'set', near, 'down');
    run.session.stop();
    assert.equal(await run.ended, undefined);
    assert.equal(run.packets, 20);
    ip('link', 'set', far, 'down');
  });

  test('what cannot be captured on', async () => {
    const { near } = veth();
    ip('link', 'set', near, 'down');
    for (const [name, code, message] of [
      ['nowhere', 'NO_SUCH_INTERFACE', "could not capture on 'nowhere': no such interface"],
      ['a-name-longer-than-any-interface-has', 'NO_SUCH_INTERFACE', /no such interface/],
      ['../../etc', 'NO_SUCH_INTERFACE', /no such interface/],
      [near, 'INTERFACE_DOWN', `could not capture on '${near}': the interface is not up`],
    ]) {
      const run = collect({ interface: name });
      const error = await run.ended;
      assert.equal(error.code, code);
      assert.match(error.message, typeof message === 'string' ? new RegExp(`^${message}$`) : message);
      assert.equal(run.captures.length, 0);
      await assert.rejects(run.session.setFilter('udp'), { code: 'FAILED' });
      run.session.stop();
    }
  });

  test('without the right to capture', needs('setpriv'), () => {
    const program = `
      const addon = require(${JSON.stringify(require.resolve('../index.js'))});
      addon.open(addon.createPool(1), { interface: 'lo' }, { onCapture() {}, onBlock() {}, onEnd(error) { console.log(error.code, error.message) } });`;
    const { stdout, stderr } = spawnSync(
      'setpriv',
      ['--bounding-set=-net_raw', '--inh-caps=-net_raw', process.execPath, '-e', program],
      { encoding: 'utf8' },
    );
    assert.match(stdout, /^PERMISSION could not capture on 'lo': not permitted/, stderr);
  });

  test('a filter that does not compile', async () => {
    const { near } = veth();
    const run = collect({ interface: near, filter: 'udp prt 1' });
    const error = await run.ended;
    assert.equal(error.code, 'FILTER');
    assert.match(error.message, /syntax error/);
    assert.equal(run.captures.length, 0);
  });

  test('snaplen', async () => {
    const { near } = veth();
    const run = collect({ interface: near, snaplen: 64 });
    assert.equal((await run.started).snaplen, 64);
    await send(near, 100, { size: 1400 });
    run.session.stop();
    await run.ended;
    assert.equal(run.packets, 100);
    assert.ok(
      run.captures[0].packets.every(({ data, originalLength }) => data.length === 64 && originalLength === 1400),
    );
  });

  test('lo: each packet once, and the counters agree', async () => {
    const run = collect({ interface: 'lo', filter: 'udp' });
    await run.started;
    const sent = await send('lo', 1000, { rate: 20_000 });
    run.session.stop();
    await run.ended;
    assert.equal(run.packets, sent);
    assert.equal(run.session.stats().received, sent);
  });

  test('any: cooked packets that say where they came by', async () => {
    const { near, far } = veth();
    const run = collect({ interface: 'any', promiscuous: true, filter: 'udp' });
    assert.equal((await run.started).linkType, addon.linkTypeByName('LINUX_SLL2'));
    await send(near, 100, { rate: 10_000 });
    run.session.stop();
    await run.ended;
    assert.equal(run.packets, 200);
    assert.equal(new Set(run.captures[0].packets.map(({ data }) => data.readUInt32BE(4))).size, 2);
    assert.ok(far);
  });

  test('promiscuous lasts as long as the session', async () => {
    const { near } = veth();
    const promiscuity = () => Number(/promiscuity (\d+)/.exec(ip('-d', 'link', 'show', near))[1]);
    const run = collect({ interface: near, promiscuous: true });
    await run.started;
    assert.equal(promiscuity(), 1);
    run.session.stop();
    await run.ended;
    assert.equal(promiscuity(), 0);
  });

  test('what tcpdump captures beside us is the same', needs('tcpdump'), async () => {
    const { near } = veth();
    const file = `${folder}/beside.pcap`;
    const tcpdump = spawn('tcpdump', ['--nano', '-i', near, '-w', file, '-U', '-Z', 'root'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    await new Promise((resolve) =>
      tcpdump.stderr.on('data', (text) => String(text).includes('listening') && resolve()),
    );
    const run = collect({ interface: near });
    await run.started;
    await send(near, 500, { size: 333 });
    run.session.stop();
    await run.ended;
    while (fs.statSync(file).size < 24 + 500 * (16 + 333)) await new Promise((resolve) => setTimeout(resolve, 50));
    tcpdump.kill('SIGINT');
    await new Promise((resolve) => tcpdump.on('close', resolve));
    const line = ({ data, originalLength, timestampNs }) => `${timestampNs} ${originalLength} ${data.toString('hex')}`;
    assert.ok(run.captures[0].packets.map(line).join() === tcpdumpReads(file).map(line).join());
  });

  test('interfaces', async () => {
    const { near, far } = veth();
    ip('address', 'add', '192.0.2.1/24', 'broadcast', '192.0.2.255', 'dev', near);
    ip('link', 'set', far, 'down');
    const named = (name) => addon.interfaces().find((one) => one.name === name);
    // The kernel looks at links once a second.
    for (let i = 0; i < 1000 && named(near).running; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    const list = addon.interfaces();
    assert.deepEqual(
      list.map(({ number }) => number),
      list.map((_, i) => i + 1),
    );
    const find = (name) => list.find((one) => one.name === name);
    assert.deepEqual(
      find(near).addresses.find(({ family }) => family === 'ipv4'),
      { address: '192.0.2.1', family: 'ipv4', netmask: '255.255.255.0', broadcast: '192.0.2.255' },
    );
    assert.match(
      find(near).addresses.find(({ family }) => family === 'link').address,
      /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/,
    );
    assert.equal(find(near).up, true);
    assert.equal(find(near).running, false);
    assert.equal(find(far).up, false);
    assert.equal(find('lo').loopback, true);
    assert.equal(find('lo').wireless, false);
    assert.equal(find('lo').connection, 'not-applicable');
    assert.ok(find('any'));
  });
});
