/** Many agents at once: each with its own token and host name, each packet where it belongs. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { Tokens } from '../collector/tokens.ts';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { Collector, lacks, lacksAddon, packetsIn, runAgent } from './support.ts';

const AGENTS = 32;
const PACKETS = 2000;

it(
  `${AGENTS} agents at once make ${AGENTS} folders`,
  { skip: lacksAddon || lacks('capinfos'), timeout: 600_000 },
  async (t) => {
    const collector = await Collector.start(t);
    const tokens = new Tokens(collector.state);
    const agents = Array.from({ length: AGENTS }, (_, i) => {
      const host = `host-${i}`;
      const bytes = pcapBytes(somePackets(PACKETS, i));
      const file = join(collector.folder, `${host}.pcap`);
      writeFileSync(file, bytes);
      return { host, bytes, file, token: tokens.create({ label: '', host, expiresMs: undefined, uses: 1 }) };
    });

    const ended = await Promise.all(
      agents.map(({ host, file, token }) =>
        // On a machine that is busy with 32 of them the first try may take too long.
        runAgent(t, [...collector.address, '--host-name', host, '-r', file, '--give-up', '5m'], {
          env: { RCAP_TOKEN: token },
        }),
      ),
    );
    for (const { code, stderr } of ended) {
      assert.equal(code, 0, stderr);
      assert.match(stderr, new RegExp(`${PACKETS} packets sent, ${PACKETS} acknowledged`));
    }
    const { code, stderr } = await collector.stop();
    assert.equal(code, 0, stderr);

    const folders = readdirSync(collector.captures).filter((name) => !name.startsWith('.'));
    assert.deepEqual(folders.toSorted(), agents.map((a) => a.host).toSorted());
    for (const { host, bytes } of agents) {
      const files = collector.published().filter((f) => f.includes(`/${host}/`));
      assert.equal(files.length, 1);
      assert.equal(packetsIn(files[0]!), PACKETS);
      assert.ok(readFileSync(files[0]!).equals(bytes), `${host} has other packets than it sent`);
      const manifest = JSON.parse(readFileSync(files[0]!.replace('.pcap', '.json'), 'utf8')) as Record<string, unknown>;
      assert.equal(manifest['host'], host);
      assert.deepEqual((manifest['end'] as { reason: string }).reason, 'end of file');
    }
    assert.equal(collector.files().length, 2 * AGENTS);
  },
);
