#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "addon.h"
#include "session.h"

// Between a session and JavaScript. All of it belongs to JavaScript's thread but for `notified` and `wakeup`.
typedef struct Bridge {
  Session *session;
  napi_env env;
  napi_threadsafe_function wakeup;
  atomic_bool notified; // a wake-up is on its way: one is enough for many events
  napi_ref on_capture, on_block, on_dns, on_end;
  napi_ref blocks; // keeps the pool's memory alive as long as the thread may write there
  Event *events;   // taken from the session, not yet delivered
  bool hooked;
  int holders; // the handle that JavaScript has, and `wakeup`
} Bridge;

static void drop(Bridge *bridge) {
  if (--bridge->holders > 0) return;
  while (bridge->events) {
    Event *next = bridge->events->next;
    event_free(bridge->events);
    bridge->events = next;
  }
  if (bridge->session) session_free(bridge->session);
  free(bridge);
}

// The environment ends with the session still running (worker.terminate(), process.exit() in a worker).
static void on_environment_exit(void *data) {
  Bridge *bridge = data;
  bridge->hooked = false;
  session_stop(bridge->session, STOP_NOW);
  session_join(bridge->session);
}

// From the capture thread.
static void notify(void *data) {
  Bridge *bridge = data;
  if (!atomic_exchange(&bridge->notified, true))
    napi_call_threadsafe_function(bridge->wakeup, NULL, napi_tsfn_nonblocking);
}

static void delete_references(Bridge *bridge) {
  napi_ref *references[] = {&bridge->on_capture, &bridge->on_block, &bridge->on_dns, &bridge->on_end, &bridge->blocks};
  for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
    if (*references[i]) napi_delete_reference(bridge->env, *references[i]);
    *references[i] = NULL;
  }
}

static void on_wakeup_gone(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  Bridge *bridge = data;
  delete_references(bridge);
  drop(bridge);
}

static void on_handle_gone(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  drop(data);
}

// ---- events, to JavaScript --------------------------------------------------------------------------------------------

static void call(napi_env env, napi_value function, size_t count, const napi_value *arguments) {
  napi_value result, error;
  if (napi_call_function(env, js_undefined(env), function, count, arguments, &result) == napi_ok) return;
  bool thrown = false;
  napi_is_exception_pending(env, &thrown);
  if (!thrown) return; // the environment is ending
  // As if thrown in a timer: 'uncaughtException', and the end unless somebody listens. Node-API alone would only warn.
  napi_get_and_clear_last_exception(env, &error);
  napi_fatal_exception(env, error);
}

static napi_value function_of(napi_env env, napi_ref reference) {
  napi_value function = NULL;
  napi_get_reference_value(env, reference, &function);
  return function;
}

static void set_installed(napi_env env, napi_value object, const Installed *installed) {
  js_set(env, object, "filter", js_text(env, installed->filter));
  js_set(env, object, "inKernel", js_boolean(env, installed->in_kernel));
  js_set(env, object, "instructions", js_number(env, installed->instructions));
}

static void deliver_capture(napi_env env, Bridge *bridge, const Event *event) {
  napi_value info;
  napi_create_object(env, &info);
  js_set(env, info, "linkType", js_number(env, event->info.link_type));
  js_set(env, info, "snaplen", js_number(env, event->info.snaplen));
  js_set(env, info, "interface", js_text(env, event->info.interface));
  js_set(env, info, "description", js_text(env, event->info.description));
  set_installed(env, info, &event->info.installed);
  call(env, function_of(env, bridge->on_capture), 2, (napi_value[]){js_number(env, event->capture), info});
}

static void deliver_block(napi_env env, Bridge *bridge, const Event *event) {
  napi_value arguments[] = {js_number(env, event->capture), js_number(env, event->block), js_number(env, event->length),
                            js_number(env, event->packets), js_number(env, (double)event->bytes)};
  call(env, function_of(env, bridge->on_block), 5, arguments);
}

