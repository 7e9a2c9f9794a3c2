// Compiles filters without a capture. libpcap may look names up, so not on JavaScript's thread.
#include <pcap/pcap.h>
#include <stdlib.h>

#include "addon.h"
#include "filter.h"
#include "link_type.h"

typedef struct Compilation {
  napi_async_work work;
  napi_deferred deferred;
  Texts *texts;
  char *exclusion;
  uint32_t link_type, snaplen;
  Filter filter;
  uint32_t instructions;
  char *listing;
  Failure failure;
} Compilation;

static bool list(Compilation *compilation, pcap_t *handle) {
  struct bpf_program all, *program = &compilation->filter.program;
  if (!compilation->filter.filters) {
    if (pcap_compile(handle, &all, "", 1, PCAP_NETMASK_UNKNOWN) != 0)
      return fail(&compilation->failure, CODE_FILTER, "%s", pcap_geterr(handle));
    program = &all;
  }
  compilation->instructions = program->bf_len;
  compilation->listing = filter_listing(program);
  if (program == &all) pcap_freecode(&all);
  return compilation->listing || fail(&compilation->failure, CODE_FAILED, "could not compile the filter: out of memory");
}

static void work(napi_env env, void *data) {
  (void)env;
  Compilation *compilation = data;
  pcap_t *handle = pcap_open_dead(link_type_to_dlt(compilation->link_type), (int)compilation->snaplen);
  if (!handle) {
    fail(&compilation->failure, CODE_FAILED, "could not compile the filter: out of memory");
    return;
  }
  if (filter_compile(handle, compilation->texts, compilation->exclusion, &compilation->filter, &compilation->failure))
    list(compilation, handle);
  pcap_close(handle);
}

static napi_value program_of(napi_env env, const Compilation *compilation) {
  napi_value object;
  napi_create_object(env, &object);
  js_set(env, object, "filter", js_text(env, compilation->filter.text));
  js_set(env, object, "instructions", js_number(env, compilation->instructions));
  js_set(env, object, "listing", js_text(env, compilation->listing));
  return object;
}

static void done(napi_env env, napi_status status, void *data) {
  Compilation *compilation = data;
  if (status != napi_ok) fail(&compilation->failure, CODE_FAILED, "could not compile the filter: cancelled");
  if (compilation->failure.code) {
    napi_value error = js_error(env, compilation->failure.code, compilation->failure.message);
    napi_reject_deferred(env, compilation->deferred, error);
  } else {
    napi_resolve_deferred(env, compilation->deferred, program_of(env, compilation));
  }
  napi_delete_async_work(env, compilation->work);
  filter_free(&compilation->filter);
  free(compilation->texts);
  free(compilation->exclusion);
  free(compilation->listing);
  free(compilation);
}

napi_value addon_compile(napi_env env, napi_callback_info info) {
  napi_value argument[4], promise;
  size_t count = 4;
  napi_get_cb_info(env, info, &count, argument, NULL, NULL);
  Compilation *compilation = calloc(1, sizeof *compilation);
  if (!compilation) abort();
  compilation->texts = js_to_texts(env, argument[0]);
  compilation->link_type = js_to_uint32(env, argument[1]);
  compilation->snaplen = js_to_uint32(env, argument[2]);
  compilation->exclusion = js_to_text(env, argument[3]);
  napi_create_promise(env, &compilation->deferred, &promise);
  napi_create_async_work(env, NULL, js_text(env, "node-pcap-native.compile"), work, done, compilation, &compilation->work);
  napi_queue_async_work(env, compilation->work);
  return promise;
}
