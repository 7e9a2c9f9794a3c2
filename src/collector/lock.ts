/**
 * One collector a folder: whoever listens on the socket in it owns it. The kernel lets go of it with the process, however
 * that ends; a socket file that nobody listens on is a leftover. The path goes through /proc/self/fd, since a socket's
 * path may have 107 bytes only.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, linkSync, mkdirSync, openSync, renameSync, unlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { RcapError, reasonOf } from '../errors.ts';

const NAME = '.rcap-collector.lock';
/** How often leftovers are removed; only others that start at the same moment make more than one. */
const TRIES = 3;

/** Makes the folder if need be and takes it. Returns what gives it back. */
export async function lockFolder(folder: string, what: string, mode: number): Promise<() => void> {
  let fd: number;
  try {
    mkdirSync(folder, { recursive: true, mode });
    fd = openSync(folder, 'r');
  } catch (e) {
    throw new RcapError('FOLDER', `could not use ${what} folder '${folder}': ${reasonOf(e)}`, { cause: e });
  }
  const path = `/proc/self/fd/${fd}/${NAME}`;
  try {
    for (let tries = 0; !(await listens(path)); tries++) {
      if (tries === TRIES || (await answers(path)) || !(await removeLeftover(path))) {
        throw new RcapError('LOCKED', `could not use ${what} folder '${folder}': another rcap-collector does`, {
          hint: 'stop that one, or give this one folders of its own: --state DIR --captures DIR',
        });
      }
    }
  } catch (e) {
    closeSync(fd);
    if (e instanceof RcapError) throw e;
    throw new RcapError('FOLDER', `could not use ${what} folder '${folder}': ${reasonOf(e)}`, { cause: e });
  }
  return () => {
    try {
      unlinkSync(join(folder, NAME));
    } catch {
      // gone with the folder
    }
  };
}

/**
 * Moved away first: of two that start at once, the slower one would else remove the socket on which the faster one already
 * listens. False when that was about to happen.
 */
async function removeLeftover(path: string): Promise<boolean> {
  const away = `${path}.${randomBytes(4).toString('hex')}`;
  try {
    renameSync(path, away);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return true; // the other one was faster
    throw e;
  }
  const alive = await answers(away);
  if (alive) linkSync(away, path);
  unlinkSync(away);
  return !alive;
}

/** Tries to listen; false when the name is taken. */
function listens(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer((s) => s.destroy());
    server.on('error', (e: NodeJS.ErrnoException) => (e.code === 'EADDRINUSE' ? resolve(false) : reject(e)));
    server.listen(path, () => {
      server.unref();
      resolve(true);
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
