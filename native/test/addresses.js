'use strict';
// Rules of exceptions, for tests.
const { isIPv6 } = require('node:net');

/** The bytes of an address, without any of the code that is tested. */
function bytesOf(address) {
  if (!isIPv6(address)) return Uint8Array.from(address.split('.').map(Number));
  const [head, tail] = address.split('::');
  const groups = (text) => (text ? text.split(':').map((group) => parseInt(group, 16)) : []);
  const [before, after] = [groups(head), groups(tail)];
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...Array(zeros).fill(0), ...after];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 255]));
}

/** One rule: 'ADDRESS[/PREFIX] [NAME]'. */
function rule(text) {
  const [network, name = '0'] = text.split(' ');
  const [address, prefix] = network.split('/');
  const bytes = new Uint8Array(24);
  const given = bytesOf(address);
  bytes.set(given);
  bytes[16] = given.length === 4 ? 4 : 6;
  bytes[17] = prefix === undefined ? given.length * 8 : Number(prefix);
  new DataView(bytes.buffer).setUint32(20, Number(name), true);
  return bytes;
}
const rules = (...texts) => new Uint8Array(Buffer.concat(texts.map(rule)));

module.exports = { bytesOf, rules };
