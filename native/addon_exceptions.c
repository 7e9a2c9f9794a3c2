#include <stdio.h>
#include <uv.h>

#include "addon.h"
#include "exceptions.h"

static void drop_exceptions(napi_env env, void *data, void *hint) {
  (void)hint;
  int64_t total;
  // Sessions may hold it longer; JavaScript isn't why, then.
  napi_adjust_external_memory(env, -(int64_t)exceptions_bytes(data), &total);
  exceptions_drop(data);
}

static napi_value refuse(napi_env env, napi_value error) {
  napi_throw(env, error);
  return NULL;
}

// (rules, names): [external, entries, bytes]
napi_value addon_create_exceptions(napi_env env, napi_callback_info info) {
  napi_value argument[2], array, external;
  size_t count = 2, length = 0;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  void *rules = NULL;
  napi_get_typedarray_info(env, argument[0], NULL, &length, &rules, NULL, NULL);
  uint32_t number = (uint32_t)(length / RULE_BYTES), names = js_to_uint32(env, argument[1]);
  uint32_t wrong = exceptions_valid(rules, number, names);
  if (wrong < number) {
    char message[64];
    snprintf(message, sizeof message, "rule %u is not one", wrong);
    napi_throw_type_error(env, NULL, message);
    return NULL;
  }
  Seed seed;
  if (uv_random(NULL, NULL, &seed, sizeof seed, 0, NULL))
    return refuse(env, js_error(env, CODE_FAILED, "could not make exceptions: the system has no random numbers"));
  Exceptions *set = exceptions_create(rules, number, names, &seed);
  if (!set) return refuse(env, js_error(env, CODE_FAILED, "could not make exceptions: out of memory"));
  int64_t total; // so that sets which nobody has any more are collected in time
  napi_adjust_external_memory(env, (int64_t)exceptions_bytes(set), &total);
  napi_create_external(env, set, drop_exceptions, NULL, &external);
  napi_create_array_with_length(env, 3, &array);
  napi_set_element(env, array, 0, external);
  napi_set_element(env, array, 1, js_number(env, exceptions_entries(set)));
  napi_set_element(env, array, 2, js_number(env, (double)exceptions_bytes(set)));
  return array;
}
