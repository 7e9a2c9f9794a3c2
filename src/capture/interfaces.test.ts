import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Interface } from 'node-pcap-native';
import { RcapError } from '../errors.ts';
import { findInterface, interfaceOf, listLine } from './interfaces.ts';

const anInterface = (some: Partial<Interface> & Pick<Interface, 'number' | 'name'>): Interface => ({
  addresses: [],
  up: true,
  running: true,
  loopback: false,
  wireless: false,
  connection: 'unknown',
  ...some,
});
const LIST: Interface[] = [
  anInterface({
    number: 1,
    name: 'eth0',
    addresses: [
      { address: '02:00:00:00:00:01', family: 'link' },
      { address: '192.0.2.1', family: 'ipv4' },
      { address: 'fe80::1', family: 'ipv6' },
    ],
    connection: 'connected',
  }),
  anInterface({ number: 2, name: 'lo', loopback: true, addresses: [{ address: '127.0.0.1', family: 'ipv4' }] }),
  anInterface({ number: 3, name: '\\Device\\NPF_{1A2B}', description: 'Ethernet 2', connection: 'disconnected' }),
  anInterface({ number: 5, name: '\\Device\\NPF_{3C4D}', friendlyName: 'Wi-Fi', description: 'Intel(R) AX210' }),
  // A name that is another's number.
  anInterface({ number: 4, name: '1', description: 'any', up: false, running: false }),
];

const found = (wanted: string) => findInterface(LIST, wanted).number;
const refusal = (wanted: string): RcapError => {
  try {
    findInterface(LIST, wanted);
  } catch (e) {
    if (e instanceof RcapError) return e;
  }
  return assert.fail(`'${wanted}' was found`);
};

test('an interface is meant by its name, its number, or its friendly name in any case', () => {
  assert.equal(found('eth0'), 1);
  assert.equal(found('3'), 3);
  assert.equal(found('\\Device\\NPF_{1A2B}'), 3);
  assert.equal(found('ethernet 2'), 3);
  assert.equal(found('wi-fi'), 5);
  assert.equal(found('intel(r) ax210'), 5);
  assert.equal(found('ANY'), 4);
});

test('a name goes before a number', () => assert.equal(found('1'), 4));

test('a name that is nearly right is answered with the right one, and any other with the list', () => {
  assert.equal(refusal('eht0').hint, 'did you mean -i eth0?');
  assert.equal(refusal('eth').hint, 'did you mean -i eth0?');
  assert.match(refusal('wlan0').hint!, /^'rcap-agent -D' lists them: eth0, lo, /);
  assert.equal(refusal('Wi-F').hint, 'did you mean -i Wi-Fi?');
  assert.equal(refusal('wlan0').code, 'NO_SUCH_INTERFACE');
});

test('what is no number of the list is none', () => {
  for (const wanted of ['0', '6', '-1', '01', '1.0', ' 2', '', '2\n']) {
    assert.equal(refusal(wanted).code, 'NO_SUCH_INTERFACE', wanted);
  }
});

test('a hostile name reaches the message short and without control characters', () => {
  const { message } = refusal(`\u001b[2J\0${'x'.repeat(10_000)}`);
  assert.ok(message.length < 200);
  // eslint-disable-next-line no-control-regex
  assert.doesNotMatch(message, /[\u0000-\u001f]/);
});

test('without any interface the answer is still one', () => {
  assert.throws(() => findInterface([], 'eth0'), RcapError);
});

test('the interface of an address is the one that has it', () => {
  assert.equal(interfaceOf(LIST, 'fe80::1')?.name, 'eth0');
  assert.equal(interfaceOf(LIST, '127.0.0.1')?.name, 'lo');
  assert.equal(interfaceOf(LIST, '203.0.113.9'), undefined);
});

test('an interface is listed in one line: number, name, friendly name, addresses, state', () => {
  assert.deepEqual(LIST.map(listLine), [
    '1.eth0 192.0.2.1 fe80::1 [Up, Running]',
    '2.lo 127.0.0.1 [Up, Running, Loopback]',
    '3.\\Device\\NPF_{1A2B} (Ethernet 2) [Up, Running, Disconnected]',
    '5.\\Device\\NPF_{3C4D} (Wi-Fi: Intel(R) AX210) [Up, Running]',
    '4.1 (any) [Down]',
  ]);
});
