#include "interfaces.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static bool ip_text(const struct sockaddr *address, char *text) {
  if (!address) return false;
  if (address->sa_family == AF_INET)
    return inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, ADDRESS_TEXT);
  if (address->sa_family == AF_INET6)
    return inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, ADDRESS_TEXT);
  return false;
}

bool interface_address(const pcap_addr_t *found, InterfaceAddress *address) {
  *address = (InterfaceAddress){0};
  if (!found->addr) return false;
  if (ip_text(found->addr, address->address)) {
    address->family = found->addr->sa_family == AF_INET ? "ipv4" : "ipv6";
    ip_text(found->netmask, address->netmask);
    ip_text(found->broadaddr, address->broadcast);
    return true;
  }
  address->family = "link";
  if (!link_address_text(found->addr, address->address, ADDRESS_TEXT)) return false;
  if (found->broadaddr) link_address_text(found->broadaddr, address->broadcast, ADDRESS_TEXT);
  return true;
}

const char *interface_connection(bpf_u_int32 flags) {
  switch (flags & PCAP_IF_CONNECTION_STATUS) {
  case PCAP_IF_CONNECTION_STATUS_CONNECTED: return "connected";
  case PCAP_IF_CONNECTION_STATUS_DISCONNECTED: return "disconnected";
  case PCAP_IF_CONNECTION_STATUS_NOT_APPLICABLE: return "not-applicable";
  }
  return "unknown";
}
