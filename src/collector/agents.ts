/** A connected agent, as `rcap-collector agents` shows it. */
import type { rcap } from '../wire/messages.js';

export interface SettingsView {
  /** Of what the agent was told, hex; empty: no settings. */
  digest: string;
  /** `sent`: on its way, or not answered yet. `kept`: the agent had it already. */
  state: 'none' | 'sent' | 'kept' | 'accepted' | 'refused';
  /** Why it was refused, or what of it can't be done. */
  reason: string;
}

export interface AgentView {
  /** As in the captures folder. */
  host: string;
  peer: string;
  /** RFC 3339. */
  since: string;
  /** That are open. */
  captures: number;
  /** Received on this connection, and the sum of their captured lengths. */
  packets: number;
  bytes: number;
  /** Of the open captures, as the agent counts: left out, and received. */
  excluded: number;
  received: number;
  settings: SettingsView;
}

type Facts = Pick<AgentView, 'host' | 'peer' | 'captures' | 'packets' | 'bytes' | 'settings'> & { sinceMs: number };

export function viewOf({ sinceMs, ...facts }: Facts, counters: (rcap.v1.ICounters | null)[]): AgentView {
  const sum = (name: 'excluded' | 'received') => counters.reduce((n, c) => n + (c?.[name] ?? 0), 0);
  return { ...facts, since: new Date(sinceMs).toISOString(), excluded: sum('excluded'), received: sum('received') };
}
