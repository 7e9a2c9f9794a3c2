/** A token in an attacker's hands: it sends packets for one host for as long as it is good, and does nothing else. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { before, describe, it } from 'node:test';
import { captureEnd, captureStart, hello, onePacket, Peer } from './peer.ts';
import {
  type Cleaner,
  cleaner,
  Collector,
  filesUnder,
  lacks,
  lacksAddon,
  packetsIn,
  runAgent,
  runCollector,
  temporaryFolder,
  until,
} from './support.ts';
import { pcapBytes, somePackets } from './pcap-bytes.ts';
import { resume } from './wire.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const idOf = (token: string) => token.slice(5, 13);
const revoke = async (t: Cleaner, c: Collector, token: string) =>
  assert.equal((await runCollector(t, ['token', 'revoke', idOf(token), '--state', c.state])).code, 0);
const said = (peer: Peer) => JSON.stringify(peer.answers, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v));
/** A token that has the form of one. */
const guess = () => `rcap_${randomBytes(4).toString('hex')}_${randomBytes(32).toString('base64url')}`;

/** Of something that must begin before a token expires: undefined when it was too late, and then it gets longer. */
async function inTime<T>(work: (seconds: number) => Promise<T | undefined>): Promise<T> {
  for (let seconds = 4; seconds <= 64; seconds *= 2) {
    const done = await work(seconds);
    if (done !== undefined) return done;
  }
  return assert.fail('the token expired each time before anything began');
}

