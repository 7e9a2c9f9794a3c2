/** The agent for linux-arm64, in an emulator: addon, TLS and files are those of a real run. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { VERSION } from '../version.ts';
import { type Fixture, KINDS } from './fixtures.ts';
import { assertHold, publishedFrom } from './published.ts';
import { cleaner, Collector, lacks, lacksRoot, run, temporaryFolder } from './support.ts';

const AGENT = join(import.meta.dirname, '../../dist/rcap-agent-linux-arm64');
const LIBRARIES = '/usr/aarch64-linux-gnu';
const EMULATOR = ['qemu-aarch64-static', '-L', LIBRARIES];

const skip =
  (!existsSync(AGENT) && 'needs the executables: npm run package') ||
  (!existsSync(join(LIBRARIES, 'lib/libstdc++.so.6')) && 'needs libstdc++6-arm64-cross') ||
  lacks('qemu-aarch64-static');

describe('the agent for linux-arm64', { skip, timeout: 300_000 }, () => {
  const suite = cleaner();
  let folder: string;
  let collector: Collector;
  let token: string;

  before(async () => {
    folder = temporaryFolder(suite);
    collector = await Collector.start(suite);
    token = await collector.token('--host', '*');
  });

  async function send(f: Fixture): Promise<void> {
    const file = join(folder, `${f.name}.pcap`);
    writeFileSync(file, f.bytes);
    const flags = ['-r', file, ...collector.address, '--host-name', f.name];
    const { code, stderr } = await run(suite, AGENT, flags, { prefix: EMULATOR, env: { RCAP_TOKEN: token } });
    assert.equal(code, 0, stderr);
    const packets = f.captures.reduce((n, c) => n + c.packets.length, 0);
    assert.match(stderr, new RegExp(`\\b${packets} packets? sent, ${packets} acknowledged\\b`));
  }

  it('says its version', async () => {
    const { code, stdout } = await run(suite, AGENT, ['--version'], { prefix: EMULATOR });
    assert.deepEqual({ code, stdout }, { code: 0, stdout: `rcap-agent ${VERSION}\n` });
  });

  // In a network namespace of its own: the emulator lacks what the kernel is asked about other interfaces (ethtool).
  it('lists interfaces', { skip: lacksRoot || lacks('unshare') }, async () => {
    const prefix = ['unshare', '-n', ...EMULATOR];
    const { code, stdout, stderr } = await run(suite, AGENT, ['-D', '--json'], { prefix });
    assert.equal(code, 0, stderr);
    const names = (JSON.parse(stdout) as { name: string }[]).map((i) => i.name);
    assert.ok(names.includes('lo'), stdout);
  });

  describe('sends files of every kind, to the last bit', { concurrency: 2 }, () => {
    for (const f of KINDS) {
      it(f.name, async () => {
        await send(f);
        const expected = f.captures.filter((c) => c.packets.length > 0);
        assertHold(publishedFrom(collector, f.name), expected, f.name);
      });
    }
  });
});
