import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RcapError } from '../errors.ts';
import type { AgentFlags } from '../options/agent.ts';
import { identity } from '../test/certificates.ts';
import { temporaryFolder } from '../test/support.ts';
import { makePlan } from './plan.ts';

test('a CA file without a whole certificate is refused, and is never taken for the CAs of the system', async (t) => {
  const { cert, key } = await identity();
  const file = join(temporaryFolder(t), 'ca.pem');
  const flags = {
    servers: [{ host: '192.0.2.1', port: 9000 }],
    interfaces: [],
    filter: '',
    except: [],
    exceptions: [],
  };
  const plan = (ca: string) => makePlan({ ...flags, ca } as unknown as AgentFlags);
  for (const [content, words] of [
    ['', /there is no certificate in it/],
    ['\n', /there is no certificate in it/],
    [key, /there is no certificate in it/],
    [cert.slice(0, -20), /a certificate in it is damaged/],
    [`${cert}\n${cert.slice(0, 200)}`, /a certificate in it is damaged/],
  ] as const) {
    writeFileSync(file, content);
    assert.throws(
      () => plan(file),
      (e) => e instanceof RcapError && words.test(e.message) && /PEM/.test(e.hint ?? ''),
      content,
    );
  }
  assert.throws(() => plan(''), /could not read CA file ''/);
  writeFileSync(file, cert);
  assert.deepEqual(plan(file).upload?.trust, { ca: cert });
});