static void deliver_dns(napi_env env, Bridge *bridge, const Event *event) {
  void *memory;
  napi_value buffer, packet;
  napi_create_arraybuffer(env, event->length, &memory, &buffer);
  memcpy(memory, event->dns, event->length);
  napi_create_typedarray(env, napi_uint8_array, event->length, buffer, 0, &packet);
  call(env, function_of(env, bridge->on_dns), 1, &packet);
}

// [packets, bytes] of each name.
static napi_value counts_of(napi_env env, const Usage *usage) {
  uint32_t names = exceptions_names(usage->set);
  double *numbers;
  napi_value buffer, array;
  napi_create_arraybuffer(env, (size_t)names * 2 * sizeof *numbers, (void **)&numbers, &buffer);
  for (uint32_t i = 0; i < names; i++) {
    numbers[2 * i] = (double)atomic_load_explicit(&usage->count[i].packets, memory_order_relaxed);
    numbers[2 * i + 1] = (double)atomic_load_explicit(&usage->count[i].bytes, memory_order_relaxed);
  }
  napi_create_typedarray(env, napi_float64_array, (size_t)names * 2, buffer, 0, &array);
  return array;
}

static napi_value replaced(napi_env env, Usage *const usage[JUDGE_SETS]) {
  static const char *const names[JUDGE_SETS] = {"exceptions", "learned"};
  napi_value object;
  napi_create_object(env, &object);
  for (int set = 0; set < JUDGE_SETS; set++)
    if (usage[set]) js_set(env, object, names[set], counts_of(env, usage[set]));
  return object;
}

static napi_value answer_of(napi_env env, const Request *request) {
  if (request->ask == ASK_SNAPLEN) return js_undefined(env);
  if (request->ask == ASK_EXCEPTIONS) return replaced(env, request->usage);
  napi_value object;
  napi_create_object(env, &object);
  set_installed(env, object, &request->installed);
  return object;
}

static void deliver_answer(napi_env env, const Event *event) {
  const Request *request = event->request;
  if (event->failure.code) {
    napi_reject_deferred(env, request->asker, js_error(env, event->failure.code, event->failure.message));
  } else {
    napi_resolve_deferred(env, request->asker, answer_of(env, request));
  }
}

static void reject_as_ended(napi_env env, napi_deferred deferred) {
  napi_reject_deferred(env, deferred, js_error(env, CODE_FAILED, "could not change the capture: the session has ended"));
}

static void deliver_end(napi_env env, Bridge *bridge, const Event *event) {
  session_join(bridge->session);
  for (Request *request; (request = session_next_request(bridge->session));) {
    reject_as_ended(env, request->asker);
    request_free(request);
  }
  if (bridge->hooked) napi_remove_env_cleanup_hook(env, on_environment_exit, bridge);
  bridge->hooked = false;
  napi_value on_end = function_of(env, bridge->on_end);
  delete_references(bridge);
  napi_release_threadsafe_function(bridge->wakeup, napi_tsfn_release);
  napi_value error = event->failure.code ? js_error(env, event->failure.code, event->failure.message) : NULL;
  call(env, on_end, error ? 1 : 0, &error);
}

static void deliver(napi_env env, napi_value unused, void *context, void *data) {
  (void)unused, (void)data;
  if (!env) return; // too late: the environment is ending
  Bridge *bridge = context;
  atomic_store(&bridge->notified, false); // before the events are taken: what comes now is not to be missed
  // Only what there is now, so that a session as fast as JavaScript leaves others their turn.
  bridge->events = session_take_events(bridge->session);
  while (bridge->events) {
    Event *event = bridge->events;
    bridge->events = event->next;
    napi_handle_scope scope;
    napi_open_handle_scope(env, &scope);
    switch (event->kind) {
    case EVENT_CAPTURE: deliver_capture(env, bridge, event); break;
    case EVENT_BLOCK: deliver_block(env, bridge, event); break;
    case EVENT_DNS: deliver_dns(env, bridge, event); break;
    case EVENT_ANSWER: deliver_answer(env, event); break;
    case EVENT_END: deliver_end(env, bridge, event); break;
    }
    napi_close_handle_scope(env, scope);
    event_free(event);
  }
}

// ---- calls, from JavaScript -------------------------------------------------------------------------------------------

