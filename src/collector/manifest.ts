/** The record beside each segment: who sent it, what it holds, and whether that is all. */
import type { rcap } from '../wire/messages.js';
import type { Exclusions } from './exclusions.ts';

/** What is known when a segment is opened: the first line of its journal, so that a recovered segment has it too. */
export interface ManifestStart {
  format: 'rcap manifest 1';
  host: string;
  system: string;
  agent: string;
  /** Where the connection came from. */
  peer: string;
  /** Which credential was used: its id, never the secret. */
  token: string;
  /** The run's id, hex. */
  run: string;
  capture: number;
  interface: string;
  friendlyName: string;
  addresses: string[];
  linkType: number;
  snaplen: number;
  effectiveFilter: string;
  promiscuous: boolean;
  source: string;
  sourceFile: string;
  timestamps: 'nano' | 'micro';
  /** Agent's clock minus collector's at Hello, milliseconds. */
  clockOffsetMs: number;
  collector: string;
  /** Collector's clock, RFC 3339. */
  opened: string;
  firstSequence: number;
  /** Number of the segment's first packet in its capture, from 1, gaps included. */
  firstPacketNumber: number;
}

export interface ManifestGap {
  firstSequence: number;
  lastSequence: number;
  packets: number;
  /** Sum of the captured lengths. */
  bytes: number;
  firstPacketTime: string;
  lastPacketTime: string;
}

export interface Manifest extends ManifestStart {
  /** Name of the file beside it; empty where there were gaps, or an end, but no packets. */
  file: string;
  lastSequence: number;
  packets: number;
  /** Sum of the captured lengths. */
  packetBytes: number;
  fileBytes: number;
  firstPacketTime: string;
  lastPacketTime: string;
  published: string;
  /** Of the file as it was written, hex. */
  sha256: string;
  /** What closed it: bytes, age, idle, full, end, disconnected, superseded, stopped, recovered. */
  closedBy: string;
  /** Batches that were lost before the collector had them, in this segment. The 1000th stands for all further ones. */
  gaps: ManifestGap[];
  /** The agent's counters, as last heard; of the whole capture so far. */
  counters: rcap.v1.ICounters | null;
  /**
   * The end mark, in the last segment of a complete capture. Null: more follows, or the capture is truncated. After a crash
   * at the very end it may be repeated in a manifest without a file.
   */
  end: { reason: string; counters: rcap.v1.ICounters | null } | null;
  /** What the agent's exceptions left out, and since when; nothing where it said nothing. */
  exclusions?: Exclusions;
  /** Why Arkime doesn't get this file, if it doesn't. */
  notForArkime?: string;
}

export const manifestText = (m: Manifest): string => `${JSON.stringify(m, null, 2)}\n`;
