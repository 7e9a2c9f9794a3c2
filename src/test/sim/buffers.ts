/**
 * The buffers of a connection take megabytes, and hardly any of it is used in a simulation: while one runs, large ones are
 * made once and handed out again. They come dirty: who reads what nobody wrote makes a seed end in different ways.
 */

const LARGE = 1 << 16;
const pool = new Map<number, ArrayBuffer[]>();
const out: ArrayBuffer[] = [];

const RealArrayBuffer = ArrayBuffer;
const PooledArrayBuffer = new Proxy(ArrayBuffer, {
  construct: (target, [bytes]: [number]) => (bytes >= LARGE ? large(bytes) : new target(bytes)),
});
const RealUint8Array = Uint8Array;
const PooledUint8Array = new Proxy(Uint8Array, {
  construct: (target, args: [number]) =>
    typeof args[0] === 'number' && args[0] >= LARGE
      ? new target(large(args[0]))
      : (Reflect.construct(target, args) as object),
});
const realUnsafe = Buffer.allocUnsafe.bind(Buffer);
const pooledUnsafe = (bytes: number) => (bytes >= LARGE ? Buffer.from(large(bytes)) : realUnsafe(bytes));

function large(bytes: number): ArrayBuffer {
  const buffer = pool.get(bytes)?.pop() ?? new RealArrayBuffer(bytes);
  out.push(buffer);
  return buffer;
}

/** Until what it returns is called. Nothing that was made meanwhile may be used afterwards. */
export function poolBuffers(): () => void {
  globalThis.ArrayBuffer = PooledArrayBuffer;
  globalThis.Uint8Array = PooledUint8Array;
  Buffer.allocUnsafe = pooledUnsafe;
  return () => {
    globalThis.ArrayBuffer = RealArrayBuffer;
    globalThis.Uint8Array = RealUint8Array;
    Buffer.allocUnsafe = realUnsafe;
    for (const buffer of out.splice(0)) {
      const list = pool.get(buffer.byteLength);
      if (list) list.push(buffer);
      else pool.set(buffer.byteLength, [buffer]);
    }
  };
}
