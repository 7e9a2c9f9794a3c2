/** pcapng files as tests need them, block by block (draft-ietf-opsawg-pcapng); not by the code under test. */

export interface NgInterface {
  linkType?: number;
  snaplen?: number;
  name?: string;
  description?: string;
  /** if_tsresol as in the file: 6, 9, or 0x80 + n for 2^-n; left out: no option, which means 6. */
  resolution?: number;
  /** if_tsoffset, seconds. */
  offset?: bigint;
  comment?: string;
}

export interface NgPacket {
  /** In units of its interface. */
  units: bigint;
  data: Uint8Array;
  original?: number;
  interface?: number;
  options?: Buffer;
}

export type NgBlocks = ReturnType<typeof ngBlocks>;

/** What makes the blocks of one byte order. */
export function ngBlocks(bigEndian = false) {
  const u16 = (...values: number[]) => {
    const b = Buffer.alloc(2 * values.length);
    values.forEach((v, i) => (bigEndian ? b.writeUInt16BE(v, 2 * i) : b.writeUInt16LE(v, 2 * i)));
    return b;
  };
  const u32 = (...values: number[]) => {
    const b = Buffer.alloc(4 * values.length);
    values.forEach((v, i) => (bigEndian ? b.writeUInt32BE(v, 4 * i) : b.writeUInt32LE(v, 4 * i)));
    return b;
  };
  const i64 = (value: bigint) => {
    const b = Buffer.alloc(8);
    if (bigEndian) b.writeBigInt64BE(value);
    else b.writeBigInt64LE(value);
    return b;
  };
  const padded = (b: Uint8Array) => Buffer.concat([b, Buffer.alloc(-b.length & 3)]);
  const halves = (units: bigint) => [Number(units >> 32n), Number(units & 0xffff_ffffn)] as const;
  const block = (type: number, ...body: Uint8Array[]) => {
    const bytes = padded(Buffer.concat(body));
    const length = u32(bytes.length + 12);
    return Buffer.concat([u32(type), length, bytes, length]);
  };
  const option = (code: number, value: string | Uint8Array) => {
    const bytes = Buffer.from(value);
    return Buffer.concat([u16(code, bytes.length), padded(bytes)]);
  };
  /** Options and their end mark; no bytes when there are none. */
  const options = (...list: Uint8Array[]) => (list.length ? Buffer.concat([...list, u16(0, 0)]) : Buffer.alloc(0));
  return {
    block,
    option,
    options,
    u32,
    section: (...opts: Uint8Array[]) => block(0x0a0d0d0a, u32(0x1a2b3c4d), u16(1, 0), i64(-1n), options(...opts)),
    interface(said: NgInterface = {}) {
      const opts: Uint8Array[] = [];
      if (said.comment !== undefined) opts.push(option(1, said.comment));
      if (said.name !== undefined) opts.push(option(2, said.name));
      if (said.description !== undefined) opts.push(option(3, said.description));
      if (said.resolution !== undefined) opts.push(option(9, Uint8Array.of(said.resolution)));
      if (said.offset !== undefined) opts.push(option(14, i64(said.offset)));
      return block(1, u16(said.linkType ?? 1, 0), u32(said.snaplen ?? 0), options(...opts));
    },
    enhanced: (p: NgPacket) =>
      block(
        6,
        u32(p.interface ?? 0, ...halves(p.units), p.data.length, p.original ?? p.data.length),
        padded(p.data),
        p.options ?? Buffer.alloc(0),
      ),
    /** No time, no interface, and only the original length. */
    simple: (data: Uint8Array, original = data.length) => block(3, u32(original), data),
    /** The obsolete Packet Block. */
    old: (p: NgPacket) =>
      block(
        2,
        u16(p.interface ?? 0, 0xffff),
        u32(...halves(p.units), p.data.length, p.original ?? p.data.length),
        padded(p.data),
        p.options ?? Buffer.alloc(0),
      ),
  };
}
