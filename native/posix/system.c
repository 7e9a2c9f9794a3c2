#include "system.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>

const char *system_missing(void) { return NULL; }

// Node makes pipes non-blocking, for whoever shares them, too, and undoes that in a handler of exit(). That isn't called:
// it would run destructors under the threads that are there.
void system_leave(int code) {
  for (int fd = 0; fd < 3; fd++) {
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
  _Exit(code);
}
