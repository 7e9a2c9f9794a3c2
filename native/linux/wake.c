#include "wake.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "posix/wake_clear.h"

bool wake_open(Wake *wake) {
  wake->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return wake->descriptor >= 0;
}

void wake_call(Wake *wake) {
  // Fails only when the counter is full, and then a call is pending anyway.
  ssize_t written = write(wake->descriptor, &(uint64_t){1}, sizeof(uint64_t));
  (void)written;
}

void wake_clear(Wake *wake) {
  uint64_t calls;
  ssize_t size = read(wake->descriptor, &calls, sizeof calls);
  (void)size;
}
