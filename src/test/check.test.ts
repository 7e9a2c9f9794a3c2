/** `rcap-agent check`, `-d` and `--filter-file`, as a user types them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { Checked } from '../agent/check.ts';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { cleaner, lacks, lacksAddon, lacksRoot, runAgent, temporaryFolder } from './support.ts';

describe('filters before anything starts', { skip: lacksAddon, timeout: 300_000 }, () => {
  const folder = temporaryFolder(cleaner());
  const path = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const SERVER = ['--server', '192.0.2.7:9000'];

  test('-d prints what tcpdump prints, for a file of another link type, too', { skip: lacks('tcpdump') }, async (t) => {
    for (const linkType of [1, 101]) {
      const file = path(`${linkType}.pcap`, pcapBytes(somePackets(3), { linkType }));
      const expected = execFileSync('tcpdump', ['-r', file, '-d', 'tcp port 80 or icmp'], { encoding: 'utf8', stdio: 'pipe' }); // prettier-ignore
      const { code, stdout, stderr } = await runAgent(t, ['-d', '-r', file, 'tcp', 'port', '80', 'or', 'icmp']);
      assert.deepEqual([code, stdout], [0, expected]);
      assert.match(stderr, linkType === 1 ? /link-type EN10MB \(Ethernet\)/ : /link-type RAW/);
    }
  });

  test('a filter that does not compile ends it before it connects', async (t) => {
    const sent = await runAgent(t, [...SERVER, 'tpc port 80']);
    assert.equal(sent.code, 2);
    assert.match(
      sent.stderr,
      /^rcap-agent: error: could not compile the filter 'tpc port 80': .*syntax error\n.*hint: /,
    );
  });

  test('a file holds it, over several lines', async (t) => {
    const file = path('filter.txt', '# web\r\ntcp\r\n  port 80\r\n');
    const { code, stdout } = await runAgent(t, ['check', ...SERVER, '-i', 'lo', '--filter-file', file]);
    assert.equal(code, 0);
    assert.match(stdout, /\n {2}filter: \(tcp port 80\) and not \(\(dst host 192\.0\.2\.7 and tcp dst port 9000\)/);
    for (const bad of [path('empty.txt', '# none\n'), join(folder, 'missing')]) {
      const refused = await runAgent(t, [...SERVER, '--filter-file', bad]);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, /could not read filter file '.*': (there is no filter in it|no such file)/);
    }
    const both = await runAgent(t, [...SERVER, '--filter-file', file, 'udp']);
    assert.match(both.stderr, /could not use '--filter-file' and the words 'udp' together/);
    const two = await runAgent(t, [...SERVER, '--filter-file', file, '-f', 'udp']);
    assert.match(two.stderr, /could not use '--filter' and '--filter-file' together/);
  });

  test('check says all of it at once: filter, exceptions, limits, and each problem', { skip: lacksRoot }, async (t) => {
    const list = path('list', '192.0.2.1\n198.51.100.0/24\nexample.com\n*.example.org\n');
    const words = ['check', ...SERVER, '-i', 'lo', '--json', '-c', '7', '--exceptions', list, 'udp'];
    const { code, stdout, stderr } = await runAgent(t, words);
    assert.equal(code, 0, stderr);
    const checked = JSON.parse(stdout) as Checked;
    assert.deepEqual(checked.limits, ['count 7']);
    assert.deepEqual(checked.exceptions.map((e) => ({ ...e, list: '' })), [{ list: '', hosts: 1, networks: 1, domains: 1, wildcards: 1 }]); // prettier-ignore
    const [capture] = checked.captures;
    assert.deepEqual([capture!.name, capture!.linkTypeName, capture!.assumed], ['lo', 'EN10MB (Ethernet)', false]);
    assert.ok(capture!.instructions > 10 && capture!.instructions < 100);
    const bad = await runAgent(t, ['check', ...SERVER, '-i', 'lo', '-i', 'nosuch', '--except', '0.0.0.0/0', 'tpc']);
    assert.equal(bad.code, 2);
    assert.match(bad.stderr, /0\.0\.0\.0\/0/);
    assert.match(bad.stderr, /could not compile the filter 'tpc'/);
  });

  test('a filter longer than the kernel takes is said to be so', async (t) => {
    const long = path(
      'long.txt',
      Array.from({ length: 1400 }, (_, n) => `ether[${n + 20}] != ${n % 200}`).join('\nand '),
    );
    const { stdout } = await runAgent(t, ['check', ...SERVER, '-i', 'lo', '--filter-file', long]);
    assert.match(stdout, /\d{4,} instructions of the 4096 that the kernel takes: libpcap will filter outside of it/);
  });
});
