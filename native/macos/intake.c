// BPF devices. Each has two buffers of intake->buffer_bytes: the kernel fills one while we read the other.
// The system's header goes first: libpcap's has the same structures, sees that, and leaves them out.
#include <net/bpf.h>

#include "intake.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_var.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

// What the kernel takes; longer programs libpcap runs itself.
enum { KERNEL_INSTRUCTIONS = 512 };

void intake_hold(pcap_t *handle) {
  // Not needed: installing the first filter (BIOCSETF) empties the buffers and sets the counters to zero.
  (void)handle;
}

// Replaces the kernel's filter and leaves what is in the buffers, and the counters, alone: pcap_setfilter would lose them.
static bool replace_filter(pcap_t *handle, struct bpf_program *program) {
  return ioctl(pcap_fileno(handle), BIOCSETFNR, program) == 0;
}

bool intake_set_filter(Intake *intake, pcap_t *handle, struct bpf_program *program) {
  bool fits = program->bf_len <= KERNEL_INSTRUCTIONS;
  if (intake->handle && fits && !intake->in_user_space && replace_filter(handle, program)) return true;
  // libpcap is going to filter itself, and then leaves the kernel's old filter where it is: that has to let all pass.
  struct bpf_insn all = BPF_STMT(BPF_RET | BPF_K, (bpf_u_int32)-1);
  if (!fits) replace_filter(handle, &(struct bpf_program){1, &all});
  intake->in_user_space = !fits;
  return pcap_setfilter(handle, program) == 0;
}

// Packets that the interface had no room for, as netstat -I counts them.
static uint64_t interface_drops(const char *interface) {
  uint64_t drops = 0;
  struct ifaddrs *all;
  if (getifaddrs(&all)) return 0;
  for (const struct ifaddrs *found = all; found; found = found->ifa_next) {
    if (!found->ifa_addr || found->ifa_addr->sa_family != AF_LINK || !found->ifa_data) continue;
    if (strcmp(found->ifa_name, interface) == 0) drops = ((const struct if_data *)found->ifa_data)->ifi_iqdrops;
  }
  freeifaddrs(all);
  return drops;
}

bool intake_start(Intake *intake, pcap_t *handle, const char *interface, Failure *failure) {
  (void)failure;
  intake->handle = handle;
  intake->interface = interface;
  intake->last_interface_drops = interface_drops(interface);
  // The kernel gives less than was asked for.
  unsigned int bytes = 0;
  if (ioctl(pcap_fileno(handle), BIOCGBLEN, &bytes) == 0) intake->buffer_bytes = (int)bytes;
  return true;
}

void intake_stop(Intake *intake) {
  intake_count(intake);
  struct bpf_insn none = BPF_STMT(BPF_RET | BPF_K, 0);
  replace_filter(intake->handle, &(struct bpf_program){1, &none});
  // It goes on counting what that filter refuses.
  intake->stopped = true;
}

// "received" is what came to the filter, not what passed it.
void intake_count(Intake *intake) {
  struct pcap_stat stat;
  if (intake->stopped || pcap_stats(intake->handle, &stat) != 0) return;
  intake->received += (uint32_t)(stat.ps_recv - intake->last_received);
  intake->dropped_by_kernel += (uint32_t)(stat.ps_drop - intake->last_dropped);
  intake->last_received = stat.ps_recv;
  intake->last_dropped = stat.ps_drop;
}

void intake_count_interface(Intake *intake) {
  uint64_t drops = interface_drops(intake->interface);
  // Smaller when the interface is gone, or its 32 bits are over.
  if (drops > intake->last_interface_drops) intake->dropped_by_interface += drops - intake->last_interface_drops;
  intake->last_interface_drops = drops;
}
