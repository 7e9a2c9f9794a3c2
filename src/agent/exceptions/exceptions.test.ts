import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exceptions as Set, Replaced } from 'node-pcap-native';
import { digestOf, type Entry, parseEntry } from '../../formats/exceptions.ts';
import { parseAddress } from '../../formats/address.ts';
import { HandClock } from '../../test/storage.ts';
import { Exceptions, type ExceptionsOptions } from './exceptions.ts';
import type { Home } from './home.ts';
import { countOf, type Rules, RULE_BYTES } from './rules.ts';
import type { Answers } from './resolve.ts';
import { Teller } from './teller.ts';

const entries = (...texts: string[]): Entry[] => texts.map(parseEntry);
const HOME: Home = {
  addresses: [parseAddress('10.1.0.5')!],
  networks: [{ address: parseAddress('10.1.0.0')!, prefix: 24 }],
};

/** In the addon's place: a set is its rules. */
const addon = {
  createExceptions: (bytes: Uint8Array, names: number) => ({ bytes, entries: names }) as unknown as Set,
};
const rulesIn = (set: Set | undefined): number =>
  set ? countOf({ bytes: set.bytes as unknown as Uint8Array, names: [] } satisfies Rules) : 0;
const firstIn = (set: Set | undefined): string =>
  (set!.bytes as unknown as Uint8Array).subarray(0, RULE_BYTES).subarray(0, 4).join('.');

/** Answers when it is told to; counts one packet for each name, and one more with each answer. */
function source() {
  const asked: [exceptions: Set | undefined, learned: Set | undefined][] = [];
  const open: { resolve: (r: Replaced) => void; reject: (e: Error) => void }[] = [];
  let counts: Replaced = {};
  return {
    asked,
    wentOn: 0,
    dns: [] as boolean[],
    setDns(dns: boolean) {
      this.dns.push(dns);
    },
    label: 'eth0',
    setExceptions(exceptions?: Set, learned?: Set) {
      asked.push([exceptions, learned]);
      return new Promise<Replaced>((resolve, reject) => open.push({ resolve, reject }));
    },
    excludedBy: () => counts,
    goOn() {
      this.wentOn++;
    },
    count(now: Replaced) {
      counts = now;
    },
    async answer(final: Replaced = {}) {
      open.shift()!.resolve(final);
      await new Promise(setImmediate);
    },
    async reject() {
      open.shift()!.reject(new Error('the session has ended'));
      await new Promise(setImmediate);
    },
  };
}

function stage(local: string[], more: Partial<ExceptionsOptions> = {}, answers: Record<string, Answers> = {}) {
  const clock = new HandClock();
  const said: string[] = [];
  const exceptions = new Exceptions({
    addon,
    clock,
    local: { entries: entries(...local), strict: false },
    live: true,
    collectors: ['198.51.100.1', 'ir.corp'],
    home: () => HOME,
    nameServers: () => [],
    ask: async (name) => answers[name] ?? { list: [], partial: false },
    notice: (level, message) => said.push(`${level}: ${message}`),
    ...more,
  });
  const events = () => {
    const teller = exceptions.teller(1, undefined);
    assert.ok(teller instanceof Teller);
    return teller.next()?.events?.map((e) => [e.kind, e.words ?? `${e.name} ${e.address}`]) ?? [];
  };
  return { clock, said, exceptions, events };
}
const [LIST, REFUSED, RESOLVED, , EXPIRED] = [1, 2, 3, 4, 5];
const answer = (ttl: number, ...texts: string[]): Answers => ({
  list: texts.map((text) => ({ address: parseAddress(text)!, ttl })),
  partial: false,
});
const settled = () => new Promise(setImmediate);

test('local ones that would blind the capture are refused: a usage error', () => {
  for (const [text, reason] of [
    ['10.1.0.5', /this host/],
    ['198.51.100.0/24', /collector/],
    ['0.0.0.0/1', /50 % of all/],
  ] as const)
    assert.throws(() => stage([text]), { code: 'USAGE', message: reason });
  // In a file the host's own addresses are any.
  stage(['10.1.0.0/24'], { live: false });
});

test('what a source is opened with', () => {
  assert.deepEqual(stage([]).exceptions.toOpen, { dns: false });
  assert.deepEqual(stage([], { live: false }).exceptions.toOpen, { dns: false });
  const { toOpen } = stage(['a.example', '192.0.2.0/24', '::9'], { live: false }).exceptions;
  assert.deepEqual([rulesIn(toOpen.exceptions), toOpen.learned, toOpen.dns], [2, undefined, true]);
  const strict = { local: { entries: entries('*.a.example'), strict: true } };
  assert.equal(stage([], strict).exceptions.toOpen.dns, false);
});

