// Link types are LINKTYPE_ values everywhere, as in files; libpcap's functions want its own DLT_ values.
#ifndef RCAP_LINK_TYPE_H
#define RCAP_LINK_TYPE_H

#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdint.h>

int link_type_to_dlt(uint32_t link_type);
// The LINKTYPE_ value, without FCS bits.
uint32_t link_type_from_dlt(int dlt);
// What a file calls its link type, as the LINKTYPE_ value that libpcap would write for it.
uint32_t link_type_of_file(uint32_t link_type);
const char *link_type_name(uint32_t link_type);
const char *link_type_description(uint32_t link_type);
// -1 when there is none of this name.
int64_t link_type_by_name(const char *name);
// Pseudo headers that the writer's machine left in its own byte order (USB, pflog, …) are put into ours, and lengths that
// old versions wrote wrong are mended, as libpcap does when it reads a file. Changes the data.
void link_type_mend(uint32_t link_type, bool swapped, struct pcap_pkthdr *header, uint8_t *data);

#endif
