#include <config.h>

#include "capture.h"

#include <pcap-int.h>
#include <stdlib.h>
#include <string.h>

#include "wpcap.h"

typedef struct Device {
  WpcapHandle *handle;
  bool started;
  struct bpf_insn *waiting; // the filter that capture_start installs; NULL: everything passes
  u_int waiting_length;
  uint64_t received, dropped; // since the start
  uint64_t delivered;
  uint64_t last_to_deliver; // after capture_stop
  uint32_t last_received, last_dropped;
  pcap_handler callback; // of the last read
  u_char *user;
} Device;

static const Wpcap *wpcap; // set before the first handle is made

// ---- counters ---------------------------------------------------------------------------------------------------------

// NPF counts as "received" what comes before the filter, too. Behind it: what got into the buffer (which only stats_ex
// tells), and what found no room there.
static bool read_counters(const Device *device, uint32_t *received, uint32_t *dropped) {
  if (wpcap->stats_ex) {
    int size = 0;
    const struct pcap_stat *stat = wpcap->stats_ex(device->handle, &size);
    if (!stat || (size_t)size < offsetof(struct pcap_stat, ps_capt) + sizeof stat->ps_capt) return false;
    *dropped = stat->ps_drop;
    *received = stat->ps_capt + stat->ps_drop;
    return true;
  }
  // Another version's structure may be longer than ours.
  union {
    struct pcap_stat stat;
    char room[256];
  } counters = {0};
  if (wpcap->stats(device->handle, &counters.stat) != 0) return false;
  *dropped = counters.stat.ps_drop;
  *received = counters.stat.ps_recv;
  return true;
}

static void count(Device *device) {
  uint32_t received, dropped;
  if (!read_counters(device, &received, &dropped)) return;
  device->received += (uint32_t)(received - device->last_received);
  device->dropped += (uint32_t)(dropped - device->last_dropped);
  device->last_received = received;
  device->last_dropped = dropped;
}

// A new filter makes the driver throw away what it holds, and start over with counting.
static void count_from_now(Device *device) {
  uint32_t received, dropped;
  if (!read_counters(device, &received, &dropped)) return;
  if (received >= device->last_received && dropped >= device->last_dropped) return;
  device->dropped = device->received - device->delivered;
  device->last_received = device->last_dropped = 0;
}

// ---- packets ----------------------------------------------------------------------------------------------------------

static int set_words(pcap_t *p, const Device *device) {
  pcapint_strlcpy(p->errbuf, wpcap->geterr(device->handle), PCAP_ERRBUF_SIZE);
  return PCAP_ERROR;
}

// pcap_next_ex and not pcap_dispatch: Wine's does nothing unless it is told a number.
static int read_packets(pcap_t *p, int max, pcap_handler callback, u_char *user) {
  Device *device = p->priv;
  device->callback = callback;
  device->user = user;
  for (int packets = 0; max <= 0 || packets < max; packets++) {
    if (p->break_loop) {
      if (packets > 0) return packets;
      p->break_loop = 0;
      return PCAP_ERROR_BREAK;
    }
    if (device->delivered == device->last_to_deliver) return packets;
    struct pcap_pkthdr *header;
    const u_char *data;
    int found = wpcap->next_ex(device->handle, &header, &data);
    if (found < 0 && packets == 0) return set_words(p, device);
    if (found <= 0) return packets;
    device->delivered++;
    callback(user, header, data);
  }
  return max;
}

// Into the kernel, after what passed the old filter was delivered as far as that is possible.
static int install(pcap_t *p, struct bpf_program *program) {
  Device *device = p->priv;
  if (device->callback && !p->break_loop) read_packets(p, 1 << 16, device->callback, device->user);
  count(device);
  if (wpcap->setfilter(device->handle, program) != 0) return set_words(p, device);
  count_from_now(device);
  return 0;
}

static int set_filter(pcap_t *p, struct bpf_program *program) {
  Device *device = p->priv;
  if (device->started) return install(p, program);
  size_t size = program->bf_len * sizeof *program->bf_insns;
  struct bpf_insn *copy = malloc(size);
  if (!copy) {
    pcapint_strlcpy(p->errbuf, "out of memory", PCAP_ERRBUF_SIZE);
    return PCAP_ERROR;
  }
  free(device->waiting);
  device->waiting = memcpy(copy, program->bf_insns, size);
  device->waiting_length = program->bf_len;
  return 0;
}

