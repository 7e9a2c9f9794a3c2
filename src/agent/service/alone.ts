/** One command that changes services at a time on a host: it listens, and the kernel ends that with the process. */
import { createServer } from 'node:net';
import { atWork } from './manager.ts';

/** An abstract one: no file, nothing that is left. */
const NAME = '\0rcap-agent-service';

export async function alone<T>(act: () => T): Promise<T> {
  const lock = createServer((s) => s.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      lock.once('error', reject).listen(NAME, resolve);
    });
  } catch {
    throw atWork();
  }
  try {
    return act();
  } finally {
    lock.close();
  }
}
