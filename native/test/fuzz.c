// libFuzzer target: whatever the bytes are, the reader keeps its promises and the blocks decode.
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "file_reader.h"

typedef struct Input {
  const uint8_t *at, *end;
  size_t piece; // bytes a read: cut at every place over time
} Input;

static int64_t read_input(void *context, uint8_t *into, size_t size) {
  Input *input = context;
  size_t length = (size_t)(input->end - input->at);
  if (length > size) length = size;
  if (length > input->piece) length = input->piece;
  memcpy(into, input->at, length);
  input->at += length;
  return (int64_t)length;
}

static void must(int holds) {
  if (!holds) abort();
}

static uint64_t get_varint(const uint8_t **at) {
  uint64_t value = 0;
  for (int shift = 0; shift < 35; shift += 7) {
    uint8_t byte = *(*at)++;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      must(byte || !shift); // minimal
      return value;
    }
  }
  abort();
}

static void check_block(const uint8_t *block, uint32_t length, uint32_t packets, uint64_t bytes) {
  uint64_t first, last, timestamp = 0;
  memcpy(&first, block, 8);
  memcpy(&last, block + 8, 8);
  must(length <= BLOCK_BYTES && packets > 0);
  uint32_t seen = 0;
  for (const uint8_t *at = block + BLOCK_HEAD; at < block + length; seen++) {
    must(*at++ == 0x22);
    uint64_t size = get_varint(&at);
    const uint8_t *end = at + size;
    must(*at++ == 0x09);
    memcpy(&timestamp, at, 8);
    at += 8;
    must(seen > 0 || timestamp == first);
    uint64_t original = 0;
    int differs = *at == 0x10;
    if (differs) at++, original = get_varint(&at);
    must(*at++ == 0x1a);
    uint64_t captured = get_varint(&at);
    must(!differs || original > captured);
    must(captured <= MAX_SNAPLEN && at + captured == end && end <= block + length);
    bytes -= captured;
    at = end;
  }
  must(seen == packets && bytes == 0 && timestamp == last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  Input input = {data + 2, data + size, 1 + (size_t)data[0] * (1 + (size_t)data[1])};
  FileReader *reader = file_reader_new(read_input, &input);
  uint8_t *memory = malloc(BLOCK_BYTES);
  BlockWriter writer = {0};
  FilePacket packet = {0};
  uint32_t captures = 0;
  for (;;) {
    FileStep step = file_reader_next(reader, &packet);
    if (step == FILE_CAPTURE) {
      must(packet.capture == captures++);
      const FileCapture *capture = file_reader_capture(reader, packet.capture);
      must(capture->snaplen >= 1 && capture->snaplen <= MAX_SNAPLEN && capture->link_type <= 0xffff);
      must(strlen(capture->interface) <= FILE_TEXT_MAX && strlen(capture->description) <= FILE_TEXT_MAX);
      continue;
    }
    if (step != FILE_PACKET) {
      must((step == FILE_FAILED) == (file_reader_failure(reader)->code != CODE_NONE));
      break;
    }
    must(packet.capture < captures);
    must(packet.captured <= file_reader_capture(reader, packet.capture)->snaplen && packet.original >= packet.captured);
    if (!block_append(&writer, packet.timestamp_ns, packet.original, packet.captured, packet.data)) {
      if (writer.start) {
        uint32_t packets = writer.packets;
        uint64_t bytes = writer.bytes;
        check_block(memory, block_finish(&writer), packets, bytes);
      }
      block_begin(&writer, memory, 0);
      must(block_append(&writer, packet.timestamp_ns, packet.original, packet.captured, packet.data));
    }
    if (packet.captured) packet.data[0] ^= 1; // may be changed
  }
  if (writer.start) {
    uint32_t packets = writer.packets;
    uint64_t bytes = writer.bytes;
    check_block(memory, block_finish(&writer), packets, bytes);
  }
  free(memory);
  file_reader_free(reader);
  return 0;
}
