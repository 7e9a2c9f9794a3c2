#include "wake.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool wake_open(Wake *wake) {
  wake->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return wake->descriptor >= 0;
}

void wake_close(Wake *wake) { close(wake->descriptor); }

void wake_call(Wake *wake) {
  // Fails only when the counter is full, and then a call is pending anyway.
  ssize_t written = write(wake->descriptor, &(uint64_t){1}, sizeof(uint64_t));
  (void)written;
}

int wake_wait(Wake *wake, int descriptor, int timeout_ms) {
  // poll() passes over a negative descriptor.
  struct pollfd on[2] = {{.fd = wake->descriptor, .events = POLLIN}, {.fd = descriptor, .events = POLLIN}};
  if (poll(on, 2, timeout_ms) <= 0) return 0; // a signal counts as "time is over": the callers look again in any case
  int happened = 0;
  if (on[0].revents) {
    uint64_t calls;
    ssize_t size = read(wake->descriptor, &calls, sizeof calls);
    (void)size;
    happened |= WAKE_CALLED;
  }
  if (on[1].revents) happened |= WAKE_READABLE;
  return happened;
}
