'use strict';
// Random packets and rules, judged by the addon and by another road (oracle.js): no difference. NODE_PCAP_NATIVE_PACKETS says
// how many (200,000), NODE_PCAP_NATIVE_SEED where to begin.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const { test } = require('node:test');
const { addon, collect, pcap, write } = require('./support.js');
const { lookup, oracle } = require('./oracle.js');
const { LINK_TYPES, packets, random, world } = require('./random.js');

const TOTAL = Number(process.env.NODE_PCAP_NATIVE_PACKETS ?? 200_000);
const SEED = Number(process.env.NODE_PCAP_NATIVE_SEED ?? Math.floor(Math.random() * 2 ** 31));
const ROUND = 20_000;
const NAMES = 9;

function bytesOf(rules) {
  const bytes = new Uint8Array(rules.length * 24);
  const view = new DataView(bytes.buffer);
  rules.forEach(({ address, prefix, name }, i) => {
    bytes.set(address, i * 24);
    bytes[i * 24 + 16] = address.length === 4 ? 4 : 6;
    bytes[i * 24 + 17] = prefix;
    view.setUint32(i * 24 + 20, name, true);
  });
  return bytes;
}

/** Time runs through the life of a fragment's memory several times a round. */
const secondsOf = (i) => Math.floor(i / 100);
const indexOf = (timestampNs) =>
  Number(timestampNs / 1_000_000_000n) * 100 + Number((timestampNs % 1_000_000_000n) / 1000n);

async function round(seed, seen) {
  const r = random(seed);
  const linkType = LINK_TYPES[seed % LINK_TYPES.length];
  const { addresses, rules } = world(r);
  const more = world(r).rules.map((rule) => ({
    ...rule,
    address: r.pick(addresses[rule.address.length === 4 ? 4 : 6]),
  }));
  const make = packets(r, { addresses });
  const records = Array.from({ length: ROUND }, (_, i) => ({
    data: make(linkType),
    seconds: secondsOf(i),
    fraction: i % 100,
  }));
  const judge = oracle(linkType, lookup(rules), lookup(more));
  const counts = [new Float64Array(NAMES * 2), new Float64Array(NAMES * 2)];
  const kept = records.map(({ data, seconds, fraction }) => {
    const reason = judge(data, BigInt(seconds) * 1_000_000_000n + BigInt(fraction) * 1000n);
    if (!reason) return true;
    counts[reason.set][reason.name * 2]++;
    counts[reason.set][reason.name * 2 + 1] += data.length;
    seen.excluded++;
    return false;
  });

  const file = write(pcap(records, { linkType }), 'random.pcap');
  const sets = {
    exceptions: addon.createExceptions(bytesOf(rules), NAMES),
    learned: addon.createExceptions(bytesOf(more), NAMES),
  };
  const run = collect({ file, ...sets });
  assert.equal(await run.ended, undefined);
  fs.rmSync(file);
  const got = Array.from({ length: ROUND }, () => false);
  for (const { timestampNs } of run.captures[0].packets) got[indexOf(timestampNs)] = true;
  for (const [i, { data }] of records.entries())
    if (kept[i] !== got[i]) assert.fail(`seed ${seed}, link type ${linkType}, packet ${i} must be ${kept[i] ? 'kept' : 'left out'}: ${data.toString('hex')}`); // prettier-ignore
  assert.deepEqual(run.session.excludedBy(), { exceptions: counts[0], learned: counts[1] }, `seed ${seed}`);
}

test(`${TOTAL} random packets and rules from seed ${SEED} on`, { timeout: 60_000 + TOTAL }, async (t) => {
  const seen = { excluded: 0 };
  const rounds = Math.ceil(TOTAL / ROUND);
  for (let i = 0; i < rounds; i++) await round((SEED + i) | 0, seen);
  t.diagnostic(`${rounds * ROUND} packets, ${seen.excluded} left out`);
  // Both must come often, or nothing was compared.
  assert.ok(seen.excluded > (rounds * ROUND) / 20 && seen.excluded < rounds * ROUND * 0.95);
});
