// Stands in for Npcap's wpcap.dll, which its licence doesn't let us have here: the same names and types, and what matters of
// its ways: texts in the machine's code page unless pcap_init asked for UTF-8, a filter that makes the driver forget what
// it holds and start over with counting, counters from before the filter beside those from behind it, and a loopback
// interface of its own, and packets that are cut to what the filter returns, by nothing else. Each interface has PACKETS packets, as soon as a filter lets them pass, and then is silent.
#include <winsock2.h>
#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__declspec(dllimport) const char *PacketGetVersion(void); // of Packet.dll, which must be found beside this one

enum { PACKETS = 500 };
// What NPF counts: everything, what passed the filter.
enum { NOISE = 7 };

typedef struct Fake {
  bool loopback;
  bool nonblocking;
  bool accepts;
  int snaplen;
  unsigned keep; // of each packet: what the filter returns
  unsigned left;
  unsigned received, accepted;
  struct pcap_stat stat;
  struct pcap_pkthdr header;
  u_char data[64];
} Fake;

static bool utf8;

int fake_init(unsigned options, char *words) {
  (void)words;
  utf8 = options == PCAP_CHAR_ENC_UTF_8;
  return 0;
}

const char *fake_lib_version(void) {
  static char version[100];
  snprintf(version, sizeof version, "Npcap version %s, based on libpcap version 1.10.5", PacketGetVersion());
  return version;
}

int fake_findalldevs(pcap_if_t **list, char *words) {
  (void)words;
  // Wine's name of the loopback interface, so that there is an adapter to this device.
  static struct sockaddr_in address = {.sin_family = AF_INET};
  static pcap_addr_t addresses = {.addr = (struct sockaddr *)&address};
  static pcap_if_t loopback = {.name = "\\Device\\NPF_Loopback", .description = "Adapter for loopback traffic capture"};
  static pcap_if_t ethernet = {.name = "\\Device\\NPF_{00000001-0000-0000-0000-4E6574446576}"};
  address.sin_addr.s_addr = htonl(0xc0000201); // 192.0.2.1
  loopback.flags = PCAP_IF_LOOPBACK | PCAP_IF_UP | PCAP_IF_RUNNING;
  ethernet.flags = PCAP_IF_UP | PCAP_IF_RUNNING;
  ethernet.description = utf8 ? "R\xc3\xa9seau \xe7\xbd\x91\xe7\xbb\x9c" : "R\xe9seau ??";
  ethernet.addresses = &addresses;
  ethernet.next = &loopback;
  *list = &ethernet;
  return 0;
}
void fake_freealldevs(pcap_if_t *list) { (void)list; }

Fake *fake_create(const char *name, char *words) {
  (void)words;
  Fake *fake = calloc(1, sizeof *fake);
  fake->loopback = strstr(name, "Loopback") != NULL;
  fake->accepts = true;
  fake->snaplen = 262144;
  return fake;
}
int fake_set_snaplen(Fake *fake, int value) {
  fake->snaplen = value;
  return 0;
}
int fake_set_promisc(Fake *fake, int value) { return (void)fake, (void)value, 0; }
int fake_set_timeout(Fake *fake, int value) { return (void)fake, (void)value, 0; }
int fake_set_buffer_size(Fake *fake, int value) { return (void)fake, (void)value, 0; }
int fake_activate(Fake *fake) {
  fake->left = 3; // nobody has set a filter yet
  fake->received = fake->accepted = 3;
  return 0;
}
int fake_setnonblock(Fake *fake, int value, char *words) {
  (void)words;
  fake->nonblocking = value != 0;
  return 0;
}
int fake_setfilter(Fake *fake, struct bpf_program *program) {
  bool nothing = program->bf_len == 1 && program->bf_insns[0].k == 0;
  // The largest number that the program returns: all packets match.
  fake->keep = 0;
  for (u_int i = 0; i < program->bf_len; i++)
    if (program->bf_insns[i].code == (BPF_RET | BPF_K) && program->bf_insns[i].k > fake->keep)
      fake->keep = program->bf_insns[i].k;
  bool first = !nothing && !fake->accepts;
  fake->accepts = !nothing;
  fake->left = first ? PACKETS : 0;
  fake->accepted = fake->left;
  fake->received = fake->accepted + NOISE;
  return 0;
}
int fake_datalink(Fake *fake) { return fake->loopback ? DLT_NULL : DLT_EN10MB; }
int fake_snapshot(Fake *fake) { return fake->snaplen; }
int fake_next_ex(Fake *fake, struct pcap_pkthdr **header, const u_char **data) {
  if (fake->left == 0) {
    if (!fake->nonblocking) Sleep(INFINITE); // as on a silent interface without a timeout
    return 0;
  }
  fake->left--;
  memset(fake->data, 'A' + (int)(fake->left % 26), sizeof fake->data);
  uint32_t family = 24; // IPv6, by Npcap's own number
  if (fake->loopback) memcpy(fake->data, &family, sizeof family);
  fake->header = (struct pcap_pkthdr){.ts = {1700000000, (long)fake->left}, .caplen = sizeof fake->data, .len = 1500};
  if (fake->header.caplen > fake->keep) fake->header.caplen = fake->keep;
  *header = &fake->header;
  *data = fake->data;
  return 1;
}
int fake_stats(Fake *fake, struct pcap_stat *stat) {
  stat->ps_recv = fake->received;
  stat->ps_drop = stat->ps_ifdrop = 0;
  return 0;
}
struct pcap_stat *fake_stats_ex(Fake *fake, int *size) {
  fake->stat = (struct pcap_stat){.ps_recv = fake->received, .ps_capt = fake->accepted};
  *size = sizeof fake->stat;
  return &fake->stat;
}
char *fake_geterr(Fake *fake) { return (void)fake, "no words"; }
void fake_close(Fake *fake) { free(fake); }
