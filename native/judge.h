// Which packets a capture leaves out: those with an address of the exceptions, and the fragments that belong to such a
// packet. Belongs to one capture thread. Nothing of libpcap, libuv or Node in here.
#ifndef RCAP_JUDGE_H
#define RCAP_JUDGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "exceptions.h"
#include "headers.h"

enum {
  JUDGE_SETS = 2,              // given and learned, looked up in this order
  FRAGMENTS_MAX = 4096,        // excluded packets whose fragments are still awaited
  FRAGMENT_SECONDS = 30,       // and for how long, as Linux does
};

// A set in use, and what it left out.
typedef struct Usage {
  atomic_uint holders;
  Exceptions *set;
  struct UsageCount {
    _Atomic uint64_t packets, bytes; // one thread writes, others may read
  } count[];                         // by name
} Usage;

// Holds the set. NULL when there is no memory.
Usage *usage_create(Exceptions *set);
Usage *usage_hold(Usage *usage);
void usage_drop(Usage *usage); // NULL is nothing

typedef struct Fragments Fragments;

typedef struct Judge {
  Usage *usage[JUDGE_SETS]; // NULL: none
  Fragments *fragments;     // made when the first is remembered
  Seed seed;
} Judge;

// Whether the packet is to be left out; then it is counted with so many bytes. `now_ns` is the packet's time.
bool judge_excludes(Judge *judge, const Headers *headers, uint64_t now_ns, uint32_t bytes);
// Takes over the usage in place of another, which is the caller's then. Fragments of packets that were left out by that
// one are captured from now on.
Usage *judge_replace(Judge *judge, int set, Usage *usage);
void judge_free(Judge *judge);

#endif
