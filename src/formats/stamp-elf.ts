/** ELF: the kernel maps what the program headers name, so bytes behind all that disturb nobody. */
import type { Format } from './image.ts';

const MAGIC = 0x7f45_4c46;

export const elf: Format = {
  matches: (head) => head.length >= 4 && new DataView(head.buffer, head.byteOffset).getUint32(0) === MAGIC,
  place(image, stamp, present) {
    const offset = image.size - present;
    return { size: offset + stamp.length, patches: [{ offset, bytes: stamp }] };
  },
};
