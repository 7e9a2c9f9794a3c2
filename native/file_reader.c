#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "file_buffer.h"

enum {
  PCAP_MICROSECONDS = 0xa1b2c3d4,
  PCAP_NANOSECONDS = 0xa1b23c4d,
  PCAP_MODIFIED = 0xa1b2cd34, // Kuznetzov's: 8 more bytes in each record's head
  PCAP_HEAD = 24,
};

static FileStep next_pcap(FileReader *reader, FilePacket *packet);
static FileStep open_file(FileReader *reader, FilePacket *packet);

FileReader *file_reader_new(FileRead read, void *context) {
  FileReader *reader = calloc(1, sizeof *reader);
  if (!reader) return NULL;
  reader->buffer = malloc(FILE_BUFFER_BYTES);
  reader->aside = malloc(MAX_SNAPLEN);
  if (!reader->buffer || !reader->aside) {
    file_reader_free(reader);
    return NULL;
  }
  reader->at = reader->end = reader->buffer;
  reader->read = read;
  reader->context = context;
  reader->next = open_file;
  return reader;
}

void file_reader_free(FileReader *reader) {
  for (uint32_t i = 0; i < reader->capture_count; i++) free(reader->captures[i]);
  free(reader->interfaces);
  free(reader->buffer);
  free(reader->aside);
  free(reader);
}

FileStep file_reader_next(FileReader *reader, FilePacket *packet) { return reader->next(reader, packet); }

const FileCapture *file_reader_capture(const FileReader *reader, uint32_t capture) { return reader->captures[capture]; }

const Failure *file_reader_failure(const FileReader *reader) { return &reader->failure; }

FileFill file_fill_more(FileReader *reader, size_t size) {
  size_t have = (size_t)(reader->end - reader->at);
  memmove(reader->buffer, reader->at, have);
  reader->at = reader->buffer;
  reader->end = reader->buffer + have;
  while ((size_t)(reader->end - reader->at) < size) {
    int64_t length =
        reader->read(reader->context, reader->end, (size_t)(reader->buffer + FILE_BUFFER_BYTES - reader->end));
    if (length < 0) return FILL_STOPPED;
    if (length == 0) return FILL_END;
    reader->end += length;
  }
  return FILL_DONE;
}

FileFill file_skip(FileReader *reader, uint64_t size) {
  for (;;) {
    size_t have = (size_t)(reader->end - reader->at);
    if (size <= have) break;
    size -= have;
    reader->at = reader->end;
    FileFill fill = file_fill_more(reader, 1);
    if (fill != FILL_DONE) return fill;
  }
  reader->at += size;
  return FILL_DONE;
}

FileFill file_set_aside(FileReader *reader, uint64_t size, size_t offset, size_t kept, size_t left) {
  FileFill fill = file_fill(reader, offset + kept);
  if (fill != FILL_DONE) return fill;
  memcpy(reader->aside, reader->at + offset, kept);
  fill = file_skip(reader, size - left);
  return fill != FILL_DONE ? fill : file_fill(reader, left);
}

FileStep file_fail(FileReader *reader, Code code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  reader->failure.code = code;
  vsnprintf(reader->failure.message, sizeof reader->failure.message, format, arguments);
  va_end(arguments);
  return FILE_FAILED;
}

FileStep file_cut_short(FileReader *reader, FileFill fill) {
  if (fill == FILL_STOPPED) return FILE_STOPPED;
  return file_fail(reader, CODE_FILE_TRUNCATED, "it ends within a record, after %llu packets",
                   (unsigned long long)reader->packets);
}

int64_t file_find_capture(FileReader *reader, const FileCapture *like, bool *added) {
  *added = false;
  for (uint32_t i = 0; i < reader->capture_count; i++) {
    const FileCapture *capture = reader->captures[i];
    if (capture->link_type == like->link_type && capture->snaplen == like->snaplen &&
        strcmp(capture->interface, like->interface) == 0)
      return i;
  }
  if (reader->capture_count == FILE_CAPTURES_MAX) return -1;
  FileCapture *capture = malloc(sizeof *capture);
  if (!capture) return -1;
  *capture = *like;
  reader->captures[reader->capture_count] = capture;
  *added = true;
  return reader->capture_count++;
}

