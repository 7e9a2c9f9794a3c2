// The name that libpcap before 1.10.5 has for what link_type.c looks for. On macOS a name that may be missing would be looked
// up when the addon is loaded, and fail it; so it is here, never called. Beside an older libpcap it doesn't link.
#include "link_type.h"

void swap_pseudo_headers(int dlt, struct pcap_pkthdr *header, u_char *data);

void swap_pseudo_headers(int dlt, struct pcap_pkthdr *header, u_char *data) { (void)dlt, (void)header, (void)data; }
