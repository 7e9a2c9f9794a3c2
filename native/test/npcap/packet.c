// Stands in for Packet.dll, which Npcap's wpcap.dll needs.
__declspec(dllexport) const char *PacketGetVersion(void) { return "1.99"; }
