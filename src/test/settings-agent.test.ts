/** What an agent makes of its collector's settings, whole programs on a live interface, as root: privileges are gone by then. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { AGENT, cleaner, Collector, lacks, lacksAddon, lacksRoot, namespacePair, Program, temporaryFolder, until } from './support.ts'; // prettier-ignore

const skip = lacksRoot || lacksAddon || lacks('ip', 'python3');
const SEND = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[3])): s.sendto(b'x' * 20, (sys.argv[1], int(sys.argv[2])))`;

describe('settings of the collector in a live capture', { skip, timeout: 600_000 }, () => {
  const suite = cleaner();
  const [here, there] = skip ? ([] as never) : namespacePair(suite);
  const folder = temporaryFolder(suite);
  let collector: Collector;
  let token: string;

  before(async () => {
    const flags = ['--public', join(folder, 'public'), '--http', 'none'];
    collector = await Collector.start(suite, { folder, flags, prefix: here.prefix });
    token = await collector.token('--host', '*');
  });

  const say = (host: string, name: string, text: string) => {
    mkdirSync(join(folder, 'public/hosts', host), { recursive: true });
    writeFileSync(join(folder, 'public/hosts', host, name), text);
  };
  const start = (t: Parameters<typeof temporaryFolder>[0], host: string, ...args: string[]) =>
    new Program(
      t,
      process.execPath,
      [AGENT, ...collector.address, '-i', here.interface, '--host-name', host, ...args],
      {
        env: { RCAP_TOKEN: token },
        prefix: here.prefix,
      },
    );
  const send = (port: number, count = 1) =>
    execFileSync('ip', ['netns', 'exec', there.name, 'python3', '-c', SEND, here.address, `${port}`, `${count}`]);
  const captured = (stderr: string) => Number(/(\d+) packets? captured/.exec(stderr)?.[1]);

  test('they count from the first packet on, change while it runs, and go again', async (t) => {
    say('change', 'filter.txt', '# one port\nudp\n  dst port 7001\n');
    say('change', 'settings.json', '{"snaplen": 40}');
    // It looks at its folder now and then.
    await collector.says(/took \S*change\/settings\.json/);
    await collector.says(/took \S*change\/filter\.txt/);
    const agent = start(t, 'change', 'udp');
    await agent.says(
      /settings [0-9a-f]{12} of the collector count now: filter 'udp dst port 7001' \(.*filter\.txt\), snaplen 40/,
    );
    await agent.says(/listening on .*snapshot length 40 bytes, filter: \(udp\) and \(udp dst port 7001\) and not/);
    assert.ok(agent.stderr.indexOf('count now') < agent.stderr.indexOf('listening'), agent.stderr);
    send(7001, 3);
    send(7002, 5);
    say('change', 'filter.txt', 'udp dst port 7002\n');
    await agent.says(/count now: filter 'udp dst port 7002'/);
    send(7001, 7);
    send(7002, 11);
    // A longer snaplen can't be had any more.
    say('change', 'settings.json', '{"snaplen": 100}');
    await agent.says(/one can't be done by now: snaplen 100: '.*' was opened with 40/);
    say('change', 'filter.txt', 'udp dst port\n');
    await agent.says(
      /settings [0-9a-f]{12} of the collector are refused, and those before stay: could not compile the filter 'udp dst port': .*syntax error/,
    );
    await collector.says(/REFUSED settings [0-9a-f]+: could not compile the filter/);
    send(7001, 13);
    send(7002, 17);
    rmSync(join(folder, 'public/hosts/change/filter.txt'));
    await until('no filter', () => /are refused[^]*count now: snaplen 100/.test(agent.stderr));
    send(7003, 19);
    agent.kill('SIGINT');
    const { code, stderr } = await agent.end();
    assert.equal(code, 0, stderr);
    assert.equal(captured(stderr), 3 + 11 + 17 + 19);
  });

  test('a count below what was taken ends it now, and the report says whose it was', async (t) => {
    const agent = start(t, 'count', '--count', '1000', 'udp dst port 7010');
    await agent.says(/listening on/);
    send(7010, 20);
    say('count', 'settings.json', '{"count": 5}');
    const { code, stderr } = await agent.end();
    assert.equal(code, 0, stderr);
    assert.match(stderr, /ended by count \(set by the collector\)\n/);
    await collector.says(/ended \(count \(set by the collector\)\)/);
  });

  test("the user's own limit, where it is stricter, is not the collector's", async (t) => {
    say('own', 'settings.json', '{"count": 50, "duration": "10m", "max-rate": "10M/s"}');
    const agent = start(t, 'own', '--count', '5', 'udp dst port 7020');
    await agent.says(/count now: count 50, duration 10m, max-rate 10M\/s/);
    await agent.says(/listening on/);
    send(7020, 20);
    const { code, stderr } = await agent.end();
    assert.equal(code, 0, stderr);
    assert.match(stderr, /ended by count\n.*5 packets captured/);
  });

  test('a duration counts from the start of the capture, also when it comes later', async (t) => {
    const agent = start(t, 'late', 'udp dst port 7030');
    await agent.says(/listening on/);
    say('late', 'settings.json', '{"duration": "1ms"}');
    const { stderr } = await agent.end();
    assert.match(stderr, /ended by duration \(set by the collector\)/);
  });

  test('a list that would blind the capture is refused, by the agent, on both sides', async (t) => {
    const agent = start(t, 'blind', 'udp dst port 7040');
    await agent.says(/listening on/);
    say('blind', 'exceptions.list', `${there.address}\n`);
    await agent.says(/count now: 1 exception/);
    send(7040, 3);
    say('blind', 'exceptions.list', '128.0.0.0/1\n');
    await agent.says(/are refused, and those before stay: .*128\.0\.0\.0\/1/);
    await collector.says(/REFUSED settings .*128\.0\.0\.0\/1/);
    send(7040, 3);
    say('blind', 'exceptions.list', '');
    await agent.says(/are refused[^]*no settings of the collector count any more/);
    send(7040, 4);
    agent.kill('SIGINT');
    const { code, stderr } = await agent.end();
    assert.equal(code, 0, stderr);
    assert.equal(captured(stderr), 4);
  });

  test('names in a filter of the collector are looked up by an agent without privileges', async (t) => {
    const agent = start(t, 'names', 'udp dst port 7050');
    await agent.says(/listening on/);
    say('names', 'filter.txt', 'not host localhost');
    await agent.says(/count now: filter 'not host localhost'/);
    send(7050, 2);
    agent.kill('SIGINT');
    const { stderr } = await agent.end();
    assert.equal(captured(stderr), 2);
  });
});
