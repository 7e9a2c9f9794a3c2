#include "session.h"

#include <stdlib.h>
#include <string.h>

// A few dozen bytes each: where they can't be had, nothing else goes on either.
static void *must(void *memory) {
  if (!memory) abort();
  return memory;
}
enum { DNS_PACKETS_MAX = 4096, DNS_BYTES_MAX = 4 << 20, DNS_PACKET_MAX = 65535 };

static char *copy(const char *text) { return must(strdup(text ? text : "")); }

static void queue_event(Session *session, Event *event) {
  event->next = NULL;
  uv_mutex_lock(&session->lock);
  *session->last_event = event;
  session->last_event = &event->next;
  if (event->kind == EVENT_END) session->ended = true;
  if (event->kind == EVENT_DNS) {
    session->dns_packets++;
    session->dns_bytes += event->length;
  }
  session->published = session->count;
  uv_mutex_unlock(&session->lock);
  session->untold++;
}

void session_tell(Session *session) {
  if (session->untold == 0) return;
  session->untold = 0;
  session->notify(session->notify_argument);
}

static void queue_and_tell(Session *session, Event *event) {
  queue_event(session, event);
  session_tell(session);
}

static Event *new_event(EventKind kind, uint32_t capture) {
  Event *event = must(calloc(1, sizeof *event));
  event->kind = kind;
  event->capture = capture;
  return event;
}

static void run(void *argument) {
  Session *session = argument;
  Event *end = new_event(EVENT_END, 0);
  if (session->options.file) {
    session_run_file(session, &end->failure);
  } else {
    session_run_live(session, &end->failure);
  }
  pool_leave(session->pool, &session->waiter);
  queue_and_tell(session, end);
}

static void free_options(SessionOptions *options) {
  free(options->interface);
  free(options->file);
  free(options->filters);
  free(options->exclusion);
  for (int set = 0; set < JUDGE_SETS; set++) usage_drop(options->usage[set]);
}

// What the thread works with, beside the queues.
static void free_shared(Session *session) {
  session->joined = true;
  wake_close(&session->wake);
  pool_drop(session->pool);
  free_options(&session->options);
  judge_free(&session->judge);
}

Session *session_open(Pool *pool, SessionOptions options, void (*notify)(void *), void *argument) {
  Session *session = calloc(1, sizeof *session);
  if (!session || !wake_open(&session->wake)) {
    free(session);
    free_options(&options);
    return NULL;
  }
  session->options = options;
  session->dns = options.dns;
  session->notify = notify;
  session->notify_argument = argument;
  session->last_event = &session->first_event;
  session->last_request = &session->first_request;
  session->waiter.wake = &session->wake;
  session->judge.seed = options.seed;
  for (int set = 0; set < JUDGE_SETS; set++) {
    if (!options.usage[set]) continue;
    session->usage[set] = usage_hold(options.usage[set]);
    session->judge.usage[set] = usage_hold(options.usage[set]);
  }
  session->pool = pool_hold(pool);
  uv_mutex_init(&session->lock);
  if (uv_thread_create(&session->thread, run, session)) {
    free_shared(session);
    session_free(session);
    return NULL;
  }
  return session;
}

void session_stop(Session *session, StopMode mode) {
  if (session->joined) return;
  int was = atomic_load(&session->stop);
  while (was < (int)mode && !atomic_compare_exchange_weak(&session->stop, &was, (int)mode)) continue;
  wake_call(&session->wake);
}

Event *session_take_events(Session *session) {
  uv_mutex_lock(&session->lock);
  Event *events = session->first_event;
  session->first_event = NULL;
  session->last_event = &session->first_event;
  session->dns_packets = session->dns_bytes = 0;
  uv_mutex_unlock(&session->lock);
  return events;
}

void event_free(Event *event) {
  free(event->info.interface);
  free(event->info.description);
  free(event->info.installed.filter);
  free(event->dns);
  if (event->request) request_free(event->request);
  free(event);
}

void request_free(Request *request) {
  for (int set = 0; set < JUDGE_SETS; set++) usage_drop(request->usage[set]);
  free(request->texts);
  free(request->installed.filter);
  free(request);
}

bool session_ask(Session *session, Request *request) {
  uv_mutex_lock(&session->lock);
  bool ended = session->ended;
  if (!ended) {
    *session->last_request = request;
    session->last_request = &request->next;
  }
  uv_mutex_unlock(&session->lock);
  if (ended) {
    request_free(request);
    return false;
  }
  wake_call(&session->wake);
  return true;
}

void session_set_dns(Session *session, bool dns) { atomic_store(&session->dns, dns); }

void session_go_on(Session *session) {
  if (session->joined) return;
  atomic_fetch_add(&session->gone_on, 1);
  wake_call(&session->wake);
}

Usage *session_usage(Session *session, int set) {
  uv_mutex_lock(&session->lock);
  Usage *usage = session->usage[set] ? usage_hold(session->usage[set]) : NULL;
  uv_mutex_unlock(&session->lock);
  return usage;
}

