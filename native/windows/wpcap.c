#include "wpcap.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>
#include <windows.h>

#include "text.h"

#define FUNCTION(name) {"pcap_" #name, offsetof(Wpcap, name)}
static const struct {
  const char *name;
  size_t at;
} must_have[] = {FUNCTION(lib_version), FUNCTION(findalldevs), FUNCTION(freealldevs), FUNCTION(create),
                 FUNCTION(set_snaplen), FUNCTION(set_promisc), FUNCTION(set_timeout), FUNCTION(set_buffer_size),
                 FUNCTION(activate),    FUNCTION(setnonblock), FUNCTION(setfilter),   FUNCTION(datalink),
                 FUNCTION(snapshot),    FUNCTION(next_ex),     FUNCTION(stats),       FUNCTION(geterr),
                 FUNCTION(close)},
  may_have[] = {FUNCTION(init), FUNCTION(stats_ex)};

static Wpcap library;
static bool loaded;
static char trouble[512];

static void find(HMODULE module, const char *name, size_t at) {
  FARPROC function = GetProcAddress(module, name);
  memcpy((char *)&library + at, &function, sizeof function);
}

static HMODULE load_from(const wchar_t *path, DWORD flags) {
  HMODULE module = LoadLibraryExW(path, NULL, flags);
  if (module || trouble[0]) return module;
  DWORD error = GetLastError();
  if (error == ERROR_MOD_NOT_FOUND || error == ERROR_PATH_NOT_FOUND) return NULL;
  char words[256];
  text_of_error(error, words, sizeof words);
  snprintf(trouble, sizeof trouble, "Npcap's wpcap.dll could not be loaded: %s", words);
  return NULL;
}

// Where Npcap is installed, then where it puts itself when it stands in for WinPcap. Both are folders that only an
// administrator writes to; the agent's own folder and the working directory aren't looked into.
static HMODULE load_module(void) {
  static const wchar_t own[] = L"\\Npcap\\wpcap.dll";
  wchar_t path[MAX_PATH + sizeof own / sizeof *own];
  UINT length = GetSystemDirectoryW(path, MAX_PATH);
  if (length == 0 || length >= MAX_PATH) return NULL;
  memcpy(path + length, own, sizeof own);
  // It needs Packet.dll beside it.
  HMODULE module = load_from(path, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
  return module ? module : load_from(L"wpcap.dll", LOAD_LIBRARY_SEARCH_SYSTEM32);
}

static bool is_npf(void) {
  const char *version = library.lib_version();
  return strncmp(version, "Npcap", 5) == 0 || strncmp(version, "WinPcap", 7) == 0;
}

static void load(void) {
  HMODULE module = load_module();
  if (!module) {
    if (!trouble[0]) snprintf(trouble, sizeof trouble, "Npcap is not installed");
    return;
  }
  for (size_t i = 0; i < sizeof must_have / sizeof *must_have; i++) {
    find(module, must_have[i].name, must_have[i].at);
    if (GetProcAddress(module, must_have[i].name)) continue;
    snprintf(trouble, sizeof trouble, "the installed Npcap or WinPcap is too old: it has no %s", must_have[i].name);
    return;
  }
  if (is_npf())
    for (size_t i = 0; i < sizeof may_have / sizeof *may_have; i++) find(module, may_have[i].name, may_have[i].at);
  char words[PCAP_ERRBUF_SIZE] = "";
  // Else its texts are in the machine's own code page.
  if (library.init) library.init(PCAP_CHAR_ENC_UTF_8, words);
  trouble[0] = 0;
  loaded = true;
}

static uv_once_t once = UV_ONCE_INIT;

const Wpcap *wpcap_load(void) {
  uv_once(&once, load);
  return loaded ? &library : NULL;
}

const char *wpcap_trouble(void) {
  wpcap_load();
  return trouble;
}
