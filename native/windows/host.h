// Functions of Node and libuv. They are the executable's own, and it may have any name, so Windows can't link them: the
// build lists what is used (host_imports.c), and host.c finds it when the addon is loaded.
#ifndef RCAP_HOST_H
#define RCAP_HOST_H

#include <stddef.h>

typedef struct HostImport {
  const char *name;
  void **pointer;
} HostImport;

extern const HostImport host_imports[];
extern const size_t host_imports_count;

#endif
