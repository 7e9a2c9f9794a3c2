/** One run of the collector: takes its folders, salvages, listens, and ends in order when it is told to. */
import { mkdirSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Log } from '../log.ts';
import { VERSION } from '../version.ts';
import { identityOf } from './authority.ts';
import type { ServeFlags } from './flags.ts';
import { lockFolder } from './lock.ts';
import { hostFolder } from './names.ts';
import { folderMade } from './publish.ts';
import { salvage } from './salvage.ts';
import { CollectorServer } from './server.ts';
import { Tokens } from './tokens.ts';
import { CaptureWriter } from './writer.ts';

/** Resolves once everything is durable and published, after `stopped` resolved. */
export async function serve(flags: ServeFlags, log: Log, stopped: Promise<string>): Promise<void> {
  const unlock = [await lockFolder(flags.state, 'state', 0o700), await lockFolder(flags.captures, 'captures', 0o750)];
  try {
    const identity = await identityOf(flags.state, flags.tls);
    const tokens = new Tokens(flags.state);
    await salvage(flags.captures, (s) => {
      const what = s.left
        ? `left ${s.file}: ${s.left}`
        : `salvaged ${s.file}: ${s.packets} packets, ${s.cut} bytes cut`;
      log.warning(what, undefined, { ...s });
    });
    const server = new CollectorServer(
      {
        version: `rcap-collector ${VERSION}`,
        timestamps: flags.timestamps,
        admit: (token, host, run) => tokens.admit(token, host, run),
        writer: (start, events) => new CaptureWriter(hostFolderIn(flags.captures, start.host), start, flags, events),
        log: (message, fields) => log.info(message, fields),
      },
      {
        address: flags.listen,
        key: identity.key,
        certificate: identity.certificate,
        maxConnections: flags.maxConnections,
      },
    );
    const port = await server.listen();
    announce(flags, log, identity, port, tokens.list().length);
    log.debug(`stopping: ${await stopped}`);
    await server.stop();
  } finally {
    for (const u of unlock) u();
  }
}

function hostFolderIn(captures: string, host: string): string {
  const folder = join(captures, hostFolder(host));
  if (mkdirSync(folder, { recursive: true, mode: 0o750 }) !== undefined) folderMade(folder);
  return folder;
}

function announce(
  flags: ServeFlags,
  log: Log,
  identity: { pin: string; fresh: boolean },
  port: number,
  tokens: number,
): void {
  const { host } = flags.listen;
  const at = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  if (identity.fresh) log.info(`made a key and a certificate in ${flags.state}`);
  log.info(`listening on ${at}, captures in ${flags.captures}`, {
    host,
    port,
    captures: flags.captures,
    pin: identity.pin,
  });
  if (tokens === 0) log.info(`make a token for each host first: rcap-collector token new --state ${flags.state}`);
  log.info(`on a host: rcap-agent --server ${reachable(host)}:${port} --pin ${identity.pin} --token TOKEN`);
}

/** An address that an agent elsewhere could use, as far as this machine can tell. */
function reachable(host: string): string {
  if (host !== '0.0.0.0' && host !== '::') return host.includes(':') ? `[${host}]` : host;
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find((a) => !a.internal && a.family === 'IPv4')?.address ?? hostname();
}
