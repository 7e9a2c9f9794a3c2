/** How the program ends, and what it says, when its collector is gone for good. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { type AddressInfo, createServer } from 'node:net';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadAddon } from '../capture/addon.ts';
import { AGENT, type Cleaner, Collector, lacksAddon, lacksRoot, Program, until } from '../test/support.ts';
import { readAgentFlags } from '../options/agent.ts';
import { makePlan } from './plan.ts';
import { type Capture, Run } from './run.ts';

const PORT = 40_404;

describe('when the collector is gone', { skip: lacksRoot || lacksAddon }, () => {
  async function stage(t: Cleaner, ...flags: string[]): Promise<[Program, Collector]> {
    const collector = await Collector.start(t);
    const env = { RCAP_TOKEN: await collector.token('--host', '*') };
    const words = [...collector.address, '-i', 'lo', ...flags, `udp port ${PORT}`];
    const agent = new Program(t, process.execPath, [AGENT, ...words], { env });
    await agent.says(/listening on lo/);
    return [agent, collector];
  }
  async function sendPacket(): Promise<void> {
    const socket = createSocket('udp4');
    await new Promise((resolve) => socket.send('x', PORT, '127.0.0.1', resolve));
    socket.close();
    await sleep(500); // a block is handed over after 100 ms
  }
  /** A capture on loopback that lost its collector, and has a packet since. */
  async function alone(t: Cleaner, ...flags: string[]): Promise<Program> {
    const [agent, collector] = await stage(t, ...flags);
    collector.kill('SIGKILL');
    await agent.says(/trying again in/);
    await sendPacket();
    return agent;
  }
  const asked = /[1-9]\d* packets? not yet acknowledged; send the signal again \(Ctrl-C\) to give up\n/;

  test('who sends a signal is told, once, that the same again gives up', async (t) => {
    const agent = await alone(t);
    agent.kill('SIGTERM');
    await agent.says(asked);
    await sleep(1500);
    agent.kill('SIGTERM');
    const { code, stderr } = await agent.end();
    assert.equal(code, 3, stderr);
    assert.equal(stderr.match(/send the signal again/g)!.length, 1);
  });

  test('and so is who sent it while there was a collector, when that goes', async (t) => {
    const [agent, collector] = await stage(t);
    collector.kill('SIGSTOP'); // it acknowledges nothing
    await sendPacket();
    agent.kill('SIGTERM');
    await sleep(1500);
    assert.doesNotMatch(agent.stderr, asked);
    collector.kill('SIGKILL');
    await agent.says(asked);
    agent.kill('SIGHUP');
    assert.equal((await agent.end()).code, 3);
  });

  test('--give-up in the middle is 3, with the numbers and why', async (t) => {
    const { code, stderr } = await (await alone(t, '--give-up', '2s')).end();
    assert.equal(code, 3, stderr);
    assert.match(stderr, /error: gave up after 2 s without a connection: could not connect[^]*\d packets? captured\n/);
  });

  test('an address that is only tried is left out meanwhile; each change of the filter is said, and kept', async (t) => {
    const collector = await Collector.start(t);
    const token = await collector.token('--host', '*');
    const words = ['-i', 'lo', ...collector.address, '--server', 'localhost:1', '--token', token, `udp port ${PORT}`];
    const flags = readAgentFlags(words, {});
    assert.ok(flags.command === 'run');
    let capture: Capture | undefined;
    const said: string[] = [];
    /** What the next connection would tell. */
    const told: string[] = [];
    const run = new Run(makePlan(flags), loadAddon(), {
      listening: (c) => (capture = c),
      opened() {},
      progress() {},
      trouble: assert.fail,
      notice(level, message) {
        if (level === 'warning') return;
        const filter = message.replace('filter on lo is now: ', '');
        told.push(capture!.info.effectiveFilter);
        said.push(filter);
      },
    });
    const end = run.run();
    await until('a capture', () => capture);
    const before = capture!.info.effectiveFilter;
    collector.kill('SIGKILL');
    await until('two changes', () => said.length >= 2);
    for (const port of [1, collector.port]) assert.ok(said[0]!.includes(`src host 127.0.0.1 and tcp src port ${port})`), said[0]); // prettier-ignore
    assert.equal(said[1], before);
    assert.deepEqual(told.slice(0, 2), said.slice(0, 2));
    run.giveUp();
    await end;
  });

  test('nothing goes on connecting for a run that could not start', async (t) => {
    let connections = 0;
    const server = createServer((socket) => {
      connections++;
      socket.destroy();
    });
    t.after(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const flags = readAgentFlags(['-i', 'nonesuch', '--server', `127.0.0.1:${port}`, '--give-up', 'never'], {});
    assert.ok(flags.command === 'run');
    const quiet = { listening() {}, opened() {}, progress() {}, trouble() {}, notice() {} };
    await assert.rejects(new Run(makePlan(flags), loadAddon(), quiet).run(), { code: 'NO_SUCH_INTERFACE' });
    await sleep(300);
    const before = connections;
    await sleep(1500);
    assert.equal(connections, before);
  });

  test('a capture that can not leave our next connection out ends, with an error, before it captures that', async (t) => {
    const [first, second] = [await Collector.start(t), await Collector.start(t)];
    const server = `localhost:${second.port}`;
    const words = ['-i', 'lo', ...first.address, '--server', server, '--token', await first.token('--host', '*')];
    const flags = readAgentFlags(words, {});
    assert.ok(flags.command === 'run');
    const addon = loadAddon();
    const changes: string[] = [];
    const open: typeof addon.open = (...options) => {
      const session = addon.open(...options);
      return {
        stats: () => session.stats(),
        excludedBy: () => session.excludedBy(),
        stop: (drain) => session.stop(drain),
        setExclusion(filter) {
          changes.push(filter);
          return Promise.reject(new Error('no memory'));
        },
      } as typeof session;
    };
    let listens = false;
    const troubles: string[] = [];
    const run = new Run(makePlan(flags), { ...addon, open }, {
      listening: () => (listens = true),
      opened() {},
      progress() {},
      trouble: (e) => troubles.push(e.message),
      notice() {},
    }); // prettier-ignore
    const end = run.run();
    await until('a capture', () => listens);
    first.kill('SIGKILL');
    const message = "could not change what is left out of the capture on 'lo': no memory";
    await until('the error', () => troubles.includes(message));
    assert.ok(changes[0]!.includes(`tcp dst port ${second.port}`));
    run.giveUp();
    const { errors, captures } = await end;
    assert.deepEqual([errors.map((e) => e.message), captures.map((c) => c.ending)], [[message], [true]]);
  });
});