SessionStats session_stats(Session *session) {
  uv_mutex_lock(&session->lock);
  SessionStats stats = session->published;
  uv_mutex_unlock(&session->lock);
  return stats;
}

void session_join(Session *session) {
  if (session->joined) return;
  uv_thread_join(&session->thread);
  free_shared(session);
}

void session_free(Session *session) {
  for (Event *event = session->first_event; event;) {
    Event *next = event->next;
    event_free(event);
    event = next;
  }
  for (Request *request; (request = session_next_request(session));) {
    request_free(request);
  }
  for (int set = 0; set < JUDGE_SETS; set++) usage_drop(session->usage[set]);
  uv_mutex_destroy(&session->lock);
  free(session);
}

void session_announce(Session *session, uint32_t capture, const CaptureInfo *info) {
  Event *event = new_event(EVENT_CAPTURE, capture);
  event->info = *info;
  event->info.interface = copy(info->interface);
  event->info.description = copy(info->description);
  event->info.installed.filter = copy(info->installed.filter);
  queue_and_tell(session, event);
}

bool session_take_block(Session *session, BlockWriter *writer) {
  int64_t block = pool_take(session->pool, &session->waiter);
  if (block < 0) {
    session_tell(session); // else nobody would give one back
    uint64_t now = uv_hrtime();
    if (session->starved_since) session->count.starved_ns += now - session->starved_since;
    session->starved_since = now;
    return false;
  }
  if (session->starved_since) session->count.starved_ns += uv_hrtime() - session->starved_since;
  session->starved_since = 0;
  block_begin(writer, pool_memory(session->pool, (uint32_t)block), (uint32_t)block);
  return true;
}

void session_queue_block(Session *session, BlockWriter *writer, uint32_t capture) {
  // A block is taken only for a packet that is at hand, so one without packets is no block at all.
  if (!writer->start || writer->packets == 0) return;
  Event *event = new_event(EVENT_BLOCK, capture);
  event->block = writer->index;
  event->packets = writer->packets;
  event->bytes = writer->bytes;
  event->length = block_finish(writer);
  pool_hand_over(session->pool, event->block);
  queue_event(session, event);
}

void session_hand_over(Session *session, BlockWriter *writer, uint32_t capture) {
  session_queue_block(session, writer, capture);
  session_tell(session);
}

void session_publish(Session *session) {
  uv_mutex_lock(&session->lock);
  session->published = session->count;
  uv_mutex_unlock(&session->lock);
}

Request *session_next_request(Session *session) {
  uv_mutex_lock(&session->lock);
  Request *request = session->first_request;
  if (request) {
    session->first_request = request->next;
    if (!session->first_request) session->last_request = &session->first_request;
  }
  uv_mutex_unlock(&session->lock);
  return request;
}

void session_answer(Session *session, Request *request, const Failure *failure) {
  Event *event = new_event(EVENT_ANSWER, 0);
  event->request = request;
  event->failure = *failure;
  queue_and_tell(session, event);
}

void session_replace_exceptions(Session *session, Request *request) {
  for (int set = 0; set < JUDGE_SETS; set++) {
    Usage *next = request->usage[set], *now = session->judge.usage[set];
    request->usage[set] = NULL;
    if (next && now && next->set == now->set) { // it goes on counting
      usage_drop(next);
      continue;
    }
    usage_drop(judge_replace(&session->judge, set, next));
    uv_mutex_lock(&session->lock);
    request->usage[set] = session->usage[set];
    session->usage[set] = next ? usage_hold(next) : NULL;
    uv_mutex_unlock(&session->lock);
  }
}

static void queue_dns(Session *session, const Headers *headers) {
  const uint8_t *start = headers->header[headers->count - 1].start;
  size_t length = (size_t)(headers->end - start);
  if (length > DNS_PACKET_MAX) length = DNS_PACKET_MAX;
  uv_mutex_lock(&session->lock);
  bool fits = session->dns_packets < DNS_PACKETS_MAX && session->dns_bytes + length <= DNS_BYTES_MAX;
  uv_mutex_unlock(&session->lock);
  if (!fits) {
    session->count.dns_dropped++;
    return;
  }
  Event *event = new_event(EVENT_DNS, 0);
  event->length = (uint32_t)length;
  event->dns = must(malloc(length));
  memcpy(event->dns, start, length);
  session->dns_said++;
  queue_event(session, event);
}

bool session_leaves_out(Session *session, uint32_t link_type, const uint8_t *data, uint32_t length, uint32_t kept,
                        uint64_t timestamp_ns) {
  Judge *judge = &session->judge;
  bool dns = atomic_load_explicit(&session->dns, memory_order_relaxed);
  if (!judge->usage[0] && !judge->usage[1] && !dns) return false;
  Headers headers;
  headers_find(link_type, data, length, &headers);
  // Not from within a tunnel: who sends one writes what they like into it.
  if (headers.dns && headers.count == 1 && dns) queue_dns(session, &headers);
  if (!judge_excludes(judge, &headers, timestamp_ns, kept)) return false;
  session->count.excluded++;
  session->count.excluded_bytes += kept;
  return true;
}
