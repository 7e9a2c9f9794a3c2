/**
 * One-time links to packed agents, as files in --state: `<id>.json` when one is made, `<id>.use` by the collector that runs.
 * The secret in a link is nowhere here: the id is a hash of it, and the stamp, which holds a token, lies encrypted with
 * another. So who reads these files can neither fetch an agent nor learn its token.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createStateFile, makeStateFolder } from './disk.ts';
import { count, form, or, string } from './forms.ts';

/** Transfers that broke off before a link is given up. */
const MAX_TRIES = 5;
/** After its end a link is still known this long, so that a late try is told from a guess in the log. */
const KEPT_MS = 3_600_000;
/** What can't be read may be another version's, or the disk's trouble: it goes when it is that old. */
const DAMAGED_MS = 24 * 3_600_000;
/** Two changes of a folder may have the same time, on some file systems to two seconds. */
const COARSE_MS = 2000;
const SECRET = /^[A-Za-z0-9_-]{43}$/;

interface Stored {
  expires: string;
  /** The executable to stamp, as it was. */
  path: string;
  size: number;
  changed: number;
  /** What the file is called at the other end. */
  name: string;
  tokenId: string;
  /** AES-256-GCM: nonce, tag, payload of the stamp; base64. */
  sealed: string;
}
interface Use {
  tries: number;
  /** When all of it was sent. */
  done: string | null;
}
const isStored = form<Stored>({
  expires: string,
  path: string,
  size: count,
  changed: (v) => typeof v === 'number',
  name: string,
  tokenId: string,
  sealed: string,
});
const isUse = form<Use>({ tries: count, done: or(string, (v) => v === null) });

export interface NewLink {
  expiresMs: number;
  path: string;
  name: string;
  tokenId: string;
  payload: Uint8Array;
}
export interface Link {
  id: string;
  path: string;
  name: string;
  tokenId: string;
  payload: Uint8Array;
  /** Why nobody gets it any more, if so. */
  over: string | undefined;
}

export class Links {
  readonly #folder: string;
  /** When the folder was as `#until` says. */
  #looked = 0;
  #until = 0;
  /** What all was sent of, and when: it is over also where that can't be written. */
  readonly #finished = new Map<string, string>();

  constructor(stateFolder: string) {
    this.#folder = join(stateFolder, 'links');
    makeStateFolder(this.#folder);
  }

  /** Returns the secret of its path, 256 random bits; it is shown here only. */
  create(link: NewLink): string {
    this.#tidy();
    const secret = randomBytes(32).toString('base64url');
    const { size, mtimeMs } = statSync(link.path);
    const stored: Stored = {
      expires: new Date(Date.now() + link.expiresMs).toISOString(),
      path: link.path,
      size,
      changed: mtimeMs,
      name: link.name,
      tokenId: link.tokenId,
      sealed: encrypt(link.payload, derive('key', secret)),
    };
    createStateFile(join(this.#folder, `${idOf(secret)}.json`), JSON.stringify(stored));
    return secret;
  }

  /** Undefined for what is no link. Found by a hash, so how long that takes says nothing of the secret. */
  find(secret: string): Link | undefined {
    if (!SECRET.test(secret)) return undefined;
    const id = idOf(secret);
    const stored = this.#stored(id);
    if (!stored) return undefined;
    const { path, name, tokenId } = stored;
    const payload = decrypt(stored.sealed, derive('key', secret));
    return { id, path, name, tokenId, payload, over: this.#over(id, stored) };
  }

  /** A transfer begins: counted before the first byte, so that none is free. */
  begin(id: string): void {
    this.#use(id, { tries: this.#used(id).tries + 1, done: null });
  }
  /** All of it was sent. Throws when that can't be written: then it is over only as long as this collector runs. */
  done(id: string): void {
    const { tries } = this.#used(id);
    const done = new Date().toISOString();
    this.#finished.set(id, done);
    this.#use(id, { tries, done });
  }

  /** Whether any is good, or was a short while ago. Cheap as long as nothing changes. */
  get any(): boolean {
    const { mtimeMs } = statSync(this.#folder);
    if (mtimeMs !== this.#looked) {
      this.#looked = mtimeMs < Date.now() - COARSE_MS ? mtimeMs : 0;
      this.#until = Math.max(0, ...this.#ids().map((id) => keptUntil(this.#stored(id))));
    }
    return this.#until > Date.now();
  }

  #over(id: string, { expires, path, size, changed }: Stored): string | undefined {
    const { tries, done: written } = this.#used(id);
    const done = this.#finished.get(id) ?? written;
    if (done !== null) return `it was used at ${done}`;
    if (tries >= MAX_TRIES) return `${tries} transfers broke off`;
    if (Date.parse(expires) <= Date.now()) return `it expired at ${expires}`;
    const now = statSync(path, { throwIfNoEntry: false });
    return now?.size === size && now.mtimeMs === changed ? undefined : `${path} is not what it was`;
  }

  #ids(): string[] {
    return readdirSync(this.#folder).filter((f) => f.endsWith('.json')).map((f) => f.slice(0, -5)); // prettier-ignore
  }

  #tidy(): void {
    for (const id of this.#ids()) {
      const stored = this.#stored(id);
      const until = stored ? keptUntil(stored) : this.#changed(id) + DAMAGED_MS;
      if (until > Date.now()) continue;
      for (const end of ['json', 'use']) rmSync(join(this.#folder, `${id}.${end}`), { force: true });
    }
  }

  #changed(id: string): number {
    return statSync(join(this.#folder, `${id}.json`), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  }

  /** What is damaged is no link. */
  #stored(id: string): Stored | undefined {
    const value = this.#read(`${id}.json`);
    return isStored(value) ? (value as Stored) : undefined;
  }
  /** And a damaged count counts as used up. */
  #used(id: string): Use {
    const value = this.#read(`${id}.use`);
    return value === undefined ? { tries: 0, done: null } : isUse(value) ? (value as Use) : { tries: MAX_TRIES, done: null }; // prettier-ignore
  }
  #read(name: string): unknown {
    try {
      return JSON.parse(readFileSync(join(this.#folder, name), 'utf8'));
    } catch (e) {
      return (e as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : null;
    }
  }
  #use(id: string, use: Use): void {
    const path = join(this.#folder, `${id}.use`);
    writeFileSync(`${path}.new`, JSON.stringify(use), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
}

const keptUntil = (stored: Stored | undefined): number => (stored ? Date.parse(stored.expires) + KEPT_MS : 0);
const derive = (what: string, secret: string): Buffer => createHash('sha256').update(`rcap link ${what} ${secret}`).digest(); // prettier-ignore
const idOf = (secret: string): string => derive('id', secret).toString('hex');

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

function encrypt(payload: Uint8Array, key: Buffer): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce);
  const body = Buffer.concat([cipher.update(payload), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64');
}

function decrypt(text: string, key: Buffer): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  const body = NONCE_BYTES + TAG_BYTES;
  const cipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  cipher.setAuthTag(bytes.subarray(NONCE_BYTES, body));
  return Buffer.concat([cipher.update(bytes.subarray(body)), cipher.final()]);
}
