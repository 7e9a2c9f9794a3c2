// Windows speaks UTF-16, everything else here UTF-8.
#ifndef RCAP_TEXT_H
#define RCAP_TEXT_H

#include <stddef.h>
#include <windows.h>

// Writes "" if it doesn't fit.
void text_from_utf16(const wchar_t *from, char *text, size_t size);
// To be freed; NULL when it isn't UTF-8 or memory is short.
wchar_t *text_to_utf16(const char *from);
// What a Windows error code means, without a full stop.
void text_of_error(DWORD error, char *text, size_t size);

#endif
