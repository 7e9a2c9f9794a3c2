// libpcap's list of interfaces: Npcap's, completed by what Windows knows; without Npcap Windows' alone.
#include <config.h>

#include <pcap-int.h>
#include <string.h>

#include "adapters.h"
#include "interfaces.h"
#include "text.h"
#include "wpcap.h"

#define LOOPBACK "\\Device\\NPF_Loopback"

static size_t size_of(const struct sockaddr *address) {
  if (!address) return 0;
  return address->sa_family == AF_INET ? sizeof(struct sockaddr_in)
         : address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : 0;
}

static struct sockaddr *if_known(struct sockaddr *address) { return size_of(address) ? address : NULL; }

static bool add_addresses(pcap_if_t *to, const pcap_addr_t *found, char *words) {
  for (; found; found = found->next) {
    if (!size_of(found->addr)) continue;
    if (pcapint_add_addr_to_dev(to, found->addr, size_of(found->addr), if_known(found->netmask),
                                size_of(found->netmask), if_known(found->broadaddr), size_of(found->broadaddr),
                                if_known(found->dstaddr), size_of(found->dstaddr), words) != 0)
      return false;
  }
  return true;
}

static bool add_adapter_addresses(pcap_if_t *to, const IP_ADAPTER_ADDRESSES *adapter, char *words) {
  for (const IP_ADAPTER_UNICAST_ADDRESS *found = adapter->FirstUnicastAddress; found; found = found->Next) {
    struct sockaddr *address = found->Address.lpSockaddr;
    if (!size_of(address)) continue;
    if (pcapint_add_addr_to_dev(to, address, size_of(address), NULL, 0, NULL, 0, NULL, 0, words) != 0) return false;
  }
  return true;
}

static bool add_link_address(pcap_if_t *to, const IP_ADAPTER_ADDRESSES *adapter, char *words) {
  LinkAddress address;
  if (!adapter || !adapters_link_address(adapter, &address)) return true;
  return pcapint_add_addr_to_dev(to, (struct sockaddr *)&address, sizeof address, NULL, 0, NULL, 0, NULL, 0, words) == 0;
}

static int add_of_npcap(pcap_if_list_t *list, const Wpcap *wpcap, const IP_ADAPTER_ADDRESSES *adapters, char *words) {
  pcap_if_t *first = NULL;
  if (wpcap->findalldevs(&first, words) != 0) return PCAP_ERROR;
  bool done = true;
  for (const pcap_if_t *found = first; done && found; found = found->next) {
    pcap_if_t *added = pcapint_add_dev(list, found->name, found->flags, found->description, words);
    done = added && add_link_address(added, adapters_find(adapters, found->name), words) &&
           add_addresses(added, found->addresses, words);
  }
  wpcap->freealldevs(first);
  return done ? 0 : PCAP_ERROR;
}

static int add_of_windows(pcap_if_list_t *list, const IP_ADAPTER_ADDRESSES *adapter, char *words) {
  for (; adapter; adapter = adapter->Next) {
    char name[64], description[512];
    adapters_device(adapter, name, sizeof name);
    text_from_utf16(adapter->Description, description, sizeof description);
    pcap_if_t *added = pcapint_add_dev(list, name, adapters_flags(adapter), description, words);
    if (!added || !add_link_address(added, adapter, words) || !add_adapter_addresses(added, adapter, words))
      return PCAP_ERROR;
  }
  return 0;
}

int pcapint_platform_finddevs(pcap_if_list_t *list, char *words) {
  char reason[256];
  IP_ADAPTER_ADDRESSES *adapters = adapters_list(reason, sizeof reason);
  const Wpcap *wpcap = wpcap_load();
  int status = PCAP_ERROR;
  if (wpcap) {
    status = add_of_npcap(list, wpcap, adapters, words);
  } else if (adapters) {
    status = add_of_windows(list, adapters, words);
  } else {
    pcapint_strlcpy(words, reason, PCAP_ERRBUF_SIZE);
  }
  free(adapters);
  return status;
}

bool interface_friendly_name(const char *name, char *text, size_t size) {
  if (_stricmp(name, LOOPBACK) == 0) { // Npcap's own, which Windows doesn't know
    snprintf(text, size, "Loopback");
    return true;
  }
  char reason[256];
  IP_ADAPTER_ADDRESSES *adapters = adapters_list(reason, sizeof reason);
  const IP_ADAPTER_ADDRESSES *adapter = adapters_find(adapters, name);
  text[0] = 0;
  if (adapter) text_from_utf16(adapter->FriendlyName, text, size);
  free(adapters);
  return text[0] != 0;
}
