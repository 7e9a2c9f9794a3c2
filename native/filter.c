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

static const char *next_text(const char *text) { return text + strlen(text) + 1; }

// Of the texts, the one that has to be the last. False when there are two of them.
static bool find_shifting(const Texts *users, const char *exclusion, const char **shifting, Failure *failure) {
  *shifting = shifts_offsets(exclusion) ? exclusion : NULL;
  for (const char *text = users; *text; text = next_text(text)) {
    if (!shifts_offsets(text)) continue;
    if (*shifting)
      return fail(failure, CODE_FILTER,
                  "'%.200s' and '%.200s' cannot be joined: each has vlan, mpls, pppoes, geneve or vxlan, behind which all offsets "
                  "are others",
                  *shifting, text);
    *shifting = text;
  }
  return true;
}

typedef struct Joined {
  char *text;
  size_t length;
  int parts;
} Joined;

static void append(Joined *joined, const char *before, const char *text) {
  joined->length += (size_t)sprintf(joined->text + joined->length, "%s%s(%s)", joined->parts++ ? " and " : "", before, text);
}

// The users' in their order, and then what is left out; but what shifts offsets is last.
static char *join(const Texts *users, const char *exclusion, const char *shifting) {
  size_t size = strlen(exclusion) + 24;
  int count = 0;
  for (const char *text = users; *text; text = next_text(text), count++) size += strlen(text) + 8;
  Joined joined = {.text = malloc(size)};
  if (!joined.text) return NULL;
  joined.text[0] = 0;
  if (count == 1 && !exclusion[0]) return strcpy(joined.text, users);
  bool first = shifting && shifting != exclusion && exclusion[0];
  if (first) append(&joined, "not ", exclusion);
  for (const char *text = users; *text; text = next_text(text))
    if (text != shifting) append(&joined, "", text);
  if (shifting && shifting != exclusion) append(&joined, "", shifting);
  if (!first && exclusion[0]) append(&joined, "not ", exclusion);
  return joined.text;
}

bool filter_compile(pcap_t *handle, const Texts *users, const char *exclusion, Filter *filter, Failure *failure) {
  // Each alone first: so the message is about the text that its author knows, and no bracket reaches beyond its own text.
  for (const char *text = users; *text; text = next_text(text))
    if (!compiles(handle, text)) return fail(failure, CODE_FILTER, "%s", pcap_geterr(handle));
  if (exclusion[0] && !compiles(handle, exclusion)) {
    char words[PCAP_ERRBUF_SIZE];
    snprintf(words, sizeof words, "%s", pcap_geterr(handle));
    if (!compiles_for_ethernet(exclusion)) return fail(failure, CODE_FILTER, "%s", words);
    exclusion = "";
  }
  const char *shifting;
  if (!find_shifting(users, exclusion, &shifting, failure)) return false;
  Filter made = {.text = join(users, exclusion, shifting)};
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

char *filter_listing(const struct bpf_program *program) {
  enum { LINE = 260 }; // bpf_image's lines are shorter
  char *text = malloc((size_t)program->bf_len * LINE + 1);
  if (!text) return NULL;
  size_t length = 0;
  text[0] = 0;
  for (u_int i = 0; i < program->bf_len; i++)
    length += (size_t)snprintf(text + length, LINE, "%s\n", bpf_image(&program->bf_insns[i], (int)i));
  return text;
}
