// libpcap's own header, with two functions that it declares on other systems only; capture.c has them.
#ifndef RCAP_PCAP_H
#define RCAP_PCAP_H

#include_next <pcap/pcap.h>

int pcap_get_selectable_fd(pcap_t *handle);
const struct timeval *pcap_get_required_select_timeout(pcap_t *handle);

#endif
