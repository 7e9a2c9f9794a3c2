/**
 * node-pcap-native: packets of one interface or file, in blocks that are already encoded.
 *
 * A capture thread reads packets through libpcap (files through its own reader) and appends each one to a block in
 * wire form; JavaScript is called once a block, for a busy interface for up to four of them in a row, so that threads
 * change less often. Blocks come from a fixed pool and go back to it by `Pool.release`.
 * While the pool is empty the thread does not read: the kernel's ring fills, and the kernel counts what it drops.
 *
 * Block layout, in bytes: 0–7 timestamp of the first packet, 8–15 of the last (uint64, little endian, nanoseconds since
 * 1970); 16–127 free for whoever sends the block; from 128 on the packets, each as field 4 of `rcap.v1.Batch`
 * (0x22, length, 0x09 timestamp_ns, [0x10 original_length if it differs], 0x1a length data); proto/rcap.proto has the form.
 */

/** Bytes at the start of a block that hold no packets. */
export const BLOCK_HEAD: 128;
/** Largest captured length of one packet, bytes; longer ones are cut and counted in `Stats.cut`. libpcap's MAXIMUM_SNAPLEN. */
export const MAX_SNAPLEN: 262144;
/** Bytes of a block: head, one packet of MAX_SNAPLEN and its encoding, rounded up to a page. */
export const BLOCK_BYTES: number;

export type ErrorCode =
  | 'NO_SUCH_INTERFACE'
  | 'PERMISSION' // opening needs CAP_NET_RAW
  | 'INTERFACE_DOWN' // not up when opened
  | 'INTERFACE_GONE' // disappeared, or went down, while capturing
  | 'FILTER' // the filter does not compile; the message is libpcap's own
  | 'FILE_OPEN' // cannot be opened or read
  | 'FILE_FORMAT' // not a capture file, or a damaged one
  | 'FILE_TRUNCATED' // ends within a record; all whole records before it were delivered
  | 'UNSUPPORTED'
  | 'FAILED';

/** Every error that the addon throws, rejects with or hands to `onEnd`. */
export interface PcapError extends Error {
  code: ErrorCode;
}

export interface InterfaceAddress {
  /** IPv4, IPv6 or, for family 'link', the MAC address in colon form. */
  address: string;
  family: 'ipv4' | 'ipv6' | 'link';
  netmask?: string;
  broadcast?: string;
}
export interface Interface {
  /** Position in the list, from 1: what `-i NUMBER` means. */
  number: number;
  name: string;
  /** What the system's settings call it (Windows: "Ethernet", "Wi-Fi"), where it has such a name. */
  friendlyName?: string;
  description?: string;
  addresses: InterfaceAddress[];
  up: boolean;
  running: boolean;
  loopback: boolean;
  wireless: boolean;
  /** From libpcap's connection status. */
  connection: 'unknown' | 'connected' | 'disconnected' | 'not-applicable';
}

/** libpcap's own version text; on Windows with that of Npcap. */
export function version(): string;
/** What a live capture needs and this machine doesn't have (Windows: Npcap), in words; undefined when all is there. */
export function missing(): string | undefined;
/** Interfaces that could be captured on, in libpcap's order (the best first); without Npcap those that Windows knows. */
export function interfaces(): Interface[];
/**
 * Compiles a filter for a link type (LINKTYPE_ value, as in files) and throws it away; off the event loop, since libpcap
 * looks host names up. Resolves to the number of BPF instructions; rejects with code FILTER and libpcap's words.
 */
export function compile(filter: string, linkType: number, snaplen: number): Promise<number>;
/** Name and description of a LINKTYPE_ value as tcpdump prints them: ['EN10MB', 'Ethernet']; undefined when libpcap has none. */
export function linkTypeName(linkType: number): [name: string, description: string] | undefined;
/** LINKTYPE_ value for a name that linkTypeName gives; undefined when there is none. */
export function linkTypeByName(name: string): number | undefined;
/**
 * Ends the process at once, with a code from 0 to 255: no handler runs, and standard input, output and error
 * block again. Node's own process.exit() waits for its compiler threads, which may wait for it (nodejs/node#54918).
 */
export function exit(code: number): never;

/** What the calling thread may do. Sets of capabilities as 16 hexadecimal digits; bit n is capability n of capability.h. */
export interface Privileges {
  uid: number;
  gid: number;
  effective: string;
  permitted: string;
  inheritable: string;
  ambient: string;
  bounding: string;
  noNewPrivileges: boolean;
  /** 0 none, 2 a filter. */
  seccomp: number;
  dumpable: boolean;
}
/** Undefined on systems that have no such thing (all but Linux). */
export function privileges(): Privileges | undefined;
/**
 * No core dumps of this process, and no debugger of the same user; on Linux also no_new_privs, and for good none of the system
 * calls that a capture never needs, as for starting programs or opening ports. macOS: no core dumps.
 */
export function forbidDumps(): void;
/**
 * Gives up, on all threads and for good, what a running capture doesn't need: what forbidDumps() does, capabilities, and packet
 * sockets; root becomes a user that nobody else is, in group 2100000000, unless `keepUser` (default: false). Sessions that are
 * open go on, setFilter and stop work; `open` of an interface doesn't any more.
 * Takes milliseconds, on the calling thread. Returns what could not be given up, in words. Linux; elsewhere it does nothing.
 */
export function dropPrivileges(keepUser?: boolean): string | undefined;

/** A fixed set of blocks that the sessions of one run share. Memory of a block is touched only once it is used. */
export interface Pool {
  /** The memory of each block, BLOCK_BYTES long. Read it from `onBlock` until `release`, never after. */
  readonly blocks: Uint8Array[];
  /** Blocks that no session and nobody else holds. */
  readonly free: number;
  /** Gives a block back. Throws a TypeError when nobody holds it. */
  release(block: number): void;
}
export function createPool(blocks: number): Pool;

