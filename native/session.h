// One capture of an interface or a file, on a thread of its own. What it finds goes into a queue of events, in order; who
// reads them (addon_session.c) is told by `notify`.
#ifndef RCAP_SESSION_H
#define RCAP_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "block.h"
#include "pool.h"
#include "failure.h"
#include "judge.h"
#include "texts.h"
#include "wake.h"

typedef struct SessionOptions {
  char *interface; // exactly one of these two
  char *file;
  Texts *filters; // never NULL, as the next one
  char *exclusion;
  int snaplen;
  bool promiscuous;
  int buffer_bytes;
  int flush_ms;
  bool dns;                 // hand over packets of DNS, at first
  Usage *usage[JUDGE_SETS]; // NULL: none
  Seed seed;
} SessionOptions;

typedef struct SessionStats {
  uint64_t received, dropped_by_kernel, dropped_by_interface, filtered, excluded, excluded_bytes, captured, captured_bytes, cut,
      dns_dropped, starved_ns;
} SessionStats;

// What filters now.
typedef struct Installed {
  char *filter;
  bool in_kernel;
  uint32_t instructions;
} Installed;

typedef struct CaptureInfo {
  uint32_t link_type;
  uint32_t snaplen;
  char *interface;
  char *description;
  Installed installed;
} CaptureInfo;

typedef enum EventKind { EVENT_CAPTURE, EVENT_BLOCK, EVENT_DNS, EVENT_ANSWER, EVENT_END } EventKind;

typedef enum Ask { ASK_FILTER, ASK_EXCLUSION, ASK_EXCEPTIONS, ASK_SNAPLEN } Ask;

// A question, and then its answer.
typedef struct Request {
  struct Request *next;
  void *asker;
  Ask ask;
  Texts *texts;             // filter or exclusion
  int snaplen;
  Usage *usage[JUDGE_SETS]; // exceptions; in the answer those that were replaced
  Installed installed;      // answer to filter or exclusion
} Request;

typedef struct Event {
  struct Event *next;
  EventKind kind;
  uint32_t capture;
  CaptureInfo info;                        // EVENT_CAPTURE
  uint32_t block, length, packets;         // EVENT_BLOCK
  uint64_t bytes;                          // EVENT_BLOCK
  uint8_t *dns;                            // EVENT_DNS: `length` bytes
  Request *request;                        // EVENT_ANSWER
  Failure failure;                         // EVENT_ANSWER, EVENT_END
} Event;

typedef enum StopMode { STOP_NOT, STOP_DRAIN, STOP_NOW } StopMode;

typedef struct Session {
  SessionOptions options;
  Pool *pool;
  Wake wake;
  uv_thread_t thread;
  void (*notify)(void *);
  void *notify_argument;
  atomic_int stop; // a StopMode, which only grows
  atomic_bool dns; // hand over packets of DNS
  atomic_uint gone_on; // packets of DNS that the reader of a file need not wait for
  bool joined;     // the owner's

  uv_mutex_t lock; // guards these
  Event *first_event, **last_event;
  Request *first_request, **last_request;
  bool ended;
  SessionStats published;
  Usage *usage[JUDGE_SETS];         // as the capture thread uses them
  uint32_t dns_packets, dns_bytes;  // queued

  // The capture thread's own.
  SessionStats count;
  Judge judge;
  uint32_t dns_said; // packets of DNS that were queued
  PoolWaiter waiter;
  uint64_t starved_since; // 0: isn't starved
  uint32_t untold;        // events that were queued since `notify` was called
} Session;

// ---- for whoever owns the session (one thread) ----

// Takes over the strings in `options`, also when it fails (NULL). `notify` is called from the capture thread after events
// were queued (blocks may be gathered first); it must not call back.
Session *session_open(Pool *pool, SessionOptions options, void (*notify)(void *), void *argument);
void session_stop(Session *session, StopMode mode);
// All events so far, oldest first; the caller frees each with event_free.
Event *session_take_events(Session *session);
void event_free(Event *event);
void request_free(Request *request);
// Takes over the request. False when the session has ended; else one EVENT_ANSWER follows.
bool session_ask(Session *session, Request *request);
// One more packet of DNS has been dealt with: the reader of a file may go on behind it.
// From any packet on.
void session_set_dns(Session *session, bool dns);
void session_go_on(Session *session);
// What the sets in use left out: NULL or the caller's to drop.
Usage *session_usage(Session *session, int set);
SessionStats session_stats(Session *session);
// Waits for the thread, which ends by itself right after EVENT_END, and frees what only it needed. Once is enough.
void session_join(Session *session);
// The thread must have been joined.
void session_free(Session *session);

// ---- for the capture thread: session_live.c and session_file.c ----

void session_run_live(Session *session, Failure *failure);
void session_run_file(Session *session, Failure *failure);

// `text` values are copied.
void session_announce(Session *session, uint32_t capture, const CaptureInfo *info);
// Gives the writer a fresh block; false when the pool is empty. The wake is called once it is worth trying again.
bool session_take_block(Session *session, BlockWriter *writer);
// Queues what the writer has; does nothing if that is no packet. Whoever reads the events learns of it by the next
// session_tell, with the next event of another kind, or when the pool is empty.
void session_queue_block(Session *session, BlockWriter *writer, uint32_t capture);
void session_tell(Session *session);
// Both at once.
void session_hand_over(Session *session, BlockWriter *writer, uint32_t capture);
// Makes `count` what stats() says.
void session_publish(Session *session);
// The oldest request or NULL. Each must be answered; `failure` may be empty.
Request *session_next_request(Session *session);
void session_answer(Session *session, Request *request, const Failure *failure);
// Does what a request for other exceptions asks for.
void session_replace_exceptions(Session *session, Request *request);
// Whether the packet, of which `length` bytes were captured and `kept` would be kept, is left out; and hands over DNS.
bool session_leaves_out(Session *session, uint32_t link_type, const uint8_t *data, uint32_t length, uint32_t kept,
                        uint64_t timestamp_ns);
static inline StopMode session_stop_mode(Session *session) {
  return (StopMode)atomic_load_explicit(&session->stop, memory_order_relaxed);
}

#endif
