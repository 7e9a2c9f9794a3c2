import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { setImmediate as immediate } from 'node:timers/promises';
import type { Clock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { BLOCK_HEAD } from '../packet.ts';
import { BATCH_TAG, readBatchHeader } from '../wire/frame.ts';
import type { Dial, Link, LinkEvents, Server } from '../wire/link.ts';
import { rcap } from '../wire/messages.js';
import { Receiver, regionBytes } from '../wire/receiver.ts';
import { NO_SETTINGS, piecesOf, sealDocument } from '../wire/settings.ts';
import type { SettingsAnswer } from './connection.ts';
import { Spool } from './spool.ts';
import { Uplink, type UplinkOptions } from './uplink.ts';

const { AgentMessage, CollectorMessage, Refusal } = rcap.v1;
const { Code } = Refusal;

/** Time that passes when a test says so. */
class FakeClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; work: () => void }>();

  now = () => this.#now;
  date = () => 1_700_000_000_000 + this.#now;
  after(ms: number, work: () => void) {
    const timer = { at: this.#now + ms, work };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (let next; (next = this.#next()) && next.at <= end; await settled()) {
      this.#timers.delete(next);
      this.#now = next.at;
      next.work();
    }
    this.#now = end;
  }
  #next() {
    return [...this.#timers].toSorted((a, b) => a.at - b.at)[0];
  }
  get waiting(): number {
    return this.#timers.size;
  }
}

/** All that follows from what happened, but for timers. */
async function settled(): Promise<void> {
  for (let i = 0; i < 10; i++) await immediate();
}

/** A collector's end of a connection. */
class FakeLink implements Link {
  readonly localAddress = '192.0.2.1';
  readonly remoteAddress = '192.0.2.9';
  readonly server: string;
  /** What came, decoded; a batch as its sequence. */
  readonly got: string[] = [];
  readonly pieces: { at: number; bytes: number }[] = [];
  hello: rcap.v1.Hello | undefined;
  readonly states: rcap.v1.SettingsState[] = [];
  over = false;
  ended = false;
  /** It reads nothing. */
  stuck = false;
  readonly #events: LinkEvents;
  readonly #receiver: Receiver;
  readonly #clock: Clock;

