// harness FILE…: reads capture files with the reader and the encoder alone, and prints what came of each.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "block.h"
#include "file_reader.h"

static int64_t read_file(void *context, uint8_t *into, size_t size) { return read(*(int *)context, into, size); }

static void read_all(const char *name, uint8_t **memory) {
  int file = open(name, O_RDONLY);
  FileReader *reader = file_reader_new(read_file, &file);
  FilePacket packet;
  BlockWriter writer = {0};
  unsigned long packets = 0, captures = 0, bytes = 0;
  uint32_t blocks = 0;
  FileStep step;
  while ((step = file_reader_next(reader, &packet)) == FILE_PACKET || step == FILE_CAPTURE) {
    if (step == FILE_CAPTURE) {
      captures++;
      continue;
    }
    packets++;
    if (block_append(&writer, packet.timestamp_ns, packet.original, packet.captured, packet.data)) continue;
    if (writer.start) bytes += block_finish(&writer);
    block_begin(&writer, memory[blocks++ % 2], 0);
    if (!block_append(&writer, packet.timestamp_ns, packet.original, packet.captured, packet.data)) abort();
  }
  if (writer.start) bytes += block_finish(&writer);
  printf("%s: %lu captures, %lu packets, %lu bytes: %s\n", name, captures, packets, bytes,
         step == FILE_FAILED ? file_reader_failure(reader)->message : "end");
  file_reader_free(reader);
  close(file);
}

int main(int count, char **names) {
  uint8_t *memory[2] = {malloc(BLOCK_BYTES), malloc(BLOCK_BYTES)};
  for (int i = 1; i < count; i++) read_all(names[i], memory);
  free(memory[0]);
  free(memory[1]);
  return 0;
}
