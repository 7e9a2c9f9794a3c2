// Texts one behind another, each with its zero, and one more zero at the end: "a\0b\0\0".
#ifndef RCAP_TEXTS_H
#define RCAP_TEXTS_H

#include <stddef.h>

typedef char Texts;

size_t texts_size(const Texts *texts);
// NULL when there is no memory.
Texts *texts_copy(const Texts *texts);

#endif
