// Reads a capture file: one capture for each kind of interface in it, each with blocks and a filter of its own.
#include <stdlib.h>
#include <string.h>

#include "file_reader.h"
#include "filter.h"
#include "input.h"
#include "link_type.h"
#include "session.h"

enum { PACKETS_A_TURN = 4096, STARVED_MS = 100 };

typedef struct Captured {
  pcap_t *handle; // dead: only compiles filters
  Filter filter;
  BlockWriter writer;
  uint32_t link_type; // as in the file
  uint32_t announced_link_type; // as we write it
  bool mends;         // packets need link_type_mend even in our own byte order
} Captured;

typedef struct File {
  Session *session;
  int input;
  Failure *failure;
  FileReader *reader;
  Texts *users; // the texts that the filters are made of
  char *exclusion;
  Captured captures[FILE_CAPTURES_MAX];
  uint32_t count;
  uint32_t snaplen; // packets are cut to it
  uint32_t dns_waited; // of the session's dns_said
} File;

static bool has_begun_blocks(const File *file) {
  for (uint32_t i = 0; i < file->count; i++)
    if (file->captures[i].writer.start) return true;
  return false;
}

static void hand_over_all(File *file) {
  for (uint32_t i = 0; i < file->count; i++) session_hand_over(file->session, &file->captures[i].writer, i);
}

// All captures get the new filter, or none.
static bool set_filter(File *file, const Texts *users, const char *exclusion, Failure *failure) {
  Filter *filters = calloc(FILE_CAPTURES_MAX, sizeof *filters);
  if (!filters) return fail(failure, CODE_FAILED, "could not compile the filter: out of memory");
  uint32_t done = 0;
  while (done < file->count && filter_compile(file->captures[done].handle, users, exclusion, &filters[done], failure))
    done++;
  if (done < file->count) {
    while (done-- > 0) filter_free(&filters[done]);
    free(filters);
    return false;
  }
  for (uint32_t i = 0; i < file->count; i++) {
    filter_free(&file->captures[i].filter);
    file->captures[i].filter = filters[i];
  }
  free(filters);
  char *old_users = file->users, *old_exclusion = file->exclusion;
  file->users = texts_copy(users);
  file->exclusion = strdup(exclusion);
  free(old_users);
  free(old_exclusion);
  return true;
}

static Installed installed(const Captured *capture) {
  const Filter *filter = &capture->filter;
  return (Installed){.filter = filter->text, .instructions = filter->filters ? filter->program.bf_len : 0};
}

static void answer(File *file, Request *request) {
  Failure failure = {0};
  switch (request->ask) {
  case ASK_FILTER:
  case ASK_EXCLUSION:
    if (set_filter(file, request->ask == ASK_FILTER ? request->texts : file->users,
                   request->ask == ASK_FILTER ? file->exclusion : request->texts, &failure)) {
      request->installed = installed(&file->captures[0]);
      request->installed.filter = strdup(request->installed.filter);
    }
    break;
  case ASK_EXCEPTIONS: session_replace_exceptions(file->session, request); break;
  case ASK_SNAPLEN: file->snaplen = (uint32_t)request->snaplen; break;
  }
  session_answer(file->session, request, &failure);
}

static void answer_requests(File *file) {
  // Before the first capture there is no link type to compile for: they wait.
  if (file->count == 0) return;
  for (Request *request; (request = session_next_request(file->session));) answer(file, request);
}

static int64_t read_input(void *context, uint8_t *into, size_t size) {
  File *file = context;
  Session *session = file->session;
  while (session_stop_mode(session) == STOP_NOT) {
    answer_requests(file);
    int timeout_ms = has_begun_blocks(file) ? session->options.flush_ms : -1;
    int64_t length =
        input_read(file->input, &session->wake, timeout_ms, into, size, session->options.file, file->failure);
    if (length == INPUT_FAILED) return -1;
    if (length >= 0) return length;
    // A pipe that is silent: nobody is to wait for what we have.
    hand_over_all(file);
  }
  return -1;
}

static bool begin_capture(File *file, uint32_t number) {
  const FileCapture *said = file_reader_capture(file->reader, number);
  Captured *capture = &file->captures[number];
  int dlt = link_type_to_dlt(said->link_type);
  capture->handle = pcap_open_dead(dlt, (int)said->snaplen);
  if (!capture->handle) return fail(file->failure, CODE_FAILED, "could not compile filters: out of memory");
  capture->link_type = said->link_type;
  capture->mends = dlt == DLT_USB_LINUX_MMAPPED;
  file->count++;
  if (!filter_compile(capture->handle, file->users, file->exclusion, &capture->filter, file->failure)) return false;
  capture->announced_link_type = link_type_of_file(said->link_type);
  CaptureInfo info = {.link_type = capture->announced_link_type,
                      .snaplen = said->snaplen,
                      .interface = (char *)said->interface,
                      .description = (char *)said->description,
                      .installed = installed(capture)};
  session_announce(file->session, number, &info);
  answer_requests(file); // that waited for a link type: they are for the first packet, too
  return true;
}