static FileStep open_pcap(FileReader *reader, FilePacket *packet, uint32_t magic) {
  FileFill fill = file_fill(reader, PCAP_HEAD);
  if (fill == FILL_STOPPED) return FILE_STOPPED;
  if (fill != FILL_DONE) return file_fail(reader, CODE_FILE_TRUNCATED, "it ends within its header");
  const uint8_t *head = reader->at;
  uint32_t major = file_16(reader, head + 4), minor = file_16(reader, head + 6);
  // 543.0 is what DG/UX wrote.
  if (!(major == 2 && minor <= 4) && !(major == 543 && minor == 0))
    return file_fail(reader, CODE_FILE_FORMAT, "pcap version %u.%u is not supported", major, minor);
  uint32_t link_type = file_32(reader, head + 20);
  // Above the type: length of the frame check sequence (ours to leave out), and bits that must be zero.
  if (link_type & 0x03ff0000)
    return file_fail(reader, CODE_FILE_FORMAT, "its link type 0x%08x is not valid", link_type);
  reader->lengths_swapped = major == 543 || minor < 3;
  reader->lengths_uncertain = major == 2 && minor == 3;
  reader->record_head = magic == PCAP_MODIFIED ? 24 : 16;
  reader->ns_per_unit = magic == PCAP_NANOSECONDS ? 1 : 1000;
  uint32_t snaplen = file_snaplen(file_32(reader, head + 16));
  // The patch that wrote these files may have left an Ethernet header out of the snaplen: as in libpcap's reader.
  if (magic == PCAP_MODIFIED && (link_type & 0xffff) == 1) snaplen = file_snaplen(snaplen + 14);
  bool added;
  FileCapture capture = {.link_type = link_type & 0xffff, .snaplen = snaplen};
  packet->capture = (uint32_t)file_find_capture(reader, &capture, &added);
  reader->at += PCAP_HEAD;
  reader->next = next_pcap;
  return FILE_CAPTURE;
}

static FileStep open_file(FileReader *reader, FilePacket *packet) {
  FileFill fill = file_fill(reader, 4);
  if (fill == FILL_STOPPED) return FILE_STOPPED;
  if (fill == FILL_DONE) {
    // The same in both byte orders.
    if (file_32(reader, reader->at) == PCAPNG_SECTION) {
      reader->next = file_next_pcapng;
      return reader->next(reader, packet);
    }
    for (int swapped = 0; swapped < 2; swapped++) {
      reader->swapped = swapped;
      uint32_t magic = file_32(reader, reader->at);
      if (magic == PCAP_MICROSECONDS || magic == PCAP_NANOSECONDS || magic == PCAP_MODIFIED)
        return open_pcap(reader, packet, magic);
    }
  }
  if (reader->at == reader->end) return file_fail(reader, CODE_FILE_FORMAT, "it is empty, not a capture file");
  return file_fail(reader, CODE_FILE_FORMAT, "it is not a capture file");
}

static FileStep next_pcap(FileReader *reader, FilePacket *packet) {
  FileFill fill = file_fill(reader, reader->record_head);
  if (fill != FILL_DONE)
    return fill == FILL_END && reader->at == reader->end ? FILE_DONE : file_cut_short(reader, fill);
  const uint8_t *head = reader->at;
  uint32_t captured = file_32(reader, head + 8), original = file_32(reader, head + 12);
  if (reader->lengths_swapped || (reader->lengths_uncertain && captured > original)) {
    uint32_t first = captured;
    captured = original;
    original = first;
  }
  if (captured > FILE_PACKET_MAX)
    return file_fail(reader, CODE_FILE_FORMAT, "packet %llu is said to have %u bytes, so the file is damaged",
                     (unsigned long long)reader->packets + 1, captured);
  uint32_t snaplen = reader->captures[0]->snaplen;
  packet->capture = 0;
  packet->swapped = reader->swapped;
  packet->cut = captured > snaplen;
  packet->captured = packet->cut ? snaplen : captured;
  packet->original = original < captured ? captured : original;
  // Both are unsigned 32 bits, so this can't overflow; a second half of a second or more carries.
  packet->timestamp_ns =
      file_32(reader, head) * 1000000000ull + file_32(reader, head + 4) * (uint64_t)reader->ns_per_unit;
  size_t size = (size_t)reader->record_head + captured;
  if (size <= FILE_BUFFER_BYTES) {
    fill = file_fill(reader, size);
    if (fill != FILL_DONE) return file_cut_short(reader, fill);
    packet->data = reader->at + reader->record_head;
    reader->at += size;
  } else {
    fill = file_set_aside(reader, size, reader->record_head, packet->captured, 0);
    if (fill != FILL_DONE) return file_cut_short(reader, fill);
    packet->data = reader->aside;
  }
  reader->packets++;
  return FILE_PACKET;
}
