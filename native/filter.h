// The filter that really runs: what the user asked for, without what must be left out.
#ifndef RCAP_FILTER_H
#define RCAP_FILTER_H

#include <pcap/pcap.h>
#include <stdbool.h>

#include "failure.h"

typedef struct Filter {
  char *text; // "" when nothing is filtered
  bool filters;
  struct bpf_program program; // only if it filters
} Filter;

// Compiles for `handle`, which may be live (and then must be the one that captures, since libpcap makes different code
// for it). `user` and `exclusion` may be empty. On failure `filter` is left alone.
bool filter_compile(pcap_t *handle, const char *user, const char *exclusion, Filter *filter, Failure *failure);
void filter_free(Filter *filter);

#endif
