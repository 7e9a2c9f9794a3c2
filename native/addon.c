#include "addon.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "block.h"
#include "interfaces.h"
#include "link_type.h"
#include "system.h"

char *js_to_text(napi_env env, napi_value value) {
  size_t length = 0;
  napi_get_value_string_utf8(env, value, NULL, 0, &length);
  char *text = malloc(length + 1);
  if (!text) abort();
  napi_get_value_string_utf8(env, value, text, length + 1, &length);
  text[length] = 0;
  return text;
}

uint32_t js_to_uint32(napi_env env, napi_value value) {
  uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

void *js_to_pointer(napi_env env, napi_value external) {
  void *pointer = NULL;
  napi_get_value_external(env, external, &pointer);
  return pointer;
}

Texts *js_to_texts(napi_env env, napi_value array) {
  uint32_t count = 0;
  size_t size = 0;
  napi_get_array_length(env, array, &count);
  Texts *texts = calloc(1, 1);
  for (uint32_t i = 0; i < count; i++) {
    napi_value element;
    napi_get_element(env, array, i, &element);
    char *text = js_to_text(env, element);
    size_t length = strlen(text) + 1;
    texts = realloc(texts, size + length + 1);
    if (!texts) abort();
    memcpy(texts + size, text, length);
    size += length;
    texts[size] = 0;
    free(text);
  }
  return texts;
}

napi_value js_error(napi_env env, Code code, const char *message) {
  napi_value error = NULL;
  napi_create_error(env, js_text(env, code_name(code)), js_text(env, message), &error);
  return error;
}

#define ARGUMENTS(count)                                                                                               \
  napi_value argument[count];                                                                                          \
  size_t argument_count = (count);                                                                                     \
  napi_get_cb_info(env, info, &argument_count, argument, NULL, NULL)

static napi_value version(napi_env env, napi_callback_info info) {
  (void)info;
  return js_text(env, pcap_lib_version());
}

static napi_value link_type_names(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  uint32_t link_type = js_to_uint32(env, argument[0]);
  const char *name = link_type_name(link_type), *description = link_type_description(link_type);
  if (!name) return js_undefined(env);
  napi_value pair;
  napi_create_array_with_length(env, 2, &pair);
  napi_set_element(env, pair, 0, js_text(env, name));
  napi_set_element(env, pair, 1, js_text(env, description ? description : ""));
  return pair;
}

static napi_value link_type_of_name(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  char *name = js_to_text(env, argument[0]);
  int64_t link_type = link_type_by_name(name);
  free(name);
  return link_type < 0 ? js_undefined(env) : js_number(env, (double)link_type);
}

// ---- interfaces -------------------------------------------------------------------------------------------------------

static napi_value addresses_of(napi_env env, const pcap_if_t *interface) {
  napi_value list;
  napi_create_array(env, &list);
  uint32_t count = 0;
  for (const pcap_addr_t *found = interface->addresses; found; found = found->next) {
    InterfaceAddress address;
    if (!interface_address(found, &address)) continue;
    napi_value object;
    napi_create_object(env, &object);
    js_set(env, object, "address", js_text(env, address.address));
    js_set(env, object, "family", js_text(env, address.family));
    if (address.netmask[0]) js_set(env, object, "netmask", js_text(env, address.netmask));
    if (address.broadcast[0]) js_set(env, object, "broadcast", js_text(env, address.broadcast));
    napi_set_element(env, list, count++, object);
  }
  return list;
}

static napi_value interfaces(napi_env env, napi_callback_info info) {
  (void)info;
  char words[PCAP_ERRBUF_SIZE] = "";
  pcap_if_t *first;
  if (pcap_findalldevs(&first, words) != 0) {
    char message[PCAP_ERRBUF_SIZE + 64];
    snprintf(message, sizeof message, "could not list the interfaces: %s", words);
    napi_throw(env, js_error(env, CODE_FAILED, message));
    return NULL;
  }
  napi_value list;
  napi_create_array(env, &list);
  uint32_t count = 0;
  for (const pcap_if_t *found = first; found; found = found->next) {
    napi_value object;
    napi_create_object(env, &object);
    js_set(env, object, "number", js_number(env, count + 1));
    js_set(env, object, "name", js_text(env, found->name));
    char friendly[INTERFACE_TEXT];
    if (interface_friendly_name(found->name, friendly, sizeof friendly))
      js_set(env, object, "friendlyName", js_text(env, friendly));
    if (found->description) js_set(env, object, "description", js_text(env, found->description));
    js_set(env, object, "addresses", addresses_of(env, found));
    js_set(env, object, "up", js_boolean(env, found->flags & PCAP_IF_UP));
    js_set(env, object, "running", js_boolean(env, found->flags & PCAP_IF_RUNNING));
    js_set(env, object, "loopback", js_boolean(env, found->flags & PCAP_IF_LOOPBACK));
    js_set(env, object, "wireless", js_boolean(env, found->flags & PCAP_IF_WIRELESS));
    js_set(env, object, "connection", js_text(env, interface_connection(found->flags)));
    napi_set_element(env, list, count++, object);
  }
  pcap_freealldevs(first);
  return list;
}

static napi_value missing(napi_env env, napi_callback_info info) {
  (void)info;
  const char *words = system_missing();
  return words ? js_text(env, words) : js_undefined(env);
}

static napi_value leave(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  system_leave((int)js_to_uint32(env, argument[0]));
}

// ---- pool -------------------------------------------------------------------------------------------------------------

static void drop_pool(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  pool_drop(data);
}

// (blocks: Uint8Array[]): the pool doesn't keep them alive; each session that uses it does, and so does wrap.js.
static napi_value create_pool(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  uint32_t count = 0;
  napi_get_array_length(env, argument[0], &count);
  uint8_t **memory = calloc(count, sizeof *memory);
  if (!memory) abort();
  for (uint32_t i = 0; i < count; i++) {
    napi_value block;
    napi_get_element(env, argument[0], i, &block);
    napi_get_typedarray_info(env, block, NULL, NULL, (void **)&memory[i], NULL, NULL);
  }
  Pool *pool = pool_create(count, memory);
  free(memory);
  if (!pool) abort();
  napi_value handle = NULL;
  napi_create_external(env, pool, drop_pool, NULL, &handle);
  return handle;
}

static napi_value pool_free_count(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  return js_number(env, pool_free_blocks(js_to_pointer(env, argument[0])));
}

static napi_value pool_give_back(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  return js_boolean(env, pool_release(js_to_pointer(env, argument[0]), js_to_uint32(env, argument[1])));
}

// ---- the module -------------------------------------------------------------------------------------------------------

static void start_libpcap(void) {
  char words[PCAP_ERRBUF_SIZE];
  pcap_init(PCAP_CHAR_ENC_UTF_8, words);
}

NAPI_MODULE_INIT() {
  static uv_once_t once = UV_ONCE_INIT; // several threads may load the addon
  uv_once(&once, start_libpcap);
  static const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"version", version},         {"interfaces", interfaces},         {"compile", addon_compile},
      {"linkTypeName", link_type_names}, {"linkTypeByName", link_type_of_name}, {"createPool", create_pool},
      {"poolFree", pool_free_count}, {"poolRelease", pool_give_back},   {"open", addon_open},
      {"setFilter", addon_set_filter}, {"stats", addon_stats},          {"stop", addon_stop},
      {"setExclusion", addon_set_exclusion}, {"setExceptions", addon_set_exceptions}, {"setSnaplen", addon_set_snaplen},
      {"excludedBy", addon_excluded_by}, {"setDns", addon_set_dns}, {"goOn", addon_go_on},         {"createExceptions", addon_create_exceptions},
      {"missing", missing},
      {"exit", leave},                {"privileges", addon_privileges}, {"forbidDumps", addon_forbid_dumps},
      {"dropPrivileges", addon_drop_privileges},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function);
    js_set(env, exports, functions[i].name, function);
  }
  js_set(env, exports, "BLOCK_HEAD", js_number(env, BLOCK_HEAD));
  js_set(env, exports, "MAX_SNAPLEN", js_number(env, MAX_SNAPLEN));
  js_set(env, exports, "BLOCK_BYTES", js_number(env, BLOCK_BYTES));
  addon_system(env, exports);
  return exports;
}
