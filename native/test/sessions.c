// sessions FILE…: sessions over one pool without Node, for the sanitizers: all the files, again and again, side by side,
// with filters, stops and starvation; and a capture on lo, if that is allowed.
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

enum { BLOCKS = 3, AT_ONCE = 8, ROUNDS = 40 };

typedef struct Running {
  Session *session;
  sem_t wakeups;
  unsigned long packets;
  int ended;
} Running;

static void notify(void *data) { sem_post(&((Running *)data)->wakeups); }

static void deliver(Running *running, Pool *pool, int hold) {
  for (Event *event = session_take_events(running->session), *next; event; event = next) {
    next = event->next;
    if (event->kind == EVENT_BLOCK) {
      running->packets += event->packets;
      if (hold) usleep(50);
      if (!pool_release(pool, event->block)) abort();
    }
    if (event->kind == EVENT_END) running->ended = 1;
    event_free(event);
  }
}

static void begin(Running *running, Pool *pool, const char *interface, const char *file, int number) {
  memset(running, 0, sizeof *running);
  sem_init(&running->wakeups, 0, 0);
  SessionOptions options = {.interface = interface ? strdup(interface) : NULL,
                            .file = file ? strdup(file) : NULL,
                            .filter = strdup(number % 3 ? "" : "udp"),
                            .exclusion = strdup(number % 5 ? "" : "tcp port 9000"),
                            .snaplen = MAX_SNAPLEN,
                            .buffer_bytes = 1 << 20,
                            .flush_ms = number % 2 ? 1 : 50};
  running->session = session_open(pool, options, notify, running);
  if (!running->session) abort();
}

static void end(Running *running, Pool *pool, int number) {
  int asker;
  session_ask(running->session, number % 2, number % 4 ? "udp" : "no such", &asker);
  if (number % 3 == 0) session_stop(running->session, number % 2 ? STOP_NOW : STOP_DRAIN);
  while (!running->ended) {
    sem_wait(&running->wakeups);
    session_stats(running->session);
    deliver(running, pool, number % 7 == 0);
  }
  session_join(running->session);
  session_ask(running->session, 0, "udp", &asker);
  session_stop(running->session, STOP_NOW);
  if (running->packets != session_stats(running->session).captured) abort();
  for (Request *request; (request = session_next_request(running->session));) {
    free(request->text);
    free(request);
  }
  session_free(running->session);
  sem_destroy(&running->wakeups);
}

int main(int count, char **names) {
  uint8_t *memory[BLOCKS];
  for (int i = 0; i < BLOCKS; i++) memory[i] = malloc(BLOCK_BYTES);
  Pool *pool = pool_create(BLOCKS, memory);
  Running running[AT_ONCE];
  unsigned long packets = 0;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < AT_ONCE; i++) {
      int number = round * AT_ONCE + i;
      int live = geteuid() == 0 && i == AT_ONCE - 1;
      begin(&running[i], pool, live ? "lo" : NULL, live ? NULL : names[1 + number % (count - 1)], number);
      if (live) session_stop(running[i].session, STOP_DRAIN);
    }
    // All are served in turn: one of them alone must not wait for blocks that another's queue holds.
    for (int i = 0, left = AT_ONCE; left > 0; i = (i + 1) % AT_ONCE) {
      if (!running[i].session) continue;
      deliver(&running[i], pool, 0);
      if (!running[i].ended) {
        usleep(100);
        continue;
      }
      packets += running[i].packets;
      end(&running[i], pool, round + i);
      running[i].session = NULL;
      left--;
    }
    // And some that are stopped on the way.
    begin(&running[0], pool, NULL, names[1 + round % (count - 1)], round);
    end(&running[0], pool, round);
  }
  if (pool_free_blocks(pool) != BLOCKS) abort();
  pool_drop(pool);
  for (int i = 0; i < BLOCKS; i++) free(memory[i]);
  printf("%lu packets\n", packets);
  return 0;
}
