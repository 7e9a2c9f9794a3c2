#include "wake.h"

#include <poll.h>
#include <unistd.h>

#include "posix/wake_clear.h"

void wake_close(Wake *wake) { close(wake->descriptor); }

int wake_wait(Wake *wake, int descriptor, int timeout_ms) {
  // poll() passes over a negative descriptor.
  struct pollfd on[2] = {{.fd = wake->descriptor, .events = POLLIN}, {.fd = descriptor, .events = POLLIN}};
  if (poll(on, 2, timeout_ms) <= 0) return 0; // a signal counts as "time is over": the callers look again in any case
  int happened = 0;
  if (on[0].revents) {
    wake_clear(wake);
    happened |= WAKE_CALLED;
  }
  if (on[1].revents) happened |= WAKE_READABLE;
  return happened;
}
