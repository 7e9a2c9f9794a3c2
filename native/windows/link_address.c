#include "interfaces.h"

#include <stdio.h>

#include "adapters.h"

bool link_address_text(const struct sockaddr *address, char *text, size_t size) {
  if (address->sa_family != FAMILY_LINK) return false;
  const LinkAddress *link = (const LinkAddress *)address;
  size_t at = 0;
  text[0] = 0;
  for (int i = 0; i < link->length && at + 4 < size; i++)
    at += (size_t)snprintf(text + at, size - at, i ? ":%02x" : "%02x", link->bytes[i]);
  return at > 0;
}
