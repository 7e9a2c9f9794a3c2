#include "system.h"

#include <stdlib.h>
#include <windows.h>

#include "wpcap.h"

const char *system_missing(void) { return wpcap_load() ? NULL : wpcap_trouble(); }

// ExitProcess would call into every library that is loaded, under the threads that are there.
void system_leave(int code) {
  TerminateProcess(GetCurrentProcess(), (UINT)code);
  abort();
}
