// Inside the file reader: the buffer, and what pcap and pcapng share.
#ifndef RCAP_FILE_BUFFER_H
#define RCAP_FILE_BUFFER_H

#include <string.h>

#include "block.h"
#include "file_reader.h"

// Larger than every record with a packet of MAX_SNAPLEN, and small enough to stay in the processor's cache.
#ifndef FILE_BUFFER_BYTES // the fuzzer makes it smaller
#define FILE_BUFFER_BYTES (512u << 10)
#endif

typedef struct FileInterface FileInterface;

struct FileReader {
  FileRead read;
  void *context;
  uint8_t *buffer;
  uint8_t *at; // what is still to be read: from here …
  uint8_t *end; // … to here
  uint8_t *aside; // a packet whose record doesn't fit into the buffer
  FileStep (*next)(FileReader *reader, FilePacket *packet);
  bool swapped;
  uint64_t packets;
  Failure failure;

  // pcap
  uint32_t record_head;    // bytes before the data
  uint32_t ns_per_unit;    // of the timestamp's second half
  bool lengths_swapped;    // version before 2.3: the original length comes first
  bool lengths_uncertain;  // version 2.3: either

  // pcapng: of this section
  FileInterface *interfaces;
  uint32_t interface_count;
  uint32_t interface_room;

  FileCapture *captures[FILE_CAPTURES_MAX];
  uint32_t capture_count;
};

typedef enum FileFill { FILL_DONE, FILL_END, FILL_STOPPED } FileFill;

// Makes `size` bytes available at `at`, FILE_BUFFER_BYTES at most. FILL_END: the file has fewer left.
FileFill file_fill_more(FileReader *reader, size_t size);
static inline FileFill file_fill(FileReader *reader, size_t size) {
  return (size_t)(reader->end - reader->at) >= size ? FILL_DONE : file_fill_more(reader, size);
}
// Leaves out `size` bytes, any number.
FileFill file_skip(FileReader *reader, uint64_t size);
// For a record of `size` bytes that is larger than the buffer: puts `kept` bytes from `offset` on into `aside`, and
// leaves out the record but for its last `left` bytes, which are then available.
FileFill file_set_aside(FileReader *reader, uint64_t size, size_t offset, size_t kept, size_t left);

FileStep file_fail(FileReader *reader, Code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
// After a fill that wasn't done, within a record.
FileStep file_cut_short(FileReader *reader, FileFill fill);
// Finds or adds the capture of this kind; -1 when there are too many. `added` says which.
int64_t file_find_capture(FileReader *reader, const FileCapture *like, bool *added);
static inline uint32_t file_snaplen(uint32_t snaplen) {
  return snaplen == 0 || snaplen > MAX_SNAPLEN ? MAX_SNAPLEN : snaplen;
}

static inline uint16_t file_16(const FileReader *reader, const uint8_t *at) {
  uint16_t value;
  memcpy(&value, at, sizeof value);
  return reader->swapped ? __builtin_bswap16(value) : value;
}
static inline uint32_t file_32(const FileReader *reader, const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return reader->swapped ? __builtin_bswap32(value) : value;
}
static inline uint64_t file_64(const FileReader *reader, const uint8_t *at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return reader->swapped ? __builtin_bswap64(value) : value;
}

// file_pcapng.c
enum { PCAPNG_SECTION = 0x0a0d0d0a };
FileStep file_next_pcapng(FileReader *reader, FilePacket *packet);

#endif
