import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filterOf, MAX_FILTER_BYTES, refuseFilter } from './filter-text.ts';

test('lines become one text, without comments, whatever ends them', () => {
  const text = '\ufeff# web only\r\ntcp port 80\r\n  # and TLS\n\tor tcp port 443\r\r\n\n';
  assert.equal(filterOf(text), 'tcp port 80 or tcp port 443');
  assert.equal(filterOf('tcp'), 'tcp');
  assert.equal(filterOf('# nothing\n'), '');
});

test('what was joined once stays as it is', () => {
  const once = filterOf('tcp\nand\nport 80');
  assert.equal(filterOf(once), once);
});

test('too long a filter, or one that libpcap would cut, is refused', () => {
  assert.equal(refuseFilter('x'.repeat(MAX_FILTER_BYTES)), undefined);
  assert.match(refuseFilter('x'.repeat(MAX_FILTER_BYTES + 1))!, /more than 16384 bytes/);
  assert.match(refuseFilter('é'.repeat(MAX_FILTER_BYTES / 2 + 1))!, /more than 16384 bytes/);
  assert.match(refuseFilter('tcp\0 port 80')!, /NUL/);
});