test("a collector's list adds to the local one, replaces the one before, and goes", async () => {
  const { exceptions, events } = stage(['192.0.2.1']);
  const eth0 = source();
  exceptions.use(eth0);
  assert.equal(exceptions.setRemote(entries('192.0.2.2', '192.0.2.3'), 'from the collector'), undefined);
  await eth0.answer();
  assert.equal(exceptions.setRemote(entries('192.0.2.4'), 'from the collector'), undefined);
  await eth0.answer();
  assert.match(exceptions.setRemote(entries('192.0.2.5', '10.1.0.4/31'), 'from the collector')!, /this host/);
  assert.match(exceptions.checkRemote(entries('64.0.0.0/3'))!, /12\.5 %/);
  assert.equal(exceptions.setRemote([], 'none from the collector'), undefined);
  await eth0.answer();
  assert.equal(exceptions.setRemote([], 'again'), undefined);
  assert.deepEqual(eth0.asked.map(([set]) => rulesIn(set)), [3, 2, 1]); // prettier-ignore
  assert.deepEqual(events(), [
    [LIST, 'from the command line'],
    [LIST, 'from the collector'],
    [LIST, 'from the collector'],
    [REFUSED, "from the collector: '10.1.0.4/31' covers 10.1.0.5, an address of this host"],
    [LIST, 'none from the collector'],
  ]);
  const [first] = exceptions.teller(1, undefined).next()!.events!;
  assert.deepEqual([first!.entries, first!.digest], [1, digestOf(entries('192.0.2.1'))]);
});

test('a change while another is under way: only the newest follows, and counts are of the right sets', async () => {
  const { exceptions } = stage(['192.0.2.1']);
  const eth0 = source();
  const user = exceptions.use(eth0);
  eth0.count({ exceptions: Float64Array.of(5, 50) });
  exceptions.tick();
  for (const n of [2, 3, 4]) exceptions.setRemote(entries(`192.0.2.${n}`), 'x');
  // The source may have changed already.
  eth0.count({ exceptions: Float64Array.of(1, 10, 1, 10) });
  exceptions.tick();
  let idle = false;
  user.whenIdle(() => (idle = true));
  await eth0.answer({ exceptions: Float64Array.of(6, 60) });
  assert.deepEqual([idle, eth0.asked.length, rulesIn(eth0.asked[1]![0])], [false, 2, 2]);
  await eth0.answer({ exceptions: Float64Array.of(2, 20, 3, 30) });
  assert.equal(idle, true);
  eth0.count({ exceptions: Float64Array.of(1, 10, 4, 40) });
  exceptions.ended(eth0);
  eth0.count({ exceptions: Float64Array.of(9, 9, 9, 9) });
  exceptions.tick();
  assert.deepEqual(exceptions.ranking, [
    ['192.0.2.1', { packets: 9, bytes: 90 }],
    ['192.0.2.4', { packets: 4, bytes: 40 }],
    ['192.0.2.2', { packets: 3, bytes: 30 }],
  ]);
  exceptions.setRemote([], 'x');
  assert.equal(eth0.asked.length, 2, 'it has ended');
});

test('a source that ends while it is asked', async () => {
  const { exceptions, said } = stage([]);
  const eth0 = source();
  const user = exceptions.use(eth0);
  exceptions.setRemote(entries('192.0.2.1'), 'x');
  let ended = 0;
  user.whenIdle(() => ended++);
  await eth0.reject();
  assert.equal(ended, 1);
  assert.match(said.join(), /could not change the exceptions of 'eth0': the session has ended/);
});

test('names: looked up at once, together at most every 100 ms, gone with their TTL or their entry', async () => {
  const answers = { 'a.example': answer(60, '203.0.113.1'), 'b.example': answer(60, '203.0.113.2') };
  const { exceptions, clock, events } = stage(['a.example'], {}, answers);
  const eth0 = source();
  exceptions.use(eth0);
  await settled();
  await eth0.answer();
  assert.equal(firstIn(eth0.asked.at(-1)![1]), '203.0.113.1');
  assert.equal(exceptions.setRemote(entries('b.example'), 'x'), undefined);
  clock.turn(40);
  await settled();
  assert.equal(eth0.asked.length, 2, 'the list only');
  await eth0.answer();
  clock.turn(60);
  assert.equal(rulesIn(eth0.asked.at(-1)![1]), 2);
  await eth0.answer();
  exceptions.setRemote([], 'x');
  clock.turn(100);
  await eth0.answer();
  assert.equal(rulesIn(eth0.asked.at(-1)![1]), 1);
  await eth0.answer();
  answers['a.example'] = { list: [], partial: true };
  clock.turn(59_000);
  exceptions.tick();
  clock.turn(2000);
  exceptions.tick();
  await settled();
  assert.equal(rulesIn(eth0.asked.at(-1)![1]), 0);
  assert.deepEqual(events().filter(([kind]) => kind !== LIST), [
    [RESOLVED, 'a.example 203.0.113.1'],
    [RESOLVED, 'b.example 203.0.113.2'],
    [EXPIRED, 'b.example 203.0.113.2'],
    [EXPIRED, 'a.example 203.0.113.1'],
  ]); // prettier-ignore
  exceptions.close();
});

