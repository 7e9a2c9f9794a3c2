/**
 * One process at a time: it listens on a socket in a folder, under a name of its own, and then looks for others. Whoever sees
 * another one that answers gives way, so of two at least the later one does. The kernel ends a socket with its process, however
 * that ends; one that doesn't answer never will again.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const UNFINISHED = '.new';
/** Two that start at the same moment may both give way; so each tries again, a little later. */
const TRIES = 4;
const LATER_MS = 100;

/**
 * `prefix` begins the names of all that exclude each other; a socket's path may have 107 bytes. Resolves with what gives the
 * lock back; with nothing while another process has it. Rejects with a system error.
 */
export async function takeLock(folder: string, prefix: string): Promise<(() => void) | undefined> {
  for (let tries = 1; tries <= TRIES; tries++) {
    const name = prefix + randomBytes(8).toString('hex');
    const giveBack = await listen(join(folder, name));
    if (!(await isTaken(folder, prefix, name))) return giveBack;
    giveBack();
    await sleep(Math.random() * LATER_MS);
  }
  return undefined;
}

/** Listens, and only then shows the socket under its name: one that is seen answers. */
function listen(path: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const server = createServer((s) => s.destroy());
    server.on('error', reject);
    server.listen(path + UNFINISHED, () => {
      try {
        renameSync(path + UNFINISHED, path);
      } catch (e) {
        server.close();
        reject(e);
        return;
      }
      server.unref();
      resolve(() => {
        // By force: the folder may be gone.
        rmSync(path, { force: true });
        server.close();
      });
    });
  });
}

/** Whether another one answers; what a killed one left is removed. */
async function isTaken(folder: string, prefix: string, own: string): Promise<boolean> {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(prefix) || name.endsWith(UNFINISHED) || name === own) continue;
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
