#include <stdatomic.h>
#include <stdlib.h>

#include "addon.h"
#include "session.h"

// Between a session and JavaScript. All of it belongs to JavaScript's thread but for `notified` and `wakeup`.
typedef struct Bridge {
  Session *session;
  napi_env env;
  napi_threadsafe_function wakeup;
  atomic_bool notified; // a wake-up is on its way: one is enough for many events
  napi_ref on_capture, on_block, on_end;
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
  napi_ref *references[] = {&bridge->on_capture, &bridge->on_block, &bridge->on_end, &bridge->blocks};
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

static void deliver_capture(napi_env env, Bridge *bridge, const Event *event) {
  napi_value info;
  napi_create_object(env, &info);
  js_set(env, info, "linkType", js_number(env, event->info.link_type));
  js_set(env, info, "snaplen", js_number(env, event->info.snaplen));
  js_set(env, info, "interface", js_text(env, event->info.interface));
  js_set(env, info, "description", js_text(env, event->info.description));
  js_set(env, info, "filter", js_text(env, event->info.filter));
  call(env, function_of(env, bridge->on_capture), 2, (napi_value[]){js_number(env, event->capture), info});
}

static void deliver_block(napi_env env, Bridge *bridge, const Event *event) {
  napi_value arguments[] = {js_number(env, event->capture), js_number(env, event->block), js_number(env, event->length),
                            js_number(env, event->packets), js_number(env, (double)event->bytes)};
  call(env, function_of(env, bridge->on_block), 5, arguments);
}

static void deliver_answer(napi_env env, const Event *event) {
  if (event->failure.code) {
    napi_reject_deferred(env, event->asker, js_error(env, event->failure.code, event->failure.message));
  } else {
    napi_resolve_deferred(env, event->asker, js_text(env, event->filter));
  }
}

static void reject_as_ended(napi_env env, napi_deferred deferred) {
  napi_reject_deferred(env, deferred, js_error(env, CODE_FAILED, "could not set the filter: the session has ended"));
}

static void deliver_end(napi_env env, Bridge *bridge, const Event *event) {
  session_join(bridge->session);
  for (Request *request; (request = session_next_request(bridge->session));) {
    reject_as_ended(env, request->asker);
    free(request->text);
    free(request);
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

static SessionOptions options_of(napi_env env, napi_value options) {
  napi_value promiscuous;
  bool is_promiscuous = false;
  napi_get_named_property(env, options, "promiscuous", &promiscuous);
  napi_get_value_bool(env, promiscuous, &is_promiscuous);
  return (SessionOptions){
      .interface = option_text(env, options, "interface"),
      .file = option_text(env, options, "file"),
      .filter = option_text(env, options, "filter"),
      .exclusion = option_text(env, options, "exclusion"),
      .snaplen = option_number(env, options, "snaplen"),
      .promiscuous = is_promiscuous,
      .buffer_bytes = option_number(env, options, "bufferBytes"),
      .flush_ms = option_number(env, options, "flushMs"),
  };
}

napi_value addon_open(napi_env env, napi_callback_info info) {
  napi_value argument[6], handle = NULL;
  size_t count = 6;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Bridge *bridge = calloc(1, sizeof *bridge);
  if (!bridge) abort();
  bridge->env = env;
  bridge->holders = 2;
  napi_create_reference(env, argument[1], 1, &bridge->blocks);
  napi_create_reference(env, argument[3], 1, &bridge->on_capture);
  napi_create_reference(env, argument[4], 1, &bridge->on_block);
  napi_create_reference(env, argument[5], 1, &bridge->on_end);
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

napi_value addon_set_filter(napi_env env, napi_callback_info info) {
  napi_value argument[3], promise;
  size_t count = 3;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Bridge *bridge = js_to_pointer(env, argument[0]);
  bool exclusion = false;
  napi_get_value_bool(env, argument[1], &exclusion);
  char *text = js_to_text(env, argument[2]);
  napi_deferred deferred;
  napi_create_promise(env, &deferred, &promise);
  if (!session_ask(bridge->session, exclusion, text, deferred)) reject_as_ended(env, deferred);
  free(text);
  return promise;
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
  js_set(env, object, "captured", js_number(env, (double)stats.captured));
  js_set(env, object, "capturedBytes", js_number(env, (double)stats.captured_bytes));
  js_set(env, object, "cut", js_number(env, (double)stats.cut));
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
