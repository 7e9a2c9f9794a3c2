import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { RcapError } from '../errors.ts';
import { cleanUp, temporaryFolder } from '../test/support.ts';
import type { AgentView } from './agents.ts';
import { ask, type ControlHost, openControl } from './control.ts';

const agent = (host: string): AgentView => ({
  host,
  peer: '192.0.2.1:1234',
  since: '2026-11-24T02:15:00.000Z',
  captures: 1,
  packets: 2,
  bytes: 3,
  excluded: 0,
  received: 2,
  settings: { digest: '', state: 'none', reason: '' },
});
const AGENTS = ['web-1', 'WEB-2', 'db'].map(agent);

async function opened(t: TestContext, state = temporaryFolder(t), host: Partial<ControlHost> = {}) {
  const stopped: string[] = [];
  const close = await openControl(state, {
    publicFolder: '/srv/public',
    agents: () => AGENTS,
    stop: (pattern) => {
      stopped.push(pattern.text);
      return AGENTS.filter((a) => pattern.matches(a.host));
    },
    ...host,
  });
  cleanUp(t, close);
  return { state, stopped, close };
}
const fails = (code: string, message: RegExp) => (e: RcapError) => {
  assert.deepEqual([e.code, message.test(e.message)], [code, true], e.message);
  return true;
};

test('it says who is connected, and stops who matches', async (t) => {
  const { state, stopped } = await opened(t);
  assert.deepEqual(await ask(state, 'GET', '/agents'), AGENTS);
  assert.deepEqual(await ask(state, 'POST', `/stop?host=${encodeURIComponent('web-*')}`), AGENTS.slice(0, 2));
  assert.deepEqual(stopped, ['web-*']);
  await assert.rejects(ask(state, 'POST', '/stop?host=a%20b'), fails('CONTROL', /no host's name has ' ' in it/));
  await assert.rejects(ask(state, 'POST', '/stop'), fails('CONTROL', /it is empty/));
  assert.equal(stopped.length, 1);
});

test('nothing is changed by GET, and what there is not is said to be of another version', async (t) => {
  const { state, stopped } = await opened(t);
  await assert.rejects(ask(state, 'GET', '/stop?host=db'), fails('CONTROL', /of another version \(404\)/));
  await assert.rejects(ask(state, 'POST', '/agents'), fails('CONTROL', /404/));
  await assert.rejects(ask(state, 'GET', '/__proto__'), fails('CONTROL', /404/));
  assert.deepEqual(stopped, []);
});

test('its socket is for its own user, also in a folder that others may enter, and goes with it', async (t) => {
  const { state, close } = await opened(t);
  const path = join(state, 'control');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  close();
  assert.ok(!existsSync(path));
  await assert.rejects(ask(state, 'GET', '/agents'), fails('NO_COLLECTOR', /none is running/));
});

test('a path longer than a socket may have is none here', async (t) => {
  const state = join(temporaryFolder(t), 'x'.repeat(120), 'y'.repeat(120));
  mkdirSync(state, { recursive: true });
  await opened(t, state);
  assert.deepEqual(await ask(state, 'GET', '/agents'), AGENTS);
});

test('what a killed collector left is in nobody’s way, and nobody answers there', async (t) => {
  const state = temporaryFolder(t);
  const path = join(state, 'control');
  // A socket that nobody listens on: closed, and its name made again.
  const dead = createServer().listen(path);
  await once(dead, 'listening');
  dead.close();
  writeFileSync(path, '');
  await assert.rejects(ask(state, 'GET', '/agents'), fails('NO_COLLECTOR', /none is running/));
  await opened(t, state);
  assert.deepEqual(await ask(state, 'GET', '/agents'), AGENTS);
});

test('no collector, no folder, and no folder at all', async (t) => {
  const state = temporaryFolder(t);
  for (const folder of [state, join(state, 'none')]) {
    await assert.rejects(ask(folder, 'GET', '/agents'), (e: RcapError) => {
      assert.equal(e.hint, '--state DIR, as the one that runs was started with');
      return fails('NO_COLLECTOR', /could not ask the collector with state folder '.*': none is running/)(e);
    });
  }
});

test('trouble inside is said, not hidden', async (t) => {
  const { state } = await opened(t, undefined, {
    agents: () => {
      throw new Error('trouble');
    },
  });
  await assert.rejects(ask(state, 'GET', '/agents'), fails('CONTROL', /: trouble$/));
});
