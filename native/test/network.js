'use strict';
// Live tests run in a network namespace of their own, which goes when the process goes: this starts the test file again in
// one, and gives it veth pairs and packets to send.

const { execFileSync, spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const { needs } = require('./support.js');

const INSIDE = 'NODE_PCAP_NATIVE_TEST_NAMESPACE';

/** Calls `tests` inside a namespace; outside, starts `file` again inside one, or says why it can't. */
function inNamespace(file, tests) {
  if (process.env[INSIDE]) return tests();
  const missing = needs('unshare', 'ip', 'gcc').skip;
  const unshare = ['--net', '--mount', '--fork', '--kill-child'];
  if (process.getuid() !== 0) unshare.push('--user', '--map-root-user');
  if (missing || spawnSync('unshare', [...unshare, 'true']).status !== 0)
    return test(path.basename(file), { skip: missing ?? 'needs root, or user namespaces, for a network of its own' });
  const script = 'mount -t sysfs none /sys && ip link set lo up && exec "$@"';
  const { status } = spawnSync(
    'unshare',
    [...unshare, 'sh', '-c', script, 'sh', process.execPath, ...process.execArgv, file],
    {
      stdio: 'inherit',
      env: { ...process.env, [INSIDE]: '1' },
    },
  );
  process.exitCode = status ?? 1;
}

const ip = (...words) => execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'inherit'] });
let pairs = 0;
/** A new veth pair, both ends up and silent: what the kernel sends by itself is switched off. */
function veth() {
  const near = `near${++pairs}`,
    far = `far${pairs}`;
  ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far);
  for (const end of [near, far]) {
    fs.writeFileSync(`/proc/sys/net/ipv6/conf/${end}/disable_ipv6`, '1');
    ip('link', 'set', end, 'up');
  }
  return { near, far, remove: () => spawnSync('ip', ['link', 'delete', near]) };
}

let sender;
function build() {
  if (sender) return sender;
  const built = path.join(__dirname, 'build');
  fs.mkdirSync(built, { recursive: true });
  const file = path.join(built, `send-${process.pid}`);
  execFileSync('gcc', ['-O2', '-o', file, path.join(__dirname, 'send.c')]);
  process.on('exit', () => fs.rmSync(file, { force: true }));
  return (sender = file);
}
/** Sends; resolves with how many packets went out. Captured on the sending end, none of them can get lost before. */
function send(name, count, { size = 60, rate = 0, port = 5000 } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(build(), [name, count, size, rate, port].map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (bytes) => (out += bytes));
    child.on('error', reject);
    child.on('close', () => resolve(Number(out)));
  });
}

/** Sends until the function that it returns is called. */
function keepSending(name, { rate = 20_000 } = {}) {
  const child = spawn(build(), [name, 1_000_000_000, 60, rate].map(String), { stdio: 'ignore' });
  return () => child.kill('SIGKILL');
}

module.exports = { build, inNamespace, ip, keepSending, send, veth };