static char *option_text(napi_env env, napi_value options, const char *name) {
  napi_value value;
  napi_valuetype type;
  if (napi_get_named_property(env, options, name, &value) != napi_ok) return NULL;
  napi_typeof(env, value, &type);
  return type == napi_string ? js_to_text(env, value) : NULL;
}

static int option_number(napi_env env, napi_value options, const char *name) {
  napi_value value;
  napi_get_named_property(env, options, name, &value);
  return (int)js_to_uint32(env, value);
}

static bool option_flag(napi_env env, napi_value options, const char *name) {
  napi_value value;
  bool is = false;
  napi_get_named_property(env, options, name, &value);
  napi_get_value_bool(env, value, &is);
  return is;
}

static Texts *option_texts(napi_env env, napi_value options, const char *name) {
  napi_value value;
  napi_get_named_property(env, options, name, &value);
  return js_to_texts(env, value);
}

// The set of an external, in use by nobody yet; NULL for anything else.
static Usage *usage_of(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  if (type != napi_external) return NULL;
  Usage *usage = usage_create(js_to_pointer(env, value));
  if (!usage) abort();
  return usage;
}

static Usage *option_usage(napi_env env, napi_value options, const char *name) {
  napi_value value;
  napi_get_named_property(env, options, name, &value);
  return usage_of(env, value);
}

static Seed random_seed(void) {
  Seed seed;
  if (uv_random(NULL, NULL, &seed, sizeof seed, 0, NULL)) abort();
  return seed;
}

static SessionOptions options_of(napi_env env, napi_value options) {
  return (SessionOptions){
      .interface = option_text(env, options, "interface"),
      .file = option_text(env, options, "file"),
      .filters = option_texts(env, options, "filter"),
      .exclusion = option_text(env, options, "exclusion"),
      .snaplen = option_number(env, options, "snaplen"),
      .promiscuous = option_flag(env, options, "promiscuous"),
      .buffer_bytes = option_number(env, options, "bufferBytes"),
      .flush_ms = option_number(env, options, "flushMs"),
      .dns = option_flag(env, options, "dns"),
      .usage = {option_usage(env, options, "exceptions"), option_usage(env, options, "learned")},
      .seed = random_seed(),
  };
}

napi_value addon_open(napi_env env, napi_callback_info info) {
  napi_value argument[7], handle = NULL;
  size_t count = 7;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Bridge *bridge = calloc(1, sizeof *bridge);
  if (!bridge) abort();
  bridge->env = env;
  bridge->holders = 2;
  napi_create_reference(env, argument[1], 1, &bridge->blocks);
  napi_create_reference(env, argument[3], 1, &bridge->on_capture);
  napi_create_reference(env, argument[4], 1, &bridge->on_block);
  napi_create_reference(env, argument[5], 1, &bridge->on_dns);
  napi_create_reference(env, argument[6], 1, &bridge->on_end);
  napi_create_threadsafe_function(env, NULL, NULL, js_text(env, "node-pcap-native.session"), 0, 1, bridge,
                                  on_wakeup_gone, bridge, deliver, &bridge->wakeup);
  napi_create_external(env, bridge, on_handle_gone, NULL, &handle);
  // Hooks run last in, first out: this one joins the thread, and only then may the wake-up that it calls go away.
  napi_add_env_cleanup_hook(env, on_environment_exit, bridge);
  bridge->hooked = true;
  bridge->session = session_open(js_to_pointer(env, argument[0]), options_of(env, argument[2]), notify, bridge);
  if (!bridge->session) {
    napi_remove_env_cleanup_hook(env, on_environment_exit, bridge);
    napi_release_threadsafe_function(bridge->wakeup, napi_tsfn_release);
    napi_throw(env, js_error(env, CODE_FAILED, "could not start a capture thread"));
    return NULL;
  }
  return handle;
}

static Request *new_request(Ask ask) {
  Request *request = calloc(1, sizeof *request);
  if (!request) abort();
  request->ask = ask;
  return request;
}

