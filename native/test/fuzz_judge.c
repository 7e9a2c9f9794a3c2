// libFuzzer target: whatever the packets are, nothing outside them is read, and what is left out has a reason. The first byte
// says which link type; then packets, each behind a byte with its length.
#include <stdlib.h>
#include <string.h>

#include "judge.h"

static void must(int holds) {
  if (!holds) abort();
}

static const uint32_t link_types[] = {0, 108, 1, 12, 101, 228, 229, 113, 276, 9, 50, 51, 147};
enum { LINK_TYPES = sizeof link_types / sizeof *link_types, NAMES = 3 };

// So that the fuzzer finds addresses that hit: all that begin with a certain bit, and a few more.
static Exceptions *create(uint8_t first, uint8_t prefix) {
  static const Seed seed = {{7, 0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 11}};
  uint8_t rules[6 * RULE_BYTES] = {0};
  for (int i = 0; i < 6; i++) {
    uint8_t *rule = rules + i * RULE_BYTES, family = i % 2 ? 6 : 4;
    rule[0] = first;
    rule[16] = family;
    rule[17] = i < 2 ? prefix : i < 4 ? 31 + (uint8_t)i : family == 6 ? 128 : 32;
    if (rule[17] > 32 && family == 4) rule[17] = 32;
    rule[20] = (uint8_t)(i / 2);
  }
  must(exceptions_valid(rules, 6, NAMES) == 6);
  Exceptions *set = exceptions_create(rules, 6, NAMES, &seed);
  must(set != NULL);
  return set;
}

static void check_headers(const Headers *headers, const uint8_t *data, uint32_t length) {
  must(headers->count <= HEADERS_MAX && (!headers->dns || headers->count > 0));
  const uint8_t *before = data;
  for (uint32_t i = 0; i < headers->count; i++) {
    const Header *header = &headers->header[i];
    uint32_t size = header->family == 6 ? 40 : 20;
    must(header->start >= before && header->start + size <= data + length);
    must(header->addresses == header->start + (header->family == 6 ? 8 : 12) && header->start[0] >> 4 == header->family);
    must(header->fragment != FRAGMENT_LATER || i == headers->count - 1);
    before = header->start + size;
  }
  if (headers->dns) must(headers->end >= before && headers->end <= data + length);
}

static int has_reason(const Judge *judge, const Headers *headers) {
  for (uint32_t i = 0; i < headers->count; i++) {
    const Header *header = &headers->header[i];
    if (header->fragment == FRAGMENT_LATER) return 1; // by its first
    for (int set = 0; set < JUDGE_SETS; set++)
      for (int at = 0; at < 2; at++)
        if (exceptions_find(judge->usage[set]->set, header->family, header->addresses + at * (header->family == 6 ? 16 : 4)) != NO_NAME)
          return 1;
  }
  return 0;
}

static uint64_t counted(const Judge *judge) {
  uint64_t packets = 0;
  for (int set = 0; set < JUDGE_SETS; set++)
    for (int name = 0; name < NAMES; name++) packets += judge->usage[set]->count[name].packets;
  return packets;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static Exceptions *sets[JUDGE_SETS];
  if (!sets[0]) sets[0] = create(0x0a, 8), sets[1] = create(0xc0, 3);
  if (size < 1) return 0;
  uint32_t link_type = link_types[data[0] % LINK_TYPES];
  Judge judge = {.usage = {usage_create(sets[0]), usage_create(sets[1])}, .seed = {{1, 2, 3, 4, 5}}};
  uint64_t packets = 0, now_ns = 0;
  for (const uint8_t *at = data + 1, *end = data + size; at < end;) {
    uint32_t length = *at++;
    if (length == 255) length = (uint32_t)(end - at); // and long ones
    if (length > (size_t)(end - at)) length = (uint32_t)(end - at);
    uint8_t *packet = malloc(length); // exactly as long, so that the sanitizer sees a byte too far
    if (length) memcpy(packet, at, length);
    at += length;
    Headers headers;
    headers_find(link_type, packet, length, &headers);
    check_headers(&headers, packet, length);
    bool excluded = judge_excludes(&judge, &headers, now_ns += 1000000000, length);
    must(!excluded || has_reason(&judge, &headers));
    packets += excluded;
    must(counted(&judge) == packets);
    free(packet);
  }
  judge_free(&judge);
  return 0;
}
