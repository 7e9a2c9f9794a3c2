/** On which link types a plan's filters will run, as far as that can be known before anything is captured. */
import { existsSync, statSync } from 'node:fs';
import { findInterface, listInterfaces } from '../capture/interfaces.ts';
import { linkTypeOf } from '../capture/probe.ts';
import type { Addon } from '../capture/source.ts';
import type { Plan } from './plan.ts';

export interface Place {
  /** An interface's name, or a file's. */
  name: string;
  /** LINKTYPE_ value. */
  linkType: number;
}

/**
 * Of the interfaces that were named, or of the file that is read; undefined where that can't be known yet: of an interface that
 * is chosen later, and of what can be read only once. Rejects when one can't be opened.
 */
export async function placesOf(
  addon: Addon,
  { interfaces, read }: Pick<Plan, 'interfaces' | 'read'>,
): Promise<Place[] | undefined> {
  // prettier-ignore
  if (read !== undefined)
    return isSeenOnce(read) ? undefined : [{ name: read, linkType: await linkTypeOf(addon, { file: read }) }];
  if (interfaces.length === 0) return undefined;
  const list = listInterfaces(addon);
  const names = new Set(interfaces.map((wanted) => findInterface(list, wanted).name));
  return Promise.all(
    [...names].map(async (name) => ({ name, linkType: await linkTypeOf(addon, { interface: name }) })),
  );
}

/** A pipe's bytes are the run's. */
const isSeenOnce = (path: string): boolean => path === '-' || (existsSync(path) && !statSync(path).isFile());