// The promise of an answer.
static napi_value ask(napi_env env, napi_value handle, Request *request) {
  napi_value promise;
  napi_deferred deferred;
  napi_create_promise(env, &deferred, &promise);
  request->asker = deferred;
  if (!session_ask(((Bridge *)js_to_pointer(env, handle))->session, request)) reject_as_ended(env, deferred);
  return promise;
}

napi_value addon_set_filter(napi_env env, napi_callback_info info) {
  napi_value argument[2];
  size_t count = 2;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Request *request = new_request(ASK_FILTER);
  request->texts = js_to_texts(env, argument[1]);
  return ask(env, argument[0], request);
}

napi_value addon_set_exclusion(napi_env env, napi_callback_info info) {
  napi_value argument[2];
  size_t count = 2;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Request *request = new_request(ASK_EXCLUSION);
  request->texts = js_to_text(env, argument[1]);
  return ask(env, argument[0], request);
}

napi_value addon_set_exceptions(napi_env env, napi_callback_info info) {
  napi_value argument[3];
  size_t count = 3;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Request *request = new_request(ASK_EXCEPTIONS);
  for (int set = 0; set < JUDGE_SETS; set++) request->usage[set] = usage_of(env, argument[1 + set]);
  return ask(env, argument[0], request);
}

napi_value addon_set_snaplen(napi_env env, napi_callback_info info) {
  napi_value argument[2];
  size_t count = 2;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Request *request = new_request(ASK_SNAPLEN);
  request->snaplen = (int)js_to_uint32(env, argument[1]);
  return ask(env, argument[0], request);
}

napi_value addon_excluded_by(napi_env env, napi_callback_info info) {
  napi_value argument[1];
  size_t count = 1;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Session *session = ((Bridge *)js_to_pointer(env, argument[0]))->session;
  Usage *usage[JUDGE_SETS];
  for (int set = 0; set < JUDGE_SETS; set++) usage[set] = session_usage(session, set);
  napi_value object = replaced(env, usage);
  for (int set = 0; set < JUDGE_SETS; set++) usage_drop(usage[set]);
  return object;
}

napi_value addon_set_dns(napi_env env, napi_callback_info info) {
  napi_value argument[2];
  size_t count = 2;
  bool dns = false;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  napi_get_value_bool(env, argument[1], &dns);
  session_set_dns(((Bridge *)js_to_pointer(env, argument[0]))->session, dns);
  return js_undefined(env);
}

napi_value addon_go_on(napi_env env, napi_callback_info info) {
  napi_value argument[1];
  size_t count = 1;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  session_go_on(((Bridge *)js_to_pointer(env, argument[0]))->session);
  return js_undefined(env);
}

napi_value addon_stats(napi_env env, napi_callback_info info) {
  napi_value argument[1], object;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  SessionStats stats = session_stats(((Bridge *)js_to_pointer(env, argument[0]))->session);
  napi_create_object(env, &object);
  js_set(env, object, "received", js_number(env, (double)stats.received));
  js_set(env, object, "droppedByKernel", js_number(env, (double)stats.dropped_by_kernel));
  js_set(env, object, "droppedByInterface", js_number(env, (double)stats.dropped_by_interface));
  js_set(env, object, "filtered", js_number(env, (double)stats.filtered));
  js_set(env, object, "excluded", js_number(env, (double)stats.excluded));
  js_set(env, object, "excludedBytes", js_number(env, (double)stats.excluded_bytes));
  js_set(env, object, "captured", js_number(env, (double)stats.captured));
  js_set(env, object, "capturedBytes", js_number(env, (double)stats.captured_bytes));
  js_set(env, object, "cut", js_number(env, (double)stats.cut));
  js_set(env, object, "dnsDropped", js_number(env, (double)stats.dns_dropped));
  js_set(env, object, "starvedNs", js_number(env, (double)stats.starved_ns));
  return object;
}

napi_value addon_stop(napi_env env, napi_callback_info info) {
  napi_value argument[2];
  size_t count = 2;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  bool drain = true;
  napi_get_value_bool(env, argument[1], &drain);
  session_stop(((Bridge *)js_to_pointer(env, argument[0]))->session, drain ? STOP_DRAIN : STOP_NOW);
  return js_undefined(env);
}
