/**
 * The environment is that of a host which isn't trusted: no variable may choose whom we trust, or make us write files. What
 * Node takes before our first line (NODE_OPTIONS, OPENSSL_CONF) the executable shuts off itself (scripts/package.ts).
 */
import * as sea from 'node:sea';
import { stopCoverage } from 'node:v8';

/** Before anything that reads them. */
export function forgetEnvironment(environment: NodeJS.ProcessEnv): void {
  // They would put other CAs in the place of the system's. Who means that says --ca.
  for (const name of ['SSL_CERT_FILE', 'SSL_CERT_DIR']) delete environment[name];
  // NODE_V8_COVERAGE: a file at the end, wherever it says. Ours from source may: tests are measured by it.
  if (sea.isSea()) stopCoverage();
}