bool capture_start(pcap_t *p) {
  Device *device = p->priv;
  // NPF cuts packets to what the filter says, and to nothing else.
  struct bpf_insn everything = BPF_STMT(BPF_RET | BPF_K, (u_int)p->snapshot);
  struct bpf_program program = {.bf_len = 1, .bf_insns = &everything};
  if (device->waiting) program = (struct bpf_program){.bf_len = device->waiting_length, .bf_insns = device->waiting};
  // What came before `activate` could stop it.
  struct pcap_pkthdr *header;
  const u_char *data;
  while (wpcap->next_ex(device->handle, &header, &data) == 1) continue;
  read_counters(device, &device->last_received, &device->last_dropped);
  if (install(p, &program) != 0) return false;
  device->started = true;
  free(device->waiting);
  device->waiting = NULL;
  return true;
}

void capture_stop(pcap_t *p) {
  Device *device = p->priv;
  count(device);
  uint64_t kept = device->received - device->dropped;
  device->last_to_deliver = kept > device->delivered ? kept : device->delivered;
}

void capture_count(pcap_t *p, uint64_t *received, uint64_t *dropped) {
  Device *device = p->priv;
  if (device->last_to_deliver == UINT64_MAX) count(device);
  *received = device->received;
  *dropped = device->dropped;
}

static int stats(pcap_t *p, struct pcap_stat *stat) {
  uint64_t received, dropped;
  capture_count(p, &received, &dropped);
  *stat = (struct pcap_stat){.ps_recv = (u_int)received, .ps_drop = (u_int)dropped};
  return 0;
}

// ---- a handle ---------------------------------------------------------------------------------------------------------

static void clean_up(pcap_t *p) {
  Device *device = p->priv;
  if (device->handle) wpcap->close(device->handle);
  device->handle = NULL;
  free(device->waiting);
  device->waiting = NULL;
  pcapint_cleanup_live_common(p);
}

static int never_waits(pcap_t *p) {
  (void)p;
  return 1;
}
static int set_never_waits(pcap_t *p, int nonblock) {
  (void)p, (void)nonblock;
  return 0;
}

static int activate(pcap_t *p) {
  Device *device = p->priv;
  WpcapHandle *handle = device->handle = wpcap->create(p->opt.device, p->errbuf);
  if (!handle) return PCAP_ERROR;
  wpcap->set_snaplen(handle, p->snapshot);
  wpcap->set_promisc(handle, p->opt.promisc);
  wpcap->set_timeout(handle, p->opt.timeout);
  wpcap->set_buffer_size(handle, (int)p->opt.buffer_size);
  int status = wpcap->activate(handle);
  struct bpf_insn nothing = BPF_STMT(BPF_RET | BPF_K, 0);
  struct bpf_program program = {.bf_len = 1, .bf_insns = &nothing};
  if (status < 0 || wpcap->setnonblock(handle, 1, p->errbuf) != 0 || wpcap->setfilter(handle, &program) != 0) {
    set_words(p, device);
    clean_up(p);
    return status < 0 ? status : PCAP_ERROR;
  }
  device->last_to_deliver = UINT64_MAX;
  p->linktype = wpcap->datalink(handle);
  p->snapshot = wpcap->snapshot(handle);
  p->read_op = read_packets;
  p->setfilter_op = set_filter;
  p->stats_op = stats;
  p->getnonblock_op = never_waits;
  p->setnonblock_op = set_never_waits;
  p->cleanup_op = clean_up;
  return status;
}

pcap_t *pcapint_create_interface(const char *name, char *words) {
  (void)name;
  wpcap = wpcap_load();
  if (!wpcap) {
    pcapint_strlcpy(words, wpcap_trouble(), PCAP_ERRBUF_SIZE);
    return NULL;
  }
  pcap_t *p = PCAP_CREATE_COMMON(words, Device);
  if (p) p->activate_op = activate;
  return p;
}

// ---- what libpcap has on other systems only, or asks of each ------------------------------------------------------------

const char *pcap_lib_version(void) {
  static char version[256];
  const Wpcap *library = wpcap_load();
  snprintf(version, sizeof version, "libpcap version " PACKAGE_VERSION ", %s",
           library ? library->lib_version() : wpcap_trouble());
  return version;
}

int pcap_lookupnet(const char *name, bpf_u_int32 *network, bpf_u_int32 *mask, char *words) {
  (void)name;
  *network = *mask = 0;
  pcapint_strlcpy(words, "not supported", PCAP_ERRBUF_SIZE);
  return PCAP_ERROR;
}

int pcap_get_selectable_fd(pcap_t *p) {
  (void)p;
  return PCAP_ERROR;
}

// Ask again after so long.
const struct timeval *pcap_get_required_select_timeout(pcap_t *p) {
  (void)p;
  static const struct timeval timeout = {.tv_usec = 10000};
  return &timeout;
}
