// BPF devices, for a compiler that has no macOS SDK: as much of its <net/bpf.h> as libpcap and intake.c use. Structures and
// numbers are the kernel's interface. On a Mac the SDK's own is used.
#ifndef RCAP_NET_BPF_H
#define RCAP_NET_BPF_H

#include <stdint.h>
#include <sys/ioccom.h>
#include <sys/time.h>
#include <sys/types.h>
// Programs and link types: libpcap's, which leaves these out where <net/bpf.h> has them.
#include <pcap/bpf.h>

struct bpf_stat {
  unsigned int bs_recv;
  unsigned int bs_drop;
};
struct bpf_version {
  unsigned short bv_major;
  unsigned short bv_minor;
};
struct bpf_hdr {
  struct {
    int32_t tv_sec;
    int32_t tv_usec;
  } bh_tstamp;
  uint32_t bh_caplen;
  uint32_t bh_datalen;
  unsigned short bh_hdrlen;
};
struct bpf_dltlist {
  uint32_t bfl_len;
  union {
    uint32_t *bflu_list;
    uint64_t bflu_pad;
  } bfl_u;
};
#define bfl_list bfl_u.bflu_list

#define BPF_MAJOR_VERSION 1
#define BPF_MINOR_VERSION 1

#define BIOCGBLEN _IOR('B', 102, unsigned int)
#define BIOCSBLEN _IOWR('B', 102, unsigned int)
#define BIOCSETF _IOW('B', 103, struct bpf_program)
#define BIOCPROMISC _IO('B', 105)
#define BIOCGDLT _IOR('B', 106, unsigned int)
#define BIOCSETIF _IOW('B', 108, struct ifreq)
#define BIOCSRTIMEOUT _IOW('B', 109, struct timeval)
#define BIOCGSTATS _IOR('B', 111, struct bpf_stat)
#define BIOCIMMEDIATE _IOW('B', 112, unsigned int)
#define BIOCVERSION _IOR('B', 113, struct bpf_version)
#define BIOCSHDRCMPLT _IOW('B', 117, unsigned int)
#define BIOCSSEESENT _IOW('B', 119, unsigned int)
#define BIOCSDLT _IOW('B', 120, unsigned int)
#define BIOCGDLTLIST _IOWR('B', 121, struct bpf_dltlist)
#define BIOCSETFNR _IOW('B', 126, struct bpf_program)

#endif
