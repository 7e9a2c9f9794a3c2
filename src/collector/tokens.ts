/**
 * Credentials of agents. A token lets one host send packets, nothing else. Kept as small files that are never rewritten by
 * two programs: `<id>.json` when it is made, `<id>.use` by the collector that runs, `<id>.revoked` when it is revoked.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf, RcapError } from '../errors.ts';
import { createStateFile, makeStateFolder, syncFolder } from './disk.ts';
import { hostFolder } from './names.ts';

export interface TokenOptions {
  label: string;
  /** The only host that may use it; '*' any; left out: the first that does. */
  host: string | undefined;
  /** Milliseconds from now; left out: for ever. */
  expiresMs: number | undefined;
  /** How many runs may use it; left out: any number. */
  uses: number | undefined;
}

interface Stored {
  label: string;
  host: string | null;
  created: string;
  expires: string | null;
  uses: number | null;
  /** SHA-256 of the secret, hex; 256 random bits need no slow hash. */
  secretSha256: string;
}

interface Use {
  host: string;
  /** Runs that used it: their ids, hex. */
  runs: string[];
}

export interface TokenState extends Omit<Stored, 'secretSha256'> {
  id: string;
  used: number;
  state: 'valid' | 'expired' | 'revoked' | 'used up' | 'damaged';
}

const FORM = /^rcap_([0-9a-f]{8})_([A-Za-z0-9_-]{43})$/;
/** Ids of runs are kept for counting uses; with `uses` left out there is nothing to count beyond this. */
const KEPT_RUNS = 1000;

export class Tokens {
  readonly #folder: string;
  /** Of tokens that were admitted: their files are never rewritten. */
  readonly #expires = new Map<string, string | null>();

