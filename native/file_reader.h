// Reads pcap and pcapng. Knows nothing of libpcap, libuv or Node: bytes come from a callback, so that it can be fuzzed
// alone. Every length in a file is somebody else's: none is used before it is checked.
#ifndef RCAP_FILE_READER_H
#define RCAP_FILE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

enum {
  FILE_CAPTURES_MAX = 256,       // interfaces of their own kind in one file
  FILE_INTERFACES_MAX = 65536,   // interface descriptions in one section of a pcapng file
  FILE_TEXT_MAX = 1024,          // bytes kept of an interface's name or description
  FILE_PACKET_MAX = 128 << 20,   // a longer packet means that the file is damaged (libpcap's limit for D-Bus)
};

typedef struct FileCapture {
  uint32_t link_type; // as in the file, FCS bits removed
  uint32_t snaplen;   // 1 to MAX_SNAPLEN
  char interface[FILE_TEXT_MAX + 1];
  char description[FILE_TEXT_MAX + 1];
} FileCapture;

typedef struct FilePacket {
  uint64_t timestamp_ns;
  uint32_t capture;
  uint32_t original; // at least `captured`
  uint32_t captured; // at most the capture's snaplen
  uint8_t *data;     // may be changed; valid until the next step
  bool cut;          // the file has more of it than the snaplen
  bool swapped;      // written on a machine of the other byte order
} FilePacket;

typedef enum FileStep {
  FILE_PACKET,
  FILE_CAPTURE, // a new capture, `packet.capture`, of which no packet came yet
  FILE_DONE,
  FILE_STOPPED, // by the callback
  FILE_FAILED,  // see file_reader_failure
} FileStep;

// Up to `size` bytes: returns how many, 0 at the end, below 0 to stop.
typedef int64_t (*FileRead)(void *context, uint8_t *into, size_t size);

typedef struct FileReader FileReader;

FileReader *file_reader_new(FileRead read, void *context);
void file_reader_free(FileReader *reader);
FileStep file_reader_next(FileReader *reader, FilePacket *packet);
const FileCapture *file_reader_capture(const FileReader *reader, uint32_t capture);
// What is wrong with the file: code and reason.
const Failure *file_reader_failure(const FileReader *reader);

#endif
