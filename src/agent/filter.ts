/** What the agent never captures: its own connection to the collector. */

/**
 * BPF text for one TCP connection's two directions, by the server's address and port. By connection and not by host: what
 * else goes to that address stays visible. All agents' connections to that port are meant, else two of them on one
 * host would capture each other.
 */
export function ownTraffic(serverAddress: string, serverPort: number): string {
  // A mapped address is IPv4 on the wire; a zone (%eth0) isn't part of the address there.
  const address = serverAddress.replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '');
  const way = (d: 'dst' | 'src') => `(${d} host ${address} and tcp ${d} port ${serverPort})`;
  return `${way('dst')} or ${way('src')}`;
}
