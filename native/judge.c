#include "judge.h"

#include <stdlib.h>
#include <string.h>

enum { WAYS = 4, BUCKETS = FRAGMENTS_MAX / WAYS };

// A packet in fragments that is left out by what only its first fragment shows.
typedef struct Fragment {
  uint8_t addresses[32];
  uint32_t id;
  uint8_t family, protocol; // family 0: nothing is here
  uint8_t set;
  uint32_t name;
  uint64_t seen_ns;
} Fragment;

struct Fragments {
  Fragment fragment[FRAGMENTS_MAX]; // WAYS for each value of the hash
};

typedef struct Reason {
  uint8_t set;
  uint32_t name; // NO_NAME: there is none
} Reason;

// ---- sets in use ------------------------------------------------------------------------------------------------------

Usage *usage_create(Exceptions *set) {
  Usage *usage = calloc(1, sizeof *usage + sizeof *usage->count * exceptions_names(set));
  if (!usage) return NULL;
  usage->holders = 1;
  usage->set = exceptions_hold(set);
  return usage;
}

Usage *usage_hold(Usage *usage) {
  atomic_fetch_add(&usage->holders, 1);
  return usage;
}

void usage_drop(Usage *usage) {
  if (!usage || atomic_fetch_sub(&usage->holders, 1) != 1) return;
  exceptions_drop(usage->set);
  free(usage);
}

// No other thread writes, so this need not be one step.
static void add(_Atomic uint64_t *counter, uint64_t more) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

// ---- fragments --------------------------------------------------------------------------------------------------------

static Fragment *bucket_of(Judge *judge, const Header *header) {
  uint32_t word[8] = {0}; // the packet need not be aligned
  memcpy(word, header->addresses, header->family == 6 ? 32 : 8);
  uint32_t low = seed_hash(&judge->seed, word[0], word[1], word[2], word[3]);
  uint32_t high = seed_hash(&judge->seed, word[4], word[5], word[6], word[7]);
  uint32_t hash = seed_hash(&judge->seed, low, high, header->id, header->protocol);
  return &judge->fragments->fragment[hash % BUCKETS * WAYS];
}

static bool is_of(const Fragment *fragment, const Header *header) {
  return fragment->family == header->family && fragment->id == header->id && fragment->protocol == header->protocol &&
         memcmp(fragment->addresses, header->addresses, header->family == 6 ? 32 : 8) == 0;
}

static Fragment *find(Judge *judge, const Header *header) {
  if (!judge->fragments) return NULL;
  Fragment *bucket = bucket_of(judge, header);
  for (int i = 0; i < WAYS; i++)
    if (is_of(&bucket[i], header)) return &bucket[i];
  return NULL;
}

// The place of a new one: free, or else the one that was seen least recently.
static Fragment *room(Judge *judge, const Header *header) {
  Fragment *bucket = bucket_of(judge, header), *oldest = bucket;
  for (int i = 0; i < WAYS; i++) {
    if (!bucket[i].family) return &bucket[i];
    if (bucket[i].seen_ns < oldest->seen_ns) oldest = &bucket[i];
  }
  return oldest;
}

static void remember(Judge *judge, const Header *header, Reason reason, uint64_t now_ns) {
  if (!judge->fragments && !(judge->fragments = calloc(1, sizeof *judge->fragments))) return;
  Fragment *fragment = find(judge, header);
  if (!fragment) fragment = room(judge, header);
  *fragment = (Fragment){.id = header->id,
                         .family = header->family,
                         .protocol = header->protocol,
                         .set = reason.set,
                         .name = reason.name,
                         .seen_ns = now_ns};
  memcpy(fragment->addresses, header->addresses, header->family == 6 ? 32 : 8);
}

