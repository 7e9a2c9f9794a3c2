#include "filter.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool compiles(pcap_t *handle, const char *text) {
  struct bpf_program program;
  if (pcap_compile(handle, &program, text, 1, PCAP_NETMASK_UNKNOWN) != 0) return false;
  pcap_freecode(&program);
  return true;
}

// A text that doesn't compile for Ethernet either is wrong, rather than out of place on this link type.
static bool compiles_for_ethernet(const char *text) {
  pcap_t *dead = pcap_open_dead(DLT_EN10MB, 262144);
  bool does = dead && compiles(dead, text);
  if (dead) pcap_close(dead);
  return does;
}

// Behind one of these words libpcap looks for everything further on in the packet, to the end of the expression.
static bool shifts_offsets(const char *text) {
  static const char *const words[] = {"vlan", "mpls", "pppoes", "geneve", "vxlan"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    size_t length = strlen(words[i]);
    for (const char *at = text; (at = strstr(at, words[i])); at += length)
      if ((at == text || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[length])) return true;
  }
  return false;
}

static char *join(const char *user, const char *exclusion) {
  size_t size = strlen(user) + strlen(exclusion) + 24;
  char *text = malloc(size);
  if (!text) return NULL;
  if (!user[0] && !exclusion[0]) {
    text[0] = 0;
  } else if (!exclusion[0]) {
    snprintf(text, size, "%s", user);
  } else if (!user[0]) {
    snprintf(text, size, "not (%s)", exclusion);
  } else if (shifts_offsets(user)) {
    snprintf(text, size, "not (%s) and (%s)", exclusion, user);
  } else {
    snprintf(text, size, "(%s) and not (%s)", user, exclusion);
  }
  return text;
}

bool filter_compile(pcap_t *handle, const char *user, const char *exclusion, Filter *filter, Failure *failure) {
  // Each alone first: so the message is about the text that its author knows, and no bracket reaches beyond its own text.
  if (user[0] && !compiles(handle, user)) return fail(failure, CODE_FILTER, "%s", pcap_geterr(handle));
  if (exclusion[0] && !compiles(handle, exclusion)) {
    char words[PCAP_ERRBUF_SIZE];
    snprintf(words, sizeof words, "%s", pcap_geterr(handle));
    if (!compiles_for_ethernet(exclusion)) return fail(failure, CODE_FILTER, "%s", words);
    exclusion = "";
  }
  Filter made = {.text = join(user, exclusion)};
  if (!made.text) return fail(failure, CODE_FAILED, "could not compile the filter: out of memory");
  made.filters = made.text[0] != 0;
  if (made.filters && pcap_compile(handle, &made.program, made.text, 1, PCAP_NETMASK_UNKNOWN) != 0) {
    free(made.text);
    return fail(failure, CODE_FILTER, "%s", pcap_geterr(handle));
  }
  filter_free(filter);
  *filter = made;
  return true;
}

void filter_free(Filter *filter) {
  if (filter->filters) pcap_freecode(&filter->program);
  free(filter->text);
  *filter = (Filter){0};
}
