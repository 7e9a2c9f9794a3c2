#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

const char *code_name(Code code) {
  switch (code) {
  case CODE_NO_SUCH_INTERFACE: return "NO_SUCH_INTERFACE";
  case CODE_PERMISSION: return "PERMISSION";
  case CODE_INTERFACE_DOWN: return "INTERFACE_DOWN";
  case CODE_INTERFACE_GONE: return "INTERFACE_GONE";
  case CODE_FILTER: return "FILTER";
  case CODE_FILE_OPEN: return "FILE_OPEN";
  case CODE_FILE_FORMAT: return "FILE_FORMAT";
  case CODE_FILE_TRUNCATED: return "FILE_TRUNCATED";
  case CODE_UNSUPPORTED: return "UNSUPPORTED";
  case CODE_NONE:
  case CODE_FAILED: break;
  }
  return "FAILED";
}

bool fail(Failure *failure, Code code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  failure->code = code;
  vsnprintf(failure->message, sizeof failure->message, format, arguments);
  va_end(arguments);
  return false;
}
