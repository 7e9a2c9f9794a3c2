/** A real proxy for tests: squid, configured as a strict network has it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestIdentity } from './certificates.ts';
import { type Cleaner, lacks, Program, temporaryFolder } from './support.ts';

const CERTIFICATES = '/usr/lib/squid/security_file_certgen';
export const lacksSquid: string | false =
  lacks('squid') || (!existsSync(CERTIFICATES) && 'needs squid with TLS: Debian package squid-openssl');

export interface SquidOptions {
  prefix: string[];
  listen: string;
  /** Names that this proxy knows. */
  hosts?: Record<string, string>;
  /** Who may use it; left out: everybody. */
  user?: { name: string; password: string };
  /** What it speaks TLS with to those who use it. */
  own?: TestIdentity;
  /** The CA in whose name it reads along. */
  inspect?: TestIdentity;
}

export class Squid {
  readonly #folder: string;
  readonly #t: Cleaner;
  readonly #options: SquidOptions;
  #program!: Program;

  private constructor(t: Cleaner, options: SquidOptions) {
    this.#t = t;
    this.#options = options;
    this.#folder = temporaryFolder(t);
    chmodSync(this.#folder, 0o777); // squid gives up root
  }

  static async start(t: Cleaner, options: SquidOptions): Promise<Squid> {
    const squid = new Squid(t, options);
    writeFileSync(squid.#file('squid.conf'), squid.#configuration());
    await squid.#start();
    return squid;
  }

  /** As if the machine had lost power, and came back. */
  async restart(): Promise<void> {
    this.#program.kill('SIGKILL');
    await this.#program.end();
    await this.#start();
  }

  /** Requests as it logged them: status, method, target, user. */
  get log(): string[] {
    const text = existsSync(this.#file('access')) ? readFileSync(this.#file('access'), 'utf8') : '';
    return text.split('\n').slice(0, -1);
  }

  async #start(): Promise<void> {
    const { prefix } = this.#options;
    this.#program = new Program(this.#t, 'squid', ['-N', '-d1', '-f', this.#file('squid.conf')], { prefix });
    await this.#program.says(/Accepting .*connections/);
  }

  #file(name: string): string {
    return join(this.#folder, name);
  }

  /** CONNECT to port 443 and nothing else: what is usual. */
  #configuration(): string {
    const { hosts = {}, user } = this.#options;
    writeFileSync(this.#file('hosts'), Object.entries(hosts).map(([name, address]) => `${address} ${name}\n`).join('')); // prettier-ignore
    const login = user && this.#login(user);
    return `${[
      this.#options.own ? this.#overTls(this.#options.own) : `http_port ${this.#options.listen}${this.#inspection()}`,
      `hosts_file ${this.#file('hosts')}`,
      `logformat short %>Hs %rm %ru %[un`,
      `access_log stdio:${this.#file('access')} short`,
      'buffered_logs off',
      `cache_log ${this.#file('cache')}`,
      `coredump_dir ${this.#folder}`,
      'pid_filename none',
      'cache deny all',
      'dns_nameservers 127.0.0.1',
      'dns_timeout 1 second',
      'dns_retransmit_interval 500 milliseconds',
      'connect_timeout 3 seconds',
      'shutdown_lifetime 0 seconds',
      ...(login ?? []),
      'acl tls port 443',
      'http_access deny CONNECT !tls',
      `http_access allow ${login ? 'known' : 'all'}`,
      'http_access deny all',
    ].join('\n')}\n`;
  }

  #overTls({ cert, key }: TestIdentity): string {
    writeFileSync(this.#file('own.pem'), `${cert}\n${key}`);
    chmodSync(this.#file('own.pem'), 0o644);
    return `https_port ${this.#options.listen} tls-cert=${this.#file('own.pem')}`;
  }

  #login({ name, password }: { name: string; password: string }): string[] {
    const hashed = execFileSync('openssl', ['passwd', '-apr1', '-stdin'], { input: `${password}\n`, encoding: 'utf8' });
    writeFileSync(this.#file('users'), `${name}:${hashed}`);
    chmodSync(this.#file('users'), 0o644);
    return [
      `auth_param basic program /usr/lib/squid/basic_ncsa_auth ${this.#file('users')}`,
      'auth_param basic children 1',
      'acl known proxy_auth REQUIRED',
    ];
  }

  /** Behind the port: TLS is opened, whatever the other end shows. */
  #inspection(): string {
    const { inspect } = this.#options;
    if (!inspect) return '';
    writeFileSync(this.#file('ca.pem'), inspect.cert + '\n' + inspect.key);
    chmodSync(this.#file('ca.pem'), 0o644);
    mkdirSync(this.#file('made'));
    chmodSync(this.#file('made'), 0o777);
    const database = this.#file('made/db');
    execFileSync(CERTIFICATES, ['-c', '-s', database, '-M', '4MB'], { stdio: 'ignore' });
    execFileSync('chmod', ['-R', 'a+rwX', database]);
    return ` ssl-bump generate-host-certificates=on tls-cert=${this.#file('ca.pem')}
sslcrtd_program ${CERTIFICATES} -s ${database} -M 4MB
sslcrtd_children 1
ssl_bump stare all
ssl_bump bump all
tls_outgoing_options flags=DONT_VERIFY_PEER
sslproxy_cert_error allow all`;
  }
}
