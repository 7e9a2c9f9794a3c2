import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadAddon } from '../../capture/addon.ts';
import { selfSigned } from '../../test/certificates.ts';
import { lacksAddon, temporaryFolder } from '../../test/support.ts';
import { readServiceFlags } from './flags.ts';
import { serviceFiles } from './settings.ts';

const read = (line: string, environment = {}) => readServiceFlags(line.split(' '), environment);
const refused = (line: string, message: RegExp, hint = /./) =>
  assert.throws(() => read(line), { code: 'USAGE', message, hint });

function installed(line: string, environment = {}) {
  const command = read(`install ${line}`, environment);
  assert.ok(command.command === 'install');
  return { ...command, files: serviceFiles(command.flags, command.given) };
}

test('a service has a verb', () => {
  assert.deepEqual(read('status --name web-1'), { command: 'status', name: 'web-1' });
  assert.deepEqual(read('stop'), { command: 'stop', name: 'rcap-agent' });
  refused('instal', /could not use 'instal'/, /did you mean rcap-agent service install\?/);
  refused('frobnicate', /no such command/, /install\|uninstall\|start\|stop\|status/);
  assert.throws(() => readServiceFlags([], {}), { message: "could not use 'service' alone" });
  refused('stop now', /'now'/);
  refused('stop --server a', /'--server'/);
  refused('stop --print', /'--print' with 'service stop'/);
  for (const name of ['', '.', '../x', 'a/b', 'a b', 'a.service', '-a', 'a@b', '%n', 'a'.repeat(65)]) {
    assert.throws(() => readServiceFlags(['status', `--name=${name}`], {}), { code: 'USAGE' }, name);
  }
  for (const line of ['--help', '-h', 'install --help', 'uninstall -h']) {
    const help = read(line);
    assert.ok(help.command === 'help' && /Usage: rcap-agent service install\|uninstall/.test(help.text));
  }
});

test('no filter begins with "service"', { skip: lacksAddon }, async () => {
  for (const filter of ['service', 'service install', 'service and port 80']) {
    await assert.rejects(loadAddon().compile(filter, 1, 262_144), filter);
  }
});

test('the options of an agent are checked as for a run', () => {
  refused('install', /no --server was given/);
  refused('install --server a --pin b', /a pin is sha256/);
  refused('install --server a --token x --token-file y', /together/);
  refused('install --server a --interfac b', /no such option/, /did you mean --interface/);
  refused('install --server a -f tcp port 80', /'--filter' and the words/);
  for (const option of ['-r a.pcap', '-w a.pcap', '-D']) refused(`install --server a ${option}`, /no such option/);
});

test('settings are what was given, and no more', () => {
  const { files, name, print } = installed('--server a --server b:1 -p -c 5 --name x --print tcp port 80');
  assert.deepEqual([name, print], ['x', true]);
  assert.deepEqual(JSON.parse(files.settings), {
    server: ['a', 'b:1'],
    'no-promiscuous': true,
    count: '5',
    filter: 'tcp port 80',
    'stop-within': '30s',
    'give-up': 'never',
  });
  assert.equal(files.ca, undefined);
  const { settings } = installed('--server a --stop-within 2m --give-up 5m').files;
  assert.match(settings, /"stop-within": "2m"/);
  assert.match(settings, /"give-up": "5m"/);
});

test('variables and a settings file are meant, too', (t) => {
  const file = join(temporaryFolder(t), 'settings.json');
  writeFileSync(file, '{"server": "a", "snaplen": 100, "verbose": true, "token": "rcap_file"}');
  const { files } = installed(`--settings ${file} --snaplen 200`, { RCAP_TOKEN: 'rcap_variable' });
  assert.deepEqual(JSON.parse(files.settings), {
    server: ['a'],
    snaplen: '200',
    token: 'rcap_variable',
    verbose: true,
    'stop-within': '30s',
    'give-up': 'never',
  });
  writeFileSync(file, '{"server": "a", "read": "b.pcap"}');
  refused(`install --settings ${file}`, /could not use '--read' with a service/);
});

test('token and CA are read, and no secret is shown', async (t) => {
  const folder = temporaryFolder(t);
  const [token, ca] = [join(folder, 'token'), join(folder, 'ca')];
  writeFileSync(token, 'rcap_secret\n');
  const { cert } = await selfSigned('CN=ca', true);
  writeFileSync(ca, cert);
  const { files } = installed(`--server a --token-file ${token} --ca ${ca}`, { RCAP_TOKEN: 'rcap_other' });
  assert.deepEqual(JSON.parse(files.settings), {
    server: ['a'],
    token: 'rcap_secret',
    'stop-within': '30s',
    'give-up': 'never',
  });
  assert.match(files.shown, /"token": "\(hidden\)"/);
  assert.doesNotMatch(files.shown, /rcap_/);
  assert.equal(files.ca, cert);
  assert.throws(() => installed('--server a --ca /no/such/file'), /could not read CA file '\/no\/such\/file': no such/);
  writeFileSync(ca, '');
  assert.throws(() => installed(`--server a --ca ${ca}`), /could not use CA file '.*': there is no certificate in it/);
  writeFileSync(token, '\n');
  assert.throws(() => installed(`--server a --token-file ${token}`), /could not use token file '.*': it is empty/);
});

test('the folder of the spool is the one that was meant where the service was installed', () => {
  const { files } = installed(
    '--server a --pin sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= --token rcap_x --spool-dir spool',
  );
  assert.equal((JSON.parse(files.settings) as Record<string, unknown>)['spool-dir'], join(process.cwd(), 'spool'));
});
