#include <stdlib.h>

#include "file_buffer.h"

enum {
  INTERFACE = 1,
  PACKET_OLD = 2,
  PACKET_SIMPLE = 3,
  PACKET_ENHANCED = 6,
  BLOCK_FRAME = 12, // type and length before, length again after the block's body
  BYTE_ORDER_MAGIC = 0x1a2b3c4d,
  OPTION_NAME = 2,
  OPTION_DESCRIPTION = 3,
  OPTION_RESOLUTION = 9,
  OPTION_OFFSET = 14,
};

#define NS_PER_S 1000000000ull

struct FileInterface {
  uint32_t capture;
  uint32_t snaplen; // as the file says it, 0 for no limit
  uint64_t units_per_s;
  int64_t offset_s;
  uint32_t ns_per_unit; // 0 if that isn't a whole number or there is an offset
};

static uint64_t to_ns(const FileInterface *interface, uint64_t units) {
  uint64_t ns;
  if (interface->ns_per_unit && !__builtin_mul_overflow(units, (uint64_t)interface->ns_per_unit, &ns)) return ns;
  __int128 exact = (__int128)((unsigned __int128)units * NS_PER_S / interface->units_per_s);
  exact += (__int128)interface->offset_s * (__int128)NS_PER_S;
  return exact < 0 ? 0 : exact > (__int128)UINT64_MAX ? UINT64_MAX : (uint64_t)exact;
}

static FileStep damaged(FileReader *reader, const char *what) {
  return file_fail(reader, CODE_FILE_FORMAT, "%s, after %llu packets", what, (unsigned long long)reader->packets);
}

// The whole block is at reader->at. Its byte order is that of the section from here on.
static FileStep begin_section(FileReader *reader, uint32_t length) {
  if (length < BLOCK_FRAME + 16) return damaged(reader, "a section header is too short");
  uint32_t major = file_16(reader, reader->at + 12);
  if (major != 1)
    return file_fail(reader, CODE_FILE_FORMAT, "pcapng version %u.%u is not supported", major,
                     file_16(reader, reader->at + 14));
  reader->interface_count = 0; // each section describes its own
  return FILE_DONE;
}

static void keep_text(char *into, const uint8_t *text, uint32_t length) {
  size_t kept = strnlen((const char *)text, length < FILE_TEXT_MAX ? length : FILE_TEXT_MAX);
  memcpy(into, text, kept);
  into[kept] = 0;
}

static bool set_resolution(FileInterface *interface, uint8_t resolution) {
  uint8_t exponent = resolution & 0x7f;
  if (resolution & 0x80) {
    if (exponent > 63) return false;
    interface->units_per_s = 1ull << exponent;
    return true;
  }
  if (exponent > 19) return false; // 10^20 is more than 64 bits
  interface->units_per_s = 1;
  while (exponent--) interface->units_per_s *= 10;
  return true;
}

static const char *read_options(FileReader *reader, const uint8_t *at, const uint8_t *end, FileInterface *interface,
                                FileCapture *capture) {
  while (end - at >= 4) {
    uint32_t option = file_16(reader, at), length = file_16(reader, at + 2);
    if (option == 0) break;
    at += 4;
    if ((uint32_t)(end - at) < length) return "an interface's option is longer than its block";
    switch (option) {
    case OPTION_NAME: keep_text(capture->interface, at, length); break;
    case OPTION_DESCRIPTION: keep_text(capture->description, at, length); break;
    case OPTION_RESOLUTION:
      if (length != 1 || !set_resolution(interface, *at)) return "an interface's timestamp resolution is not valid";
      break;
    case OPTION_OFFSET:
      if (length != 8) return "an interface's timestamp offset is not valid";
      interface->offset_s = (int64_t)file_64(reader, at);
      break;
    }
    uint32_t padded = (length + 3) & ~3u;
    if ((uint32_t)(end - at) < padded) break;
    at += padded;
  }
  return NULL;
}

static FileStep add_interface(FileReader *reader, uint32_t length, FilePacket *packet) {
  if (length < BLOCK_FRAME + 8) return damaged(reader, "an interface description is too short");
  const uint8_t *body = reader->at + 8;
  FileInterface interface = {.snaplen = file_32(reader, body + 4), .units_per_s = 1000000};
  FileCapture capture = {.link_type = file_16(reader, body), .snaplen = file_snaplen(interface.snaplen)};
  const char *wrong = read_options(reader, body + 8, reader->at + length - 4, &interface, &capture);
  if (wrong) return damaged(reader, wrong);
  if (interface.offset_s == 0 && NS_PER_S % interface.units_per_s == 0)
    interface.ns_per_unit = (uint32_t)(NS_PER_S / interface.units_per_s);

  if (reader->interface_count == reader->interface_room) {
    uint32_t room = reader->interface_room ? 2 * reader->interface_room : 8;
    FileInterface *more = room > FILE_INTERFACES_MAX ? NULL : realloc(reader->interfaces, room * sizeof *more);
    if (!more) return file_fail(reader, CODE_FILE_FORMAT, "a section has more than %d interfaces", FILE_INTERFACES_MAX);
    reader->interfaces = more;
    reader->interface_room = room;
  }
  bool added;
  int64_t found = file_find_capture(reader, &capture, &added);
  if (found < 0)
    return file_fail(reader, CODE_FILE_FORMAT, "it has more than %d different interfaces", FILE_CAPTURES_MAX);
  interface.capture = packet->capture = (uint32_t)found;
  reader->interfaces[reader->interface_count++] = interface;
  return added ? FILE_CAPTURE : FILE_DONE;
}

