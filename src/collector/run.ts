/** One run of the collector: takes its folders, recovers what was left, listens, and ends in order when it is told to. */
import { existsSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { dirname, resolve } from 'node:path';
import { systemClock } from '../clock.ts';
import { RcapError, reasonOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { VERSION } from '../version.ts';
import { identityOf, noteIdentity } from './authority.ts';
import { Doorkeeper } from './doorkeeper.ts';
import { Downloads } from './downloads.ts';
import type { ServeFlags } from './flags.ts';
import { openControl } from './control.ts';
import { ExceptionsHttp } from './exceptions-http.ts';
import { Links } from './links.ts';
import { lockFolder } from './lock.ts';
import { systemDisk } from './disk.ts';
import { hostFolder } from './names.ts';
import { PublicSettings } from './public/settings.ts';
import { CollectorServer } from './server.ts';
import { Retention } from './retention.ts';
import { Store } from './store.ts';
import { Tokens } from './tokens.ts';

/** What agents are told that `rcap-collector stop` ends. */
const STOP_REASON = "stopped by the collector's administrator";

/** Resolves once everything is durable and published, after `stopped` resolved. */
export async function serve(flags: ServeFlags, log: Log, stopped: Promise<string>): Promise<void> {
  const said = {
    info: (message: string, fields?: Record<string, unknown>) => log.info(message, fields),
    warning: (message: string, fields?: Record<string, unknown>) => log.warning(message, undefined, fields),
  };
  // What can't be taken is said before anything starts.
  const settings = await PublicSettings.open(flags.publicFolder, systemClock, said);
  if (flags.publicGiven && !existsSync(flags.publicFolder))
    log.warning(`there is no folder '${resolve(flags.publicFolder)}': agents get no settings`, 'is --public mistyped?');
  if (existsSync(flags.publicFolder)) log.info(`settings of agents come from ${resolve(flags.publicFolder)}`);
  const unlock = [await lockFolder(flags.state, 'state', 0o700), await lockFolder(flags.captures, 'captures', 0o750)];
  try {
    // Both may have been made just now; where the one above can't be opened, they were made by somebody else.
    for (const f of [flags.state, flags.captures]) await systemDisk.syncFolder(dirname(resolve(f))).catch(() => {});
    const identity = await identityOf(flags.state, flags.tls);
    await noteIdentity(flags.state, identity, flags.tls !== undefined);
    const tokens = new Tokens(flags.state);
    const store = await Store.open(flags, systemDisk, systemClock, said).catch((e: unknown) => {
      throw new RcapError('FOLDER', `could not use the folders of captures and state: ${reasonOf(e)}`, { cause: e });
    });
    const retention = new Retention(flags, flags, systemDisk, systemClock, {
      deleted: (d) => log.info(`deleted ${d.file}: ${d.packets} packets (--${d.why})`, { ...d }),
      failed: (file, e) => log.warning(`could not delete ${file}: ${reasonOf(e)}`),
    });
    const doorkeeper = new Doorkeeper(systemClock, (line) => log.info(line));
    const server = new CollectorServer(
      {
        version: `rcap-collector ${VERSION}`,
        clock: systemClock,
        timestamps: flags.timestamps,
        get full() {
          return store.full;
        },
        admit: (token, host, run) => tokens.admit(token, host, run),
        standing: (token) => tokens.standing(token),
        turnAway: (peer, line) => doorkeeper.turnAway(peer, line),
        enter: (...run) => store.enter(...run),
        leave: (...run) => store.leave(...run),
        settings: (host) => settings.of(hostFolder(host)),
        writer: (...series) => store.writer(...series),
        log: said.info,
        warn: said.warning,
      },
      {
        address: flags.listen,
        key: identity.key,
        certificate: identity.certificate,
        maxConnections: flags.maxConnections,
      },
    );
    const downloads = new Downloads({
      address: flags.downloads,
      key: identity.key,
      certificate: identity.certificate,
      links: new Links(flags.state),
      admits: (id) => tokens.admits(id),
      turnAway: (peer, line) => void doorkeeper.turnAway(peer, line),
      log,
    });
    const http =
      flags.http &&
      new ExceptionsHttp({
        address: flags.http,
        given: flags.httpGiven,
        key: identity.key,
        certificate: identity.certificate,
        clock: systemClock,
        exceptions: (host) => settings.exceptions(host),
        hostOf: (token) => tokens.hostOf(token),
        turnAway: (peer, line) => doorkeeper.turnAway(peer, line),
        log,
      });
    await http?.start();
    const closeControl = await openControl(flags.state, {
      publicFolder: resolve(flags.publicFolder),
      agents: () => server.agents(),
      stop: (pattern) => server.ask(pattern, STOP_REASON),
    });
    unlock.unshift(closeControl);
    const port = await server.listen();
    downloads.start();
    settings.start();
    retention.start();
    announce(flags, log, identity, port, tokens.list().length);
    await stopped;
    settings.stop();
    http?.stop();
    downloads.stop();
    await server.stop();
    await retention.stop();
    store.close();
  } finally {
    for (const u of unlock) u();
  }
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
