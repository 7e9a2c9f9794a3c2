// Live captures on Windows: what libpcap calls its module for this system. wpcap.dll only hands over packets and takes
// compiled filters; all else (the filter language, link types, reading of handles) is the libpcap that we bring, so that
// it is the same everywhere and is there without Npcap, too.
#ifndef RCAP_CAPTURE_H
#define RCAP_CAPTURE_H

#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdint.h>

// An activated handle receives nothing until this is called; then what its filter lets pass.
bool capture_start(pcap_t *handle);
// Delivers what was received until now, and nothing more.
void capture_stop(pcap_t *handle);
// Since the start: what passed the filter, with what was then dropped; and what was dropped.
void capture_count(pcap_t *handle, uint64_t *received, uint64_t *dropped);

#endif
