// What Windows itself knows of the network interfaces; wpcap.dll knows neither their friendly names nor MAC addresses.
#ifndef RCAP_ADAPTERS_H
#define RCAP_ADAPTERS_H

#include <winsock2.h>
#include <ws2tcpip.h>
#include <iphlpapi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#undef interface // of C++, which the headers above make `struct`

// How libpcap's list holds a MAC address. FAMILY_LINK is AF_LINK, which mingw doesn't know.
enum { FAMILY_LINK = 33 };
typedef struct LinkAddress {
  uint16_t family; // FAMILY_LINK
  uint16_t length;
  uint8_t bytes[MAX_ADAPTER_ADDRESS_LENGTH];
} LinkAddress;

// All of them, to be freed; NULL and the reason in `words` when that fails.
IP_ADAPTER_ADDRESSES *adapters_list(char *words, size_t size);
// The one behind a capture device (\Device\NPF_{GUID}), or NULL.
const IP_ADAPTER_ADDRESSES *adapters_find(const IP_ADAPTER_ADDRESSES *list, const char *device);
// Windows' number of it; false for a device that isn't an adapter.
bool adapters_luid(const char *device, NET_LUID *luid);
// The capture device's name of an adapter. 64 bytes are enough.
void adapters_device(const IP_ADAPTER_ADDRESSES *adapter, char *name, size_t size);
// False when there is no MAC address.
bool adapters_link_address(const IP_ADAPTER_ADDRESSES *adapter, LinkAddress *address);
// libpcap's flags (PCAP_IF_…) for it.
uint32_t adapters_flags(const IP_ADAPTER_ADDRESSES *adapter);

#endif
