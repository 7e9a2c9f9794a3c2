#include "interfaces.h"

#include <netpacket/packet.h>
#include <stdio.h>

bool link_address_text(const struct sockaddr *address, char *text, size_t size) {
  if (address->sa_family != AF_PACKET) return false;
  const struct sockaddr_ll *link = (const struct sockaddr_ll *)address;
  size_t at = 0;
  text[0] = 0;
  for (int i = 0; i < link->sll_halen && i < (int)sizeof link->sll_addr && at + 4 < size; i++)
    at += (size_t)snprintf(text + at, size - at, i ? ":%02x" : "%02x", link->sll_addr[i]);
  return at > 0;
}
