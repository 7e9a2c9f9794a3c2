/** SHA-256 of whole files, on a thread of its own: the main one has packets to move. */
import { Worker } from 'node:worker_threads';

/** As text, because an executable has no second file to load. */
const WORKER = `
const { parentPort } = require('node:worker_threads');
const { createHash } = require('node:crypto');
const { openSync, readSync, closeSync } = require('node:fs');
// Small enough to stay in the processor's cache.
const buffer = Buffer.allocUnsafeSlow(1 << 17);
parentPort.on('message', ({ id, path }) => {
  try {
    const hash = createHash('sha256');
    const fd = openSync(path, 'r');
    try {
      for (let n; (n = readSync(fd, buffer)) > 0; ) hash.update(n === buffer.length ? buffer : buffer.subarray(0, n));
    } finally {
      closeSync(fd);
    }
    parentPort.postMessage({ id, hex: hash.digest('hex') });
  } catch (e) {
    parentPort.postMessage({ id, error: String(e && e.message) });
  }
});
`;

type Answer = { id: number; hex?: string; error?: string };

export class Hasher {
  #worker: Worker | undefined;
  #next = 0;
  readonly #waiting = new Map<number, { resolve(hex: string): void; reject(e: Error): void }>();

  /** SHA-256 of the file's bytes, hex. */
  hash(path: string): Promise<string> {
    const worker = (this.#worker ??= this.#start());
    const id = this.#next++;
    worker.ref();
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, path });
    });
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(WORKER, { eval: true, env: {}, execArgv: [], name: 'sha256' });
    worker.on('message', ({ id, hex, error }: Answer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) worker.unref();
      if (hex !== undefined) waiting?.resolve(hex);
      else waiting?.reject(new Error(error));
    });
    worker.on('error', (e) => {
      for (const w of this.#waiting.values()) w.reject(e);
      this.#waiting.clear();
      this.#worker = undefined;
    });
    return worker;
  }
}
