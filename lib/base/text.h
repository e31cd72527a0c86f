/* Text that is put together in a buffer of fixed size. It knows how long it would be. */
#ifndef ATL_BASE_TEXT_H
#define ATL_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct atl_text {
    char *buf;
    size_t cap;
    size_t len; /* of the whole text, without its NUL; at least cap when it did not fit */
} atl_text;

static inline void atl_text_init(atl_text *text, char *buf, size_t cap) {
    text->buf = buf;
    text->cap = cap;
    text->len = 0;
}

/* Once something did not fit nothing more is written; the length still counts. */
void atl_text_add(atl_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with what stands for something else in HTML written as what it means. */
void atl_text_add_html(atl_text *text, const char *plain);
/* 1 when all of it fitted, NUL included. */
static inline int atl_text_fits(const atl_text *text) {
    return text->len < text->cap;
}

#endif
