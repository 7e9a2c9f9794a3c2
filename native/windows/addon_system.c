// What only Windows has: services, for src/agent/service/windows.ts.
#include "addon.h"

#include <stdlib.h>

#include "service.h"
#include "text.h"

#define ARGUMENTS(count)                                                                                               \
  napi_value argument[count];                                                                                          \
  size_t argument_count = (count);                                                                                     \
  napi_get_cb_info(env, info, &argument_count, argument, NULL, NULL)

static wchar_t *js_to_utf16(napi_env env, napi_value value) {
  char *text = js_to_text(env, value);
  wchar_t *wide = text_to_utf16(text);
  free(text);
  if (!wide) abort(); // a JavaScript text always becomes UTF-8, so memory is short
  return wide;
}

static napi_value lock(napi_env env, napi_callback_info info) {
  (void)info;
  return js_number(env, service_lock());
}

static napi_value permitted(napi_env env, napi_callback_info info) {
  (void)info;
  return js_number(env, service_permitted());
}

static napi_value create(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  wchar_t *name = js_to_utf16(env, argument[0]), *command = js_to_utf16(env, argument[1]);
  DWORD error = service_create(name, command);
  free(name);
  free(command);
  return js_number(env, error);
}

// (name, description, endMs)
static napi_value configure(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  wchar_t *name = js_to_utf16(env, argument[0]), *description = js_to_utf16(env, argument[1]);
  DWORD error = service_configure(name, description, js_to_uint32(env, argument[2]));
  free(name);
  free(description);
  return js_number(env, error);
}

// Undefined where the registry doesn't say.
static napi_value programs(napi_env env, napi_callback_info info) {
  (void)info;
  wchar_t path[MAX_PATH];
  char text[4 * MAX_PATH] = "";
  if (!service_programs(path, sizeof path)) text_from_utf16(path, text, sizeof text);
  return text[0] ? js_text(env, text) : js_undefined(env);
}

static napi_value with_text(napi_env env, napi_callback_info info, DWORD (*act)(const wchar_t *)) {
  ARGUMENTS(1);
  wchar_t *text = js_to_utf16(env, argument[0]);
  DWORD error = act(text);
  free(text);
  return js_number(env, error);
}
static napi_value remove_one(napi_env env, napi_callback_info info) { return with_text(env, info, service_remove); }
static napi_value start(napi_env env, napi_callback_info info) { return with_text(env, info, service_start); }
static napi_value stop(napi_env env, napi_callback_info info) { return with_text(env, info, service_stop); }
static napi_value private_folder(napi_env env, napi_callback_info info) {
  return with_text(env, info, service_private_folder);
}

// An error code, or what there is to know.
static napi_value query(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  ServiceState *state = calloc(1, sizeof *state);
  size_t size = 4 * sizeof state->command / sizeof *state->command;
  char *command = malloc(size);
  if (!state || !command) abort();
  wchar_t *name = js_to_utf16(env, argument[0]);
  DWORD error = service_query(name, state);
  free(name);
  napi_value answer = js_number(env, error);
  if (!error) {
    text_from_utf16(state->command, command, size);
    napi_create_object(env, &answer);
    js_set(env, answer, "state", js_number(env, state->state));
    js_set(env, answer, "process", js_number(env, state->process));
    js_set(env, answer, "exitCode", js_number(env, state->exit_code));
    js_set(env, answer, "command", js_text(env, command));
  }
  free(command);
  free(state);
  return answer;
}

static napi_value words(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  char text[512];
  text_of_error(js_to_uint32(env, argument[0]), text, sizeof text);
  return js_text(env, text);
}

// ---- events: from the manager's threads to JavaScript's ---------------------------------------------------------------

static napi_threadsafe_function to_js;

typedef struct Happened {
  ServiceEvent event;
  DWORD error;
} Happened;

static void tell(napi_env env, napi_value callback, void *context, void *data) {
  (void)context;
  Happened *happened = data;
  static const char *const names[] = {"start", "stop", "failed"};
  if (env) {
    napi_value values[] = {js_text(env, names[happened->event]), js_number(env, happened->error)};
    napi_call_function(env, js_undefined(env), callback, 2, values, NULL);
  }
  free(happened);
}
static void happened(ServiceEvent event, DWORD error) {
  Happened *data = malloc(sizeof *data);
  if (!data) abort();
  *data = (Happened){event, error};
  if (napi_call_threadsafe_function(to_js, data, napi_tsfn_blocking) != napi_ok) free(data);
}

// (name, callback): keeps the process alive, which ends by itself once it has reported that it stopped.
static napi_value run(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  napi_create_threadsafe_function(env, argument[1], NULL, js_text(env, "node-pcap-native.service"), 0, 1, NULL, NULL, NULL,
                                  tell, &to_js);
  wchar_t *name = js_to_utf16(env, argument[0]);
  DWORD error = service_run(name, happened);
  free(name);
  return js_number(env, error);
}

static napi_value report(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  service_report(js_to_uint32(env, argument[0]), js_to_uint32(env, argument[1]), js_to_uint32(env, argument[2]));
  return js_undefined(env);
}

void addon_system(napi_env env, napi_value exports) {
  static const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"permitted", permitted}, {"create", create}, {"remove", remove_one},
      {"start", start},         {"stop", stop},     {"privateFolder", private_folder},
      {"query", query},         {"words", words},   {"run", run},
      {"report", report},       {"lock", lock},     {"configure", configure},
      {"programs", programs},
  };
  napi_value services;
  napi_create_object(env, &services);
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function);
    js_set(env, services, functions[i].name, function);
  }
  js_set(env, exports, "services", services);
}
