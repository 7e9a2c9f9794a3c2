/**
 * One collector a folder: it listens on a socket in there under a name of its own, and then looks for others. Whoever sees
 * another one that answers gives way, so of two at least the later one does. The kernel ends a socket with its process,
 * however that ends; one that doesn't answer never will again. The path goes through /proc/self/fd, since a socket's path
 * may have 107 bytes only.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RcapError, reasonOf } from '../errors.ts';

const NAME = '.rcap-collector.lock.';
/** Two that start at the same moment may both give way; so each tries again, a little later. */
const TRIES = 4;
const LATER_MS = 100;

/** Makes the folder if need be and takes it. Returns what gives it back. */
export async function lockFolder(folder: string, what: string, mode: number): Promise<() => void> {
  let fd: number | undefined;
  try {
    mkdirSync(folder, { recursive: true, mode });
    fd = openSync(folder, 'r');
    const path = `/proc/self/fd/${fd}`;
    for (let tries = 1; tries <= TRIES; tries++) {
      const name = NAME + randomBytes(8).toString('hex');
      const giveBack = await listen(path, name);
      if (!(await isTaken(path, name))) return giveBack;
      giveBack();
      await sleep(Math.random() * LATER_MS);
    }
  } catch (e) {
    if (fd !== undefined) closeSync(fd);
    throw new RcapError('FOLDER', `could not use ${what} folder '${folder}': ${reasonOf(e)}`, { cause: e });
  }
  closeSync(fd);
  throw new RcapError('LOCKED', `could not use ${what} folder '${folder}': another rcap-collector does`, {
    hint: 'stop that one, or give this one folders of its own: --state DIR --captures DIR',
  });
}

/** Listens, and only then shows the socket under its name: one that is seen answers. */
function listen(folder: string, name: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const server = createServer((s) => s.destroy());
    const made = join(folder, `${name}.new`);
    server.on('error', reject);
    server.listen(made, () => {
      try {
        renameSync(made, join(folder, name));
      } catch (e) {
        server.close();
        reject(e);
        return;
      }
      server.unref();
      resolve(() => {
        // By force: the folder may be gone.
        rmSync(join(folder, name), { force: true });
        server.close();
      });
    });
  });
}

/** Whether another socket in the folder answers; what a killed collector left behind is removed. */
async function isTaken(folder: string, own: string): Promise<boolean> {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(NAME) || name.endsWith('.new') || name === own) continue;
    if (await answers(join(folder, name))) return true;
    rmSync(join(folder, name), { force: true });
  }
  return false;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    // Any other error, such as a full queue, doesn't mean that nobody is there.
    socket.on('error', (e: NodeJS.ErrnoException) => resolve(e.code !== 'ECONNREFUSED' && e.code !== 'ENOENT'));
  });
}