// Reads the head of a packet block, of which at least 28 bytes or the whole block are at reader->at, into `packet`;
// `data_offset` is where its data begin and `stored` how much of them the file has. NULL, or what is wrong.
static const char *read_packet_head(FileReader *reader, uint32_t type, uint32_t length, FilePacket *packet,
                                    size_t *data_offset, uint32_t *stored) {
  const uint8_t *body = reader->at + 8;
  size_t head = type == PACKET_SIMPLE ? 4 : 20;
  if (length < BLOCK_FRAME + head) return "a packet's block is too short";
  uint32_t number = type == PACKET_ENHANCED ? file_32(reader, body) : type == PACKET_OLD ? file_16(reader, body) : 0;
  if (number >= reader->interface_count) return "a packet belongs to an interface that is not described";
  const FileInterface *interface = &reader->interfaces[number];
  if (type == PACKET_SIMPLE) {
    packet->original = file_32(reader, body);
    *stored = packet->original;
    if (interface->snaplen && *stored > interface->snaplen) *stored = interface->snaplen;
    packet->timestamp_ns = 0;
  } else {
    *stored = file_32(reader, body + 12);
    packet->original = file_32(reader, body + 16);
    if (packet->original < *stored) packet->original = *stored;
    packet->timestamp_ns =
        to_ns(interface, (uint64_t)file_32(reader, body + 4) << 32 | file_32(reader, body + 8));
  }
  if (*stored > length - BLOCK_FRAME - head) return "a packet is longer than its block";
  uint32_t snaplen = reader->captures[interface->capture]->snaplen;
  packet->capture = interface->capture;
  packet->swapped = reader->swapped;
  packet->cut = *stored > snaplen;
  packet->captured = packet->cut ? snaplen : *stored;
  *data_offset = 8 + head;
  return NULL;
}

static bool is_packet(uint32_t type) { return type == PACKET_ENHANCED || type == PACKET_SIMPLE || type == PACKET_OLD; }

// A block larger than the buffer: only packets matter, and of them what the snaplen lets through.
static FileStep large_block(FileReader *reader, uint32_t type, uint32_t length, FilePacket *packet) {
  size_t offset = 0;
  if (type == INTERFACE) return damaged(reader, "an interface description is too long");
  packet->captured = 0;
  if (is_packet(type)) {
    uint32_t stored;
    FileFill fill = file_fill(reader, 28);
    if (fill != FILL_DONE) return file_cut_short(reader, fill);
    const char *wrong = read_packet_head(reader, type, length, packet, &offset, &stored);
    if (wrong) return damaged(reader, wrong);
    if (stored > FILE_PACKET_MAX) return damaged(reader, "a packet is impossibly long");
    packet->data = reader->aside;
  } else if (type == PCAPNG_SECTION) {
    FileFill fill = file_fill(reader, BLOCK_FRAME + 16);
    if (fill != FILL_DONE) return file_cut_short(reader, fill);
    FileStep step = begin_section(reader, length);
    if (step == FILE_FAILED) return step;
  }
  FileFill fill = file_set_aside(reader, length, offset, packet->captured, 4);
  if (fill != FILL_DONE) return file_cut_short(reader, fill);
  if (file_32(reader, reader->at) != length) return damaged(reader, "a block's two lengths differ");
  reader->at += 4;
  if (!is_packet(type)) return FILE_DONE;
  reader->packets++;
  return FILE_PACKET;
}

static FileStep small_block(FileReader *reader, uint32_t type, uint32_t length, FilePacket *packet) {
  FileFill fill = file_fill(reader, length);
  if (fill != FILL_DONE) return file_cut_short(reader, fill);
  if (file_32(reader, reader->at + length - 4) != length) return damaged(reader, "a block's two lengths differ");
  FileStep step = FILE_DONE;
  if (is_packet(type)) {
    size_t offset;
    uint32_t stored;
    const char *wrong = read_packet_head(reader, type, length, packet, &offset, &stored);
    if (wrong) return damaged(reader, wrong);
    packet->data = reader->at + offset;
    reader->packets++;
    step = FILE_PACKET;
  } else if (type == INTERFACE) {
    step = add_interface(reader, length, packet);
  } else if (type == PCAPNG_SECTION) {
    step = begin_section(reader, length);
  }
  reader->at += length;
  return step;
}

FileStep file_next_pcapng(FileReader *reader, FilePacket *packet) {
  // A step that ends a block without anything for the caller is FILE_DONE.
  for (FileStep step = FILE_DONE; step == FILE_DONE;) {
    FileFill fill = file_fill(reader, BLOCK_FRAME);
    if (fill != FILL_DONE)
      return fill == FILL_END && reader->at == reader->end ? FILE_DONE : file_cut_short(reader, fill);
    uint32_t type = file_32(reader, reader->at);
    if (type == PCAPNG_SECTION) {
      reader->swapped = false;
      uint32_t magic = file_32(reader, reader->at + 8);
      reader->swapped = magic != BYTE_ORDER_MAGIC;
      if (reader->swapped && __builtin_bswap32(magic) != BYTE_ORDER_MAGIC)
        return damaged(reader, "a section header has no byte order");
    }
    uint32_t length = file_32(reader, reader->at + 4);
    if (length < BLOCK_FRAME || length % 4 != 0) return damaged(reader, "a block's length is not valid");
    step = length <= FILE_BUFFER_BYTES ? small_block(reader, type, length, packet)
                                       : large_block(reader, type, length, packet);
    if (step != FILE_DONE) return step;
  }
  return FILE_DONE;
}
