'use strict';
// What is refused after the privileges are dropped, each asked for by a program in C and by Node itself.

const assert = require('node:assert/strict');
const { execFileSync, spawnSync } = require('node:child_process');
const path = require('node:path');
const { folder, test } = require('./support.js');

const native = path.join(__dirname, '..');
const linux = process.platform === 'linux' ? false : 'is about Linux';
const skip = linux || (process.getuid() === 0 ? false : 'needs root');

let program;
function built() {
  if (program) return program;
  program = path.join(folder, 'privileges');
  const sources = ['test/privileges.c', 'linux/privileges.c', 'linux/system_calls.c'].map((f) => path.join(native, f));
  execFileSync('gcc', [
    '-std=gnu11',
    '-D_GNU_SOURCE',
    '-Wall',
    '-Wextra',
    '-pthread',
    `-I${native}`,
    '-o',
    program,
    ...sources,
  ]);
  return program;
}
const answers = (...words) => answersOf([built(), ...words]);
const answersOf = ([command, ...words]) =>
  Object.fromEntries(
    execFileSync(command, words, { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]),
  );

/** Above what SSSD, FreeIPA and systemd give to anybody. */
const FIRST_UID = 2_100_000_000;
const REFUSED =
  'fork execve ptrace kill tgkill rt_tgsigqueueinfo unshare mount bpf io_uring_setup listen type type64 paste'.split(
    ' ',
  );
const ALLOWED = ['inet', 'inet6', 'unix', 'netlink', 'thread', 'raise', 'window', 'packetBefore'];

test('the filter refuses, also to root with all capabilities, and nothing else', { skip }, () => {
  const now = answers('calls');
  assert.equal(now.filter, 'on');
  for (const name of REFUSED) assert.equal(now[name], 'EPERM', name);
  for (const name of ['packet', 'vsock']) assert.equal(now[name], 'EAFNOSUPPORT', name);
  for (const name of ['clone3', ...(process.arch === 'x64' ? ['int80'] : [])]) assert.equal(now[name], 'ENOSYS', name);
  for (const name of ALLOWED) assert.equal(now[name], 'allowed', name);
  assert.equal(now.victim, 'lives');
  // It is the filter: without it the kernel says something else.
  const before = answers('before');
  for (const name of [...REFUSED.filter((n) => n !== 'ptrace'), 'packet', 'clone3'])
    assert.notEqual(before[name], now[name], name);
  assert.equal(before.victim, 'dead');
});

test('no thread keeps anything, not even one that blocks all signals', { skip }, () => {
  const now = answers();
  assert.deepEqual([now.left, now.permitted, now.bounding], ['nothing', '0', '0']);
  assert.ok(Number(now.uid) >= FIRST_UID);
  assert.deepEqual([now.threads, now.bare], ['21', '21']);
  assert.deepEqual([now.shadow, now.file, now.setuid], ['EACCES', 'EACCES', 'EPERM']);
});

test('where root may not become another user, that is said', { skip }, () => {
  const now = answersOf(['setpriv', '--bounding-set=-setuid,-setgid', built()]);
  assert.match(now.left, /^root stays the user: /);
  assert.deepEqual([now.uid, now.permitted, now.bounding], ['0', '0', '0']);
});

test('a filter that the system refuses is said, and one that it has not is not', { skip }, () => {
  // Another filter, which answers seccomp(2) so: a container's.
  assert.equal(answers('without', 'EPERM').left, 'the system refused the filter of system calls');
  assert.equal(answers('without', 'ENOSYS').left, 'nothing');
});

const SCRIPT = `
const addon = require(${JSON.stringify(native)});
const { spawnSync } = require('node:child_process');
const { lookup, readFile } = { ...require('node:dns').promises, ...require('node:fs').promises };
const { Worker } = require('node:worker_threads');
(async () => {
  await readFile('/etc/hosts'); // threads of libuv
  addon.forbidDumps();
  const left = addon.dropPrivileges(process.argv[1] === 'keep');
  const spawned = spawnSync('/bin/true').error?.code;
  const name = (await lookup('localhost')).address;
  const worker = new Worker('require("node:worker_threads").parentPort.postMessage("works")', { eval: true });
  const said = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
  await worker.terminate();
  const failed = await new Promise((resolve) => {
    addon.open(addon.createPool(2), { interface: 'lo' }, { onCapture() { resolve('opened'); }, onBlock() {}, onEnd: (e) => resolve(e.code) });
  });
  globalThis.gc();
  console.log(JSON.stringify({ left, spawned, name, said, failed, now: addon.privileges(), again: addon.dropPrivileges(process.argv[1] === 'keep') }));
})();
`;

for (const [how, word, uid] of [
  ['root becomes nobody', '', (n) => n >= FIRST_UID],
  ['with keepUser root stays', 'keep', (n) => n === 0],
]) {
  test(`Node goes on without privileges: ${how}`, { skip }, () => {
    const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '-e', SCRIPT, word], { encoding: 'utf8' });
    assert.equal(stderr, '');
    const { left, spawned, name, said, failed, now, again } = JSON.parse(stdout);
    assert.deepEqual([left, again], [undefined, undefined]);
    assert.deepEqual([spawned, said], ['EPERM', 'works']);
    assert.match(name, /^(127\.0\.0\.1|::1)$/);
    assert.notEqual(failed, 'opened');
    assert.ok(uid(now.uid), now.uid);
    assert.deepEqual(
      [now.effective, now.bounding, now.seccomp, now.dumpable],
      ['0'.repeat(16), '0'.repeat(16), 2, false],
    );
  });
}

test('a process that may not be dumped still looks into itself', { skip: linux }, () => {
  const script = `require(${JSON.stringify(native)}).forbidDumps(); require('node:fs').readdirSync('/proc/self/fd');
    process.stdout.write(String(require('node:fs').statSync('/proc/self/mem').uid))`;
  assert.equal(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }), '0');
});

test('what keepUser must be', () => {
  const { addon } = require('./support.js');
  assert.throws(() => addon.dropPrivileges('yes'), TypeError);
});
