// What went wrong, as the code and the words that JavaScript gets.
#ifndef RCAP_FAILURE_H
#define RCAP_FAILURE_H

#include <stdbool.h>

typedef enum Code {
  CODE_NONE,
  CODE_NO_SUCH_INTERFACE,
  CODE_PERMISSION,
  CODE_INTERFACE_DOWN,
  CODE_INTERFACE_GONE,
  CODE_FILTER,
  CODE_FILE_OPEN,
  CODE_FILE_FORMAT,
  CODE_FILE_TRUNCATED,
  CODE_UNSUPPORTED,
  CODE_FAILED,
} Code;

typedef struct Failure {
  Code code; // CODE_NONE: nothing failed
  char message[768];
} Failure;

const char *code_name(Code code);
// Returns false, so that a function may end with `return fail(…)`.
bool fail(Failure *failure, Code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
