#include "exceptions.h"

#include <stdlib.h>
#include <string.h>

typedef struct Network {
  Key start;
  uint32_t name, order;
  uint8_t prefix;
} Network;

static inline bool is_before(Key a, Key b) { return a.high < b.high || (a.high == b.high && a.low < b.low); }
static inline bool is_same(Key a, Key b) { return a.high == b.high && a.low == b.low; }
static Key mask_of(uint8_t prefix) {
  return (Key){prefix == 0 ? 0 : prefix >= 64 ? ~0ull : ~0ull << (64 - prefix),
               prefix <= 64 ? 0 : prefix == 128 ? ~0ull : ~0ull << (128 - prefix)};
}
static Key first_of(const Network *network) {
  Key mask = mask_of(network->prefix);
  return (Key){network->start.high & mask.high, network->start.low & mask.low};
}
static Key last_of(const Network *network) {
  Key mask = mask_of(network->prefix);
  return (Key){network->start.high | ~mask.high, network->start.low | ~mask.low};
}

static uint32_t power_of_two(uint64_t at_least) {
  uint64_t power = 1;
  while (power < at_least) power *= 2;
  return (uint32_t)power;
}

// ---- finding ----------------------------------------------------------------------------------------------------------

static uint32_t find_host(const Family *family, uint32_t hash, Key key) {
  for (uint32_t slot = hash & family->slot_mask;; slot = (slot + 1) & family->slot_mask) {
    const Host *host = &family->hosts[slot];
    if (host->name == NO_NAME || is_same(host->key, key)) return host->name;
  }
}

static uint32_t find_network(const Family *family, Key key) {
  uint32_t low = family->index[first_16(key)], high = family->index[first_16(key) + 1];
  while (low < high) { // the last one that starts at the key or before
    uint32_t middle = low + (high - low + 1) / 2;
    if (is_before(key, family->intervals[middle].start)) {
      high = middle - 1;
    } else {
      low = middle;
    }
  }
  return family->intervals[low].name;
}

uint32_t exceptions_find(const Exceptions *set, uint8_t number, const uint8_t *address) {
  const Family *family = &set->family[number == 6];
  Key key = key_of(number, address);
  if (family->hosts) {
    uint32_t name = find_host(family, hash_of(&set->seed, key), key);
    if (name != NO_NAME) return name;
  }
  return family->intervals ? find_network(family, key) : NO_NAME;
}

// ---- making -----------------------------------------------------------------------------------------------------------

static bool make(Exceptions *set, void *into, size_t count, size_t size) {
  void *memory = calloc(count, size);
  memcpy(into, &memory, sizeof memory);
  set->bytes += count * size;
  return memory;
}

static uint8_t longest(uint8_t family) { return family == 6 ? 128 : 32; }
static uint32_t name_of(const uint8_t *rule) {
  return (uint32_t)rule[20] | (uint32_t)rule[21] << 8 | (uint32_t)rule[22] << 16 | (uint32_t)rule[23] << 24;
}

uint32_t exceptions_valid(const uint8_t *rules, uint32_t count, uint32_t names) {
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *rule = rules + (size_t)i * RULE_BYTES;
    bool is = (rule[16] == 4 || rule[16] == 6) && rule[17] <= longest(rule[16]) && !rule[18] && !rule[19];
    if (!is || name_of(rule) >= names) return i;
  }
  return count;
}

static void put_host(Exceptions *set, Family *family, Key key, uint32_t name) {
  uint32_t hash = hash_of(&set->seed, key);
  uint32_t slot = hash & family->slot_mask;
  while (family->hosts[slot].name != NO_NAME) {
    if (is_same(family->hosts[slot].key, key)) return; // the first counts
    slot = (slot + 1) & family->slot_mask;
  }
  family->hosts[slot] = (Host){key, name};
  family->host_bits[word_of(hash, family->host_mask)] |= two_bits(hash);
  set->entries++;
}

static bool make_hosts(Exceptions *set, Family *family, uint32_t count) {
  family->host_mask = power_of_two((uint64_t)count / 4 + 1) - 1;
  if (!make(set, &family->host_bits, (size_t)family->host_mask + 1, sizeof *family->host_bits)) return false;
  if (count == 0) return true;
  family->slot_mask = power_of_two((uint64_t)count * 2) - 1;
  if (!make(set, &family->hosts, (size_t)family->slot_mask + 1, sizeof *family->hosts)) return false;
  for (uint32_t i = 0; i <= family->slot_mask; i++) family->hosts[i].name = NO_NAME;
  return true;
}

// In the order of where they start, the widest first, of two of the same the one that was given first.
static int compare(const void *left, const void *right) {
  const Network *a = left, *b = right;
  if (!is_same(a->start, b->start)) return is_before(a->start, b->start) ? -1 : 1;
  if (a->prefix != b->prefix) return a->prefix < b->prefix ? -1 : 1;
  return a->order < b->order ? -1 : 1;
}

// One network lies in another or beside it, so those that are open are a stack.
typedef struct Sweep {
  Interval *intervals;
  uint32_t count;
  const Network *open[128];
  uint32_t depth;
} Sweep;

static void begin_interval(Sweep *sweep, Key start, uint32_t name) {
  if (sweep->count > 0 && is_same(sweep->intervals[sweep->count - 1].start, start)) sweep->count--;
  sweep->intervals[sweep->count++] = (Interval){start, name};
}

