/**
 * Settings that change again and again under load: no packet is lost, none left out that shouldn't be, each change is in the
 * manifests. RCAP_LOAD=full: 100 changes under 200,000 packets a second; else a few, slower.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Manifest } from '../collector/manifest.ts';
import type { Ledger } from '../ledger.ts';
import { AGENT, Collector, lacks, lacksAddon, lacksRoot, namespacePair, packetsIn, Program, temporaryFolder } from './support.ts'; // prettier-ignore

const FULL = process.env['RCAP_LOAD'] === 'full';
const [CHANGES, RATE] = FULL ? [100, 200_000] : [8, 10_000];
/** Of the collector's look at its folder, and the agent's answer. */
const SECONDS_A_CHANGE = FULL ? 1.25 : 1.2;
const SENDER = fileURLToPath(new URL('../../native/test/send.c', import.meta.url));
/** send.c's frames are between 10.0.0.1 and 10.0.0.2; these never come. */
const listOf = (n: number) => ['10.0.0.3', '10.0.1.0/24', `198.51.100.${n}`, `2001:db8::${n.toString(16)}`];
/** All of these match what is sent. */
const FILTERS = ['udp', 'udp dst portrange 5000-5003', 'ip and not tcp', 'host 10.0.0.2'];
const digestOf = (entries: string[]) =>
  createHash('sha256').update(entries.toSorted().map((e) => `${e}\n`).join('')).digest('hex'); // prettier-ignore

const skip = lacksRoot || lacksAddon || lacks('ip', 'gcc', 'capinfos');

test(`settings that change ${CHANGES} times under ${RATE} packets a second`, { skip, timeout: 900_000 }, async (t) => {
  const [here, there] = namespacePair(t);
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'public'));
  const say = (name: string, text: string) => {
    writeFileSync(join(folder, 'new'), text);
    renameSync(join(folder, 'new'), join(folder, 'public', name));
  };
  const sender = join(folder, 'send');
  execFileSync('gcc', ['-O2', '-o', sender, SENDER]);
  const flags = ['--public', join(folder, 'public'), '--http', 'none', '--rotate-age', '10s'];
  const collector = await Collector.start(t, { folder, flags, prefix: here.prefix });
  const env = { RCAP_TOKEN: await collector.token('--host', 'loaded') };
  const args = [
    '-i',
    here.interface,
    '--host-name',
    'loaded',
    '-B',
    '256M',
    '--spool',
    '512M',
    'udp dst portrange 5000-5003',
    '--json',
  ];
  const agent = new Program(t, process.execPath, [AGENT, ...collector.address, ...args], { env, prefix: here.prefix });
  await agent.says(/listening on/);
  const count = Math.ceil(CHANGES * SECONDS_A_CHANGE * RATE);
  const program = new Program(t, sender, [there.interface, String(count), '60', String(RATE)], {
    prefix: there.prefix,
  });
  const sending = program.end(600_000);
  const began = performance.now();
  let over = 0;
  void sending.then(() => (over = performance.now()));
  let under = 0;
  for (let n = 1; n <= CHANGES; n++) {
    say('exceptions.list', `# number ${n}\n${listOf(n).join('\n')}\n`);
    say('filter.txt', FILTERS[n % FILTERS.length]!);
    say('settings.json', `{"count": ${2 ** 40 + n}}`);
    await agent.says(new RegExp(`count now: .*count ${2 ** 40 + n}"`));
    under += over ? 0 : 1;
  }
  const sent = Number(/\d+/.exec((await sending).stdout)?.[0]);
  agent.kill('SIGINT');
  const { code, stderr } = await agent.end();
  const line = stderr.split('\n').find((l) => l.includes('"message":"done"'))!;
  const done = JSON.parse(line) as Ledger & { lost: number };
  t.diagnostic(
    `${under} of ${CHANGES} changes while ${sent} packets were sent, ${Math.round(sent / ((over - began) / 1000))} a second; ${JSON.stringify(done)}`,
  );
  assert.equal(code, 0, stderr.slice(-3000));
  assert.deepEqual([done.captured, done.excluded, done.lost, done.acknowledged], [sent, 0, 0, sent]);
  assert.ok(under > CHANGES / 2, `only ${under} changes came in time`);
  await collector.stop();
  assert.equal(collector.published().reduce((n, file) => n + packetsIn(file), 0), sent); // prettier-ignore
  const manifests = collector
    .files()
    .filter((f) => f.endsWith('.json'))
    .map((f) => JSON.parse(readFileSync(join(collector.captures, f), 'utf8')) as Manifest);
  const events = manifests.flatMap((m) => m.exclusions?.events ?? []);
  const digests = new Set(events.filter((e) => e.kind === 'list').map((e) => e.digest));
  const missing = Array.from({ length: CHANGES }, (_, n) => n + 1).filter((n) => !digests.has(digestOf(listOf(n))));
  assert.deepEqual(missing, []);
});