export interface OpenOptions {
  /** Capture on this interface (libpcap's name; `any` on Linux) … */
  interface?: string;
  /** … or read this pcap or pcapng file; '-' is standard input. Exactly one of the two. */
  file?: string;
  /** BPF text; packets that don't match are not delivered. Empty or left out: all. */
  filter?: string;
  /**
   * BPF text of what must be left out, our own connection above all: the effective filter is
   * `(filter) and not (exclusion)`. Ignored for a link type on which this text cannot compile (no IP, nothing of ours).
   */
  exclusion?: string;
  /** 1 to MAX_SNAPLEN; live only. */
  snaplen?: number;
  promiscuous?: boolean;
  /**
   * Kernel ring, bytes; live only. Default 32 MiB. After a busy turn the thread rests for 1 ms for each 4 MiB of it, at most
   * 10 ms: it must hold what comes meanwhile.
   */
  bufferBytes?: number;
  /** No packet waits longer than this in a block, full or not, before it is handed over, milliseconds. Default 100. Live only. */
  flushMs?: number;
}

export interface CaptureInfo {
  /** LINKTYPE_ value, FCS bits removed. */
  linkType: number;
  snaplen: number;
  /** The interface's name; for a file what the file says (pcapng if_name), else ''. */
  interface: string;
  /** pcapng if_description, else ''. */
  description: string;
  /** What really filters; '' for none. */
  filter: string;
}

export interface Handlers {
  /**
   * A capture begins. Exactly one, id 0, for a live session; for a file one for each interface in it that has its own
   * link type, snaplen or name, always before its first block.
   */
  onCapture(id: number, info: CaptureInfo): void;
  /**
   * A block of capture `id`: `length` bytes of the block are in use (head included), with `packets` packets whose captured
   * lengths add up to `bytes`. Whoever gets it releases it.
   */
  onBlock(id: number, block: number, length: number, packets: number, bytes: number): void;
  /** The last call of a session: stopped, end of file, or failed. Never called before all its blocks were handed over. */
  onEnd(error?: PcapError): void;
}

/** Counters of a session since it was opened. All are exact up to 2^53. */
export interface Stats {
  /** Received by the filter, as tcpdump says it; live: includes what was dropped by the kernel. Files: all packets read. */
  received: number;
  droppedByKernel: number;
  droppedByInterface: number;
  /** Files only: did not match the filter (live, the kernel filters before it counts). */
  filtered: number;
  /** Put into blocks. */
  captured: number;
  capturedBytes: number;
  /** Longer than the snaplen of a file or MAX_SNAPLEN and therefore cut; they are captured too. */
  cut: number;
  /** Time that the thread waited for a free block, nanoseconds. */
  starvedNs: number;
}

export interface Session {
  /** Compiles and installs on the capture thread; resolves with the effective filter, or rejects and the old one stays. */
  setFilter(filter: string): Promise<string>;
  /** As setFilter, for the exclusion. */
  setExclusion(exclusion: string): Promise<string>;
  /** Also valid after onEnd: then the final values. */
  stats(): Stats;
  /**
   * Ends the session; onEnd follows, also on a silent interface. With `drain` (the default) the kernel first stops
   * receiving and everything that it had already received is delivered; without, what is unread stays unread.
   * A second call without drain cuts a drain short. Calls after the end do nothing.
   */
  stop(drain?: boolean): void;
}
/** Opens on a thread of its own and returns at once; what goes wrong comes as onEnd(error), before any onCapture. */
export function open(pool: Pool, options: OpenOptions, handlers: Handlers): Session;

/** A code of Windows' own (winerror.h); 0 for success. */
export type WindowsError = number;

/** Windows' services. Functions that name one fail with 1060 when there is no such service. */
export interface Services {
  /**
   * Only one process at a time gets 0, until it ends; others 183. For administrators; 5 or 1307 when somebody else, who is
   * none, has taken the lock.
   */
  lock(): WindowsError;
  /** 5 when this user may not install services. */
  permitted(): WindowsError;
  /** Makes one that starts with the system. `command` is a whole command line, quoted. */
  create(name: string, command: string): WindowsError;
  /**
   * Starts it again 5 s after it crashed; the system's end waits `endMs` for it, milliseconds; and its token has no
   * privileges. Each as far as this Windows knows it.
   */
  configure(name: string, description: string, endMs: number): WindowsError;
  remove(name: string): WindowsError;
  /** Both return before it is done: `query` tells. */
  start(name: string): WindowsError;
  stop(name: string): WindowsError;
  query(name: string): WindowsError | ServiceState;
  /** The folder of programs, by the registry. */
  programs(): string | undefined;
  /** Makes the folder, or makes it so: only the system and administrators may look into it. Its parent must exist. */
  privateFolder(path: string): WindowsError;
  /** What an error code means. */
  words(error: WindowsError): string;
  /**
   * Turns this process into the service that the manager has started. 'start' comes once, 'stop' when it is to end,
   * 'failed' with the code when no manager started this process.
   */
  run(name: string, onEvent: (event: 'start' | 'stop' | 'failed', error: WindowsError) => void): WindowsError;
  /** Tells the manager: 1 stopped (with the process's exit code), 3 stopping, 4 running; how long it may take. */
  report(state: number, exitCode: number, waitMs: number): void;
}
export interface ServiceState {
  /** 1 stopped, 2 starting, 3 stopping, 4 running. */
  state: number;
  /** 0 when there is none. */
  process: number;
  /** Its own, or Windows'. */
  exitCode: WindowsError;
  command: string;
}
/** On Windows only. */
export const services: Services | undefined;
