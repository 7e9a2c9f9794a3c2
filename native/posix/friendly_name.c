#include "interfaces.h"

// Linux has none. Those of macOS ("Wi-Fi" for en0) are known to a framework that has no C headers here.
bool interface_friendly_name(const char *name, char *text, size_t size) {
  (void)name, (void)text, (void)size;
  return false;
}
