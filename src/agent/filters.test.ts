import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadAddon } from '../capture/addon.ts';
import type { Installed } from '../capture/source.ts';
import { lacksAddon } from '../test/support.ts';
import { checkFilters, checkUsers, Filters, userSpaceNote } from './filters.ts';

const skip = lacksAddon;
const ETHERNET = 1;
const RAW = 101;

/** Sources that take filters, or don't; the compiler is the real one. */
function stage(user: string, linkTypes: number[] | undefined = [ETHERNET]) {
  const said: string[] = [];
  const source = (label: string) => ({
    fails: false,
    source: {
      label,
      setFilter(list: string | readonly string[]): Promise<Installed> {
        if (this.fails) return Promise.reject(new Error('no memory'));
        return Promise.resolve({ filter: [list].flat().join(' & '), inKernel: true, instructions: 3 });
      },
      fails: false,
    },
  });
  const running = [source('a'), source('b')];
  const filters = new Filters({
    user,
    compile: loadAddon().compile,
    running: () => running,
    linkTypes: () => Promise.resolve(linkTypes),
    slow: () => said.push('slow'),
    changed: ({ source: { label } }, { filter }) => said.push(`${label}: ${filter}`),
  });
  return { filters, said, running };
}

test("the collector's filter is added to the user's, in what runs and what is opened later", { skip }, async () => {
  const { filters, said } = stage('udp or tcp');
  assert.deepEqual(filters.list, ['udp or tcp']);
  await filters.check('not port 22');
  await filters.set('not port 22');
  assert.deepEqual(filters.list, ['udp or tcp', 'not port 22']);
  await filters.set('');
  assert.deepEqual(filters.list, ['udp or tcp']);
  assert.deepEqual(said, ['a: udp or tcp & not port 22', 'b: udp or tcp & not port 22', 'a: udp or tcp', 'b: udp or tcp']); // prettier-ignore
});

test('one that can not be used is refused before anything changes, alone or beside the other', { skip }, async () => {
  const { filters, said } = stage('vlan 5');
  await assert.rejects(filters.check('tcp prot 80'), /could not compile the filter 'tcp prot 80': .*syntax error/);
  await assert.rejects(filters.check('vlan 7'), /could not use the filter 'vlan 7' beside 'vlan 5', which the agent's user gave/); // prettier-ignore
  await assert.rejects(stage('', [RAW]).filters.check('ether host 2:0:0:0:0:1'), /could not compile/);
  await stage('', [ETHERNET]).filters.check('ether host 2:0:0:0:0:1');
  assert.deepEqual(said, []);
});

test('when one of several captures does not take it, all go on as before', { skip }, async () => {
  const { filters, said, running } = stage('udp');
  await filters.set('port 1');
  said.length = 0;
  running[1]!.source.fails = true;
  await assert.rejects(filters.set('port 2'), /could not change the filter on 'b': no memory/);
  assert.deepEqual(filters.list, ['udp', 'port 1']);
  assert.deepEqual(said, ['a: udp & port 2', 'a: udp & port 1']);
  // One that has ended needs none.
  running.pop();
  await filters.set('port 2');
});

test('where nobody knows the link type, a filter needs one of the usual ones', { skip }, async () => {
  const { compile } = loadAddon();
  await checkFilters(compile, ['wlan addr1 2:0:0:0:0:1'], undefined);
  await assert.rejects(checkFilters(compile, ['wlan addr1 2:0:0:0:0:1'], [ETHERNET]));
  await assert.rejects(checkUsers(compile, 'tpc port 80', 'f.pcap', async () => [ETHERNET]), (e: Error & { hint: string }) =>
    /'tpc port 80': .*syntax error/.test(e.message) && /tcpdump -r f\.pcap -d 'tpc port 80'/.test(e.hint)); // prettier-ignore
  const nowhere = async () => undefined;
  await checkUsers(compile, '', undefined, nowhere);
  // MTP2, LINKTYPE_ 140: where it is known, that counts.
  await checkUsers(compile, 'fisu', 'f.pcap', async () => [140]);
  await assert.rejects(checkUsers(compile, 'fisu', undefined, nowhere), /could not compile/);
  await assert.rejects(checkUsers(compile, 'udp'.padEnd(32_769), undefined, nowhere), /more than 32768 bytes/);
});

test('a filter outside of the kernel is said, with what it costs; a file has no kernel', () => {
  const info = { linkType: 1, snaplen: 9, interface: 'eth0', friendlyName: '', addresses: [], effectiveFilter: 'x', promiscuous: true, source: 'live' as const, file: '' }; // prettier-ignore
  assert.match(
    userSpaceNote({ ...info, inKernel: false, instructions: 5000 })![0],
    /'eth0' \(5000 instructions; it takes 4096\)/,
  );
  assert.equal(userSpaceNote({ ...info, inKernel: true, instructions: 50 }), undefined);
  assert.equal(userSpaceNote({ ...info, inKernel: false, instructions: 0 }), undefined);
  assert.equal(userSpaceNote({ ...info, source: 'file', inKernel: false, instructions: 50 }), undefined);
});
