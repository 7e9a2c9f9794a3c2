/** The packaged programs, as somebody would copy and start them. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { VERSION } from '../version.ts';

const dist = join(import.meta.dirname, '../../dist');
const AGENT = join(dist, 'rcap-agent-linux-x64');
const COLLECTOR = join(dist, 'rcap-collector-linux-x64');
const skip = existsSync(AGENT) && existsSync(COLLECTOR) ? false : 'needs the executables: npm run package';

describe('executables', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'rcap-test-'));
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const program of [AGENT, COLLECTOR]) {
    const name = program === AGENT ? 'rcap-agent' : 'rcap-collector';

    test(`${name} says its version without any environment`, () => {
      assert.equal(
        execFileSync(program, ['--version'], { env: {}, cwd: folder, encoding: 'utf8' }),
        `${name} ${VERSION}\n`,
      );
      assert.deepEqual(readdirSync(folder), []);
    });

    test(`${name} obeys neither NODE_OPTIONS nor Node's own flags`, () => {
      const planted = join(folder, 'planted.cjs');
      const trace = join(folder, 'trace');
      writeFileSync(planted, `require('node:fs').writeFileSync(${JSON.stringify(trace)}, 'ran')`);
      const env = { NODE_OPTIONS: `--require=${planted}` };
      assert.equal(execFileSync(program, ['--version'], { env, encoding: 'utf8' }), `${name} ${VERSION}\n`);
      const { status, stderr } = spawnSync(program, ['--require', planted], { encoding: 'utf8' });
      assert.equal(status, 2);
      assert.match(stderr, new RegExp(`^${name}: error: could not use '--require'`));
      assert.ok(!existsSync(trace), 'the planted script ran');
      rmSync(planted);
    });
  }

  test('the agent loads its addon without a name on disk, a home folder or a variable', () => {
    const list = JSON.parse(execFileSync(AGENT, ['-D', '--json'], { env: {}, cwd: folder, encoding: 'utf8' })) as {
      name: string;
    }[];
    assert.ok(list.some(({ name }) => name === 'lo' || name === 'any'));
    assert.deepEqual(readdirSync(folder), []);
    assert.deepEqual(
      readdirSync(tmpdir()).filter((entry) => /^rcap-.*\.node$/.test(entry)),
      [],
    );
  });

  test('the sums are right', () => {
    const lines = readFileSync(join(dist, 'SHA256SUMS'), 'utf8').trimEnd().split('\n');
    const named = lines.map((line) => line.slice(66));
    const there = readdirSync(dist).filter((file) => /^rcap-|^LICENSES/.test(file));
    assert.deepEqual(named.toSorted(), there.toSorted());
    for (const line of lines) {
      const [sum, name] = line.split('  ') as [string, string];
      assert.equal(createHash('sha256').update(readFileSync(join(dist, name))).digest('hex'), sum, name); // prettier-ignore
    }
  });

  test('the licences name everything that is inside', () => {
    const text = readFileSync(join(dist, 'LICENSES.txt'), 'utf8');
    for (const name of [
      'rcap, node-pcap-native',
      'libpcap',
      'protobufjs',
      'minimist',
      '@peculiar/x509',
      'Node.js 24',
    ]) {
      assert.match(text, new RegExp(`^${name}`, 'm'));
    }
  });
});
