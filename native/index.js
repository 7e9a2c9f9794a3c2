'use strict';
// Finds the binary of this machine in a checkout or an installed package. An executable that carries the binary itself
// loads it by process.dlopen and passes that to wrap.js.

const load = require('node-gyp-build');

function loadBinding() {
  let file;
  try {
    file = load.resolve(__dirname);
  } catch (cause) {
    const error = new Error(`could not load 'node-pcap-native': no binary for ${process.platform} ${process.arch}`, {
      cause,
    });
    throw Object.assign(error, { code: 'ADDON_MISSING', hint: 'npm run native' });
  }
  try {
    return require(file);
  } catch (cause) {
    const error = new Error(`could not load 'node-pcap-native': ${cause.message}`, { cause });
    throw Object.assign(error, { code: 'ADDON_BROKEN', hint: 'npm run native' });
  }
}

module.exports = require('./wrap.js')(loadBinding());
