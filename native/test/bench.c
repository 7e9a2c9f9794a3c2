// bench: what 100,000 exceptions cost: time and memory to make the set, and time a packet against none. One line of JSON.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block.h"
#include "judge.h"

enum { IPV4 = 80000, IPV6 = 20000, NETWORKS = 1000, PACKETS = 65536, SIZE = 128, SLOT = 64 + SIZE, HERE = 16, ROUNDS = 40 };

static uint64_t state = 88172645463325252ull;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

// As the kernel's ring has them: where the next one is, and how long this one is, right before its bytes.
typedef struct Slot {
  uint32_t next, captured, original, seconds;
  uint8_t more[48];
  uint8_t data[SIZE];
} Slot;

// Addresses as the world has them: IPv4 all over, IPv6 in 2000::/3, few first halves.
static void address(uint8_t *into, int family) {
  uint64_t a = next(), b = next();
  memcpy(into, &a, 8);
  if (family == 4) return;
  memcpy(into + 8, &b, 8);
  static const uint8_t heads[][2] = {{0x20, 0x01}, {0x26, 0x00}, {0x2a, 0x00}, {0x24, 0x04}, {0x28, 0x03}};
  memcpy(into, heads[b % 5], 2);
}

static uint8_t *make_rules(void) {
  uint8_t *rules = calloc(IPV4 + IPV6, RULE_BYTES);
  for (uint32_t i = 0; i < IPV4 + IPV6; i++) {
    uint8_t *rule = rules + i * RULE_BYTES;
    int family = i < IPV4 ? 4 : 6;
    address(rule, family);
    if (family == 4) memset(rule + 4, 0, 12);
    rule[16] = (uint8_t)family;
    rule[17] = family == 4 ? 32 : 128;
    if (i % ((IPV4 + IPV6) / NETWORKS) == 0) rule[17] = family == 4 ? 16 + i / 100 % 13 : 32 + i / 100 % 33;
    memcpy(rule + 20, &i, 4);
  }
  return rules;
}

// What a capture sees: some hosts here (HERE), and there as many as `peers`, no two the same if that is 0. Of `hits` in a hundred
// the source is one of the rules', and `six` are IPv6.
static void make_packets(uint8_t *packets, const uint8_t *rules, uint32_t peers, uint32_t hits, uint32_t six) {
  uint8_t(*known)[2][16] = calloc(peers + 1, sizeof *known);
  for (uint32_t i = 0; i < peers; i++) address(known[i][0], 4), address(known[i][1], 6);
  memset(packets, 0, (size_t)PACKETS * SLOT);
  for (uint32_t i = 0; i < PACKETS; i++) {
    Slot *slot = (Slot *)(packets + (size_t)i * SLOT);
    *slot = (Slot){.next = SLOT, .captured = SIZE, .original = SIZE, .seconds = i};
    uint8_t *at = slot->data;
    const uint8_t *rule = rules + next() % (IPV4 + IPV6) * RULE_BYTES;
    int hit = next() % 100 < hits, family = hit ? rule[16] : next() % 100 < six ? 6 : 4;
    at[12] = family == 4 ? 0x08 : 0x86;
    at[13] = family == 4 ? 0 : 0xdd;
    at += 14;
    at[0] = family == 4 ? 0x45 : 0x60;
    at[family == 4 ? 3 : 5] = family == 4 ? SIZE - 14 : SIZE - 54;
    at[family == 4 ? 9 : 6] = 17;
    uint8_t *source = at + (family == 4 ? 12 : 8), *destination = at + (family == 4 ? 16 : 24);
    uint8_t here = (uint8_t)(next() % HERE);
    uint32_t peer = peers ? (uint32_t)(next() % peers) : 0;
    if (peers == 0) address(known[0][0], 4), address(known[0][1], 6);
    memcpy(source, hit ? rule : known[peer][family == 6], family == 4 ? 4 : 16);
    memcpy(destination, family == 4 ? (uint8_t[16]){10, 1, 2, here} : (uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = here}, family == 4 ? 4 : 16);
    uint8_t *ports = at + (family == 4 ? 20 : 40);
    memset(ports, 0, 8);
    ports[0] = 0x10, ports[2] = 1;
  }
  free(known);
}

// As the capture thread does it; the best of all rounds, ns a packet.
static double round_of(Judge *judge, const uint8_t *packets, uint8_t *memory) {
  bool judges = judge->usage[0] || judge->usage[1];
  BlockWriter writer = {0};
  double start = now();
  const Slot *slot = (const Slot *)packets;
  for (uint32_t i = 0; i < PACKETS; i++, slot = (const Slot *)((const uint8_t *)slot + slot->next)) {
    if (judges) {
      Headers headers;
      headers_find(1, slot->data, slot->captured, &headers);
      if (judge_excludes(judge, &headers, slot->seconds, slot->captured)) continue;
    }
    if (block_append(&writer, slot->seconds, slot->original, slot->captured, slot->data)) continue;
    if (writer.start) block_finish(&writer);
    block_begin(&writer, memory, 0);
    block_append(&writer, slot->seconds, slot->original, slot->captured, slot->data);
  }
  return (now() - start) / PACKETS;
}

static void measure(Judge *set, const uint8_t *packets, uint8_t *memory, double *none, double *with) {
  Judge nothing = {0};
  *none = *with = 1e9;
  for (int i = 0; i < ROUNDS; i++) { // in turn, so that what slows the machine slows both
    double time = round_of(&nothing, packets, memory);
    if (time < *none) *none = time;
    time = round_of(set, packets, memory);
    if (time < *with) *with = time;
  }
}

int main(void) {
  uint8_t *rules = make_rules(), *packets = malloc((size_t)PACKETS * SLOT), *memory = malloc(BLOCK_BYTES);
  static const Seed seed = {{0x1234567, 0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93}};
  double load = 1e18;
  Exceptions *set = NULL;
  for (int i = 0; i < 10; i++) {
    if (set) exceptions_drop(set);
    double start = now();
    if (exceptions_valid(rules, IPV4 + IPV6, IPV4 + IPV6) < IPV4 + IPV6) abort();
    set = exceptions_create(rules, IPV4 + IPV6, IPV4 + IPV6, &seed);
    if (now() - start < load) load = now() - start;
  }
  Judge judge = {.usage = {usage_create(set)}};
  printf("{\"entries\":%u,\"loadMs\":%.2f,\"MiB\":%.2f", exceptions_entries(set), load / 1e6, (double)exceptions_bytes(set) / (1 << 20));
  static const struct {
    const char *name;
    uint32_t peers, hits, six;
  } traffic[] = {{"IPv4, 1000 peers", 1000, 0, 0},
                 {"30 % IPv6, 1000 peers", 1000, 0, 30},
                 {"30 % IPv6, no peer twice", 0, 0, 30},
                 {"10000 peers, 5 % excluded", 10000, 5, 30},
                 {"no peer twice, half excluded", 0, 50, 30}};
  for (size_t i = 0; i < sizeof traffic / sizeof *traffic; i++) {
    double none, with;
    make_packets(packets, rules, traffic[i].peers, traffic[i].hits, traffic[i].six);
    measure(&judge, packets, memory, &none, &with);
    printf(",\"%s\":{\"noneNs\":%.1f,\"withNs\":%.1f,\"costNs\":%.1f}", traffic[i].name, none, with, with - none);
  }
  puts("}");
  judge_free(&judge);
  exceptions_drop(set);
  free(rules);
  free(packets);
  free(memory);
  return 0;
}
