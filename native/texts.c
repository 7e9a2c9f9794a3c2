#include "texts.h"

#include <stdlib.h>
#include <string.h>

size_t texts_size(const Texts *texts) {
  size_t size = 0;
  while (texts[size]) size += strlen(texts + size) + 1;
  return size + 1;
}

Texts *texts_copy(const Texts *texts) {
  size_t size = texts_size(texts);
  Texts *copy = malloc(size);
  return copy ? memcpy(copy, texts, size) : NULL;
}
