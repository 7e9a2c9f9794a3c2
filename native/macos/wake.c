// A kqueue with one event that we trigger ourselves; the kqueue's descriptor is readable while it is triggered.
#include "wake.h"

#include <fcntl.h>
#include <sys/event.h>
#include <unistd.h>

#include "posix/wake_clear.h"

static bool change(Wake *wake, unsigned short flags, unsigned int how) {
  struct kevent call;
  EV_SET(&call, 0, EVFILT_USER, flags, how, 0, NULL);
  return kevent(wake->descriptor, &call, 1, NULL, 0, NULL) == 0;
}

bool wake_open(Wake *wake) {
  wake->descriptor = kqueue();
  if (wake->descriptor < 0) return false;
  fcntl(wake->descriptor, F_SETFD, FD_CLOEXEC);
  if (change(wake, EV_ADD | EV_CLEAR, 0)) return true;
  close(wake->descriptor);
  return false;
}

void wake_call(Wake *wake) { change(wake, 0, NOTE_TRIGGER); }

void wake_clear(Wake *wake) {
  struct kevent call;
  kevent(wake->descriptor, NULL, 0, &call, 1, &(struct timespec){0});
}
