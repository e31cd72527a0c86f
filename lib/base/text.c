#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

void atl_text_add(atl_text *text, const char *format, ...) {
    size_t room = text->len < text->cap ? text->cap - text->len : 0;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(room > 0 ? text->buf + text->len : NULL, room, format, args);
    va_end(args);
    text->len += n > 0 ? (size_t)n : 0;
}

void atl_text_add_html(atl_text *text, const char *plain) {
    for (; *plain != '\0'; plain++) {
        switch (*plain) {
        case '<':
            atl_text_add(text, "&lt;");
            break;
        case '>':
            atl_text_add(text, "&gt;");
            break;
        case '&':
            atl_text_add(text, "&amp;");
            break;
        case '"':
            atl_text_add(text, "&quot;");
            break;
        default:
            atl_text_add(text, "%c", *plain);
        }
    }
}