describe('a token in the wrong hands', { skip: lacks('capinfos'), timeout: 600_000 }, () => {
  const suite = cleaner();
  let collector: Collector;
  before(async () => {
    collector = await Collector.start(suite, { flags: ['--rotate-age', '2s'] });
  });

  const saying = async (t: Cleaner, token: string, host: string, more: Parameters<typeof hello>[0] = {}) => {
    const peer = await Peer.connect(t, collector.port);
    peer.send(hello({ token, host, ...more }));
    return peer;
  };
  const answered = async (peer: Peer) => until('an answer', () => peer.answers[0]);

  it('of two hosts that use it first at the same time, one gets it', async (t) => {
    for (let round = 0; round < 10; round++) {
      const token = await collector.token();
      const peers = await Promise.all(['a', 'b'].map(() => Peer.connect(t, collector.port)));
      for (const [i, peer] of peers.entries()) peer.send(hello({ token, host: ['a', 'b'][i]! }));
      await Promise.all(peers.map(answered));
      const welcomed = peers.map((p) => Boolean(p.answers[0]!.welcome));
      assert.equal(welcomed.filter(Boolean).length, 1);
      const loser = peers[welcomed.indexOf(false)]!;
      assert.match((await loser.refusal()).message, /^the token is for host '[ab]', not '[ab]'$/);
      for (const p of peers) p.reset();
    }
  });

  it('of ten runs that use the last of its uses at the same time, one gets it', async (t) => {
    const token = await collector.token('--uses', '1', '--host', 'once');
    const peers = await Promise.all(Array.from({ length: 10 }, () => saying(t, token, 'once')));
    await Promise.all(peers.map(answered));
    assert.equal(peers.filter((p) => p.answers[0]!.welcome).length, 1);
  });

  it('its connections end soon after it is revoked; what came until then is in the files', async (t) => {
    const token = await collector.token('--host', 'revoked');
    const other = await collector.token('--host', 'unharmed');
    const [peer, unharmed] = [await saying(t, token, 'revoked'), await saying(t, other, 'unharmed')];
    await answered(peer);
    peer.send(captureStart(), onePacket(1), onePacket(2));
    await until('its packets', () => peer.acknowledged() === 2);
    await revoke(t, collector, token);
    assert.deepEqual(await peer.refusal(), { code: 'TOKEN', message: 'the token is revoked' });
    const file = await until('a file', () => collector.published().find((f) => f.includes('/revoked/')));
    assert.equal(packetsIn(file), 2);
    assert.ok(!unharmed.closed);
    unharmed.end();
  });

  it('when it expires, its agent is asked to end, and may still say what it has', async (t) => {
    const [token, peer] = await inTime(async (seconds) => {
      const brief = await collector.token('--host', 'expiring', '--expires', `${seconds}s`);
      const first = await saying(t, brief, 'expiring');
      return (await answered(first)).welcome ? ([brief, first] as const) : undefined;
    });
    peer.send(captureStart(), onePacket(1));
    const stop = await until('Stop', () => peer.answers.find((a) => a.stop)?.stop ?? undefined);
    assert.equal(stop.reason, 'its token has expired');
    peer.send(onePacket(2), captureEnd(1, 2));
    await peer.ended();
    peer.end();
    const late = await saying(t, token, 'expiring');
    assert.deepEqual(await late.refusal(), { code: 'TOKEN', message: 'the token is expired' });
  });

  it('an agent whose token expires ends in order, with all delivered', { skip: lacksAddon }, async (t) => {
    const input = join(temporaryFolder(t), 'input.pcap');
    const args = [...collector.address, '-r', input, '--host-name', 'ends', '--max-rate', '4K/s', '--spool', '1M'];
    await inTime(async (seconds) => {
      // Slow enough not to be through by then.
      const count = 20 * seconds;
      writeFileSync(input, pcapBytes(somePackets(count)));
      const token = await collector.token('--host', 'ends', '--expires', `${seconds}s`);
      const end = await runAgent(t, args, { env: { RCAP_TOKEN: token } });
      if (/the token is expired/.test(end.stderr)) return undefined;
      assert.match(end.stderr, /warning: the collector ends this run: its token has expired/);
      assert.match(end.stderr, new RegExp(`${count} packets sent, ${count} acknowledged`));
      assert.equal(end.code, 0, end.stderr);
      return true;
    });
  });

  it('a second agent with it disturbs the first in nothing, and learns nothing of it or of others', async (t) => {
    const token = await collector.token('--host', 'victim');
    const other = await collector.token('--host', 'bystander');
    const run = randomBytes(16);
    const [victim, bystander] = [await saying(t, token, 'victim', { run }), await saying(t, other, 'bystander')];
    await Promise.all([victim, bystander].map(answered));
    for (const p of [victim, bystander]) p.send(captureStart(7), onePacket(1, 7), onePacket(2, 7));
    await until('their packets', () => victim.acknowledged(7) === 2 && bystander.acknowledged(7) === 2);

    const thief = await saying(t, token, 'victim', { more: resume(7, 1) });
    const { welcome } = await answered(thief);
    assert.deepEqual(welcome!.captures.map((c) => [c.capture, c.lastSequence, c.ended]), [[7, 0, false]]); // prettier-ignore
    // The same capture, the same sequences, an end: all of its own run.
    thief.send(captureStart(7), onePacket(1, 7, Buffer.from('forged')), captureEnd(7, 1));
    await thief.ended(7);
    // Not as another host, not in its place, not with a run of which only the beginning is known (as in file names).
    const almost = Buffer.concat([run.subarray(0, 4), randomBytes(12)]);
    for (const [host, id] of [['bystander', run], ['victim2', run], ['VICTIM', run]] as const) {
      const peer = await saying(t, token, host, { run: id });
      assert.match((await peer.refusal()).message, /^the token is for host 'victim', not /);
    } // prettier-ignore
    const near = await saying(t, token, 'victim', { run: almost, more: resume(7, 1) });
    assert.deepEqual((await answered(near)).welcome!.captures.map((c) => c.lastSequence), [0]); // prettier-ignore
    near.end();
    for (const peer of [thief, near]) {
      const text = said(peer);
      for (const secret of ['bystander', run.toString('hex'), run.toString('base64'), collector.captures, 'forged']) {
        assert.ok(!text.includes(secret), text);
      }
    }
    for (const p of [victim, bystander]) {
      assert.ok(!p.closed);
      p.send(onePacket(3, 7), captureEnd(7, 3));
      await p.ended(7);
      assert.deepEqual(p.answers.filter((a) => a.stop ?? a.refusal), []); // prettier-ignore
      p.end();
    }
    const packets = (host: string) => collector.published().filter((f) => f.includes(`/${host}/`)).map(packetsIn).toSorted((a, b) => a - b); // prettier-ignore
    assert.deepEqual([packets('victim'), packets('bystander')], [[1, 3], [3]]); // prettier-ignore
    assert.deepEqual(filesUnder(collector.captures).filter((f) => /victim2|VICTIM/.test(f)), []); // prettier-ignore
  });

  it('hundreds of guesses: a few are answered at once and logged; who has a token at the same address is not kept waiting', async (t) => {
    const own = await Collector.start(t);
    const token = await own.token('--host', 'honest');
    const began = performance.now();
    const wrong = `${token.slice(0, -3)}AAA`;
    const attempt = async (text: string) => {
      const peer = await Peer.connect(t, own.port);
      peer.send(hello({ token: text, host: 'honest' }));
      return peer;
    };
    const peers = await Promise.all(Array.from({ length: 200 }, (_, i) => attempt(i % 2 ? guess() : wrong)));
    await until('the first answers', () => peers.filter((p) => p.closed).length >= 10);
    const good = await attempt(token);
    await until('Welcome', () => good.answers[0]?.welcome);
    assert.ok(peers.some((p) => !p.closed), 'others still wait'); // prettier-ignore
    good.end();
    await Promise.all(peers.map((p) => p.refusal()));
    assert.ok(peers.every((p) => p.answers[0]?.refusal?.message === 'the token is not known'));
    const lines = own.stderr.split('\n').filter((l) => l.includes('refused'));
    // And one more every 6 s, however long this took.
    const most = 11 + (performance.now() - began) / 6000;
    assert.ok(lines.length >= 10 && lines.length <= most, own.stderr);
    assert.ok(lines.every((l) => /refused 127\.0\.0\.1:\d+: the token is not known$/.test(l)));
    assert.ok(!own.stderr.includes(token.slice(14)) && !own.stderr.includes(wrong.slice(14)));
  });

  it('strangers that fill all connections and say nothing give way to who has a token', async (t) => {
    const own = await Collector.start(t, { flags: ['--max-connections', '3'] });
    const token = await own.token('--host', '*');
    const kept = await Peer.greeted(t, own.port, token, 'kept');
    const plain = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const socket = connect(own.port, '127.0.0.1').on('error', () => {});
        t.after(() => void socket.destroy());
        await once(socket, 'connect');
        return socket;
      }),
    );
    const quiet = await Promise.all(Array.from({ length: 2 }, () => Peer.connect(t, own.port).catch(() => undefined)));
    await new Promise((resolve) => setTimeout(resolve, 700)); // as long as somebody may take to say Hello
    const honest = await Peer.greeted(t, own.port, token, 'honest');
    const another = await Peer.greeted(t, own.port, token, 'another');
    assert.ok(!kept.closed && !honest.closed && !another.closed);
    // Who has a token isn't put out for somebody else who has one.
    const fourth = await Peer.connect(t, own.port);
    assert.equal((await fourth.refusal()).code, 'LIMIT');
    for (const p of [kept, honest, another]) p.end();
    assert.ok(plain.length === 100 && quiet.length === 2);
  });

  it('where all who have a place have a token, one that was slow to come is told so, too', async (t) => {
    const own = await Collector.start(t, { flags: ['--max-connections', '1'] });
    const kept = await Peer.greeted(t, own.port, await own.token('--host', 'kept'), 'kept');
    const raw = connect(own.port, '127.0.0.1');
    await once(raw, 'connect');
    await new Promise((resolve) => setTimeout(resolve, 700)); // longer than somebody new may stay who is in the way
    const slow = await Peer.over(t, raw);
    assert.equal((await slow.refusal()).code, 'LIMIT');
    await own.says(/refused 127\.0\.0\.1:\d+: more than 1 connections/);
    assert.ok(!kept.closed);
    kept.end();
  });

  it('one address that opens connections faster than they are given up keeps out nobody at another', async (t) => {
    const own = await Collector.start(t, { flags: ['--max-connections', '3'] });
    const token = await own.token('--host', '*');
    const kept = await Peer.greeted(t, own.port, token, 'kept');
    const flood = (from: string) =>
      Promise.all(
        Array.from({ length: 200 }, async () => {
          const socket = connect({ port: own.port, host: '127.0.0.1', localAddress: from }).on('error', () => {});
          t.after(() => void socket.destroy());
          await once(socket, 'connect');
        }),
      );
    for (let round = 0; round < 5; round++) {
      await flood('127.0.0.2');
      (await Peer.greeted(t, own.port, token, `honest ${round}`)).end();
    }
    assert.ok(!kept.closed);
    kept.end();
  });
});