  constructor(stateFolder: string) {
    this.#folder = join(stateFolder, 'tokens');
    makeStateFolder(this.#folder);
  }

  /** Makes a token; its text is shown here only. */
  create(o: TokenOptions): string {
    const id = randomBytes(4).toString('hex');
    const secret = randomBytes(32).toString('base64url');
    const stored: Stored = {
      label: o.label,
      host: o.host === undefined ? null : o.host === '*' ? '*' : hostFolder(o.host),
      created: new Date().toISOString(),
      expires: o.expiresMs === undefined ? null : new Date(Date.now() + o.expiresMs).toISOString(),
      uses: o.uses ?? null,
      secretSha256: sha256(secret).toString('hex'),
    };
    createStateFile(join(this.#folder, `${id}.json`), JSON.stringify(stored));
    return `rcap_${id}_${secret}`;
  }

  list(): TokenState[] {
    return readdirSync(this.#folder)
      .filter((f) => f.endsWith('.json'))
      .map((f) => this.#listed(f.slice(0, -5)))
      .toSorted((a, b) => a.created.localeCompare(b.created));
  }

  revoke(id: string): void {
    if (!/^[0-9a-f]{8}$/.test(id) || !existsSync(join(this.#folder, `${id}.json`))) {
      throw new RcapError('TOKEN', `could not revoke token '${id}': there is none`, {
        hint: "'rcap-collector token list' shows their ids",
      });
    }
    writeFileSync(join(this.#folder, `${id}.revoked`), new Date().toISOString(), { mode: 0o600, flush: true });
    syncFolder(this.#folder);
  }

  /** The id of a token that is ours and still good; throws why not. */
  idOf(token: string): string {
    const [, id, secret] = FORM.exec(token) ?? [];
    const stored = id && this.#stored(id);
    const known = id && secret && stored && timingSafeEqual(sha256(secret), Buffer.from(stored.secretSha256, 'hex'));
    const reason = !id
      ? 'it has not the form of one'
      : !known
        ? 'it is not known here'
        : this.admits(id)
          ? ''
          : 'it is over';
    if (!id || reason) {
      throw new RcapError('TOKEN', `could not use the token: ${reason}`, {
        hint: "'rcap-collector token list' shows what there is; without --token one is made",
      });
    }
    return id;
  }

  /** Whether a token, by its id, may still be used. */
  admits(id: string): boolean {
    return this.#stored(id) !== undefined && this.#state(id).state === 'valid';
  }

  /** The host that a good token is for: '*' any; undefined: the first that uses it. Throws an RcapError TOKEN. */
  hostOf(token: string): string | undefined {
    const id = this.idOf(token);
    const host = this.#stored(id)?.host ?? undefined;
    return host === '*' ? host : this.#used(id).host || host;
  }

  /** Whether this token may send packets of this host in this run. Returns its id, or throws what to tell the agent. */
  admit(token: string, host: string, run: string): string {
    const refuse = (why: string, hint = 'rcap-collector token new, there') => new RcapError('TOKEN', why, { hint });
    const [, id, secret] = FORM.exec(token) ?? [];
    if (!id || !secret) throw refuse(token ? 'the token has not the form of one' : 'a token is needed', TYPE_IT);
    const stored = this.#stored(id);
    if (!stored || !timingSafeEqual(sha256(secret), Buffer.from(stored.secretSha256, 'hex')))
      throw refuse('the token is not known');
    const { state, used } = this.#state(id);
    const use = this.#used(id);
    const again = use.runs.includes(run);
    if (state === 'revoked' || state === 'expired') throw refuse(`the token is ${state}`);
    if (stored.uses !== null && used >= stored.uses && !again) throw refuse('the token is used up');
    const folder = hostFolder(host);
    // Hosts write their names in other case than people do (Windows says PC17). The first use settles it: the files of one
    // host must not spread over several folders.
    const same = (name: string) => (use.host ? name === folder : name.toLowerCase() === folder.toLowerCase());
    const owner = stored.host === '*' ? '*' : use.host || (stored.host ?? folder);
    if (owner !== '*' && !same(owner)) {
      throw refuse(
        `the token is for host '${owner}', not '${folder}'`,
        `--host-name ${owner}, or a token for this host`,
      );
    }
    if (!again) {
      const runs = [...use.runs, run].slice(-Math.max(KEPT_RUNS, stored.uses ?? 0));
      // Uses that are counted, and the host that the first one settles, must not be undone by power loss. Such waits are as many
      // as there are uses; for others whoever has a token could make us wait for ever.
      this.#write(`${id}.use`, { host: use.host || folder, runs }, stored.uses !== null || !use.host);
    }
    this.#expires.set(id, stored.expires);
    return id;
  }

  /**
   * How a token that was admitted stands by now. Asked for each connection every few seconds: two looks at the folder, and no
   * file is read. What its file said when it was admitted goes on being true if the file is damaged since: that and other
   * trouble with the disk must not end connections, and revoking goes on to work.
   */
  standing(id: string): 'valid' | 'expired' | 'revoked' {
    if (this.#revoked(id)) return 'revoked';
    // Whoever removes a token's file wants its end, too.
    if (this.#missing(`${id}.json`)) return 'revoked';
    return isOver(this.#expires.get(id) ?? null) ? 'expired' : 'valid';
  }

  /** One damaged file must not hide the other tokens. */
  #listed(id: string): TokenState {
    try {
      return this.#state(id);
    } catch {
      return { id, label: '', host: null, created: '', expires: null, uses: null, used: 0, state: 'damaged' };
    }
  }

  #state(id: string): TokenState {
    const { secretSha256: _, ...stored } = this.#stored(id)!;
    const used = this.#used(id).runs.length;
    const state = this.#revoked(id)
      ? 'revoked'
      : isOver(stored.expires)
        ? 'expired'
        : stored.uses !== null && used >= stored.uses
          ? 'used up'
          : 'valid';
    return { id, ...stored, used, state };
  }

  #revoked(id: string): boolean {
    return existsSync(join(this.#folder, `${id}.revoked`));
  }

  /** For sure: not where the disk doesn't say. */
  #missing(name: string): boolean {
    try {
      return statSync(join(this.#folder, name), { throwIfNoEntry: false }) === undefined;
    } catch {
      return false;
    }
  }

  #stored(id: string): Stored | undefined {
    const stored = this.#read<Stored>(`${id}.json`);
    if (stored && !/^[0-9a-f]{64}$/.test(stored.secretSha256)) throw damaged(`${id}.json`);
    return stored;
  }

  #used(id: string): Use {
    const use = this.#read<Use>(`${id}.use`) ?? { host: '', runs: [] };
    if (!Array.isArray(use.runs)) throw damaged(`${id}.use`);
    return use;
  }

  #read<T>(name: string): T | undefined {
    try {
      return JSON.parse(readFileSync(join(this.#folder, name), 'utf8')) as T;
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      // An agent hears this: neither paths nor what is in the file.
      throw e instanceof SyntaxError
        ? damaged(name)
        : new RcapError('STATE', `could not read '${name}': ${reasonOf(e)}`, { cause: e });
    }
  }

  #write(name: string, value: unknown, durable: boolean): void {
    const path = join(this.#folder, name);
    writeFileSync(`${path}.new`, JSON.stringify(value), { mode: 0o600, flush: durable });
    renameSync(`${path}.new`, path);
    if (durable) syncFolder(this.#folder);
  }
}

const isOver = (expires: string | null): boolean => expires !== null && Date.parse(expires) <= Date.now();
const damaged = (name: string) => new RcapError('STATE', `could not read '${name}': it is damaged`);
const TYPE_IT = "give it with --token, --token-file or RCAP_TOKEN; 'rcap-collector token new' there makes one";
const sha256 = (text: string) => createHash('sha256').update(text).digest();
