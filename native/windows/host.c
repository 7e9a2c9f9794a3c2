#include "host.h"

#include <windows.h>

static HMODULE find_host(void) {
  // Node itself, under whatever name; or a library of it inside another program.
  static const wchar_t *const names[] = {NULL, L"libnode.dll", L"node.dll"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    HMODULE host = GetModuleHandleW(names[i]);
    if (host && GetProcAddress(host, host_imports[0].name)) return host;
  }
  return NULL;
}

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, LPVOID reserved) {
  (void)reserved;
  if (reason != DLL_PROCESS_ATTACH) return TRUE;
  DisableThreadLibraryCalls(self);
  HMODULE host = find_host();
  for (size_t i = 0; i < host_imports_count; i++) {
    *host_imports[i].pointer = host ? (void *)GetProcAddress(host, host_imports[i].name) : NULL;
    if (!*host_imports[i].pointer) return FALSE; // "initialization routine failed": an older Node
  }
  return TRUE;
}
