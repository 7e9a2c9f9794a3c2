// Captures from an interface: pcap_dispatch without waiting, and our own wait for packets, requests and the next flush.
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "intake.h"
#include "link_type.h"
#include "session.h"
#include "status.h"

enum {
  // The kernel passes on a part of its ring that has packets after this time even if it isn't full.
  RING_TIMEOUT_MS = 50,
  PACKETS_A_TURN = 4096,
  // So many full blocks are passed on together: each time costs a change of threads here, and bursts cost less on the way.
  GATHERED_BLOCKS = 4,
  // A turn that found so many packets is followed by a pause, not by a wait for the next part of the ring …
  BUSY_PACKETS = 512,
  // … of a millisecond for so many bytes of the ring: at 10 Gbit/s a third of it fills meanwhile, half with the smallest packets.
  RING_BYTES_A_MS = 4 << 20,
  MAX_PAUSE_MS = 10,
  PUBLISH_MS = 100,
  INTERFACE_COUNTERS_MS = 1000,
  // After the intake stopped: longer than the kernel may hold back what is in the ring.
  QUIET_MS = 4 * RING_TIMEOUT_MS,
};
#define MS 1000000ull

// Of two times, where a negative one is for ever.
static int min(int a, int b) { return a < 0 ? b : b < 0 ? a : a < b ? a : b; }

typedef struct Live {
  Session *session;
  pcap_t *handle;
  Intake intake;
  Filter filter;
  Filter own; // what we do because the kernel refused it
  Texts *users; // the texts that the filter is made of
  char *exclusion;
  uint32_t link_type;
  uint32_t snaplen; // further packets are cut to it
  uint64_t ns_per_unit; // of a timestamp's second half

  BlockWriter writer;
  uint32_t gathered;        // full blocks that were queued and not passed on
  uint64_t gathering_since; // when the first of them, or else the block that is being written, was begun
  uint32_t dns_told; // of the session's dns_said
  int pause_ms;
  uint32_t turn_packets;    // since the last wait
  // The one packet that was taken from the ring when the pool had no block for it.
  bool waits;
  uint64_t waiting_ns;
  uint32_t waiting_original, waiting_captured;
  uint8_t *waiting_data; // MAX_SNAPLEN long

  bool unpublished;
  uint64_t published_at, interface_counted_at;
  bool draining; // nothing comes in any more; what is in the ring is still read
  uint64_t last_packet_at;
} Live;

static void count(Live *live) {
  SessionStats *stats = &live->session->count;
  intake_count(&live->intake);
  stats->received = live->intake.received;
  stats->dropped_by_kernel = live->intake.dropped_by_kernel;
  stats->dropped_by_interface = live->intake.dropped_by_interface;
}

static void publish(Live *live, uint64_t now) {
  if (now - live->interface_counted_at >= INTERFACE_COUNTERS_MS * MS) {
    intake_count_interface(&live->intake);
    live->interface_counted_at = now;
  }
  count(live);
  session_publish(live->session);
  live->published_at = now;
  live->unpublished = false;
}

static void queue_block(Live *live) {
  if (!live->writer.start) return;
  count(live); // so that whoever has seen the block finds its packets in the counters
  session_queue_block(live->session, &live->writer, 0);
  live->gathered++;
}

static void hand_over(Live *live) {
  queue_block(live);
  session_tell(live->session);
  live->gathered = 0;
}

static bool keep(Live *live, uint64_t timestamp_ns, uint32_t original, uint32_t captured, const uint8_t *data) {
  if (!block_append(&live->writer, timestamp_ns, original, captured, data)) {
    queue_block(live);
    if (live->gathered >= GATHERED_BLOCKS) hand_over(live);
    if (!session_take_block(live->session, &live->writer)) {
      live->gathered = 0; // that passed them on
      return false;
    }
    if (live->gathered == 0) live->gathering_since = uv_hrtime();
    block_append(&live->writer, timestamp_ns, original, captured, data);
  }
  live->session->count.captured++;
  live->session->count.captured_bytes += captured;
  return true;
}

static void on_packet(u_char *user, const struct pcap_pkthdr *header, const u_char *data) {
  Live *live = (Live *)user;
  uint64_t timestamp_ns =
      (uint64_t)header->ts.tv_sec * 1000000000ull + (uint64_t)header->ts.tv_usec * live->ns_per_unit;
  if (live->own.filters && !pcap_offline_filter(&live->own.program, header, data)) {
    live->session->count.filtered++;
    return;
  }
  // A cooked header comes on top of the snaplen.
  uint32_t captured = header->caplen > live->snaplen ? live->snaplen : header->caplen;
  if (session_leaves_out(live->session, live->link_type, data, header->caplen, captured, timestamp_ns)) return;
  live->session->count.cut += captured < header->caplen;
  uint32_t original = header->len < captured ? captured : header->len;
  if (keep(live, timestamp_ns, original, captured, data)) return;
  // The ring's memory isn't ours once we leave, and leave we must: while we wait for a block there are requests to answer.
  live->waits = true;
  live->waiting_ns = timestamp_ns;
  live->waiting_original = original;
  live->waiting_captured = captured;
  memcpy(live->waiting_data, data, captured);
  pcap_breakloop(live->handle);
}

