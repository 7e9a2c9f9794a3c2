#include "adapters.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define DEVICE "\\Device\\NPF_"

IP_ADAPTER_ADDRESSES *adapters_list(char *words, size_t size) {
  ULONG flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER;
  ULONG room = 32 << 10;
  IP_ADAPTER_ADDRESSES *list = NULL;
  ULONG error = ERROR_BUFFER_OVERFLOW;
  // It says how much room it needs, but meanwhile there may be more of them.
  for (int tries = 0; error == ERROR_BUFFER_OVERFLOW && tries < 5; tries++) {
    free(list);
    list = malloc(room);
    error = list ? GetAdaptersAddresses(AF_UNSPEC, flags, NULL, list, &room) : ERROR_OUTOFMEMORY;
  }
  if (error == ERROR_SUCCESS) return list;
  free(list);
  text_of_error(error, words, size);
  return NULL;
}

const IP_ADAPTER_ADDRESSES *adapters_find(const IP_ADAPTER_ADDRESSES *list, const char *device) {
  if (_strnicmp(device, DEVICE, sizeof DEVICE - 1) != 0) return NULL;
  for (; list; list = list->Next)
    if (_stricmp(list->AdapterName, device + sizeof DEVICE - 1) == 0) return list;
  return NULL;
}

bool adapters_luid(const char *device, NET_LUID *luid) {
  unsigned long first;
  unsigned short second, third, b[8];
  if (sscanf(device, DEVICE "{%8lx-%4hx-%4hx-%2hx%2hx-%2hx%2hx%2hx%2hx%2hx%2hx}", &first, &second, &third, &b[0], &b[1],
             &b[2], &b[3], &b[4], &b[5], &b[6], &b[7]) != 11)
    return false;
  GUID guid = {.Data1 = first, .Data2 = second, .Data3 = third};
  for (int i = 0; i < 8; i++) guid.Data4[i] = (unsigned char)b[i];
  return ConvertInterfaceGuidToLuid(&guid, luid) == NO_ERROR;
}

void adapters_device(const IP_ADAPTER_ADDRESSES *adapter, char *name, size_t size) {
  snprintf(name, size, DEVICE "%s", adapter->AdapterName);
}

bool adapters_link_address(const IP_ADAPTER_ADDRESSES *adapter, LinkAddress *address) {
  *address = (LinkAddress){.family = FAMILY_LINK, .length = (uint16_t)adapter->PhysicalAddressLength};
  if (address->length == 0 || address->length > sizeof address->bytes) return false;
  memcpy(address->bytes, adapter->PhysicalAddress, address->length);
  return true;
}

uint32_t adapters_flags(const IP_ADAPTER_ADDRESSES *adapter) {
  uint32_t flags = 0;
  if (adapter->IfType == IF_TYPE_SOFTWARE_LOOPBACK) flags |= PCAP_IF_LOOPBACK;
  if (adapter->IfType == IF_TYPE_IEEE80211) flags |= PCAP_IF_WIRELESS;
  switch (adapter->OperStatus) {
  case IfOperStatusUp: flags |= PCAP_IF_UP | PCAP_IF_RUNNING | PCAP_IF_CONNECTION_STATUS_CONNECTED; break;
  case IfOperStatusDormant: flags |= PCAP_IF_UP; break;
  default: flags |= PCAP_IF_CONNECTION_STATUS_DISCONNECTED; break;
  }
  return flags;
}
