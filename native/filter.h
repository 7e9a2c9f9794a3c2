// The filter that really runs: what the users asked for, without what must be left out.
#ifndef RCAP_FILTER_H
#define RCAP_FILTER_H

#include <pcap/pcap.h>
#include <stdbool.h>

#include "failure.h"
#include "texts.h"

typedef struct Filter {
  char *text; // "" when nothing is filtered
  bool filters;
  struct bpf_program program; // only if it filters
} Filter;

// Compiles for `handle`, which may be live (and then must be the one that captures, since libpcap makes different code
// for it). All of `users` have to match, `exclusion` must not; both may be empty. On failure `filter` is left alone.
bool filter_compile(pcap_t *handle, const Texts *users, const char *exclusion, Filter *filter, Failure *failure);
void filter_free(Filter *filter);
// The program in tcpdump -d's form, a line each; NULL when there is no memory.
char *filter_listing(const struct bpf_program *program);

#endif