// False when the session was stopped meanwhile.
static bool wait_for_block(File *file, BlockWriter *writer) {
  Session *session = file->session;
  while (!session_take_block(session, writer)) {
    // What other captures have begun may be all the blocks that there are.
    hand_over_all(file);
    session_publish(session);
    if (session_stop_mode(session) != STOP_NOT) return false;
    answer_requests(file);
    wake_wait(&session->wake, -1, STARVED_MS);
  }
  return true;
}

// Whoever learns names from this packet is to know them before the next one. False when the session was stopped meanwhile.
static bool wait_for_dns(File *file) {
  Session *session = file->session;
  if (session->dns_said == file->dns_waited) return true;
  file->dns_waited = session->dns_said;
  session_tell(session);
  for (;;) {
    bool gone_on = (int32_t)(session->dns_said - atomic_load(&session->gone_on)) <= 0;
    answer_requests(file); // also those that came before it went on
    if (gone_on) return true;
    if (session_stop_mode(session) != STOP_NOT) return false;
    wake_wait(&session->wake, -1, -1);
  }
}

static bool keep(File *file, FilePacket *packet) {
  SessionStats *stats = &file->session->count;
  Captured *capture = &file->captures[packet->capture];
  stats->received++;
  struct pcap_pkthdr header = {.caplen = packet->captured, .len = packet->original};
  if (packet->swapped || capture->mends) {
    link_type_mend(capture->link_type, packet->swapped, &header, packet->data);
    packet->original = header.len < packet->captured ? packet->captured : header.len;
  }
  if (capture->filter.filters && !pcap_offline_filter(&capture->filter.program, &header, packet->data)) {
    stats->filtered++;
    return true;
  }
  uint32_t captured = packet->captured > file->snaplen ? file->snaplen : packet->captured;
  if (session_leaves_out(file->session, capture->announced_link_type, packet->data, packet->captured, captured, packet->timestamp_ns))
    return true;
  BlockWriter *writer = &capture->writer;
  if (!block_append(writer, packet->timestamp_ns, packet->original, captured, packet->data)) {
    session_hand_over(file->session, writer, packet->capture);
    if (!wait_for_block(file, writer)) return false;
    block_append(writer, packet->timestamp_ns, packet->original, captured, packet->data);
  }
  stats->captured++;
  stats->captured_bytes += captured;
  stats->cut += packet->cut || captured < packet->captured;
  return true;
}

static void read_file(File *file) {
  FilePacket packet = {0};
  for (uint32_t turn = 1; session_stop_mode(file->session) == STOP_NOT; turn++) {
    if (turn % PACKETS_A_TURN == 0) answer_requests(file);
    switch (file_reader_next(file->reader, &packet)) {
    case FILE_PACKET:
      if (!keep(file, &packet) || !wait_for_dns(file)) return;
      break;
    case FILE_CAPTURE:
      if (!begin_capture(file, packet.capture)) return;
      break;
    case FILE_FAILED: {
      const Failure *failure = file_reader_failure(file->reader);
      fail(file->failure, failure->code, "could not read '%s': %s", file->session->options.file, failure->message);
      return;
    }
    case FILE_DONE:
    case FILE_STOPPED: return;
    }
  }
}

void session_run_file(Session *session, Failure *failure) {
  File *file = calloc(1, sizeof *file);
  if (!file || !(file->reader = file_reader_new(read_input, file))) {
    free(file);
    fail(failure, CODE_FAILED, "could not read '%s': out of memory", session->options.file);
    return;
  }
  file->session = session;
  file->failure = failure;
  file->snaplen = MAX_SNAPLEN;
  file->users = texts_copy(session->options.filters);
  file->exclusion = strdup(session->options.exclusion);
  file->input = input_open(session->options.file, failure);
  if (file->input >= 0) {
    read_file(file);
    hand_over_all(file);
    input_close(file->input);
  }
  for (uint32_t i = 0; i < file->count; i++) {
    filter_free(&file->captures[i].filter);
    pcap_close(file->captures[i].handle);
  }
  file_reader_free(file->reader);
  free(file->users);
  free(file->exclusion);
  free(file);
}
