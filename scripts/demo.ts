/**
 * The main job, from the packaged executables: a collector, a token, an agent on a real interface with real traffic, and
 * what tshark reads in the published file. All in network namespaces of its own; nothing of the machine's network is
 * touched. Without root a file takes the interface's place.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fileHeader } from '../src/formats/pcap.ts';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const AGENT = join(dist, 'rcap-agent-linux-x64');
const COLLECTOR = join(dist, 'rcap-collector-linux-x64');
const PACKETS = 2000;
const HERE = `rcap-demo-${process.pid}-a`;
const THERE = `rcap-demo-${process.pid}-b`;

const say = (text: string) => console.log(`\n# ${text}`);
const ip = (...args: string[]) => execFileSync('ip', args);

execFileSync(process.execPath, [fileURLToPath(new URL('package.ts', import.meta.url)), 'linux-x64'], {
  stdio: 'inherit',
});
if (process.getuid!() !== 0 && spawnSync('sudo', ['-n', 'true']).status === 0) {
  process.exit(
    spawnSync('sudo', ['-n', process.execPath, fileURLToPath(import.meta.url)], { stdio: 'inherit' }).status ?? 1,
  );
}

const root = process.getuid!() === 0;
const folder = mkdtempSync(join(tmpdir(), 'rcap-demo-'));
const inside = (namespace: string, command: string[]) =>
  root ? ['ip', 'netns', 'exec', namespace, ...command] : command;
const children: ChildProcess[] = [];
try {
  process.exitCode = await demo();
} finally {
  for (const c of children) if (c.exitCode === null) c.kill();
  if (root) for (const n of [HERE, THERE]) spawnSync('ip', ['netns', 'del', n]);
  rmSync(folder, { recursive: true });
}

async function demo(): Promise<number> {
  if (root) network();
  else say('Not root, and no sudo without a password: a file takes the place of a live interface.');

  say('A collector on loopback; on its first start it makes its key, and says what to type on a host:');
  const state = join(folder, 'state');
  const captures = join(folder, 'captures');
  const collector = start([COLLECTOR, '--listen', '127.0.0.1:0', '--state', state, '--captures', captures], HERE);
  const [, port] = await said(collector, /listening on 127\.0\.0\.1:(\d+)/);

  say('A fresh token for host "demo":');
  const token = execFileSync(COLLECTOR, ['token', 'new', '--state', state, '--host', 'demo'], {
    encoding: 'utf8',
  }).trim();
  const pin = execFileSync(COLLECTOR, ['pin', '--state', state], { encoding: 'utf8' }).trim();
  console.log(`${token.slice(0, 14)}…`);

  const source = root ? ['-i', 'veth0'] : ['-r', sampleFile()];
  say(`The agent: rcap-agent ${source.join(' ')} --server 127.0.0.1:${port} --pin ${pin} --token …`);
  const to = ['--server', `127.0.0.1:${port}`, '--pin', pin, '--host-name', 'demo'];
  const agent = start([AGENT, ...source, ...to], HERE, { RCAP_TOKEN: token });
  const output = text(agent);
  if (root) {
    await said(agent, /listening on/);
    say(`Traffic from the other end: ${PACKETS} UDP packets, then Ctrl-C for the agent`);
    traffic();
    agent.kill('SIGINT');
  }
  const [code] = agent.exitCode === null ? ((await once(agent, 'close')) as [number]) : [agent.exitCode];
  const sent = Number(/(\d+) packets? sent/.exec(output())?.[1] ?? NaN);

  say('The collector ends in order:');
  collector.kill('SIGTERM');
  await once(collector, 'close');

  say(`In ${captures}, read by tshark:`);
  const files = readdirSync(join(captures, 'demo')).map((f) => join(captures, 'demo', f));
  const pcaps = files.filter((f) => f.endsWith('.pcap'));
  for (const f of files) console.log(f);
  const lines = pcaps.flatMap((f) =>
    execFileSync('tshark', ['-r', f], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .trimEnd()
      .split('\n'),
  );
  for (const line of lines.slice(0, 3)) console.log(line);
  console.log('…');
  const same = lines.length === sent && code === 0;
  say(
    `${sent} packets sent by the agent (exit code ${code}), ${lines.length} packets in the file: ${same ? 'equal' : 'NOT EQUAL'}`,
  );
  return same ? 0 : 1;
}

/** Two namespaces, one veth pair, documentation addresses (RFC 5737). */
function network(): void {
  for (const n of [HERE, THERE]) ip('netns', 'add', n);
  ip('-n', HERE, 'link', 'set', 'lo', 'up');
  ip('link', 'add', 'veth0', 'netns', HERE, 'type', 'veth', 'peer', 'name', 'veth1', 'netns', THERE);
  ip('-n', HERE, 'addr', 'add', '192.0.2.1/30', 'dev', 'veth0');
  ip('-n', THERE, 'addr', 'add', '192.0.2.2/30', 'dev', 'veth1');
  for (const [n, dev] of [
    [HERE, 'veth0'],
    [THERE, 'veth1'],
  ] as const)
    ip('-n', n, 'link', 'set', dev, 'up');
}

/** Sends the packets from the other namespace. */
function traffic(): void {
  const program = `
    const socket = require('node:dgram').createSocket('udp4');
    let left = ${PACKETS};
    const next = () => (left-- > 0 ? socket.send('rcap demo', 9, '192.0.2.1', next) : socket.close());
    next();`;
  const [command, ...args] = inside(THERE, [process.execPath, '-e', program]) as [string, ...string[]];
  execFileSync(command, args, { stdio: 'inherit' });
}

function start(command: string[], namespace: string, env: Record<string, string> = {}): ChildProcess {
  const [program, ...args] = inside(namespace, command) as [string, ...string[]];
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'pipe'], env: { ...process.env, ...env } });
  child.stderr.pipe(process.stderr);
  children.push(child);
  return child;
}

function text(child: ChildProcess): () => string {
  let all = '';
  child.stderr!.on('data', (d: Buffer) => (all += String(d)));
  return () => all;
}

/** Waits until the child says something; it fails if the child ends first. */
function said(child: ChildProcess, what: RegExp): Promise<RegExpExecArray> {
  const all = text(child);
  return new Promise((resolve, reject) => {
    child.stderr!.on('data', () => {
      const found = what.exec(all());
      if (found) resolve(found);
    });
    child.on('close', (code) => reject(new Error(`ended with exit code ${code}`)));
  });
}

/** Without root: as many small UDP packets in a file. */
function sampleFile(): string {
  const packet = Buffer.from(
    'ffffffffffff0200000000010800' + '4500002000000000401100000a0000010a000002' + '30390009000c0000' + '72636170',
    'hex',
  );
  const parts = [Buffer.from(fileHeader(1, 262_144, 'nano'))];
  for (let i = 0; i < PACKETS; i++) {
    const header = Buffer.alloc(16);
    [1_700_000_000 + i, i, packet.length, packet.length].forEach((v, k) => header.writeUInt32LE(v, 4 * k));
    parts.push(header, packet);
  }
  const path = join(folder, 'sample.pcap');
  writeFileSync(path, Buffer.concat(parts));
  return path;
}
