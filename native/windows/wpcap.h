// wpcap.dll, which Npcap brings: found at run time, so that the agent also starts where there is none.
#ifndef RCAP_WPCAP_H
#define RCAP_WPCAP_H

#include <pcap/pcap.h>

// Its handle, which isn't our libpcap's pcap_t.
typedef struct WpcapHandle WpcapHandle;

typedef struct Wpcap {
  // Must be there.
  const char *(*lib_version)(void);
  int (*findalldevs)(pcap_if_t **, char *);
  void (*freealldevs)(pcap_if_t *);
  WpcapHandle *(*create)(const char *, char *);
  int (*set_snaplen)(WpcapHandle *, int);
  int (*set_promisc)(WpcapHandle *, int);
  int (*set_timeout)(WpcapHandle *, int);
  int (*set_buffer_size)(WpcapHandle *, int);
  int (*activate)(WpcapHandle *);
  int (*setnonblock)(WpcapHandle *, int, char *);
  int (*setfilter)(WpcapHandle *, struct bpf_program *);
  int (*datalink)(WpcapHandle *);
  int (*snapshot)(WpcapHandle *);
  int (*next_ex)(WpcapHandle *, struct pcap_pkthdr **, const u_char **);
  int (*stats)(WpcapHandle *, struct pcap_stat *);
  char *(*geterr)(WpcapHandle *);
  void (*close)(WpcapHandle *);
  // May be there; NULL unless the library is Npcap or WinPcap. (Wine's has some that end the process when called.)
  int (*init)(unsigned int, char *);
  struct pcap_stat *(*stats_ex)(WpcapHandle *, int *);
} Wpcap;

// Loads it once; NULL when there is none that can be used, and then `wpcap_trouble` says why.
const Wpcap *wpcap_load(void);
const char *wpcap_trouble(void);

#endif
