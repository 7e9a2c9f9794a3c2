#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_from_utf16(const wchar_t *from, char *text, size_t size) {
  if (!WideCharToMultiByte(CP_UTF8, 0, from, -1, text, (int)size, NULL, NULL)) text[0] = 0;
}

wchar_t *text_to_utf16(const char *from) {
  int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, from, -1, NULL, 0);
  wchar_t *text = length > 0 ? malloc((size_t)length * sizeof *text) : NULL;
  if (text) MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, from, -1, text, length);
  return text;
}

void text_of_error(DWORD error, char *text, size_t size) {
  // English as all our messages, or else what this Windows speaks.
  static const DWORD languages[] = {MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), 0};
  wchar_t words[512];
  for (size_t i = 0; i < sizeof languages / sizeof *languages; i++) {
    DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                                      FORMAT_MESSAGE_MAX_WIDTH_MASK,
                                  NULL, error, languages[i], words, sizeof words / sizeof *words, NULL);
    if (length == 0) continue;
    while (length > 0 && (words[length - 1] == L' ' || words[length - 1] == L'.')) words[--length] = 0;
    text_from_utf16(words, text, size);
    if (text[0]) return;
  }
  snprintf(text, size, "Windows error %lu", error);
}
