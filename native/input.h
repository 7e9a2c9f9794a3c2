// The bytes of a capture file, or of standard input. Each system has its own in its folder.
#ifndef RCAP_INPUT_H
#define RCAP_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "failure.h"
#include "wake.h"

enum { INPUT_AGAIN = -1, INPUT_FAILED = -2 };

// A descriptor, or -1. '-' is standard input. Doesn't wait, not even for a pipe that nobody writes to yet.
int input_open(const char *name, Failure *failure);
void input_close(int input);
// Waits until there is something to read, `wake` is called, or `timeout_ms` are over (-1: no limit), and reads up to
// `size` bytes. Returns how many, 0 at the end, INPUT_AGAIN if there was nothing to read.
int64_t input_read(int input, Wake *wake, int timeout_ms, uint8_t *into, size_t size, const char *name,
                   Failure *failure);

#endif
