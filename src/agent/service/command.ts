/** `rcap-agent service VERB`: from its flags to an exit code. */
import { loadAddon } from '../../capture/addon.ts';
import { RcapError } from '../../errors.ts';
import type { ServiceCommand } from './flags.ts';
import type { Manager, Status } from './manager.ts';
import { serviceFiles } from './settings.ts';
import { systemd } from './systemd.ts';
import { windows } from './windows.ts';

type Action = Exclude<ServiceCommand, { command: 'help' | 'run' }>;

/** As systemctl and the init scripts before it say it. */
const EXIT_CODES: Record<Status['state'], number> = { running: 0, 'not running': 3, 'not installed': 4 };

/** `print` takes what was asked for, `say` what happened. Returns the exit code. */
export async function manageService(
  action: Action,
  executable: string | undefined,
  print: (text: string) => void,
  say: (message: string) => void,
): Promise<number> {
  const manager = managerOf(process.platform);
  const { name } = action;
  switch (action.command) {
    case 'install': {
      const installation = { name, flags: action.flags, files: serviceFiles(action.flags, action.given), executable };
      if (action.print) print(manager.show(installation));
      else for (const line of await manager.install(installation)) say(line);
      return 0;
    }
    case 'uninstall':
      for (const line of await manager.uninstall(name)) say(line);
      return 0;
    case 'start':
      await manager.start(name);
      return 0;
    case 'stop':
      await manager.stop(name);
      return 0;
    case 'status': {
      const { state, lines } = await manager.status(name);
      print([`${name}: ${state}`, ...lines].join('\n') + '\n');
      return EXIT_CODES[state];
    }
  }
}

function managerOf(platform: NodeJS.Platform): Manager {
  if (platform === 'linux') return systemd;
  const { services } = loadAddon();
  if (services) return windows(services);
  throw new RcapError('SERVICE', `could not manage services: not on ${platform} yet`, {
    hint: 'services are for Linux with systemd, and for Windows',
  });
}
