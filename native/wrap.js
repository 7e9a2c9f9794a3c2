'use strict';
// The addon's JavaScript side: names, and the checks of every argument, so that the C side only converts.
// `wrap(binding)` takes what `process.dlopen` gave; index.js does that for a checkout or an installed package.

const { markAsUntransferable } = require('node:worker_threads');

const POOL_MAX = 65536;
const TEXT_MAX = 65536;
const FILTERS_MAX = 16;
const RULE_BYTES = 24;
const RULES_MAX = 4_000_000;

function refuse(what, value) {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : String(value);
  throw new TypeError(`${what}, not ${shown}`);
}
function whole(name, value, min, max) {
  if (!Number.isInteger(value) || value < min || value > max)
    refuse(`${name} must be a whole number from ${min} to ${max}`, value);
  return value;
}
function text(name, value) {
  if (typeof value !== 'string') refuse(`${name} must be a string`, value);
  if (value.includes('\0')) throw new TypeError(`${name} must not contain a zero character`);
  if (value.length > TEXT_MAX) throw new TypeError(`${name} must not be longer than ${TEXT_MAX} characters`);
  return value;
}
/** BPF texts that must all match, as a list without empty ones. */
function texts(what, value) {
  const list = Array.isArray(value) ? value : [value];
  if (list.length > FILTERS_MAX) throw new TypeError(`${what} must not be more than ${FILTERS_MAX} texts`);
  return list.map((one) => text(what, one)).filter((one) => one !== '');
}
function name(what, value) {
  if (text(what, value) === '') throw new TypeError(`${what} must not be empty`);
  return value;
}
function flag(what, value) {
  if (typeof value !== 'boolean') refuse(`${what} must be true or false`, value);
  return value;
}

/** Windows' services: only Windows has them. */
function services(system) {
  const named = (act) => (value) => act(name('name', value));
  return {
    lock: system.lock,
    permitted: system.permitted,
    programs: system.programs,
    create: (service, command) => system.create(name('name', service), name('command', command)),
    configure: (service, description, endMs) =>
      system.configure(name('name', service), text('description', description), whole('endMs', endMs, 0, 0xffffffff)),
    remove: named(system.remove),
    start: named(system.start),
    stop: named(system.stop),
    query: named(system.query),
    privateFolder: (path) => system.privateFolder(name('path', path)),
    words: (error) => system.words(whole('error', error, 0, 0xffffffff)),
    run(service, onEvent) {
      if (typeof onEvent !== 'function') refuse('onEvent must be a function', onEvent);
      return system.run(name('name', service), (event, error) => onEvent(event, error));
    },
    report: (state, exitCode, waitMs) =>
      system.report(
        whole('state', state, 1, 7),
        whole('exitCode', exitCode, 0, 255),
        whole('waitMs', waitMs, 0, 0xffffffff),
      ),
  };
}

