#include "intake.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "status.h"

// Reserved by RFC 1701: no packet has this type, so a socket bound to it receives none.
enum { NO_PROTOCOL = 0xffff };

// From Linux 4.20 on; the build machine's headers may be older.
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

void intake_hold(pcap_t *handle) { pcap_set_protocol_linux(handle, NO_PROTOCOL); }

// Binds to another protocol. The kernel returns only when no processor delivers packets by the old binding any more.
static int bind_to(pcap_t *handle, uint16_t protocol) {
  struct sockaddr_ll address = {0};
  socklen_t length = sizeof address;
  if (getsockname(pcap_fileno(handle), (struct sockaddr *)&address, &length)) return errno;
  if (address.sll_family != AF_PACKET) return 0; // nflog and the like, which take no protocol
  address.sll_protocol = htons(protocol);
  if (bind(pcap_fileno(handle), (struct sockaddr *)&address, sizeof address)) return errno;
  int error = 0;
  length = sizeof error;
  getsockopt(pcap_fileno(handle), SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

// libpcap's way from one filter to the next is a third one that refuses all, while it empties the socket's queue: whatever
// comes in between is lost, and in no counter. A ring has no such queue; what is in it by then libpcap filters again. So the
// linker passes its calls to this function (--wrap=setsockopt), which refuses that third one: the kernel goes straight from
// the old filter to the new one.
// And where the kernel refuses a filter, libpcap filters itself, and prints why: unless the kernel has no filters at all, as it
// believes with ENOPROTOOPT.
int __real_setsockopt(int descriptor, int level, int name, const void *value, socklen_t length);
int __wrap_setsockopt(int descriptor, int level, int name, const void *value, socklen_t length);

int __wrap_setsockopt(int descriptor, int level, int name, const void *value, socklen_t length) {
  if (level == SOL_SOCKET && name == SO_ATTACH_FILTER) {
    const struct sock_fprog *program = value;
    if (program->len == 1 && program->filter->code == (BPF_RET | BPF_K) && program->filter->k == 0) {
      errno = EINVAL;
      return -1;
    }
  }
  int result = __real_setsockopt(descriptor, level, name, value, length);
  if (result && level == SOL_SOCKET && name == SO_ATTACH_FILTER) errno = ENOPROTOOPT;
  return result;
}

static bool kernel_filters(pcap_t *handle) {
  socklen_t instructions = 0; // that alone is asked for; one that was refused left none behind
  return getsockopt(pcap_fileno(handle), SOL_SOCKET, SO_GET_FILTER, NULL, &instructions) == 0 && instructions > 0;
}

bool intake_set_filter(Intake *intake, pcap_t *handle, struct bpf_program *program) {
  bool done = pcap_setfilter(handle, program) == 0;
  if (done) intake->kernel_refused = !kernel_filters(handle);
  return done;
}

static uint64_t interface_drops(const char *interface) {
  static const char *const counters[] = {"rx_missed_errors", "rx_fifo_errors"};
  uint64_t drops = 0;
  for (int i = 0; i < 2; i++) {
    char path[128], text[32];
    snprintf(path, sizeof path, "/sys/class/net/%s/statistics/%s", interface, counters[i]);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) continue;
    text[length] = 0;
    drops += strtoull(text, NULL, 10);
  }
  return drops;
}

bool intake_start(Intake *intake, pcap_t *handle, const char *interface, Failure *failure) {
  intake->handle = handle;
  intake->interface = interface;
  intake->last_interface_drops = interface_drops(interface);
  // The loopback interface shows each packet twice, and libpcap drops the outgoing copy. Let the kernel do that: for half
  // the work, and so that its counters are about what can be captured. Best effort.
  if (strcmp(interface, "lo") == 0)
    setsockopt(pcap_fileno(handle), SOL_PACKET, PACKET_IGNORE_OUTGOING, &(int){1}, sizeof(int));
  int error = bind_to(handle, ETH_P_ALL);
  if (error == ENETDOWN) return fail_to_activate(failure, interface, PCAP_ERROR_IFACE_NOT_UP, "");
  if (error == ENODEV) return fail_to_activate(failure, interface, PCAP_ERROR_NO_SUCH_DEVICE, "");
  if (error) return fail_to_activate(failure, interface, PCAP_ERROR, strerror(error));
  return true;
}

void intake_stop(Intake *intake) {
  // Fails when the interface is gone, and then nothing comes in any more.
  bind_to(intake->handle, NO_PROTOCOL);
}

void intake_count(Intake *intake) {
  struct tpacket_stats counts;
  socklen_t length = sizeof counts;
  // The kernel starts over at each call. Not through pcap_stats(), which reads two files as well each time.
  if (getsockopt(pcap_fileno(intake->handle), SOL_PACKET, PACKET_STATISTICS, &counts, &length) == 0) {
    intake->received += counts.tp_packets;
    intake->dropped_by_kernel += counts.tp_drops;
    return;
  }
  struct pcap_stat stat;
  if (pcap_stats(intake->handle, &stat) != 0) return;
  intake->received += (uint32_t)(stat.ps_recv - intake->last_received);
  intake->dropped_by_kernel += (uint32_t)(stat.ps_drop - intake->last_dropped);
  intake->last_received = stat.ps_recv;
  intake->last_dropped = stat.ps_drop;
}

void intake_count_interface(Intake *intake) {
  uint64_t drops = interface_drops(intake->interface);
  // Smaller when the interface is gone or its driver started over.
  if (drops > intake->last_interface_drops) intake->dropped_by_interface += drops - intake->last_interface_drops;
  intake->last_interface_drops = drops;
}
