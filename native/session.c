#include "session.h"

#include <stdlib.h>
#include <string.h>

// A few dozen bytes each: where they can't be had, nothing else goes on either.
static void *must(void *memory) {
  if (!memory) abort();
  return memory;
}
static char *copy(const char *text) { return must(strdup(text ? text : "")); }

static void queue_event(Session *session, Event *event) {
  event->next = NULL;
  uv_mutex_lock(&session->lock);
  *session->last_event = event;
  session->last_event = &event->next;
  if (event->kind == EVENT_END) session->ended = true;
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
  free(options->filter);
  free(options->exclusion);
}

// What the thread works with, beside the queues.
static void free_shared(Session *session) {
  session->joined = true;
  wake_close(&session->wake);
  pool_drop(session->pool);
  free_options(&session->options);
}

Session *session_open(Pool *pool, SessionOptions options, void (*notify)(void *), void *argument) {
  Session *session = calloc(1, sizeof *session);
  if (!session || !wake_open(&session->wake)) {
    free(session);
    free_options(&options);
    return NULL;
  }
  session->options = options;
  session->notify = notify;
  session->notify_argument = argument;
  session->last_event = &session->first_event;
  session->last_request = &session->first_request;
  session->waiter.wake = &session->wake;
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
  uv_mutex_unlock(&session->lock);
  return events;
}

void event_free(Event *event) {
  free(event->info.interface);
  free(event->info.description);
  free(event->info.filter);
  free(event->filter);
  free(event);
}

bool session_ask(Session *session, bool exclusion, const char *text, void *asker) {
  Request *request = must(calloc(1, sizeof *request));
  request->asker = asker;
  request->exclusion = exclusion;
  request->text = copy(text);
  uv_mutex_lock(&session->lock);
  bool ended = session->ended;
  if (!ended) {
    *session->last_request = request;
    session->last_request = &request->next;
  }
  uv_mutex_unlock(&session->lock);
  if (ended) {
    free(request->text);
    free(request);
    return false;
  }
  wake_call(&session->wake);
  return true;
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
    free(request->text);
    free(request);
  }
  uv_mutex_destroy(&session->lock);
  free(session);
}

void session_announce(Session *session, uint32_t capture, const CaptureInfo *info) {
  Event *event = new_event(EVENT_CAPTURE, capture);
  event->info = *info;
  event->info.interface = copy(info->interface);
  event->info.description = copy(info->description);
  event->info.filter = copy(info->filter);
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

void session_answer(Session *session, Request *request, const char *filter, const Failure *failure) {
  Event *event = new_event(EVENT_ANSWER, 0);
  event->asker = request->asker;
  if (failure && failure->code) {
    event->failure = *failure;
  } else {
    event->filter = copy(filter);
  }
  free(request->text);
  free(request);
  queue_and_tell(session, event);
}
