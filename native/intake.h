// What the kernel does for a live capture beyond libpcap's functions. Each system has its own in its folder.
#ifndef RCAP_INTAKE_H
#define RCAP_INTAKE_H

#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdint.h>

#include "failure.h"

typedef struct Intake {
  pcap_t *handle;
  const char *interface;
  // Since the capture began. What passed the filter, with what was then dropped; what the ring had no room for; what the
  // interface had no room for.
  uint64_t received;
  uint64_t dropped_by_kernel;
  uint64_t dropped_by_interface;
  // To make 64 bits of counters that wrap or start over.
  uint32_t last_received;
  uint32_t last_dropped;
  uint64_t last_interface_drops;
  // Left at zero where they don't apply: the kernel's buffer, if it isn't as large as was asked for; libpcap filters, not
  // the kernel, because that refused the program (`kernel_refused` is Linux'); it receives no more.
  int buffer_bytes;
  bool in_user_space, kernel_refused, stopped;
} Intake;

// Between pcap_create() and pcap_activate(): the handle will receive nothing until intake_start. So no packet is in the
// ring, or counted, that no filter has seen.
void intake_hold(pcap_t *handle);
// Installs a filter; also while packets come, and then none is lost by it. On failure pcap_geterr() has the words.
bool intake_set_filter(Intake *intake, pcap_t *handle, struct bpf_program *program);
// Lets the packets in.
bool intake_start(Intake *intake, pcap_t *handle, const char *interface, Failure *failure);
// Receives no more. Returns when the last packet is in the ring, from where it can still be read.
void intake_stop(Intake *intake);
void intake_count(Intake *intake);
// Costs several system calls, so once a second is enough.
void intake_count_interface(Intake *intake);

#endif
