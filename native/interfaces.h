// Addresses of interfaces as text.
#ifndef RCAP_INTERFACES_H
#define RCAP_INTERFACES_H

#include <pcap/pcap.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum { ADDRESS_TEXT = 64, INTERFACE_TEXT = 1024 };

typedef struct InterfaceAddress {
  const char *family; // 'ipv4', 'ipv6' or 'link'
  char address[ADDRESS_TEXT];
  char netmask[ADDRESS_TEXT]; // '' when there is none, as is the next
  char broadcast[ADDRESS_TEXT];
} InterfaceAddress;

// False for an address of another family.
bool interface_address(const pcap_addr_t *found, InterfaceAddress *address);
// 'connected' and so on, from pcap_if_t.flags.
const char *interface_connection(bpf_u_int32 flags);

// In each system's folder: what people call the interface, false if there is no other name than its own; a MAC address in colon form, false for other addresses and for an empty one.
bool interface_friendly_name(const char *name, char *text, size_t size);
bool link_address_text(const struct sockaddr *address, char *text, size_t size);

#endif
