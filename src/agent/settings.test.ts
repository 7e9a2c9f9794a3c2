import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { rcap } from '../wire/messages.js';
import { type Arrived, NO_SETTINGS, sealDocument } from '../wire/settings.ts';
import { CollectorSettings, readDocument } from './settings.ts';

const arrived = (document: rcap.v1.ISettingsDocument): Arrived => ({
  digest: sealDocument(document).digest,
  document: { filter: null, exceptions: [], limits: null, ...document } as rcap.v1.SettingsDocument,
});
const NONE: Arrived = { digest: NO_SETTINGS.digest, document: undefined };
const list = (text: string, name = 'exceptions.list') => ({ name, text });
const filter = (text: string) => ({ name: 'filter.txt', text });

/** Parts that write down what they do, and refuse what has `bad` in it. */
function stage() {
  const did: string[] = [];
  const said: string[] = [];
  const noted: string[] = [];
  let hold: Promise<void> | undefined;
  const settings = new CollectorSettings({
    async checkFilter(text) {
      await hold;
      did.push(`check ${text}`);
      if (text.includes('bad')) throw new Error('syntax error');
    },
    async setFilter(text) {
      await hold;
      did.push(`filter ${text}`);
      if (text.includes('busy')) throw new Error('it does not take it');
    },
    setExceptions(entries, from) {
      did.push(`exceptions ${entries.map((e) => e.text).join()} ${from}`);
      return entries.some((e) => e.text === 'bad.example') ? 'it would blind the capture' : undefined;
    },
    setLimits(limits) {
      did.push(`limits ${JSON.stringify(limits)}`);
      return limits.snaplen ? ['snaplen 9: opened with 5'] : [];
    },
    counts: (digest, words) => noted.push(`${digest.length} ${words}`),
    notice: (level, message) => said.push(`${level} ${message}`),
  });
  return { settings, did, said, noted, hold: (until: Promise<void>) => (hold = until) };
}

test('a document is applied part by part, and only what differs; the same again changes nothing', async () => {
  const { settings, did, said, noted } = stage();
  const first = arrived({
    filter: filter('# x\nudp\nport 53'),
    exceptions: [list('192.0.2.1\n')],
    limits: { count: 5 },
  });
  assert.deepEqual(await settings.take(first), { accepted: true, reason: '' });
  assert.deepEqual(did.splice(0), [
    'check udp port 53',
    'exceptions 192.0.2.1 from the collector: exceptions.list',
    'filter udp port 53',
    'limits {"count":5}',
  ]);
  assert.deepEqual(noted, ["32 filter 'udp port 53' (filter.txt), 1 exception (exceptions.list), count 5"]);
  assert.match(
    said[0]!,
    /^info settings [0-9a-f]{12} of the collector count now: filter 'udp port 53' \(filter\.txt\), 1 exception \(exceptions\.list\), count 5$/,
  );
  await settings.take(first);
  assert.deepEqual(did, []);
  await settings.take(
    arrived({ filter: filter('udp port 53'), exceptions: [list('192.0.2.2')], limits: { count: 5 } }),
  );
  assert.deepEqual(did.splice(0), ['exceptions 192.0.2.2 from the collector: exceptions.list', 'limits {"count":5}']);
  await settings.take(NONE);
  assert.deepEqual(did, ['check ', 'exceptions  from the collector', 'filter ', 'limits {}']);
  assert.equal(said.at(-1), 'info no settings of the collector count any more');
});

test('nothing of a document counts when one part is refused, whichever', async () => {
  const good = { filter: filter('udp'), exceptions: [list('192.0.2.1')], limits: { count: 5 } };
  for (const [bad, reason, undone] of [
    [{ filter: filter('bad') }, /syntax error/, []],
    [{ exceptions: [list('bad.example')] }, /blind/, []],
    [{ exceptions: [list('192.0.2.1/33', 'hosts/x/e.list')] }, /could not read 'hosts\/x\/e\.list', line 1: /, []],
    [{ limits: { rate: 1 } }, /limit max-rate 1\/s is out of range/, []],
    [{ filter: filter('busy'), exceptions: [list('192.0.2.9')] }, /does not take it/, ['exceptions 192.0.2.1 from the collector: exceptions.list']],
  ] as const) {
    const { settings, did, said } = stage();
    await settings.take(arrived(good));
    const before = settings.digest;
    did.length = 0;
    const answer = await settings.take(arrived({ ...good, ...(bad as rcap.v1.ISettingsDocument) }));
    assert.equal(answer.accepted, false);
    assert.match(answer.reason, reason);
    assert.equal(settings.digest, before);
    assert.match(said.at(-1)!, /^warning settings [0-9a-f]{12} of the collector are refused, and those before stay: /);
    assert.ok(!did.some((line) => line.startsWith('limits')), did.join());
    assert.deepEqual(did.slice(did.findIndex((line) => line === 'filter busy') + 1).filter((line) => line.startsWith('exceptions 192.0.2.1 ')), undone);
  } // prettier-ignore
});

test('what of it can not be done by now is said and told', async () => {
  const { settings, said } = stage();
  assert.deepEqual(await settings.take(arrived({ limits: { snaplen: 9 } })), {
    accepted: true,
    reason: 'snaplen 9: opened with 5',
  });
  assert.match(said.at(-1)!, /^warning of settings .* one can't be done by now: snaplen 9/);
});

test('a reason is safe for a terminal, and a document is bounded', async () => {
  const { settings } = stage();
  const { reason } = await settings.take(arrived({ exceptions: [list('\u001b[31mx y', 'e\u0007')] }));
  // eslint-disable-next-line no-control-regex
  assert.doesNotMatch(reason, /[\u0000-\u001f]/);
  const read = (document: rcap.v1.ISettingsDocument) => () => readDocument(arrived(document).document!);
  assert.throws(read({ exceptions: Array.from({ length: 101 }, () => list('')) }), /more than 100 lists/);
  assert.throws(read({ exceptions: [list('', 'x'.repeat(256))] }), /more than 255 bytes/);
  assert.throws(read({ filter: filter('x'.repeat(16_385)) }), /more than 16384 bytes/);
});

test('of settings that wait only the newest is kept', async () => {
  const { settings, did, hold } = stage();
  const { promise, resolve } = Promise.withResolvers<void>();
  void hold(promise);
  const answers = [1, 2, 3].map((n) => settings.take(arrived({ filter: filter(`port ${n}`) })));
  assert.deepEqual(await answers[1], { accepted: false, reason: 'newer ones came meanwhile' });
  assert.equal(settings.digest.length, 0);
  resolve();
  assert.deepEqual((await Promise.all(answers)).map((a) => a.accepted), [true, false, true]); // prettier-ignore
  assert.deepEqual(did.filter((d) => d.startsWith('check')), ['check port 1', 'check port 3']); // prettier-ignore
  assert.equal(settings.digest.length, 32);
});
