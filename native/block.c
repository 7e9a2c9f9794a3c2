#include "block.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the wire form is little endian and is written by memcpy"
#endif

enum { TAG_PACKET = 0x22, TAG_TIMESTAMP = 0x09, TAG_ORIGINAL_LENGTH = 0x10, TAG_DATA = 0x1a };

static uint32_t varint_bytes(uint32_t value) {
  return value < 1u << 7 ? 1 : value < 1u << 14 ? 2 : value < 1u << 21 ? 3 : value < 1u << 28 ? 4 : 5;
}

static uint8_t *put_varint(uint8_t *at, uint32_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = (uint8_t)(value | 0x80);
  *at++ = (uint8_t)value;
  return at;
}

void block_begin(BlockWriter *writer, uint8_t *memory, uint32_t index) {
  // The memory may hold what the process had there before; nobody is to send that by leaving a gap in the head.
  memset(memory, 0, BLOCK_HEAD);
  *writer = (BlockWriter){.start = memory, .at = memory + BLOCK_HEAD, .end = memory + BLOCK_BYTES, .index = index};
}

bool block_append(BlockWriter *writer, uint64_t timestamp_ns, uint32_t original, uint32_t captured,
                  const uint8_t *data) {
  if ((size_t)(writer->end - writer->at) < (size_t)captured + PACKET_OVERHEAD) return false;
  uint8_t *at = writer->at;
  if (captured < 117 && original == captured) { // every varint is one byte
    at[0] = TAG_PACKET;
    at[1] = (uint8_t)(11 + captured);
    at[2] = TAG_TIMESTAMP;
    memcpy(at + 3, &timestamp_ns, 8);
    at[11] = TAG_DATA;
    at[12] = (uint8_t)captured;
    at += 13;
  } else {
    uint32_t length = 9 + 1 + varint_bytes(captured) + captured;
    if (original != captured) length += 1 + varint_bytes(original);
    *at++ = TAG_PACKET;
    at = put_varint(at, length);
    *at++ = TAG_TIMESTAMP;
    memcpy(at, &timestamp_ns, 8);
    at += 8;
    if (original != captured) {
      *at++ = TAG_ORIGINAL_LENGTH;
      at = put_varint(at, original);
    }
    *at++ = TAG_DATA;
    at = put_varint(at, captured);
  }
  if (captured) memcpy(at, data, captured);
  writer->at = at + captured;
  if (writer->packets++ == 0) memcpy(writer->start, &timestamp_ns, 8);
  writer->last_ns = timestamp_ns;
  writer->bytes += captured;
  return true;
}

uint32_t block_finish(BlockWriter *writer) {
  memcpy(writer->start + 8, &writer->last_ns, 8);
  uint32_t length = (uint32_t)(writer->at - writer->start);
  writer->start = writer->at = writer->end = NULL;
  writer->packets = 0;
  writer->bytes = 0;
  return length;
}
