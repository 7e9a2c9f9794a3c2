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
    if (event->kind == EVENT_DNS) session_go_on(running->session);
    if (event->kind == EVENT_END) running->ended = 1;
    event_free(event);
  }
}

// 10.0.0.1 and fe80::/10.
static Usage *some_addresses(void) {
  static const Seed seed = {{1, 0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 5}};
  uint8_t rules[2 * RULE_BYTES] = {10, 0, 0, 1};
  rules[16] = 4, rules[17] = 32;
  rules[24] = 0xfe, rules[25] = 0x80, rules[24 + 16] = 6, rules[24 + 17] = 10;
  Exceptions *set = exceptions_create(rules, 2, 1, &seed);
  Usage *usage = usage_create(set);
  exceptions_drop(set);
  return usage;
}

static void ask(Session *session, int number) {
  Request *request = calloc(1, sizeof *request);
  request->ask = (Ask)(number % 4);
  if (request->ask == ASK_FILTER) request->texts = texts_copy(number % 3 ? "udp\0" : "no such\0");
  if (request->ask == ASK_EXCLUSION) request->texts = strdup(number % 3 ? "" : "tcp");
  if (request->ask == ASK_EXCEPTIONS && number % 3) request->usage[number % 2] = some_addresses();
  request->snaplen = 40;
  session_ask(session, request);
}

static void begin(Running *running, Pool *pool, const char *interface, const char *file, int number) {
  memset(running, 0, sizeof *running);
  sem_init(&running->wakeups, 0, 0);
  SessionOptions options = {.interface = interface ? strdup(interface) : NULL,
                            .file = file ? strdup(file) : NULL,
                            .filters = texts_copy(number % 3 ? "\0" : number % 2 ? "udp\0" : "udp\0ip\0"),
                            .exclusion = strdup(number % 5 ? "" : "tcp port 9000"),
                            .snaplen = MAX_SNAPLEN,
                            .buffer_bytes = 1 << 20,
                            .flush_ms = number % 2 ? 1 : 50,
                            .dns = number % 4 == 1};
  if (number % 2) options.usage[number % 3 == 0] = some_addresses();
  running->session = session_open(pool, options, notify, running);
  if (!running->session) abort();
}

static void end(Running *running, Pool *pool, int number) {
  for (int i = 0; i < 5; i++) ask(running->session, number + i);
  if (number % 3 == 0) session_stop(running->session, number % 2 ? STOP_NOW : STOP_DRAIN);
  while (!running->ended) {
    sem_wait(&running->wakeups);
    session_stats(running->session);
    deliver(running, pool, number % 7 == 0);
  }
  session_join(running->session);
  ask(running->session, number);
  session_stop(running->session, STOP_NOW);
  if (running->packets != session_stats(running->session).captured) abort();
  for (Request *request; (request = session_next_request(running->session));) request_free(request);
  uint64_t excluded = 0;
  for (int set = 0; set < JUDGE_SETS; set++) {
    Usage *usage = session_usage(running->session, set);
    if (usage) excluded += usage->count[0].packets;
    usage_drop(usage);
  }
  if (excluded > session_stats(running->session).excluded) abort();
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