static void close_network(Sweep *sweep) {
  Key next = last_of(sweep->open[--sweep->depth]);
  if (++next.low == 0 && ++next.high == 0) return; // it was the last address
  begin_interval(sweep, next, sweep->depth ? sweep->open[sweep->depth - 1]->name : NO_NAME);
}

static void close_before(Sweep *sweep, Key start) {
  while (sweep->depth > 0 && is_before(last_of(sweep->open[sweep->depth - 1]), start)) close_network(sweep);
}

static void mark(const Exceptions *set, Family *family, const Network *network) {
  if (network->prefix < 32) {
    for (uint32_t i = first_16(network->start); i <= first_16(last_of(network)); i++)
      family->wide_bits[i / 64] |= 1ull << (i % 64);
  } else {
    uint32_t hash = hash_of_32(&set->seed, network->start);
    family->narrow_bits[word_of(hash, family->narrow_mask)] |= two_bits(hash);
  }
}

static void sweep_networks(Exceptions *set, Family *family, const Network *networks, uint32_t count, Sweep *sweep) {
  begin_interval(sweep, (Key){0, 0}, NO_NAME);
  for (uint32_t i = 0; i < count; i++) {
    const Network *network = &networks[i];
    if (i > 0 && network->prefix == networks[i - 1].prefix && is_same(network->start, networks[i - 1].start)) continue;
    close_before(sweep, network->start);
    begin_interval(sweep, network->start, network->name);
    sweep->open[sweep->depth++] = network;
    mark(set, family, network);
    set->entries++;
  }
  while (sweep->depth > 0) close_network(sweep);
}

static void make_index(Family *family, uint32_t count) {
  uint32_t last = 0;
  for (uint32_t i = 0; i < 65536; i++) {
    while (last + 1 < count && !is_before((Key){(uint64_t)i << 48, 0}, family->intervals[last + 1].start)) last++;
    family->index[i] = last;
  }
  family->index[65536] = count - 1;
}

static bool make_networks(Exceptions *set, Family *family, Network *networks, uint32_t count, uint32_t narrow) {
  family->narrow_mask = power_of_two((uint64_t)narrow / 4 + 1) - 1;
  if (!make(set, &family->wide_bits, 65536 / 64, sizeof *family->wide_bits)) return false;
  if (!make(set, &family->narrow_bits, (size_t)family->narrow_mask + 1, sizeof *family->narrow_bits)) return false;
  if (count == 0) return true;
  qsort(networks, count, sizeof *networks, compare);
  size_t most = (size_t)count * 2 + 1;
  if (!make(set, &family->intervals, most, sizeof *family->intervals)) return false;
  if (!make(set, &family->index, 65537, sizeof *family->index)) return false;
  Sweep sweep = {.intervals = family->intervals};
  sweep_networks(set, family, networks, count, &sweep);
  make_index(family, sweep.count);
  return true;
}

static bool make_family(Exceptions *set, uint8_t number, const uint8_t *rules, uint32_t count) {
  Family *family = &set->family[number == 6];
  uint32_t hosts = 0, others = 0, narrow = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *rule = rules + (size_t)i * RULE_BYTES;
    if (rule[16] != number) continue;
    if (rule[17] == longest(number)) {
      hosts++;
    } else {
      others++;
      narrow += rule[17] >= 32;
    }
  }
  Network *networks = others ? calloc(others, sizeof *networks) : NULL;
  if ((others && !networks) || !make_hosts(set, family, hosts)) {
    free(networks);
    return false;
  }
  uint32_t at = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *rule = rules + (size_t)i * RULE_BYTES;
    if (rule[16] != number) continue;
    Key key = key_of(number, rule);
    if (rule[17] == longest(number)) {
      put_host(set, family, key, name_of(rule));
      continue;
    }
    Network *network = &networks[at];
    *network = (Network){.start = key, .name = name_of(rule), .order = at, .prefix = rule[17]};
    network->start = first_of(network);
    at++;
  }
  bool made = make_networks(set, family, networks, others, narrow);
  free(networks);
  return made;
}

Exceptions *exceptions_create(const uint8_t *rules, uint32_t count, uint32_t names, const Seed *seed) {
  Exceptions *set = calloc(1, sizeof *set);
  if (!set) return NULL;
  set->holders = 1;
  set->seed = *seed;
  set->names = names;
  set->bytes = sizeof *set;
  if (make_family(set, 4, rules, count) && make_family(set, 6, rules, count)) return set;
  exceptions_drop(set);
  return NULL;
}

Exceptions *exceptions_hold(Exceptions *set) {
  atomic_fetch_add(&set->holders, 1);
  return set;
}

void exceptions_drop(Exceptions *set) {
  if (atomic_fetch_sub(&set->holders, 1) != 1) return;
  for (int i = 0; i < 2; i++) {
    Family *family = &set->family[i];
    free(family->host_bits);
    free(family->hosts);
    free(family->wide_bits);
    free(family->narrow_bits);
    free(family->intervals);
    free(family->index);
  }
  free(set);
}

uint32_t exceptions_names(const Exceptions *set) { return set->names; }
uint32_t exceptions_entries(const Exceptions *set) { return set->entries; }
size_t exceptions_bytes(const Exceptions *set) { return set->bytes; }
