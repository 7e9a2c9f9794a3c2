#include "link_type.h"

// libpcap's own, found in the static archive alone. Which of the last two there is depends on its version (from 1.10.5
// the first); both lie in objects that the rest of libpcap needs, so a weak reference finds them.
extern int dlt_to_linktype(int dlt);
extern int linktype_to_dlt(int link_type);
extern void pcapint_post_process(int dlt, int swapped, struct pcap_pkthdr *header, u_char *data) __attribute__((weak));
extern void swap_pseudo_headers(int dlt, struct pcap_pkthdr *header, u_char *data) __attribute__((weak));

int link_type_to_dlt(uint32_t link_type) { return linktype_to_dlt((int)link_type); }

uint32_t link_type_from_dlt(int dlt) {
  int link_type = dlt_to_linktype(dlt);
  return (uint32_t)(link_type < 0 ? dlt : link_type) & 0xffff;
}

uint32_t link_type_of_file(uint32_t link_type) { return link_type_from_dlt(link_type_to_dlt(link_type)); }

const char *link_type_name(uint32_t link_type) { return pcap_datalink_val_to_name(link_type_to_dlt(link_type)); }

const char *link_type_description(uint32_t link_type) {
  return pcap_datalink_val_to_description(link_type_to_dlt(link_type));
}

int64_t link_type_by_name(const char *name) {
  int dlt = pcap_datalink_name_to_val(name);
  return dlt < 0 ? -1 : (int64_t)link_type_from_dlt(dlt);
}

void link_type_mend(uint32_t link_type, bool swapped, struct pcap_pkthdr *header, uint8_t *data) {
  int dlt = link_type_to_dlt(link_type);
  if (!swapped && dlt != DLT_USB_LINUX_MMAPPED) return;
  if (pcapint_post_process) {
    pcapint_post_process(dlt, swapped, header, data);
  } else if (swapped && swap_pseudo_headers) {
    swap_pseudo_headers(dlt, header, data);
  }
}
