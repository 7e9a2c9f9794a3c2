/** The bytes in proto/README.md are what our code says, and what a collector takes. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { BLOCK_HEAD } from '../packet.ts';
import { writeBatchHeader } from '../wire/frame.ts';
import { rcap } from '../wire/messages.js';
import { NO_SETTINGS, piecesOf, sealDocument } from '../wire/settings.ts';
import { openIntake, openStore } from './storage.ts';
import { until } from './support.ts';
import { packet } from './wire.ts';

const { AgentMessage, CollectorMessage } = rcap.v1;
const text = readFileSync(new URL('../../proto/README.md', import.meta.url), 'utf8');

/** Blocks that begin with `# Name`; each line is bytes and then words. */
const examples = new Map(
  [...text.matchAll(/^```text\n# (.+)\n([^`]*)```$/gm)].map(([, name, lines]) => [
    name!,
    Buffer.from(
      lines!
        .split('\n')
        .map((line) => /^((?:[0-9a-f]{2} ?)*)(?:  |$)/.exec(line)?.[1] ?? '')
        .join('')
        .replaceAll(' ', ''),
      'hex',
    ),
  ]),
);

const START = 1_700_000_000_000_000_000n;
const FRAME = Buffer.from('ffffffffffff02000000000188b5', 'hex');
const SEALED = sealDocument({
  filter: { name: 'filter.txt', text: 'ip' },
  exceptions: [{ name: 'exceptions.list', text: '192.0.2.1\n' }],
  limits: { count: 1000 },
});
const counters = {
  capture: 1,
  received: 13,
  droppedByKernel: 1,
  captured: 12,
  capturedBytes: 1028,
  droppedBySpool: 10,
  sent: 2,
  sentBytes: 28,
};
const fromAgent: Record<string, rcap.v1.IAgentMessage> = {
  Hello: {
    hello: {
      protocol: 1,
      run: Uint8Array.from({ length: 16 }, (_, i) => i),
      host: { name: 'web-1', system: 'linux x64' },
      agent: 'example 1.0',
      clockNs: START,
      token: `rcap_0123abcd_${'A'.repeat(43)}`,
    },
  },
  CaptureStart: {
    captureStart: { capture: 1, interface: 'eth0', linkType: 1, snaplen: 262_144, timestampDigits: 9, source: 'live' },
  },
  Gap: {
    gap: {
      capture: 1,
      firstSequence: 2,
      lastSequence: 3,
      packets: 10,
      bytes: 1000,
      firstTimestampNs: START + 2n,
      lastTimestampNs: START + 3n,
    },
  },
  Counters: { counters },
  CaptureEnd: { captureEnd: { capture: 1, reason: 'stopped', counters, lastSequence: 3 } },
  Alive: { alive: {} },
  SettingsState: { settingsState: { digest: SEALED.digest, accepted: true } },
  Exclusions: {
    exclusions: {
      capture: 1,
      events: [{ number: 1, timeNs: START, kind: 4, name: 'example.com', address: '192.0.2.9' }],
      names: [{ name: 'example.com', packets: 5, bytes: 700 }],
    },
  },
};
const fromCollector: Record<string, rcap.v1.ICollectorMessage> = {
  Welcome: { welcome: { protocol: 1, collector: 'rcap-collector 0.1.0', clockNs: START } },
  Ack: { ack: { capture: 1, sequence: 1 } },
  'Ack of the end': { ack: { capture: 1, sequence: 3, ended: true } },
  Status: { status: { behind: true, reason: 'its disk is slow' } },
  'Welcome after a reconnection': {
    welcome: {
      protocol: 1,
      collector: 'rcap-collector 0.1.0',
      clockNs: START,
      captures: [{ capture: 1, lastSequence: 3 }],
    },
  },
  'Welcome with settings': {
    welcome: { protocol: 1, collector: 'rcap-collector 0.1.0', clockNs: START, settingsDigest: SEALED.digest },
  },
  Settings: { settings: piecesOf(SEALED)[0]! },
  Stop: { stop: { reason: 'its token has expired' } },
  Refusal: { refusal: { code: 2, message: 'the token is expired', hint: 'rcap-collector token new, there' } },
};

function batch(): Buffer {
  const packets = Buffer.concat([
    packet({ timestampNs: START, data: FRAME }),
    packet({ timestampNs: START + 1n, data: FRAME, original: 1514 }),
  ]);
  const block = Buffer.concat([Buffer.alloc(BLOCK_HEAD), packets]);
  return block.subarray(writeBatchHeader(block, block.length, { capture: 1, sequence: 1, firstPacket: 1 }));
}

describe('the examples in proto/README.md', () => {
  for (const [name, message] of Object.entries(fromAgent)) {
    it(name, () => same(examples.get(name), AgentMessage.encodeDelimited(message).finish()));
  }
  for (const [name, message] of Object.entries(fromCollector)) {
    it(name, () => same(examples.get(name), CollectorMessage.encodeDelimited(message).finish()));
  }
  it('Batch', () => same(examples.get('Batch'), batch()));

  it('as a conversation make the file that is shown', async (t) => {
    const opened = await openStore(t, { options: { syncMs: 1 } });
    let settings = NO_SETTINGS;
    const i = openIntake(opened, { version: 'rcap-collector 0.1.0', settings: () => settings });
    i.intake.push(examples.get('Hello')!);
    await i.greeted();
    settings = SEALED;
    i.intake.tick();
    const said = ['CaptureStart', 'Batch', 'SettingsState', 'Exclusions', 'Gap', 'Counters', 'CaptureEnd', 'Alive'];
    for (const name of said) {
      assert.ok(examples.has(name), name);
      i.intake.push(examples.get(name)!);
    }
    await until('the end', () => i.acks().some((a) => a.ended));
    await i.intake.end('disconnected');
    assert.deepEqual(
      i.answers.map((a) => a.kind).filter((kind) => kind !== 'ack'),
      ['welcome', 'settings'],
    );
    assert.equal(i.log.filter((line) => line.includes('took settings')).length, 1);
    assert.equal(opened.folders.manifests('web-1').at(-1)!.exclusions!.names['example.com']!.packets, 5);
    const [file] = opened.folders.names('.pcap', 'web-1');
    assert.match(file!, /^web-1_eth0_\d{8}T\d{6}Z_00010203-1_1\.pcap$/);
    same(examples.get('The file'), opened.folders.bytes(file!, 'web-1'));
  });

  it('are all checked', () => {
    const checked = [...Object.keys(fromAgent), ...Object.keys(fromCollector), 'Batch', 'The file'];
    assert.deepEqual([...examples.keys()].toSorted(), checked.toSorted());
  });
});

function same(actual: Uint8Array | undefined, expected: Uint8Array): void {
  assert.equal(actual && Buffer.from(actual).toString('hex'), Buffer.from(expected).toString('hex'));
}
