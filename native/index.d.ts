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
  | 'FILTER' // the filter does not compile (the message is libpcap's own), or two cannot be joined
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
export interface Program {
  /** All the texts as one. */
  filter: string;
  instructions: number;
  /** As `tcpdump -d` prints it: a line for each instruction. */
  listing: string;
}
/**
 * Compiles filters for a link type (LINKTYPE_ value, as in files), joined as `open` does it, off the event loop, since
 * libpcap looks host names up. Rejects with code FILTER and libpcap's words. What a live capture installs may be longer: there
 * the kernel has to be asked for VLAN tags.
 */
export function compile(
  filter: string | readonly string[],
  linkType: number,
  snaplen: number,
  exclusion?: string,
): Promise<Program>;
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

/**
 * Addresses and networks that are left out of captures. Never changes once it is made; several sessions may use it. Its memory
 * is given back when neither JavaScript nor a session has it any more.
 */
export interface Exceptions {
  /** Networks in it, hosts among them, each once. */
  readonly entries: number;
  /** Memory that it takes. Each session that uses it takes 16 more for each name. */
  readonly bytes: number;
}
/**
 * Makes a set. A rule has 24 bytes: 16 of the address (IPv4 in the first 4), family (4 or 6), prefix length, 2 zero bytes, and
 * the number of the name that its packets are counted under (uint32, little endian, below `names`). Host bits are ignored; of
 * the same network given twice the first counts. At most 4,000,000 rules. Throws a TypeError for a rule that isn't one.
 *
 * A packet is left out when the source or destination of any of its IP headers is in a set: of the outermost, and of those in
 * VLAN and QinQ (0x8100, 0x88a8, 0x9100), PPPoE sessions, IP in IP (protocols 4, 41), GRE version 0 (also with Ethernet in it)
 * and VXLAN (UDP to port 4789 or 8472), behind up to 16 extension headers each, 8 IP headers and 32 layers deep. Fragments
 * follow their first one where what it shows inside was the reason, for 30 s and 4,096 packets at a time, as long as the
 * set isn't replaced; a fragment that comes before the first is captured. What is cut or malformed isn't looked into, and what
 * follows an IP datagram (padding) isn't part of it. Link types: NULL, LOOP, EN10MB, RAW, IPV4, IPV6, LINUX_SLL, LINUX_SLL2, PPP
 * (9, 50, 51); on others nothing is left out.
 * Counted is one name a packet: of the outer header before the inner ones, of the source before the destination, of
 * `exceptions` before `learned`, of the longest prefix.
 */
export function createExceptions(rules: Uint8Array, names: number): Exceptions;

export interface OpenOptions {
  /** Capture on this interface (libpcap's name; `any` on Linux) … */
  interface?: string;
  /** … or read this pcap or pcapng file; '-' is standard input. Exactly one of the two. */
  file?: string;
  /**
   * BPF text, or up to 16 of them, all of which have to match; packets that don't are not delivered. Empty or left out: all.
   * Only one of them and `exclusion` may have vlan, mpls, pppoes, geneve or vxlan, which change the offsets of what follows.
   */
  filter?: string | readonly string[];
  /**
   * BPF text of what must be left out, our own connection above all: the effective filter is
   * `(filter) and not (exclusion)`. Ignored for a link type on which this text cannot compile (no IP, nothing of ours).
   */
  exclusion?: string;
  /** What is left out behind the filter; two sets, looked up in this order. */
  exceptions?: Exceptions;
  learned?: Exceptions;
  /** Hand packets of DNS to `onDns`. */
  dns?: boolean;
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

/** What filters. */
export interface Installed {
  /** The effective filter; '' for none. */
  filter: string;
  /**
   * Live: whether the kernel filters; false (on Linux only) when it refused the program and every packet is brought here to be
   * filtered. Files: false.
   */
  inKernel: boolean;
  /**
   * Of the program; 0 when nothing is filtered. Linux takes up to 4,096, and fewer (about 2,500) where net.core.optmem_max is
   * only 20,480 bytes. Filtering here costs some 2 ns an instruction that a packet goes through.
   */
  instructions: number;
}

export interface CaptureInfo extends Installed {
  /** LINKTYPE_ value, FCS bits removed. */
  linkType: number;
  snaplen: number;
  /** The interface's name; for a file what the file says (pcapng if_name), else ''. */
  interface: string;
  /** pcapng if_description, else ''. */
  description: string;
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
  /**
   * A packet that passed the filter, whether it is left out or not, with UDP or TCP from or to port 53: a copy of it from the
   * IP header on (in a tunnel it isn't handed over), at most 65,535 bytes, as far as it was captured; of a datagram in fragments the first only. With
   * `dns` only. At most 4,096 packets and 4 MiB wait for JavaScript; `Stats.dnsDropped` counts the others.
   */
  onDns?(packet: Uint8Array): void;
  /** The last call of a session: stopped, end of file, or failed. Never called before all its blocks were handed over. */
  onEnd(error?: PcapError): void;
}

/** Counters of a session since it was opened. All are exact up to 2^53. */
export interface Stats {
  /** Received by the filter, as tcpdump says it; live: includes what was dropped by the kernel. Files: all packets read. */
  received: number;
  droppedByKernel: number;
  droppedByInterface: number;
  /** Did not match the filter; live only where the kernel does not filter (`Installed.inKernel`): else it does so before it counts. */
  filtered: number;
  /** Left out by the exceptions, and the sum of the lengths that would have been captured. */
  excluded: number;
  excludedBytes: number;
  /** Put into blocks. */
  captured: number;
  capturedBytes: number;
  /** Longer than the snaplen of a file, MAX_SNAPLEN or `setSnaplen` and therefore cut; they are captured too. */
  cut: number;
  /** Packets of DNS that `onDns` did not get. */
  dnsDropped: number;
  /** Time that the thread waited for a free block, nanoseconds. */
  starvedNs: number;
}

/** [packets, bytes] that each name of a set has left out, one behind another. */
export interface Replaced {
  exceptions?: Float64Array;
  learned?: Float64Array;
}

/** All requests are answered in their order, those of a file from its first capture on. They reject when the session ends. */
export interface Session {
  /** Compiles and installs on the capture thread; resolves with what filters now, or rejects and the old one stays. */
  setFilter(filter: string | readonly string[]): Promise<Installed>;
  /** As setFilter, for the exclusion. */
  setExclusion(exclusion: string): Promise<Installed>;
  /**
   * Both sets from now on; undefined for none. Resolves once the capture thread uses them, with the final counts of those that
   * were replaced; a set that stays goes on counting and isn't among them. No packet is lost or stopped.
   */
  setExceptions(exceptions?: Exceptions, learned?: Exceptions): Promise<Replaced>;
  /** Counts of the sets in use now; also valid after onEnd. */
  excludedBy(): Replaced;
  /** Cuts further packets to this many bytes, never longer than what the session was opened with. */
  setSnaplen(snaplen: number): Promise<void>;
  /** Hands DNS packets to onDns from now on, or no more; each packet costs a few nanoseconds meanwhile. */
  setDns(dns: boolean): void;
  /**
   * Files: behind each packet that `onDns` gets, the reader waits for this call, once for each, so that what was learned from it
   * counts for the next packet: `setExceptions` before `goOn`, without waiting for its answer. Live captures never wait.
   */
  goOn(): void;
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