  constructor(server: Server, events: LinkEvents, clock: Clock) {
    this.server = server.host;
    this.#events = events;
    this.#clock = clock;
    const region = new Uint8Array(regionBytes(600_000));
    this.#receiver = new Receiver(region, 0, 600_000, (start, end) => {
      if (region[start] === BATCH_TAG) this.got.push(String(readBatchHeader(region, start, end).sequence));
      else {
        const m = AgentMessage.decode(region.slice(start, end));
        if (m.hello) this.hello = m.hello;
        if (m.settingsState) this.states.push(m.settingsState);
        this.got.push(m.kind!);
      }
      return true;
    });
  }

  write(bytes: Uint8Array, done: () => void): void {
    assert.ok(!this.over, 'written after the end');
    this.pieces.push({ at: this.#clock.now(), bytes: bytes.length });
    if (this.stuck) return;
    this.#receiver.push(bytes);
    setImmediate(() => {
      if (!this.over) done();
    });
  }
  end(): void {
    assert.ok(!this.over, 'ended after the end');
    this.ended = true;
    setImmediate(() => this.cut());
  }
  destroy(): void {
    this.over = true;
  }

  say(m: rcap.v1.ICollectorMessage): void {
    this.#events.bytes(CollectorMessage.encodeDelimited(m).finish());
  }
  welcome(...captures: rcap.v1.IDurable[]): void {
    this.say({ welcome: { protocol: 1, collector: 'rcap-collector \u001b[31m', captures } });
  }
  refuse(code: rcap.v1.Refusal.Code): void {
    this.say({ refusal: { code, message: 'no\u0007', hint: 'do that' } });
  }
  cut(): void {
    if (this.over) return;
    this.over = true;
    this.#events.closed(new RcapError('CONNECTION', `lost the connection to '${this.server}': it was closed`));
  }
}

const refusedBy = (server: Server) =>
  new RcapError('CONNECTION', `could not connect to '${server.host}': connection refused`);

class Stage {
  readonly clock = new FakeClock();
  readonly links: FakeLink[] = [];
  /** What each try was given. */
  readonly signals: AbortSignal[] = [];
  /** When each server was tried. */
  readonly tries: string[] = [];
  readonly said: string[] = [];
  readonly spool = new Spool({ limit: 1e6, whenFull: 'drop', ready: () => this.uplink.pump() });
  readonly uplink: Uplink;
  outcome = '';
  /** Settings that came, each as its filter; what becomes of them; and what the Hello says. */
  readonly taken: string[] = [];
  verdict: Promise<SettingsAnswer> = Promise.resolve({ accepted: true, reason: '' });
  digest: Uint8Array = new Uint8Array();
  /** What becomes of a try: refuse the connection, or see the link. */
  reach: (server: Server) => boolean = () => true;
  answer: (link: FakeLink) => void = (link) => link.welcome();

  constructor(options: Partial<UplinkOptions> = {}) {
    const dial: Dial = async (server, events, signal) => {
      this.signals.push(signal);
      this.tries.push(`${server.host}@${Math.round(this.clock.now())}`);
      await immediate();
      if (!this.reach(server)) throw refusedBy(server);
      const link = new FakeLink(server, events, this.clock);
      this.links.push(link);
      setImmediate(() => {
        if (!link.over) this.answer(link);
      });
      return link;
    };
    // eslint-disable-next-line @typescript-eslint/no-this-alias
    const stage = this;
    this.uplink = new Uplink({
      servers: [{ host: 'a', port: 1 }],
      dial,
      clock: this.clock,
      random: () => 1,
      hello: () => ({ protocol: 1, token: 't' }),
      spool: this.spool,
      settings: {
        get digest() {
          return stage.digest;
        },
        take: ({ digest, document }) => {
          this.taken.push(document ? (document.filter?.text ?? '') : `none ${digest.length}`);
          return this.verdict;
        },
      },
      events: {
        acknowledged: (a) => this.said.push(`acknowledged ${a.capture} ${a.packets}${a.ended ? ' ended' : ''}`),
        stop: (reason) => this.said.push(`stop ${reason}`),
        status: (behind, reason) => this.said.push(`status ${behind} ${reason}`),
        connected: (server, outageMs, waiting) => this.said.push(`connected ${server} ${outageMs} ${waiting}`),
        lost: (error, retryMs) => this.said.push(`lost ${error.message} ${retryMs}`),
        failed: (error) => this.said.push(`failed ${error.code}`),
        unreached: (error) => this.said.push(`unreached ${error.message}`),
      },
      ...options,
    });
  }

  start(): this {
    this.uplink.start().then(
      (address) => (this.outcome = address),
      (e: RcapError) => (this.outcome = `${e.code}: ${e.message}`),
    );
    return this;
  }
  async connected(): Promise<this> {
    this.start();
    await this.clock.pass(0);
    assert.equal(this.outcome, '192.0.2.1');
    return this;
  }
  get link(): FakeLink {
    return this.links.at(-1)!;
  }
  begin(capture = 1): void {
    this.spool.start(capture, () => AgentMessage.encodeDelimited({ captureStart: { capture } }).finish());
    this.uplink.pump();
  }
  add(bytes = 300, capture = 1): void {
    const block = new Uint8Array(bytes).fill(0x22, BLOCK_HEAD);
    this.spool.add(capture, { bytes: block, end: bytes, packets: 1, packetBytes: 1, release() {} });
    this.uplink.pump();
  }
}
const servers = (...hosts: string[]): Server[] => hosts.map((host) => ({ host, port: 1 }));

test('says Hello, waits for the Welcome, then sends what is there and what comes', async () => {
  const s = new Stage().start();
  s.answer = () => {};
  s.begin();
  s.add();
  await s.clock.pass(0);
  assert.deepEqual([s.link.got, s.link.hello!.token, s.outcome], [['hello'], 't', '']);
  s.link.welcome();
  await s.clock.pass(0);
  s.add();
  await s.clock.pass(0);
  assert.deepEqual(s.link.got, ['hello', 'captureStart', '1', '2']);
  assert.deepEqual(s.said, ['connected a:1 undefined 1']);
  s.link.say({ ack: { capture: 1, sequence: 2 } });
  s.link.say({ status: { behind: true, reason: 'a slow\ndisk' } });
  s.link.say({ stop: { reason: 'enough' } });
  assert.deepEqual(s.said.slice(1), ['acknowledged 1 2', 'status true a slow?disk', 'stop enough']);
});

test('goes on after a cut: what is on disk there is acknowledged, the rest sent again', async () => {
  const s = await new Stage().connected();
  s.begin();
  for (let i = 0; i < 3; i++) s.add();
  await s.clock.pass(1000);
  s.answer = (link) => link.welcome({ capture: 1, lastSequence: 2 });
  s.link.cut();
  await s.clock.pass(2000);
  assert.deepEqual(s.link.hello!.resume.map((r) => ({ ...r })), [{ capture: 1, firstUnacknowledged: 1, firstPacket: 1 }]); // prettier-ignore
  assert.deepEqual(s.link.got, ['hello', 'captureStart', '3']);
  assert.deepEqual(s.said.slice(1), ["lost lost the connection to 'a': it was closed 250", 'acknowledged 1 2', 'connected a:1 250 1']); // prettier-ignore
});

test('a message that was cut in the middle begins anew on the next connection', async () => {
  const s = await new Stage({ maxRate: 40_960 }).connected();
  s.begin();
  s.add(20_000);
  await s.clock.pass(100);
  assert.deepEqual(s.link.got, ['hello', 'captureStart']);
  s.link.cut();
  await s.clock.pass(3000);
  assert.deepEqual(s.link.got, ['hello', 'captureStart', '1']);
});

test('tries again for ever, at most every 15 s, and the waits start anew after a good connection', async () => {
  const s = await new Stage().connected();
  s.reach = () => false;
  s.link.cut();
  await s.clock.pass(100_000);
  const at = s.tries.slice(1).map((x) => Number(x.split('@')[1]));
  assert.deepEqual(at.slice(0, 8), [250, 750, 1750, 3750, 7750, 15_750, 30_750, 45_750]);
  s.reach = () => true;
  await s.clock.pass(15_000);
  assert.equal(s.uplink.connected, true);
  // Not yet a good one.
  s.link.cut();
  await settled();
  assert.match(s.said.at(-1)!, /closed 15000$/);
  await s.clock.pass(15_000);
  s.begin();
  s.add();
  await settled();
  s.link.say({ ack: { capture: 1, sequence: 1 } });
  s.link.cut();
  await settled();
  assert.match(s.said.at(-1)!, /closed 250$/);
  await s.clock.pass(250);
  for (let i = 0; i < 3; i++) {
    s.link.say({ status: {} });
    await s.clock.pass(5000);
  }
  s.link.cut();
  await settled();
  assert.match(s.said.at(-1)!, /closed 250$/);
});

test('the waits are random, from nothing on', async () => {
  const draws = [0.5, 0, 0.25];
  const s = await new Stage({ random: () => draws.shift()! }).connected();
  s.reach = () => false;
  s.link.cut();
  await s.clock.pass(300);
  assert.deepEqual(s.tries, ['a@0', 'a@125', 'a@125']);
  assert.match(s.said.at(-1)!, / 250$/); // a quarter of 1000
});

test('before the first connection each server is tried once, and the first one counts', async () => {
  const s = new Stage({ servers: servers('a', 'b') });
  s.reach = () => false;
  s.start();
  await s.clock.pass(60_000);
  assert.deepEqual(s.tries, ['a@0', 'b@0']);
  assert.equal(s.outcome, "CONNECTION: could not connect to 'a': connection refused");
  assert.deepEqual([s.said, s.clock.waiting], [["unreached could not connect to 'b': connection refused"], 0]);
});

test('of several errors the one that says most counts, the others are told', async () => {
  const answers: Record<string, [code: string, message: string]> = {
    a: ['CONNECTION', 'nobody at a'],
    b: ['CERTIFICATE', 'a stranger at b'],
    c: ['REFUSED_LIMIT', 'no room at c'],
    d: ['TIMEOUT', 'silence at d'],
  };
  const dial: Dial = ({ host }) => Promise.reject(new RcapError(...answers[host]!));
  const s = new Stage({ servers: servers('a', 'b', 'c', 'd'), dial }).start();
  await s.clock.pass(0);
  assert.equal(s.outcome, 'REFUSED_LIMIT: no room at c');
  const others = ['unreached a stranger at b', 'unreached nobody at a', 'unreached silence at d'];
  assert.deepEqual(s.said, others);
  // Where it goes on they are told once.
  const patient = new Stage({ servers: servers('d', 'b'), dial, giveUpMs: 5000 }).start();
  await patient.clock.pass(700);
  const first = ['unreached silence at d', 'lost a stranger at b 250', 'lost a stranger at b 500'];
  assert.deepEqual(patient.said, first);
});

test('nothing is left of a try that failed', async () => {
  const s = new Stage({ giveUpMs: 1e6 });
  s.reach = () => false;
  s.start();
  await s.clock.pass(100_000);
  s.reach = () => true;
  s.answer = (link) => link.refuse(Code.LIMIT);
  await s.clock.pass(15_000);
  s.answer = (link) => link.welcome();
  await s.clock.pass(15_000);
  assert.ok(s.uplink.connected && s.links.length > 1 && s.signals.length > 8);
  assert.deepEqual(s.signals.map((signal) => getEventListeners(signal, 'abort').length), s.signals.map(() => 0)); // prettier-ignore
});

test('with --give-up the start is tried for that long, and so is each outage', async () => {
  const s = new Stage({ giveUpMs: 5000 });
  s.reach = () => s.clock.now() > 3000;
  s.start();
  await s.clock.pass(4000);
  assert.equal(s.outcome, '192.0.2.1');
  s.reach = () => false;
  for (let i = 0; i < 4; i++) {
    await s.clock.pass(5000);
    if (i < 3) s.link.say({ status: {} });
  }
  assert.equal(s.uplink.connected, true, 'a connection needs no patience');
  s.link.cut();
  await s.clock.pass(4999);
  assert.ok(!s.said.includes('failed GIVEN_UP'));
  await s.clock.pass(1);
  assert.equal(s.said.at(-1), 'failed GIVEN_UP');
  const { length } = s.tries;
  await s.clock.pass(60_000);
  assert.deepEqual([s.tries.length, s.clock.waiting], [length, 0]);
});

for (const [what, dies] of [
  ['at once', (link: FakeLink) => link.cut()],
  ['with nonsense', (link: FakeLink) => link.say({})],
] as const) {
  test(`a collector that greets and then fails ${what}, again and again, does not keep the patience up`, async () => {
    const s = new Stage({ giveUpMs: 20_000 });
    s.answer = (link) => {
      link.welcome();
      setImmediate(() => setImmediate(() => dies(link)));
    };
    s.start();
    await s.clock.pass(19_999);
    assert.ok(s.said.filter((x) => x.startsWith('connected')).length > 3 && !s.said.includes('failed GIVEN_UP'));
    await s.clock.pass(1);
    assert.equal(s.said.at(-1), 'failed GIVEN_UP');
  });
}

test('a connection that got something acknowledged, or lasted 10 s, renews the patience; a shorter one interrupts it', async () => {
  const s = await new Stage({ giveUpMs: 4000 }).connected();
  const outage = async (ms: number) => {
    s.reach = () => false;
    s.link.cut();
    await s.clock.pass(ms);
    s.reach = () => true;
    await s.clock.pass(3900 - ms); // the next try
    assert.equal(s.uplink.connected, true);
  };
  s.begin();
  await outage(3000);
  s.add();
  await settled();
  s.link.say({ ack: { capture: 1, sequence: 1 } });
  await outage(3000);
  await s.clock.pass(9000);
  s.link.say({ status: {} });
  await s.clock.pass(1000);
  await outage(3000);
  await s.clock.pass(5000);
  assert.equal(s.uplink.connected, true);
  s.reach = () => false;
  s.link.cut();
  await s.clock.pass(3000);
  assert.equal(s.said.at(-1), 'failed GIVEN_UP');
});

test('gives up at the start, too, and says why; also in the middle of a try', async () => {
  const s = new Stage({ giveUpMs: 2000 });
  s.reach = () => false;
  s.start();
  await s.clock.pass(2000);
  assert.equal(
    s.outcome,
    "GIVEN_UP: gave up after 2 s without a connection: could not connect to 'a': connection refused",
  );
  const silent = new Stage({ giveUpMs: 2000 });
  silent.answer = () => {};
  silent.start();
  await silent.clock.pass(2000);
  assert.equal(silent.outcome, 'GIVEN_UP: gave up after 2 s without a connection');
  assert.ok(silent.link.over);
});

test('a login takes 10 s at most; connecting, too', async () => {
  const s = new Stage();
  s.answer = () => {};
  s.start();
  await s.clock.pass(9999);
  assert.equal(s.outcome, '');
  await s.clock.pass(1);
  assert.equal(s.outcome, "TIMEOUT: could not log in at 'a:1': no answer within 10 s");
  assert.ok(s.link.over);
  const dial: Dial = (_server, _events, signal) =>
    new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
  const unreachable = new Stage({ dial }).start();
  await unreachable.clock.pass(10_000);
  assert.equal(unreachable.outcome, "TIMEOUT: could not connect to 'a:1': no answer within 10 s");
});

test('says Alive after 5 s of silence, and takes a collector for gone after 12', async () => {
  const s = await new Stage().connected();
  await s.clock.pass(4999);
  assert.deepEqual(s.link.got, ['hello']);
  await s.clock.pass(5001);
  assert.deepEqual(s.link.got, ['hello', 'alive', 'alive']);
  s.link.say({ status: {} });
  await s.clock.pass(11_999);
  assert.equal(s.uplink.connected, true);
  const { link } = s;
  await s.clock.pass(1);
  assert.ok(link.over);
  assert.match(s.said.at(-1)!, /^lost lost the connection to 'a:1': nothing heard for 12 s 250$/);
});

test('no Alive goes into the middle of a message', async () => {
  const s = await new Stage({ maxRate: 4096 }).connected();
  s.begin();
  s.add(60_000);
  for (let i = 0; i < 4; i++) {
    await s.clock.pass(5000);
    s.link.say({ status: {} });
  }
  assert.deepEqual(s.link.got, ['hello', 'captureStart', '1', 'alive']);
});

test('a collector that takes nothing in is gone after 12 s, too', async () => {
  const s = await new Stage().connected();
  s.begin();
  await s.clock.pass(0);
  s.link.stuck = true;
  s.add();
  await s.clock.pass(13_000);
  assert.match(
    s.said.find((x) => x.startsWith('lost'))!,
    /nothing heard/,
  );
  assert.deepEqual(s.link.got, ['hello', 'captureStart', '1']);
});

for (const name of ['UNKNOWN', 'LIMIT', 'STOPPING', 'STORAGE'] as const) {
  test(`${name} is tried again, at a login and on a connection`, async () => {
    const s = await new Stage().connected();
    s.answer = (link) => (s.tries.length < 3 ? link.refuse(Code[name]) : link.welcome());
    s.link.refuse(Code[name]);
    await s.clock.pass(1000);
    assert.deepEqual([s.tries.length, s.uplink.connected], [3, true]);
    assert.equal(s.said[1], 'lost the collector refused: no? 250');
  });
}

for (const name of ['TOKEN', 'VERSION', 'PROTOCOL', 'SUPERSEDED'] as const) {
  test(`${name} ends the run, at a login and on a connection`, async () => {
    const atLogin = await new Stage().connected();
    atLogin.answer = (link) => link.refuse(Code[name]);
    atLogin.link.cut();
    await atLogin.clock.pass(60_000);
    assert.deepEqual([atLogin.tries.length, atLogin.said.at(-1)], [2, `failed REFUSED_${name}`]);
    const later = await new Stage().connected();
    later.link.refuse(Code[name]);
    await later.clock.pass(60_000);
    assert.deepEqual([later.tries.length, later.said.at(-1)], [1, `failed REFUSED_${name}`]);
  });
}

test('of several servers the first that answers is taken, from the first on in each round', async () => {
  const s = new Stage({ servers: servers('a', 'b', 'c') });
  s.reach = ({ host }) => host !== 'a';
  await s.connected();
  assert.equal(s.link.server, 'b');
  s.reach = ({ host }) => host !== 'b';
  s.link.cut();
  await s.clock.pass(250);
  assert.deepEqual(s.tries, ['a@0', 'b@0', 'a@250']);
  s.reach = ({ host }) => host === 'c';
  s.link.cut();
  await s.clock.pass(500);
  assert.deepEqual(s.tries.slice(3), ['a@750', 'b@750', 'c@750']);
});

test('of several servers one that knows no token is not the last word; all of them are', async () => {
  const s = new Stage({ servers: servers('a', 'b') });
  s.answer = (link) => (link.server === 'a' ? link.refuse(Code.TOKEN) : link.welcome());
  await s.connected();
  s.reach = ({ host }) => host === 'a';
  s.link.refuse(Code.TOKEN);
  await s.clock.pass(10_000);
  assert.ok(s.tries.length > 6 && !s.said.some((x) => x.startsWith('failed')));
  s.reach = () => true;
  s.answer = (link) => link.refuse(link.server === 'a' ? Code.TOKEN : Code.VERSION);
  await s.clock.pass(15_000);
  assert.equal(s.said.at(-1), 'failed REFUSED_TOKEN');
});

test('of several servers one that says PROTOCOL is', async () => {
  const s = new Stage({ servers: servers('a', 'b') });
  s.answer = (link) => link.refuse(Code.PROTOCOL);
  s.start();
  await s.clock.pass(0);
  assert.deepEqual([s.tries, s.outcome], [['a@0'], 'REFUSED_PROTOCOL: the collector refused: no?']);
});

test('what no collector says is no reason to end, and says what it was', async () => {
  const nonsense: [(link: FakeLink) => void, RegExp][] = [
    [(link) => link.welcome(), /it says Welcome twice/],
    [(link) => link.say({}), /a message is empty/],
    [
      (link) => link.say({ ack: { capture: 7, sequence: 1 } }),
      /^lost could not understand collector 'a:1': it acknowledges capture 7, of which it was never told/,
    ],
  ];
  for (const [say, reason] of nonsense) {
    const s = await new Stage().connected();
    say(s.link);
    await s.clock.pass(1000);
    assert.match(s.said[1]!, reason);
    assert.equal(s.uplink.connected, true);
  }
  const early = new Stage();
  early.answer = (link) => link.say({ ack: { capture: 1, sequence: 1 } });
  early.start();
  await early.clock.pass(0);
  assert.match(early.outcome, /^PROTOCOL: could not understand collector 'a:1': it begins with ack/);
  const other = new Stage();
  other.answer = (link) => link.say({ welcome: { protocol: 2 } });
  other.start();
  await other.clock.pass(0);
  assert.match(other.outcome, /it answers with protocol version 2, not 1/);
});

test('--max-rate holds over time, and no piece is more than 100 ms worth', async () => {
  const rate = 100_000;
  const s = await new Stage({ maxRate: rate }).connected();
  s.begin();
  for (let i = 0; i < 10; i++) s.add(50_000);
  for (let i = 0; i < 5; i++) {
    s.link.say({ status: {} });
    await s.clock.pass(1000);
  }
  const bytes = s.link.pieces.reduce((n, p) => n + p.bytes, 0);
  assert.ok(bytes > 0.95 * 5 * rate && bytes <= 5 * rate + 10_000, `${bytes} in 5 s`);
  assert.ok(s.link.pieces.every((p) => p.bytes <= 10_000));
  for (const { at } of s.link.pieces) {
    const around = s.link.pieces.filter((p) => p.at >= at && p.at < at + 500).reduce((n, p) => n + p.bytes, 0);
    assert.ok(around <= 0.5 * rate + 20_000, `${around} in half a second`);
  }
});

test('without --max-rate a batch is one write, of the memory that it lies in', async () => {
  const s = await new Stage().connected();
  s.begin();
  s.add(300_000);
  await s.clock.pass(0);
  assert.equal(s.link.pieces.length, 3);
  assert.ok(s.link.pieces[2]!.bytes > 299_000);
});

test('close ends in order, and nothing is tried any more; abort at once', async () => {
  const s = await new Stage().connected();
  await s.uplink.close();
  assert.ok(s.link.ended);
  const aborted = await new Stage().connected();
  aborted.uplink.abort();
  const waiting = await new Stage().connected();
  waiting.reach = () => false;
  waiting.link.cut();
  await waiting.clock.pass(100);
  await waiting.uplink.close();
  for (const stage of [s, aborted, waiting]) {
    await stage.clock.pass(60_000);
    assert.deepEqual([stage.tries.length, stage.link.over, stage.clock.waiting], [1, true, 0]);
    assert.ok(!stage.said.some((x) => x.startsWith('failed')));
  }
});

test('a collector that does not close is left after 2 s', async () => {
  const s = await new Stage().connected();
  s.link.end = () => {};
  const closed = s.uplink.close();
  await s.clock.pass(2000);
  await closed;
  assert.ok(s.link.over);
});

const sealed = (filter: string, more = 0) =>
  sealDocument({ filter: { text: filter }, exceptions: [{ text: ' '.repeat(more) }] });
const announcing =
  (digest: Uint8Array) =>
  (link: FakeLink): void =>
    link.say({ welcome: { protocol: 1, settingsDigest: digest } });

test('the first settings that a Welcome announces are taken before anything begins, and answered once', async () => {
  const s = new Stage().start();
  const first = sealed('tcp', 100_000);
  s.answer = announcing(first.digest);
  await s.clock.pass(0);
  assert.equal(s.outcome, '');
  let decide!: (answer: SettingsAnswer) => void;
  s.verdict = new Promise((resolve) => (decide = resolve));
  for (const settings of piecesOf(first)) s.link.say({ settings });
  await s.clock.pass(0);
  assert.deepEqual([s.taken, s.outcome, s.link.states], [['tcp'], '', []]);
  decide({ accepted: false, reason: 'x'.repeat(4095) + 'é'.repeat(10) });
  await s.clock.pass(0);
  assert.equal(s.outcome, '192.0.2.1');
  assert.equal(s.link.states.length, 1);
  const { accepted, reason, digest } = s.link.states[0]!;
  assert.deepEqual([accepted, Buffer.from(digest)], [false, Buffer.from(first.digest)]);
  assert.equal(reason, 'x'.repeat(4093));
});

test('settings change while it runs, also to none; each document is answered, in order', async () => {
  const s = await new Stage().connected();
  assert.deepEqual(s.taken, ['none 0']);
  for (const filter of ['tcp', 'udp', 'udp']) for (const settings of piecesOf(sealed(filter))) s.link.say({ settings });
  for (const settings of piecesOf(NO_SETTINGS)) s.link.say({ settings });
  await s.clock.pass(0);
  assert.deepEqual(s.taken, ['none 0', 'tcp', 'udp', 'udp', 'none 0']);
  assert.deepEqual(
    s.link.states.map((x) => Buffer.from(x.digest)),
    ['tcp', 'udp', 'udp'].map((f) => Buffer.from(sealed(f).digest)),
  );
});

test('the Hello says which settings count; what it says is not sent again', async () => {
  const s = new Stage();
  s.digest = sealed('tcp').digest;
  s.answer = announcing(s.digest);
  await s.connected();
  assert.deepEqual(Buffer.from(s.link.hello!.settingsDigest), Buffer.from(s.digest));
  assert.deepEqual([s.taken, s.link.states], [[], []]);
  // Nothing is awaited either.
  await s.clock.pass(11_000);
  assert.equal(s.uplink.connected, true);
});

test('a collector that announces settings and does not send them is given up after a while; the next is asked', async () => {
  const s = new Stage({ servers: servers('a', 'b') }).start();
  const both = sealed('tcp', 100_000);
  s.answer = (link) => (link.server === 'a' ? announcing(both.digest)(link) : link.welcome());
  await s.clock.pass(8000);
  s.link.say({ settings: piecesOf(both)[0]! });
  s.link.say({ status: {} });
  await s.clock.pass(8000);
  assert.equal(s.uplink.connected, true);
  s.reach = (server) => server.host === 'b';
  s.link.say({ status: {} });
  await s.clock.pass(5000);
  assert.match(s.said.join('\n'), /lost lost the connection to 'a:1': it announced settings and does not send them/);
  assert.equal(s.outcome, '192.0.2.1');
  assert.deepEqual(s.taken, ['none 0']);
});

test('settings that are not what their digest says end the connection', async () => {
  const s = await new Stage().connected();
  s.link.say({ settings: { ...piecesOf(sealed('tcp'))[0]!, digest: sealed('udp').digest } });
  await settled();
  assert.match(s.said.at(-1)!, /could not understand collector 'a:1': settings are not what their digest says/);
  assert.deepEqual(s.taken, ['none 0']);
});

test('a rate that changes while it runs counts at once', async () => {
  const s = await new Stage().connected();
  s.begin();
  s.uplink.setRate(40_960);
  s.add(20_000);
  await s.clock.pass(300);
  assert.ok(!s.link.got.includes('1'));
  s.uplink.setRate(undefined);
  await s.clock.pass(200);
  assert.ok(s.link.got.includes('1'));
});
