import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as immediate } from 'node:timers/promises';
import { type Clock, systemClock } from '../clock.ts';
import { HandClock } from '../test/storage.ts';
import { Exclusion } from './exclusion.ts';
import { ownTraffic } from './filter.ts';

const A = '192.0.2.1';
const B = '192.0.2.2';

function stage(
  answer = (text: string) => Promise.resolve({ filter: `not (${text})`, inKernel: true, instructions: 1 }),
  clock?: Clock,
) {
  const said: string[] = [];
  const where = { source: { label: 'eth0', setExclusion: answer } };
  const exclusion = new Exclusion({
    clock: clock ?? { ...systemClock, after: (_ms, work) => systemClock.after(10, work) },
    running: () => [where],
    changed: ({ source }, { filter }) => said.push(`${source.label} ${filter}`),
    failed: (_, error) => said.push(`failed: ${error.message}`),
    kept: (_, error) => said.push(`kept: ${error.message}`),
  });
  return { exclusion, said };
}
const at = (address: string) => ({ address, port: 1 });
const filterOf = (...addresses: string[]) => `eth0 not (${ownTraffic(addresses.map(at))})`;

test('what is tried is left out before, and not any more when nobody was verified there', async () => {
  const { exclusion, said } = stage();
  await exclusion.attempt([at(A)]);
  assert.deepEqual(said.splice(0), [filterOf(A)]);
  exclusion.settle([]);
  await immediate();
  assert.deepEqual([said.splice(0), exclusion.filter], [['eth0 not ()'], '']);
});

test('servers that were given as addresses are left out from the start, whoever is connected where', async () => {
  const given = [at(A), at(B)];
  const exclusion = new Exclusion({
    clock: systemClock,
    given,
    running: () => [],
    changed() {},
    failed() {},
    kept() {},
  });
  assert.equal(exclusion.filter, ownTraffic(given));
  await exclusion.attempt([at(B)]);
  exclusion.settle([at(B)]);
  assert.equal(exclusion.filter, ownTraffic(given));
});

test('of several addresses the one that was verified stays, and is no change when it is tried again', async () => {
  const { exclusion, said } = stage();
  await exclusion.attempt([at(A), at(B)]);
  exclusion.settle([at(B)]);
  await immediate();
  assert.deepEqual(said.splice(0), [filterOf(A, B), filterOf(B)]);
  await exclusion.attempt([at(B)]);
  exclusion.settle([]);
  await immediate();
  assert.deepEqual([said, exclusion.filter], [[], ownTraffic([at(B)])]);
});

test("a single connection is left out for a while after it is over: its port may be another program's then", async () => {
  const clock = new HandClock();
  const { exclusion } = stage(undefined, clock);
  const single = (port: number) => ({ ...at(A), from: { address: B, port } });
  await exclusion.attempt([single(1)]);
  exclusion.settle([single(1)]);
  clock.turn(1_000_000);
  assert.equal(exclusion.filter, ownTraffic([single(1)]), 'as long as it lasts');
  // It is lost: the next is tried, in vain at first.
  await exclusion.attempt([single(2)]);
  exclusion.settle([]);
  clock.turn(30_000);
  await exclusion.attempt([single(3), at(B)]);
  exclusion.settle([single(3), at(B)]);
  assert.equal(exclusion.filter, ownTraffic([single(1), single(3), at(B)]));
  clock.turn(29_999);
  assert.equal(exclusion.filter, ownTraffic([single(1), single(3), at(B)]));
  clock.turn(1);
  assert.equal(exclusion.filter, ownTraffic([single(3), at(B)]));
});

test('a collector that we left for another stays left out: other agents of this host may be there', async () => {
  const clock = new HandClock();
  const { exclusion, said } = stage(undefined, clock);
  const connect = async (address: string, works = true) => {
    await exclusion.attempt([at(address)]);
    exclusion.settle(works ? [at(address)] : []);
    await immediate();
  };
  await connect(A);
  said.length = 0;
  for (let i = 0; i < 10; i++) {
    await connect(A, false);
    clock.turn(60_000);
  }
  assert.deepEqual(said, [], 'no change as long as it may come back');
  await connect(B);
  clock.turn(1_000_000);
  assert.equal(exclusion.filter, ownTraffic([at(A), at(B)]));
});

test('a filter that is refused is told before the connection is made; one that is not answered holds nobody up for long', async () => {
  const { exclusion, said } = stage(() => Promise.reject(new Error('too long')));
  await exclusion.attempt([at(A)]);
  const words = "could not change what is left out of the capture on 'eth0': too long";
  assert.deepEqual(said.splice(0), [`failed: ${words}`]);
  // What is left out although it need not be is no reason to end a capture.
  exclusion.settle([]);
  await immediate();
  assert.deepEqual(said, [`kept: ${words}`]);
  await stage(() => new Promise(() => {})).exclusion.attempt([at(A)]);
});
