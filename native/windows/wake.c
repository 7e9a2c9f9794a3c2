#include "wake.h"

#include <windows.h>

// Only 32 bits of a handle matter (so that 32-bit programs can share it), hence it fits into a descriptor.
static HANDLE event_of(const Wake *wake) { return (HANDLE)(LONG_PTR)wake->descriptor; }

bool wake_open(Wake *wake) {
  HANDLE event = CreateEventW(NULL, FALSE, FALSE, NULL);
  wake->descriptor = (int)(LONG_PTR)event;
  return event != NULL;
}

void wake_close(Wake *wake) { CloseHandle(event_of(wake)); }

void wake_call(Wake *wake) { SetEvent(event_of(wake)); }

int wake_wait(Wake *wake, int descriptor, int timeout_ms) {
  // There are no descriptors to wait for on Windows: an interface and a pipe are asked again and again.
  (void)descriptor;
  DWORD limit = timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms;
  return WaitForSingleObject(event_of(wake), limit) == WAIT_OBJECT_0 ? WAKE_CALLED : 0;
}
