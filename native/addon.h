// What the files that speak Node-API share. They are addon*.c; no other file knows of JavaScript.
#ifndef RCAP_ADDON_H
#define RCAP_ADDON_H

#include <node_api.h>
#include <stdint.h>

#include "failure.h"
#include "pool.h"
#include "texts.h"

static inline napi_value js_undefined(napi_env env) {
  napi_value value;
  napi_get_undefined(env, &value);
  return value;
}
static inline napi_value js_text(napi_env env, const char *text) {
  napi_value value = NULL;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
  return value;
}
static inline napi_value js_number(napi_env env, double number) {
  napi_value value = NULL;
  napi_create_double(env, number, &value);
  return value;
}
static inline napi_value js_boolean(napi_env env, bool is) {
  napi_value value = NULL;
  napi_get_boolean(env, is, &value);
  return value;
}
static inline void js_set(napi_env env, napi_value object, const char *name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

// wrap.js has checked every argument, so these only convert. Text is the caller's to free.
char *js_to_text(napi_env env, napi_value value);
uint32_t js_to_uint32(napi_env env, napi_value value);
void *js_to_pointer(napi_env env, napi_value external);
// Of an array of strings that aren't empty.
Texts *js_to_texts(napi_env env, napi_value array);
// An Error with the failure's code.
napi_value js_error(napi_env env, Code code, const char *message);

// addon_session.c: (pool, blocks, options, onCapture, onBlock, onDns, onEnd), (session, texts), (session, text),
// (session, exceptions, learned), (session, snaplen), (session), (session), (session), (session, drain)
napi_value addon_open(napi_env env, napi_callback_info info);
napi_value addon_set_filter(napi_env env, napi_callback_info info);
napi_value addon_set_exclusion(napi_env env, napi_callback_info info);
napi_value addon_set_exceptions(napi_env env, napi_callback_info info);
napi_value addon_set_snaplen(napi_env env, napi_callback_info info);
napi_value addon_excluded_by(napi_env env, napi_callback_info info);
napi_value addon_set_dns(napi_env env, napi_callback_info info);
napi_value addon_go_on(napi_env env, napi_callback_info info);
napi_value addon_stats(napi_env env, napi_callback_info info);
napi_value addon_stop(napi_env env, napi_callback_info info);

// addon_filter.c: (texts, linkType, snaplen, exclusion)
napi_value addon_compile(napi_env env, napi_callback_info info);
// addon_exceptions.c: (rules, names)
napi_value addon_create_exceptions(napi_env env, napi_callback_info info);

// In each system's folder: adds what only that system has.
void addon_system(napi_env env, napi_value exports);

// addon_privileges.c: (), (), (keepUser)
napi_value addon_privileges(napi_env env, napi_callback_info info);
napi_value addon_forbid_dumps(napi_env env, napi_callback_info info);
napi_value addon_drop_privileges(napi_env env, napi_callback_info info);

#endif
