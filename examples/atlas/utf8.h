/* UTF-8, one character at a time. */
#ifndef ATLAS_PROGRAM_UTF8_H
#define ATLAS_PROGRAM_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the UTF-8 character at `data` and its code point; 0 when there is none. */
size_t utf8_char(const uint8_t *data, size_t left, uint32_t *point);

#endif
