/** The version text; the bundler puts package.json's in. */
import manifest from '../package.json' with { type: 'json' };

export const VERSION: string = manifest.version;
