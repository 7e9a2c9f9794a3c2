// A block of packets in wire form. Nothing of libpcap, libuv or Node in here, so that it can be fuzzed alone.
#ifndef RCAP_BLOCK_H
#define RCAP_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// index.d.ts describes the layout; these four are part of that contract.
#define BLOCK_HEAD 128u
#ifndef MAX_SNAPLEN // the fuzzer makes it smaller
#define MAX_SNAPLEN 262144u
#endif
// Tag and length (1 + 3), timestamp (1 + 8), original length (1 + 5), tag and length of the data (1 + 3).
#define PACKET_OVERHEAD 23u
#define BLOCK_BYTES (((BLOCK_HEAD + PACKET_OVERHEAD + MAX_SNAPLEN + 4095u) / 4096u) * 4096u)

typedef struct BlockWriter {
  uint8_t *start; // NULL while there is no block, and then nothing fits
  uint8_t *at;
  uint8_t *end;
  uint64_t last_ns;
  uint64_t bytes; // sum of the captured lengths
  uint32_t packets;
  uint32_t index; // of the block in its pool
} BlockWriter;

// Starts to fill `memory`, which is BLOCK_BYTES long.
void block_begin(BlockWriter *writer, uint8_t *memory, uint32_t index);
// Appends one packet; false if it doesn't fit, and then nothing has changed. A packet of at most MAX_SNAPLEN fits into
// every fresh block. `original` must not be smaller than `captured`.
bool block_append(BlockWriter *writer, uint64_t timestamp_ns, uint32_t original, uint32_t captured, const uint8_t *data);
// Completes the head and returns the block's length in use. The writer has no block afterwards.
uint32_t block_finish(BlockWriter *writer);

#endif
