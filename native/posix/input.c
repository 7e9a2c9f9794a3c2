#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int input_open(const char *name, Failure *failure) {
  if (strcmp(name, "-") == 0) return STDIN_FILENO;
  int input = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (input < 0) fail(failure, CODE_FILE_OPEN, "could not open '%s': %s", name, strerror(errno));
  return input;
}

void input_close(int input) {
  if (input != STDIN_FILENO) close(input);
}

int64_t input_read(int input, Wake *wake, int timeout_ms, uint8_t *into, size_t size, const char *name,
                   Failure *failure) {
  if (!(wake_wait(wake, input, timeout_ms) & WAKE_READABLE)) return INPUT_AGAIN;
  ssize_t length = read(input, into, size);
  if (length >= 0) return length;
  if (errno == EINTR || errno == EAGAIN) return INPUT_AGAIN;
  fail(failure, CODE_FILE_OPEN, "could not read '%s': %s", name, strerror(errno));
  return INPUT_FAILED;
}
