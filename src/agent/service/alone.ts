/** One command that changes services at a time on a host: its lock is in /run, where only root may make files. */
import { reasonOf, RcapError } from '../../errors.ts';
import { takeLock } from '../../socket-lock.ts';
import { atWork } from './manager.ts';

const FOLDER = '/run';
const PREFIX = 'rcap-agent-service.';

export async function alone<T>(act: () => T, folder = FOLDER): Promise<T> {
  let giveBack;
  try {
    giveBack = await takeLock(folder, PREFIX);
  } catch (e) {
    const error = `could not change a service: no lock in '${folder}': ${reasonOf(e)}`;
    throw new RcapError('SERVICE', error, { cause: e });
  }
  if (!giveBack) throw atWork();
  try {
    return act();
  } finally {
    giveBack();
  }
}