static bool install_program(Live *live, struct bpf_program *program, Failure *failure) {
  return intake_set_filter(&live->intake, live->handle, program) || fail(failure, CODE_FILTER, "%s", pcap_geterr(live->handle));
}

static bool install_all(Live *live, Failure *failure) {
  struct bpf_program all;
  if (pcap_compile(live->handle, &all, "", 1, PCAP_NETMASK_UNKNOWN) != 0)
    return fail(failure, CODE_FILTER, "%s", pcap_geterr(live->handle));
  bool done = install_program(live, &all, failure);
  pcap_freecode(&all);
  return done;
}

// The kernel didn't take the program: it passes everything on, and we filter, since libpcap wouldn't count what it leaves out.
// By a program for packets as we see them: that for the kernel asks it for what isn't in them, as VLAN tags.
static bool filter_here(Live *live, const Texts *users, const char *exclusion, Filter *own, Failure *failure) {
  pcap_t *dead = pcap_open_dead(pcap_datalink(live->handle), pcap_snapshot(live->handle));
  if (!dead) return fail(failure, CODE_FAILED, "could not compile the filter: out of memory");
  bool done = filter_compile(dead, users, exclusion, own, failure) && install_all(live, failure);
  pcap_close(dead);
  return done;
}

// `own` is what we do ourselves then: nothing if the kernel filters.
static bool install(Live *live, Filter *filter, const Texts *users, const char *exclusion, Filter *own, Failure *failure) {
  if (!filter->filters && !live->filter.filters) return true;
  if (!filter->filters) return install_all(live, failure);
  if (!install_program(live, &filter->program, failure)) return false;
  return !live->intake.kernel_refused || filter_here(live, users, exclusion, own, failure);
}

// Leaves everything as it was when it fails.
static bool set_filter(Live *live, const Texts *users, const char *exclusion, Failure *failure) {
  Filter filter = {0}, own = {0};
  if (!filter_compile(live->handle, users, exclusion, &filter, failure)) return false;
  if (!install(live, &filter, users, exclusion, &own, failure)) {
    filter_free(&filter);
    filter_free(&own);
    return false;
  }
  filter_free(&live->filter);
  filter_free(&live->own);
  live->filter = filter;
  live->own = own;
  char *old_users = live->users, *old_exclusion = live->exclusion;
  live->users = texts_copy(users);
  live->exclusion = strdup(exclusion);
  free(old_users);
  free(old_exclusion);
  return true;
}

static Installed installed(const Live *live) {
  return (Installed){.filter = live->filter.text,
                     .in_kernel = !live->own.filters,
                     .instructions = live->filter.filters ? live->filter.program.bf_len : 0};
}

static void answer(Live *live, Request *request) {
  Failure failure = {0};
  switch (request->ask) {
  case ASK_FILTER:
  case ASK_EXCLUSION:
    if (set_filter(live, request->ask == ASK_FILTER ? request->texts : live->users,
                   request->ask == ASK_FILTER ? live->exclusion : request->texts, &failure)) {
      request->installed = installed(live);
      request->installed.filter = strdup(live->filter.text);
    }
    break;
  case ASK_EXCEPTIONS: session_replace_exceptions(live->session, request); break;
  case ASK_SNAPLEN: live->snaplen = (uint32_t)request->snaplen; break;
  }
  session_answer(live->session, request, &failure);
}

static void answer_requests(Live *live) {
  for (Request *request; (request = session_next_request(live->session));) answer(live, request);
}

static bool open_live(Live *live, Failure *failure) {
  const SessionOptions *options = &live->session->options;
  char words[PCAP_ERRBUF_SIZE] = "";
  pcap_t *handle = live->handle = pcap_create(options->interface, words);
  if (!handle) return fail_to_activate(failure, options->interface, PCAP_ERROR, words);
  pcap_set_snaplen(handle, options->snaplen);
  pcap_set_promisc(handle, options->promiscuous);
  pcap_set_timeout(handle, RING_TIMEOUT_MS);
  pcap_set_buffer_size(handle, options->buffer_bytes);
  pcap_set_tstamp_precision(handle, PCAP_TSTAMP_PRECISION_NANO); // else it stays at microseconds
  pcap_setnonblock(handle, 1, words);
  intake_hold(handle);
  int status = pcap_activate(handle);
  if (status < 0) return fail_to_activate(failure, options->interface, status, pcap_geterr(handle));
  // As tcpdump: of the two cooked forms the one that says which interface a packet came by.
  if (strcmp(options->interface, "any") == 0) pcap_set_datalink(handle, DLT_LINUX_SLL2);
  live->ns_per_unit = pcap_get_tstamp_precision(handle) == PCAP_TSTAMP_PRECISION_NANO ? 1 : 1000;
  if (!set_filter(live, options->filters, options->exclusion, failure)) return false;
  if (!intake_start(&live->intake, handle, options->interface, failure)) return false;
  int buffer_bytes = live->intake.buffer_bytes ? live->intake.buffer_bytes : options->buffer_bytes;
  live->pause_ms = min(buffer_bytes / RING_BYTES_A_MS, MAX_PAUSE_MS);
  live->link_type = link_type_from_dlt(pcap_datalink(handle));
  CaptureInfo info = {.link_type = live->link_type,
                      .snaplen = (uint32_t)pcap_snapshot(handle),
                      .interface = options->interface,
                      .installed = installed(live)};
  session_announce(live->session, 0, &info);
  return true;
}