module.exports = function wrap(binding) {
  const { BLOCK_HEAD, MAX_SNAPLEN, BLOCK_BYTES } = binding;

  class Pool {
    #handle;
    constructor(count) {
      const blocks = [];
      for (let i = 0; i < whole('blocks', count, 1, POOL_MAX); i++) {
        // Not zeroed, so that the system gives memory only once it is used. The capture thread writes here: it must stay.
        const memory = Buffer.allocUnsafeSlow(BLOCK_BYTES).buffer;
        markAsUntransferable(memory);
        blocks.push(new Uint8Array(memory));
      }
      this.blocks = Object.freeze(blocks);
      this.#handle = binding.createPool(blocks);
      Object.freeze(this);
    }
    get free() {
      return binding.poolFree(this.#handle);
    }
    release(block) {
      if (!binding.poolRelease(this.#handle, whole('block', block, 0, this.blocks.length - 1)))
        throw new TypeError(`block ${block} is not held by anybody`);
    }
    static handle(pool) {
      if (typeof pool !== 'object' || pool === null || !(#handle in pool))
        refuse('pool must come from createPool', pool);
      return pool.#handle;
    }
  }

  const options = {
    interface: (value) => name('interface', value),
    file: (value) => name('file', value),
    filter: (value = '') => texts('filter', value),
    exclusion: (value = '') => text('exclusion', value),
    snaplen: (value = MAX_SNAPLEN) => whole('snaplen', value, 1, MAX_SNAPLEN),
    promiscuous: (value = false) => flag('promiscuous', value),
    bufferBytes: (value = 32 * 1024 * 1024) => whole('bufferBytes', value, 1, 0x7fffffff),
    flushMs: (value = 100) => whole('flushMs', value, 0, 3_600_000),
    dns: (value = false) => flag('dns', value),
    exceptions: (value) => Exceptions.handle('exceptions', value),
    learned: (value) => Exceptions.handle('learned', value),
  };
  const optional = ['interface', 'file', 'exceptions', 'learned'];
  function check(given) {
    if (typeof given !== 'object' || given === null) refuse('options must be an object', given);
    for (const key of Object.keys(given))
      if (!Object.hasOwn(options, key)) throw new TypeError(`there is no option '${key}'`);
    if ((given.interface === undefined) === (given.file === undefined))
      throw new TypeError("exactly one of the options 'interface' and 'file' must be given");
    const checked = {};
    for (const [key, of] of Object.entries(options))
      if (given[key] !== undefined || !optional.includes(key)) checked[key] = of(given[key]);
    return checked;
  }

  class Exceptions {
    #handle;
    constructor(rules, names) {
      if (!(rules instanceof Uint8Array)) refuse('rules must be a Uint8Array', rules);
      if (rules.length % RULE_BYTES !== 0 || rules.length > RULE_BYTES * RULES_MAX)
        refuse(`rules must be up to ${RULES_MAX} of ${RULE_BYTES} bytes each`, `${rules.length} bytes`);
      const [handle, entries, bytes] = binding.createExceptions(rules, whole('names', names, 0, RULES_MAX));
      this.#handle = handle;
      this.entries = entries;
      this.bytes = bytes;
      Object.freeze(this);
    }
    static handle(what, exceptions) {
      if (exceptions === undefined) return undefined;
      if (typeof exceptions !== 'object' || exceptions === null || !(#handle in exceptions))
        refuse(`${what} must come from createExceptions`, exceptions);
      return exceptions.#handle;
    }
  }

  class Session {
    #handle;
    #hearsDns;
    constructor(pool, given, handlers) {
      const handle = Pool.handle(pool);
      const checked = check(given);
      for (const key of ['onCapture', 'onBlock', 'onEnd'])
        if (typeof handlers?.[key] !== 'function') refuse(`handlers.${key} must be a function`, handlers?.[key]);
      this.#hearsDns = typeof handlers.onDns === 'function';
      if (checked.dns) this.#needsOnDns();
      this.#handle = binding.open(
        handle,
        pool.blocks,
        checked,
        (id, info) => handlers.onCapture(id, info),
        (id, block, length, packets, bytes) => handlers.onBlock(id, block, length, packets, bytes),
        (packet) => handlers.onDns(packet),
        (error) => handlers.onEnd(error),
      );
    }
    setFilter(filter) {
      return binding.setFilter(this.#handle, texts('filter', filter));
    }
    setExclusion(exclusion) {
      return binding.setExclusion(this.#handle, text('exclusion', exclusion));
    }
    setExceptions(exceptions, learned) {
      return binding.setExceptions(
        this.#handle,
        Exceptions.handle('exceptions', exceptions),
        Exceptions.handle('learned', learned),
      );
    }
    setSnaplen(snaplen) {
      return binding.setSnaplen(this.#handle, whole('snaplen', snaplen, 1, MAX_SNAPLEN));
    }
    #needsOnDns() {
      if (!this.#hearsDns) throw new TypeError('handlers.onDns must be a function to hand DNS to');
    }
    setDns(dns) {
      if (flag('dns', dns)) this.#needsOnDns();
      binding.setDns(this.#handle, dns);
    }
    excludedBy() {
      return binding.excludedBy(this.#handle);
    }
    goOn() {
      binding.goOn(this.#handle);
    }
    stats() {
      return binding.stats(this.#handle);
    }
    stop(drain = true) {
      binding.stop(this.#handle, flag('drain', drain));
    }
  }

  return {
    BLOCK_HEAD,
    MAX_SNAPLEN,
    BLOCK_BYTES,
    version: binding.version,
    missing: binding.missing,
    interfaces: binding.interfaces,
    createExceptions: (rules, names) => new Exceptions(rules, names),
    compile: (filter, linkType, snaplen, exclusion = '') =>
      binding.compile(
        texts('filter', filter),
        whole('linkType', linkType, 0, 0xffff),
        whole('snaplen', snaplen, 1, MAX_SNAPLEN),
        text('exclusion', exclusion),
      ),
    linkTypeName: (linkType) => binding.linkTypeName(whole('linkType', linkType, 0, 0xffff)),
    linkTypeByName: (linkTypeName) => binding.linkTypeByName(text('name', linkTypeName)),
    services: binding.services && services(binding.services),
    exit: (code) => binding.exit(whole('code', code, 0, 255)),
    privileges: binding.privileges,
    forbidDumps: binding.forbidDumps,
    dropPrivileges: (keepUser = false) => binding.dropPrivileges(flag('keepUser', keepUser)),
    createPool: (blocks) => new Pool(blocks),
    open: (pool, given, handlers) => new Session(pool, given, handlers),
  };
};
