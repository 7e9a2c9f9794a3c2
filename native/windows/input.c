#include "input.h"

#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "text.h"

// A pipe that is empty is asked again after so long.
enum { ASK_AGAIN_MS = 10 };

static HANDLE handle_of(int input) { return (HANDLE)(LONG_PTR)input; }

static void fail_with(const char *verb, const char *name, DWORD error, Failure *failure) {
  char words[256];
  text_of_error(error, words, sizeof words);
  fail(failure, CODE_FILE_OPEN, "could not %s '%s': %s", verb, name, words);
}

int input_open(const char *name, Failure *failure) {
  HANDLE handle;
  if (strcmp(name, "-") == 0) {
    handle = GetStdHandle(STD_INPUT_HANDLE);
    if (!handle) handle = INVALID_HANDLE_VALUE; // a service has none
  } else {
    wchar_t *path = text_to_utf16(name);
    // The writer may go on writing, and may rename or delete it.
    handle = path ? CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                OPEN_EXISTING, FILE_FLAG_SEQUENTIAL_SCAN, NULL)
                  : INVALID_HANDLE_VALUE;
    free(path);
  }
  if (handle == INVALID_HANDLE_VALUE) {
    fail_with("open", name, GetLastError(), failure);
    return -1;
  }
  return (int)(LONG_PTR)handle;
}

void input_close(int input) {
  if (handle_of(input) != GetStdHandle(STD_INPUT_HANDLE)) CloseHandle(handle_of(input));
}

// Waits until a pipe has something or has ended, as long as nothing else is to be done.
static bool wait_for_pipe(HANDLE pipe, Wake *wake, int timeout_ms) {
  for (int waited = 0;; waited += ASK_AGAIN_MS) {
    DWORD available = 0;
    if (!PeekNamedPipe(pipe, NULL, 0, NULL, &available, NULL) || available > 0) return true;
    if (timeout_ms >= 0 && waited >= timeout_ms) return false;
    if (wake_wait(wake, -1, ASK_AGAIN_MS)) return false;
  }
}

int64_t input_read(int input, Wake *wake, int timeout_ms, uint8_t *into, size_t size, const char *name,
                   Failure *failure) {
  HANDLE handle = handle_of(input);
  if (GetFileType(handle) == FILE_TYPE_PIPE && !wait_for_pipe(handle, wake, timeout_ms)) return INPUT_AGAIN;
  DWORD length = 0;
  if (ReadFile(handle, into, (DWORD)size, &length, NULL)) return length;
  DWORD error = GetLastError();
  if (error == ERROR_BROKEN_PIPE || error == ERROR_HANDLE_EOF) return 0;
  fail_with("read", name, error, failure);
  return INPUT_FAILED;
}
