#include <stdio.h>

#include "addon.h"
#include "privileges.h"

static napi_value js_set_of_bits(napi_env env, uint64_t bits) {
  char text[17];
  snprintf(text, sizeof text, "%016llx", (unsigned long long)bits);
  return js_text(env, text);
}

napi_value addon_privileges(napi_env env, napi_callback_info info) {
  (void)info;
  Privileges privileges;
  if (!privileges_read(&privileges)) return js_undefined(env);
  napi_value object;
  napi_create_object(env, &object);
  js_set(env, object, "uid", js_number(env, privileges.uid));
  js_set(env, object, "gid", js_number(env, privileges.gid));
  js_set(env, object, "effective", js_set_of_bits(env, privileges.effective));
  js_set(env, object, "permitted", js_set_of_bits(env, privileges.permitted));
  js_set(env, object, "inheritable", js_set_of_bits(env, privileges.inheritable));
  js_set(env, object, "ambient", js_set_of_bits(env, privileges.ambient));
  js_set(env, object, "bounding", js_set_of_bits(env, privileges.bounding));
  js_set(env, object, "noNewPrivileges", js_boolean(env, privileges.no_new_privileges));
  js_set(env, object, "seccomp", js_number(env, privileges.seccomp));
  js_set(env, object, "dumpable", js_boolean(env, privileges.dumpable));
  return object;
}

napi_value addon_forbid_dumps(napi_env env, napi_callback_info info) {
  (void)info;
  privileges_forbid_dumps();
  return js_undefined(env);
}

// (keepUser)
napi_value addon_drop_privileges(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  bool keep_user = false;
  napi_get_value_bool(env, argument, &keep_user);
  const char *left = privileges_drop(keep_user);
  return left ? js_text(env, left) : js_undefined(env);
}
