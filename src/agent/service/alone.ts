/** One command that changes services at a time on a host: it listens, and the system ends that with the process. */
import { createServer } from 'node:net';
import { RcapError } from '../../errors.ts';

/** Names without a file: Linux' abstract sockets, Windows' pipes. */
const NAME = process.platform === 'win32' ? '\\\\.\\pipe\\rcap-agent-service' : '\0rcap-agent-service';

export async function alone<T>(act: () => T | Promise<T>): Promise<T> {
  const lock = createServer((s) => s.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      lock.once('error', reject).listen(NAME, resolve);
    });
  } catch (e) {
    throw new RcapError('SERVICE', 'could not change a service: another rcap-agent service command is at work', {
      hint: 'try again when it is done',
      cause: e,
    });
  }
  try {
    return await act();
  } finally {
    lock.close();
  }
}
