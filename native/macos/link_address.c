#include "interfaces.h"

#include <net/if_dl.h>
#include <stdio.h>

bool link_address_text(const struct sockaddr *address, char *text, size_t size) {
  if (address->sa_family != AF_LINK) return false;
  const struct sockaddr_dl *link = (const struct sockaddr_dl *)address;
  const unsigned char *bytes = (const unsigned char *)LLADDR(link);
  size_t at = 0;
  text[0] = 0;
  for (int i = 0; i < link->sdl_alen && at + 4 < size; i++)
    at += (size_t)snprintf(text + at, size - at, i ? ":%02x" : "%02x", bytes[i]);
  return at > 0;
}
