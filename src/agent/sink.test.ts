import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../clock.ts';
import { RcapError } from '../errors.ts';
import { emptyLedger, imbalance } from '../ledger.ts';
import { BLOCK_HEAD, type Block } from '../packet.ts';
import { until } from '../test/support.ts';
import type { Dial, LinkEvents } from '../wire/link.ts';
import { rcap } from '../wire/messages.js';
import { Receiver, regionBytes } from '../wire/receiver.ts';
import type { Capture } from './run.ts';
import { type SinkEvents, uploadSink } from './sink.ts';

const { AgentMessage, CollectorMessage } = rcap.v1;
const BLOCK = 1000;

/** A collector that writes everything down, and acknowledges when it is told to. */
class FakeCollector {
  readonly got: rcap.v1.AgentMessage[] = [];
  reachable = true;
  durables: rcap.v1.IDurable[] = [];
  #events: LinkEvents | undefined;

  readonly dial: Dial = (_server, events) => {
    if (!this.reachable) return Promise.reject(new RcapError('CONNECTION', 'unreachable'));
    this.#events = events;
    const region = new Uint8Array(regionBytes(600_000));
    const receiver = new Receiver(region, 0, 600_000, (start, end) => {
      const m = AgentMessage.decode(region.slice(start, end));
      this.got.push(m);
      if (m.hello) setImmediate(() => this.say({ welcome: { protocol: 1, captures: this.durables } }));
      return true;
    });
    return Promise.resolve({
      localAddress: '192.0.2.1',
      remoteAddress: '192.0.2.9',
      write(bytes, done) {
        receiver.push(bytes);
        setImmediate(done);
      },
      end: () => setImmediate(() => events.closed(new RcapError('CONNECTION', 'closed'))),
      destroy() {},
    });
  };
  say(m: rcap.v1.ICollectorMessage): void {
    this.#events!.bytes(CollectorMessage.encodeDelimited(m).finish());
  }
  cut(): void {
    this.#events!.closed(new RcapError('CONNECTION', 'cut'));
  }
  get kinds(): string[] {
    return this.got.map((m) => (m.batch ? `batch ${m.batch.sequence}` : m.kind!));
  }
}

function stage(spoolBytes: number) {
  const collector = new FakeCollector();
  const captures: Capture[] = [];
  const said: string[] = [];
  const events: SinkEvents = {
    acknowledged(number, packets, ended) {
      const c = captures[number - 1]!;
      c.ledger.acknowledged += packets;
      c.ended ||= ended;
    },
    stop: (reason) => said.push(`stop ${reason}`),
    failed: (e) => said.push(`failed ${e.message}`),
    trouble: (e) => said.push(`trouble ${e.message}`),
    settings: { digest: new Uint8Array(), take: () => Promise.resolve({ accepted: true, reason: '' }) },
    status: () => {},
    connected: (_server, _ms, waiting) => said.push(`connected, ${waiting} to send`),
    lost: (e) => said.push(`lost ${e.message}`),
  };
  const upload = {
    servers: [{ host: 'a', port: 1 }],
    token: 't',
    giveUpMs: undefined,
    maxRate: undefined,
    spoolDisk: undefined,
  };
  const plan = { host: { name: 'h', system: 's' }, spoolFull: 'drop' as const };
  const sink = uploadSink(upload, plan, spoolBytes, new Uint8Array(16), { dial: collector.dial, clock: systemClock, random: () => 0.01 }, events); // prettier-ignore
  const begin = (): Capture => {
    const info = { linkType: 1, snaplen: 9, interface: 'e', friendlyName: '', addresses: [], effectiveFilter: '', promiscuous: true, source: 'live' as const, file: '' }; // prettier-ignore
    const capture = { number: captures.length + 1, info, ledger: emptyLedger(), ending: false, ended: false };
    captures.push(capture);
    sink.start(capture);
    return capture;
  };
  const add = (capture: Capture) => {
    const block: Block = {
      bytes: new Uint8Array(BLOCK).fill(0x22),
      end: BLOCK_HEAD + 2,
      packets: 2,
      packetBytes: 20,
      release() {},
    };
    block.bytes.set([0x22, 0], BLOCK_HEAD); // an empty packet
    capture.ledger.received += 2;
    capture.ledger.captured += 2;
    capture.ledger.capturedBytes += 20;
    sink.add(capture, block);
  };
  return { collector, sink, said, begin, add };
}