static void drain(Live *live) {
  live->draining = true;
  live->last_packet_at = uv_hrtime();
}

// Everything that was received has been read.
static bool is_drained(Live *live, uint64_t now) {
  count(live);
  const SessionStats *stats = &live->session->count;
  if (stats->received - stats->dropped_by_kernel == stats->captured + stats->excluded + stats->filtered) return true;
  // libpcap may have left some out itself, so the sum need not come out.
  return now - live->last_packet_at >= QUIET_MS * MS;
}

// Once a turn: blocks are gathered, names aren't. What was gathered goes with them.
static void tell_dns(Live *live) {
  if (live->session->dns_said == live->dns_told) return;
  live->dns_told = live->session->dns_said;
  session_tell(live->session);
}

// True if there may be more to read at once.
static bool read_packets(Live *live, Failure *failure) {
  if (live->waits) {
    if (!keep(live, live->waiting_ns, live->waiting_original, live->waiting_captured, live->waiting_data)) return false;
    live->waits = false;
  }
  int packets = pcap_dispatch(live->handle, PACKETS_A_TURN, on_packet, (u_char *)live);
  tell_dns(live);
  if (packets == PCAP_ERROR_BREAK || packets > 0) {
    live->last_packet_at = uv_hrtime();
    live->unpublished = true;
    if (packets > 0) live->turn_packets += (uint32_t)packets;
    return !live->waits;
  }
  if (packets < 0 && !failure->code) {
    // Packets that came before may still be in the part of the ring that the kernel holds back.
    fail_to_read(failure, live->session->options.interface, pcap_geterr(live->handle));
    drain(live);
  }
  return false;
}

// Milliseconds from `now` to `after_ms` behind `since`, rounded up.
static int ms_left(uint64_t since, int after_ms, uint64_t now) {
  uint64_t due = since + (uint64_t)after_ms * MS;
  return now >= due ? 0 : (int)((due - now + MS - 1) / MS);
}

static void wait_for_more(Live *live, uint64_t now) {
  int timeout = -1;
  if (live->writer.start) timeout = ms_left(live->gathering_since, live->session->options.flush_ms, now);
  if (live->unpublished || live->waits) timeout = min(timeout, ms_left(live->published_at, PUBLISH_MS, now));
  if (live->draining && !live->waits) timeout = min(timeout, ms_left(live->last_packet_at, QUIET_MS, now));
  // libpcap wants to be called again soon, to find out whether an interface that went down is gone. 1 ms is what it asks
  // for; ten times that will do.
  if (pcap_get_required_select_timeout(live->handle)) timeout = min(timeout, 10);
  // Once an error has been reported the descriptor may be in error for good: don't spin.
  bool busy = live->turn_packets >= BUSY_PACKETS && live->pause_ms > 0;
  if (busy) timeout = min(timeout, live->pause_ms);
  live->turn_packets = 0;
  bool readable = !busy && !live->waits && !(live->draining && pcap_get_required_select_timeout(live->handle));
  if (wake_wait(&live->session->wake, readable ? pcap_get_selectable_fd(live->handle) : -1, timeout) & WAKE_READABLE)
    live->unpublished = true;
}

static void capture(Live *live, Failure *failure) {
  Session *session = live->session;
  for (;;) {
    StopMode stop = session_stop_mode(session);
    if (stop == STOP_NOW) return;
    if (stop == STOP_DRAIN && !live->draining) {
      intake_stop(&live->intake);
      drain(live);
    }
    // In a drain they stay where they are, and are told so at the end.
    if (!live->draining) answer_requests(live);
    bool more = read_packets(live, failure);
    uint64_t now = uv_hrtime();
    if (live->writer.start && now - live->gathering_since >= (uint64_t)session->options.flush_ms * MS) hand_over(live);
    if ((live->unpublished || live->waits) && now - live->published_at >= PUBLISH_MS * MS) publish(live, now);
    if (more) continue;
    if (live->waits) {
      live->last_packet_at = now; // it isn't quiet, we aren't listening
    } else if (live->draining && is_drained(live, now)) {
      return;
    }
    wait_for_more(live, now);
  }
}

void session_run_live(Session *session, Failure *failure) {
  Live live = {.session = session, .users = calloc(1, 1), .exclusion = strdup(""), .waiting_data = malloc(MAX_SNAPLEN), .snaplen = MAX_SNAPLEN};
  if (open_live(&live, failure)) {
    capture(&live, failure);
    intake_count_interface(&live.intake);
    hand_over(&live);
    count(&live);
  }
  if (live.handle) pcap_close(live.handle);
  filter_free(&live.filter);
  filter_free(&live.own);
  free(live.users);
  free(live.exclusion);
  free(live.waiting_data);
}
