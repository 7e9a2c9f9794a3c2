/**
 * A machine that systemd starts: this one's own files under a layer that is thrown away, in namespaces of its own, in a
 * network namespace of a test. Nothing is downloaded, and nothing of this machine changes. Needs root.
 */
import { execFileSync } from 'node:child_process';
import { type Cleaner, type Finished, lacks, lacksRoot, type Namespace, Program, run, temporaryFolder, until } from './support.ts'; // prettier-ignore

export const lacksMachine: string | false =
  lacksRoot || lacks('systemd-nspawn', 'systemctl', 'journalctl', 'unshare', 'nsenter', 'setpriv', 'mount', 'ps');

/** No service that happens to be installed here starts there: only what the test installs, and systemd's own. */
const BOOT = `
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" overlay "$1/root"
mount -t tmpfs -o mode=755 tmpfs "$1/root/etc/systemd/system"
mount -t tmpfs -o mode=755 tmpfs "$1/root/var/log"
mount -t tmpfs -o mode=755 tmpfs /run
# 133: it wants to start again. nspawn ends with this shell, and the machine with nspawn.
again=133
while [ $again = 133 ]; do
again=0
setpriv --pdeathsig KILL systemd-nspawn --quiet --directory="$1/root" --register=no --keep-unit --link-journal=no --console=pipe --bind="$2:/given" --boot || again=$?
done
exit $again
`;

export class Machine {
  readonly #t: Cleaner;
  readonly #shell: Program;

  private constructor(t: Cleaner, shell: Program) {
    this.#t = t;
    this.#shell = shell;
  }

  /** What is in `given` is at /given there. */
  static async boot(t: Cleaner, network: Namespace, given: string): Promise<Machine> {
    const folder = temporaryFolder(t);
    // With the first process of a PID namespace the kernel ends all others: nothing of the machine outlives the test.
    const words = [
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      'sh',
      '-c',
      BOOT,
      'boot',
      folder,
      given,
    ];
    // Not `ip netns exec`: it hides the control groups.
    const prefix = ['nsenter', `--net=/run/netns/${network.name}`];
    const machine = new Machine(t, new Program(t, 'unshare', words, { prefix }));
    await machine.#booted();
    return machine;
  }

  /** As somebody would who has a shell there. */
  async run(...words: string[]): Promise<Finished> {
    return run(this.#t, 'nsenter', ['--target', `${this.#leader()}`, '--mount', '--pid', '--net', '--uts', '--ipc', '--', ...words]); // prettier-ignore
  }

  /** The same, and it must not fail. Its standard output. */
  async ok(...words: string[]): Promise<string> {
    const end = await this.run(...words);
    if (end.code !== 0) throw new Error(`${words.join(' ')} ended with ${end.code}: ${end.stderr}${end.stdout}`);
    return end.stdout;
  }

  async reboot(): Promise<void> {
    const before = this.#leader();
    await this.run('systemctl', 'reboot');
    await until('the machine to go down', () => this.#leaders().every((pid) => pid !== before));
    await this.#booted();
  }

  async #booted(): Promise<void> {
    await until('systemd to be there', () => {
      if (!this.#shell.running) throw new Error(`the machine does not start: ${this.#shell.stderr}`);
      return this.#leaders().length > 0;
    });
    for (;;) {
      const { stdout } = await this.run('systemctl', 'is-system-running', '--wait');
      if (/^(running|degraded)/.test(stdout)) return;
      if (!this.#shell.running) throw new Error(`the machine does not start: ${this.#shell.stderr}`);
    }
  }

  #leader(): number {
    const [leader] = this.#leaders();
    if (leader === undefined) throw new Error(`the machine is gone: ${this.#shell.stderr}`);
    return leader;
  }
  #leaders(): number[] {
    // unshare, the shell, nspawn, and that one's child
    return childrenOf(this.#shell.pid).flatMap(childrenOf).flatMap(childrenOf);
  }
}

function childrenOf(pid: number): number[] {
  try {
    const words = ['--no-headers', '-o', 'pid', '--ppid', `${pid}`];
    return execFileSync('ps', words, { encoding: 'utf8' }).split('\n').filter(Boolean).map(Number);
  } catch {
    return []; // ps found none
  }
}
