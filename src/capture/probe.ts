/** Which link type an interface or a file has: known only once it is opened. */
import { basename } from 'node:path';
import { RcapError } from '../errors.ts';
import { touch } from '../footprint.ts';
import type { Addon } from './source.ts';

/**
 * LINKTYPE_ value, found by opening it for a moment; of a file the first interface's. An interface stays in its ordinary
 * mode. Rejects with an RcapError.
 */
export function linkTypeOf(addon: Addon, where: { interface: string } | { file: string }): Promise<number> {
  const pool = addon.createPool(1);
  return new Promise((resolve, reject) => {
    const session = addon.open(pool, 'file' in where ? where : { ...where, promiscuous: false, bufferBytes: 1 << 16 }, {
      onCapture(_, { linkType }) {
        if ('file' in where) touch('read', where.file, 'its link type');
        else touch('packet socket', where.interface, 'its link type');
        resolve(linkType);
        session.stop(false);
      },
      onBlock: (_, block) => pool.release(block),
      onEnd(error) {
        const name = 'file' in where ? basename(where.file) : where.interface;
        reject(
          new RcapError(
            error?.code ?? 'FILE_FORMAT',
            error?.message ?? `could not read '${name}': no interface is in it`,
          ),
        );
      },
    });
  });
}
