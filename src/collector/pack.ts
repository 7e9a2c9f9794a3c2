/** rcap-collector pack: an agent with its settings inside, as a file or behind a link. */
import { createHash, createPrivateKey } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { reasonOf, RcapError } from '../errors.ts';
import { pieces } from '../formats/image.ts';
import { stamp } from '../formats/stamp.ts';
import { settingsToPack } from '../options/agent.ts';
import { formatAddress } from '../options/units.ts';
import { seal } from '../wire/seal.ts';
import { type Identity, identityToSignWith } from './authority.ts';
import { renameNew, temporaryName } from './disk.ts';
import { chunks, type Executable, isWindows, openAgent, stampedSha256 } from './executables.ts';
import { DOWNLOADS_PORT, type PackFlags } from './flags.ts';
import { Links } from './links.ts';
import { curlLine, linkOf, powershellLine } from './paste.ts';
import { Tokens } from './tokens.ts';

/** There is a token in it. */
const FILE_MODE = 0o700;

export interface Packed {
  tokenId: string;
  /** Of the file, hex. */
  sha256: string;
  /** Where it lies. */
  file?: string;
  /** Or where it is fetched, and what to paste there for that. */
  link?: string;
  paste?: string;
}

export async function pack(flags: PackFlags): Promise<Packed> {
  const identity = await identityToSignWith(flags.state, flags.tls);
  const to = { server: flags.servers.map(formatAddress), pin: identity.pin };
  // Whatever is wrong with these is said before a token is made.
  settingsToPack(flags.defaults, { ...to, token: 'a token' });
  const file = flags.link ? undefined : outputOf(flags);
  const agent = openAgent(flags.target, flags.agents);
  const tokens = new Tokens(flags.state);
  const token = flags.token ?? tokens.create({ ...flags, label: flags.label ?? `packed for ${flags.target}` });
  const tokenId = tokens.idOf(token);
  try {
    const settings = settingsToPack(flags.defaults, { ...to, token });
    const payload = seal(settings, createPrivateKey(identity.key));
    const done = file === undefined ? toLink(flags, identity, agent, tokenId, payload) : toFile(file, agent, payload);
    return { tokenId, ...done };
  } catch (e) {
    // Nobody has it: it must not lie around.
    if (flags.token === undefined) tokens.revoke(tokenId);
    throw e;
  } finally {
    agent.close();
  }
}

/** What it is called on the host. */
const nameFor = ({ target }: PackFlags) => (isWindows(target) ? 'rcap-agent.exe' : 'rcap-agent');

function outputOf(flags: PackFlags): { path: string; force: boolean } {
  const path = flags.output ?? nameFor(flags);
  if (!flags.force && existsSync(path)) throw exists(path);
  return { path, force: flags.force };
}

/** A whole file or none; another one is replaced with --force only. */
function toFile({ path, force }: { path: string; force: boolean }, { image }: Executable, payload: Uint8Array) {
  const temporary = temporaryName(path);
  try {
    const hash = createHash('sha256');
    const file = openSync(temporary, 'wx', FILE_MODE);
    try {
      for (const chunk of chunks(image, pieces(stamp(image, payload)))) {
        hash.update(chunk);
        for (let at = 0; at < chunk.length;) at += writeSync(file, chunk, at);
      }
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    if (force) renameSync(temporary, path);
    else renameNew(temporary, path);
    return { file: path, sha256: hash.digest('hex') };
  } catch (e) {
    if (e instanceof RcapError) throw e;
    if ((e as NodeJS.ErrnoException).code === 'EEXIST') throw exists(path);
    throw new RcapError('FILE_WRITE', `could not write '${path}': ${reasonOf(e)}`, { cause: e });
  } finally {
    rmSync(temporary, { force: true });
  }
}

const exists = (path: string) =>
  new RcapError('FILE_EXISTS', `could not write '${path}': there is one already`, {
    hint: '-o FILE for another name, or --force',
  });

function toLink(
  flags: PackFlags,
  identity: Identity,
  { path, image }: Executable,
  tokenId: string,
  payload: Uint8Array,
) {
  const sha256 = stampedSha256(image, stamp(image, payload));
  const name = nameFor(flags);
  const secret = new Links(flags.state).create({
    expiresMs: flags.linkExpiresMs,
    path: resolve(path),
    name,
    tokenId,
    payload,
  });
  const at = flags.linkAddress ?? { host: flags.servers[0]!.host, port: DOWNLOADS_PORT };
  const download = { at, secret, sha256, name, pin: identity.pin, certificate: identity.certificate };
  const line = isWindows(flags.target) ? powershellLine : curlLine;
  return { sha256, link: linkOf(download), paste: line(download) };
}
