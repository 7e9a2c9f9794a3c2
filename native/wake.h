// Wakes a thread that waits for a descriptor. Each system has its own in its folder.
#ifndef RCAP_WAKE_H
#define RCAP_WAKE_H

#include <stdbool.h>

typedef struct Wake {
  int descriptor;
} Wake;

enum { WAKE_CALLED = 1, WAKE_READABLE = 2 };

bool wake_open(Wake *wake);
void wake_close(Wake *wake);
// From any thread. Calls before the next wait count as one.
void wake_call(Wake *wake);
// Waits for a call or until `descriptor` is readable or in error (-1: for a call only), at most `timeout_ms` (-1: for ever).
// Returns what happened, WAKE_ flags, 0 when the time is over. Calls are used up.
int wake_wait(Wake *wake, int descriptor, int timeout_ms);

#endif