test('addresses that must stay visible are never left out, and said once', async () => {
  const answers = { 'a.example': answer(10, '10.1.0.5', '198.51.100.1', '127.0.0.1') };
  const { exceptions, said, events, clock } = stage(['a.example'], {}, answers);
  await settled();
  clock.turn(30_000);
  await settled();
  assert.equal(exceptions.toOpen.learned, undefined);
  assert.equal(said.length, 3);
  assert.equal(events().filter(([kind]) => kind === REFUSED).length, 3);
  exceptions.close();
});

test('a collector that is verified later stays visible: what hides it counts no more', async () => {
  const answers = { 'a.example': answer(60, '203.0.112.9') };
  const { exceptions, said, clock } = stage(['203.0.113.0/24', '192.0.2.1', 'a.example'], {}, answers);
  await settled();
  const eth0 = source();
  exceptions.use(eth0);
  exceptions.keep(['203.0.113.7', '203.0.112.9', '::ffff:203.0.112.9', 'no address']);
  clock.turn(100);
  await eth0.answer();
  await eth0.answer();
  const [given, learned] = eth0.asked.at(-1)!;
  assert.deepEqual([rulesIn(given), rulesIn(learned)], [1, 0]);
  assert.match(said.join(), /'203\.0\.113\.0\/24' is no longer an exception: it covers 203\.0\.113\.7, an address of the collector/); // prettier-ignore
  // The local list without it isn't what is refused from now on.
  assert.equal(exceptions.setRemote(entries('192.0.2.9'), 'x'), undefined);
  assert.match(exceptions.setRemote(entries('203.0.113.7'), 'x')!, /collector/);
  exceptions.close();
});

test('a file waits behind each packet of DNS, whatever that is', () => {
  const { exceptions } = stage(['*.a.example'], { live: false });
  const file = source();
  exceptions.use(file);
  exceptions.packet(file, new Uint8Array(0));
  exceptions.packet(file, Uint8Array.of(0x45));
  assert.equal(file.wentOn, 2);
});

test('several entries that hide a collector go at once, and so does what hides an address that the host got later', () => {
  let now = HOME;
  const { exceptions, said, clock } = stage(['203.0.113.0/24', '203.0.113.7', '172.16.0.0/12', '192.0.2.1'], {
    home: () => now,
  });
  const running = source();
  exceptions.use(running);
  exceptions.keep(['203.0.113.7']);
  assert.equal(said.filter((line) => /is no longer an exception: it covers 203\.0\.113\.7/.test(line)).length, 2);
  assert.equal(rulesIn(running.asked.at(-1)![0]), 2);
  now = { addresses: [...HOME.addresses, parseAddress('172.16.5.5')!], networks: HOME.networks };
  clock.turn(10_001);
  exceptions.tick();
  assert.match(
    said.at(-1)!,
    /'172\.16\.0\.0\/12' is no longer an exception: it covers 172\.16\.5\.5, an address of this host/,
  );
  assert.equal(
    exceptions.checkRemote(entries('172.16.5.5')),
    "'172.16.5.5' covers 172.16.5.5, an address of this host",
  );
  const lines = said.length;
  exceptions.tick();
  assert.equal(said.length, lines);
  exceptions.close();
});

test('a file goes on only once what a packet taught is in use', async () => {
  const { exceptions } = stage(['*.example.com'], { live: false });
  const running = source();
  exceptions.use(running);
  exceptions.setRemote(entries('192.0.2.1'), 'x');
  exceptions.packet(running, new Uint8Array(0));
  assert.equal(running.wentOn, 0);
  await running.answer();
  assert.equal(running.wentOn, 1);
  exceptions.close();
});

test('packets of DNS are handed over as long as there are names, and none are when nothing is to be learned', () => {
  for (const [strict, dns] of [
    [false, [true, false]],
    [true, []],
  ] as const) {
    const { exceptions } = stage([], { local: { entries: [], strict } });
    const running = source();
    exceptions.use(running);
    exceptions.setRemote(entries('*.example.com'), 'x');
    assert.equal(exceptions.toOpen.dns, !strict);
    exceptions.setRemote(entries('192.0.2.1'), 'x');
    assert.equal(exceptions.toOpen.dns, false);
    assert.deepEqual(running.dns, dns);
    exceptions.close();
  }
});