static Reason recall(Judge *judge, const Header *header, uint64_t now_ns) {
  Fragment *fragment = find(judge, header);
  // Packets of several processors, or of a file, need not be in order.
  uint64_t age_ns = !fragment ? 0 : now_ns > fragment->seen_ns ? now_ns - fragment->seen_ns : fragment->seen_ns - now_ns;
  if (!fragment || age_ns > FRAGMENT_SECONDS * 1000000000ull) return (Reason){.name = NO_NAME};
  return (Reason){fragment->set, fragment->name};
}

// ---- packets ----------------------------------------------------------------------------------------------------------

static inline Reason reason_of(const Judge *judge, const Header *header) {
  uint32_t size = header->family == 6 ? 16 : 4;
  for (uint32_t at = 0; at <= size; at += size) {
    for (uint8_t set = 0; set < JUDGE_SETS; set++) {
      if (!judge->usage[set]) continue;
      uint32_t name = exceptions_find(judge->usage[set]->set, header->family, header->addresses + at);
      if (name != NO_NAME) return (Reason){set, name};
    }
  }
  return (Reason){.name = NO_NAME};
}

// What the first `inside` headers are the first fragments of is left out by this reason, or is not.
static void note_firsts(Judge *judge, const Headers *headers, uint32_t inside, Reason reason, uint64_t now_ns) {
  for (uint32_t i = 0; i < inside; i++) {
    const Header *header = &headers->header[i];
    if (header->fragment != FRAGMENT_FIRST) continue;
    if (reason.name != NO_NAME) {
      remember(judge, header, reason, now_ns);
    } else {
      Fragment *old = find(judge, header); // numbers are used again
      if (old) old->family = 0;
    }
  }
}

// False for nearly all packets that stay: they are in no set, and no fragments.
static inline bool may_exclude(const Judge *judge, const Headers *headers) {
  unsigned may = 0;
  for (uint32_t i = 0; i < headers->count; i++) {
    const Header *header = &headers->header[i];
    may |= header->fragment != FRAGMENT_NONE;
    for (int set = 0; set < JUDGE_SETS; set++) {
      if (!judge->usage[set]) continue;
      const Exceptions *exceptions = judge->usage[set]->set;
      const uint8_t *source = header->addresses;
      if (header->family == 4) { // one branch, and none in what is called
        may |= exceptions_may_have(exceptions, 4, source) | exceptions_may_have(exceptions, 4, source + 4);
      } else {
        may |= exceptions_may_have(exceptions, 6, source) | exceptions_may_have(exceptions, 6, source + 16);
      }
    }
  }
  return may;
}

bool judge_excludes(Judge *judge, const Headers *headers, uint64_t now_ns, uint32_t bytes) {
  if (!may_exclude(judge, headers)) return false;
  Reason reason = {.name = NO_NAME};
  uint32_t at = 0;
  bool is_fragment = false;
  for (; at < headers->count; at++) {
    const Header *header = &headers->header[at];
    is_fragment |= header->fragment != FRAGMENT_NONE;
    reason = reason_of(judge, header);
    if (reason.name == NO_NAME && header->fragment == FRAGMENT_LATER) reason = recall(judge, header, now_ns);
    if (reason.name != NO_NAME) break;
  }
  if (is_fragment) note_firsts(judge, headers, at, reason, now_ns);
  if (reason.name == NO_NAME) return false;
  struct UsageCount *count = &judge->usage[reason.set]->count[reason.name];
  add(&count->packets, 1);
  add(&count->bytes, bytes);
  return true;
}

Usage *judge_replace(Judge *judge, int set, Usage *usage) {
  Usage *old = judge->usage[set];
  judge->usage[set] = usage;
  if (judge->fragments) {
    Fragment *all = judge->fragments->fragment;
    for (int i = 0; i < FRAGMENTS_MAX; i++)
      if (all[i].set == set) all[i].family = 0;
  }
  return old;
}

void judge_free(Judge *judge) {
  for (int set = 0; set < JUDGE_SETS; set++) usage_drop(judge->usage[set]);
  free(judge->fragments);
  *judge = (Judge){0};
}