test('the ledger holds through a cut and a full spool, and the end says the last numbers', async () => {
  const room = 3 * (BLOCK_HEAD + 2 + 512);
  const { collector, sink, said, begin, add } = stage(room);
  const capture = begin();
  add(capture);
  assert.equal(await sink.open(), '192.0.2.1');
  add(capture);
  await until('both', () => collector.kinds.includes('batch 2'));
  assert.deepEqual(collector.kinds, ['hello', 'captureStart', 'batch 1', 'batch 2']);
  collector.reachable = false;
  collector.cut();
  await until('the loss', () => said.includes('lost unreachable'));
  assert.equal(sink.state().connected, false);
  for (let i = 0; i < 4; i++) add(capture); // 1 to 3 go
  sink.end(capture, 'stopped');
  sink.count(capture);
  assert.deepEqual([capture.ledger.droppedBySpool, capture.ledger.sent], [6, 6]);
  collector.durables = [{ capture: 1, lastSequence: 1 }]; // which it had after all
  collector.got.length = 0;
  collector.reachable = true;
  await until('the end', () => collector.kinds.includes('captureEnd'));
  // One for batch 2, which some collector might have, and one for 3.
  const gaps = ['gap', 'gap'];
  assert.deepEqual(collector.kinds, ['hello', 'captureStart', ...gaps, 'batch 4', 'batch 5', 'batch 6', 'captureEnd']);
  const { captureEnd } = collector.got.at(-1)!;
  const { capture: _, ...counters } = { ...captureEnd!.counters! };
  assert.deepEqual(
    [captureEnd!.reason, captureEnd!.lastSequence, counters.captured, counters.droppedBySpool, counters.sent],
    ['stopped', 6, 12, 4, 8],
  );
  assert.equal(said.at(-1), 'connected, 6 to send');
  collector.say({ ack: { capture: 1, sequence: 6, ended: true } });
  sink.count(capture);
  assert.deepEqual([capture.ended, imbalance(capture.ledger), sink.state().spoolHeld], [true, undefined, 0]);
  await sink.close(false);
});

test('counters go out while a capture runs and there is a connection', async () => {
  const { collector, sink, begin, add } = stage(1e6);
  const capture = begin();
  sink.counters(capture);
  await sink.open();
  await until('the start', () => collector.kinds.includes('captureStart'));
  await sleep(5);
  add(capture);
  sink.count(capture);
  sink.counters(capture);
  await until('them', () => collector.kinds.includes('counters'));
  assert.equal(collector.got.find((m) => m.counters)!.counters!.captured, 2);
  sink.end(capture, 'x'.repeat(10_000));
  sink.counters(capture);
  await until('the end', () => collector.kinds.includes('captureEnd'));
  await sleep(5);
  assert.equal(collector.kinds.filter((k) => k === 'counters').length, 1);
  assert.equal(collector.got.at(-1)!.captureEnd!.reason.length, 1000);
  await sink.close(true);
});

test('each connection is told what filters by then', async () => {
  const { collector, sink, begin } = stage(1e6);
  const capture = begin();
  await sink.open();
  await until('the start', () => collector.kinds.includes('captureStart'));
  capture.info.effectiveFilter = 'not port 1';
  collector.cut();
  const starts = () => collector.got.flatMap((m) => m.captureStart?.effectiveFilter ?? []);
  await until('the next start', () => starts().length === 2);
  assert.deepEqual(starts(), ['', 'not port 1']);
  await sink.close(true);
});

test('more captures than a collector takes are an error here, not there again and again', async () => {
  const { sink, said, begin } = stage(1e6);
  for (let i = 0; i < 256; i++) begin();
  assert.deepEqual(said, []);
  begin();
  assert.deepEqual(said, ['failed could not send more than 256 captures at a time']);
  await sink.close(true);
});
