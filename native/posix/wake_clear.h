// What posix/wake.c needs of the system's own wake.c.
#ifndef RCAP_WAKE_CLEAR_H
#define RCAP_WAKE_CLEAR_H

#include "wake.h"

// Uses up the calls so far.
void wake_clear(Wake *wake);

#endif
