// The package's inner file, without types of its own: makes the API out of the loaded binary.
declare module 'node-pcap-native/wrap.js' {
  export default function wrap(binding: unknown): unknown;
}
