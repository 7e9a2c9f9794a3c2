/**
 * What this process touched on its host: whatever opens a file or a socket says so here, when it has done it. Kept always,
 * since it costs next to nothing; `--footprint` prints it.
 */

export type How =
  | 'read' // a file
  | 'may have read' // a file, which happens in some runs only, and without a trace in this process
  | 'written' // a file, made or overwritten
  | 'made' // a folder
  | 'made and removed' // a file, by a name that it had for moments
  | 'made without a name' // a file in this folder
  | 'lent' // a folder: its group and its mode are others
  | 'packet socket' // on this interface
  | 'netlink socket' // a question to the kernel
  | 'route' // to there, by a datagram socket that sends nothing
  | 'tcp' // from here to there
  | 'tcp attempt' // to there
  | 'looked up' // a name, by the system's resolver
  | 'asked'; // a name server, by datagrams of our own

export interface Touch {
  how: How;
  /** `*` stands for anything that is not `/`. */
  target: string;
  why: string;
  /** How often. */
  times: number;
}

/** Further kinds are counted, not kept: an agent may connect again for weeks. */
export const MAX_KINDS = 4096;

const kinds = new Map<string, Touch>();
let beyond = 0;

export function touch(how: How, target: string, why: string): void {
  const key = `${how}\0${target}\0${why}`;
  const known = kinds.get(key);
  if (known) known.times++;
  else if (kinds.size < MAX_KINDS) kinds.set(key, { how, target, why, times: 1 });
  else beyond++;
}

/** In order of their first time; and how many more there were. */
export const touched = (): { list: Touch[]; beyond: number } => ({ list: [...kinds.values()], beyond });
