/**
 * One command that changes services at a time on a host: it listens on a socket of its own in /run, where only root may make
 * files, and then looks for others. Whoever sees another one that answers gives way, so of two at least the later one does.
 * The kernel ends a socket with its process, however that ends; one that doesn't answer never will again.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf, RcapError } from '../../errors.ts';
import { atWork } from './manager.ts';

const FOLDER = '/run';
const PREFIX = 'rcap-agent-service.';
const UNFINISHED = '.new';
/** Two that start at the same moment may both give way; so each tries again, a little later. */
const TRIES = 4;
const LATER_MS = 100;

export async function alone<T>(act: () => T, folder = FOLDER): Promise<T> {
  const giveBack = await take(folder);
  try {
    return act();
  } finally {
    giveBack();
  }
}

async function take(folder: string): Promise<() => void> {
  try {
    for (let tries = 1; tries <= TRIES; tries++) {
      const name = PREFIX + randomBytes(8).toString('hex');
      const giveBack = await listen(folder, name);
      if (!(await isTaken(folder, name))) return giveBack;
      giveBack();
      await sleep(Math.random() * LATER_MS);
    }
  } catch (e) {
    const error = `could not change a service: no lock in '${folder}': ${reasonOf(e)}`;
    throw new RcapError('SERVICE', error, { cause: e });
  }
  throw atWork();
}

/** Listens, and only then shows the socket under its name: one that is seen answers. */
async function listen(folder: string, name: string): Promise<() => void> {
  const server = createServer((s) => s.destroy());
  const path = join(folder, name);
  await new Promise<Server>((resolve, reject) => {
    server.once('error', reject).listen(path + UNFINISHED, () => resolve(server));
  });
  const giveBack = () => {
    rmSync(path, { force: true });
    server.close();
  };
  try {
    renameSync(path + UNFINISHED, path);
  } catch (e) {
    giveBack();
    throw e;
  }
  return giveBack;
}

/** Whether another one answers; what a killed one left is removed. */
async function isTaken(folder: string, own: string): Promise<boolean> {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(PREFIX) || name.endsWith(UNFINISHED) || name === own) continue;
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
