#include "interfaces.h"

// Windows alone gives interfaces a second name, which everybody there knows them by.
bool interface_friendly_name(const char *name, char *text, size_t size) {
  (void)name, (void)text, (void)size;
  return false;
}
