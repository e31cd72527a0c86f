#include "out.h"

#include "utf8.h"

#include <atlas/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a growing buffer ---- */

static void put(out *o, const void *data, size_t len) {
    if (len == 0) {
        return;
    }
    if (o->cap - o->len < len) {
        size_t cap = (o->len + len) * 2 + 256;
        char *grown = realloc(o->buf, cap);

        if (grown == NULL) {
            o->failed = 1;
            return;
        }
        o->buf = grown;
        o->cap = cap;
    }
    memcpy(o->buf + o->len, data, len);
    o->len += len;
}

static void put_text(out *o, const char *text) {
    put(o, text, strlen(text));
}

/* ---- what may be shown ---- */

/* Controls, and marks that change how the rest of a line is shown. */
static int is_hidden(uint32_t point) {
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x200e || point == 0x200f ||
           (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) ||
           point == 0xfeff;
}

static void put_escaped(out *o, const uint8_t *data, size_t len) {
    char text[8];
    size_t i;

    for (i = 0; i < len; i++) {
        if (data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
            (void)snprintf(text, sizeof(text), "\\%c",
                           data[i] == '\n'   ? 'n'
                           : data[i] == '\t' ? 't'
                                             : 'r');
        } else {
            (void)snprintf(text, sizeof(text), "\\x%02x", data[i]);
        }
        put_text(o, text);
    }
}

char *out_clean(const void *bytes, size_t len) {
    const uint8_t *data = bytes;
    out clean = {0};
    size_t at = 0;

    while (at < len) {
        uint32_t point = 0;
        size_t n = utf8_char(data + at, len - at, &point);

        if (n == 0 || is_hidden(point)) {
            n = n == 0 ? 1 : n;
            put_escaped(&clean, data + at, n);
        } else {
            put(&clean, data + at, n);
        }
        at += n;
    }
    put(&clean, "", 1);
    if (clean.failed) {
        free(clean.buf);
        return NULL;
    }
    return clean.buf;
}

/* ---- JSON ---- */

static void put_json_char(out *o, const uint8_t *data, size_t n, uint32_t point) {
    char text[16];

    if (point == '"' || point == '\\') {
        put(o, "\\", 1);
        put(o, data, 1);
    } else if (is_hidden(point)) {
        (void)snprintf(text, sizeof(text), "\\u%04x", point);
        put_text(o, text);
    } else {
        put(o, data, n);
    }
}

static void put_json(out *o, const void *bytes, size_t len) {
    const uint8_t *data = bytes;
    size_t at = 0;

    put(o, "\"", 1);
    while (at < len) {
        uint32_t point = 0;
        size_t n = utf8_char(data + at, len - at, &point);

        if (n == 0) {
            put_text(o, "\\ufffd");
            n = 1;
        } else {
            put_json_char(o, data + at, n, point);
        }
        at += n;
    }
    put(o, "\"", 1);
}

/* Before what is not the first of a list or an object. */
static void put_comma(out *o) {
    if (o->len > 0 && o->buf[o->len - 1] != '{' && o->buf[o->len - 1] != '[') {
        put_text(o, ",");
    }
}

static void put_key(out *o, const char *key) {
    put_comma(o);
    put_json(o, key, strlen(key));
    put_text(o, ":");
}

/* ---- events ---- */

void out_open(out *o, const char *event) {
    o->len = 0;
    if (o->json) {
        put_text(o, "{\"event\":");
        put_json(o, event, strlen(event));
    }
}

void out_bytes(out *o, const char *key, const void *data, size_t len) {
    if (o->json) {
        put_key(o, key);
        put_json(o, data, len);
    }
}

void out_str(out *o, const char *key, const char *value) {
    if (value != NULL && *value != '\0') {
        out_bytes(o, key, value, strlen(value));
    }
}

static void put_number(out *o, const char *key, const char *text) {
    if (o->json) {
        put_key(o, key);
        put_text(o, text);
    }
}

void out_u64(out *o, const char *key, uint64_t value) {
    char text[32];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    put_number(o, key, text);
}

void out_bool(out *o, const char *key, int value) {
    put_number(o, key, value ? "true" : "false");
}

/* Nanoseconds as a decimal number of a larger unit: exact, and with a point in every locale. */
static void put_decimal(out *o, const char *key, uint64_t ns, uint64_t unit) {
    char text[48];

    (void)snprintf(text, sizeof(text), "%llu.%0*llu", (unsigned long long)(ns / unit),
                   unit == 1000000 ? 3 : 6, (unsigned long long)(ns % unit / 1000));
    put_number(o, key, text);
}

void out_ms(out *o, const char *key, uint64_t ns) {
    if (ns != 0) {
        put_decimal(o, key, ns, 1000000);
    }
}

void out_seconds(out *o, const char *key, uint64_t ns) {
    put_decimal(o, key, ns, 1000000000);
}

void out_code(out *o, int32_t code) {
    if (code != ATLAS_OK) {
        out_str(o, "code", atlas_error_name(code));
    }
}

void out_strings(out *o, const char *key, const char *const *values, size_t count) {
    size_t i;

    if (!o->json) {
        return;
    }
    put_key(o, key);
    for (i = 0; i < count; i++) {
        put_text(o, i == 0 ? "[" : ",");
        put_json(o, values[i], strlen(values[i]));
    }
    put_text(o, count == 0 ? "[]" : "]");
}

void out_list(out *o, const char *key) {
    if (o->json) {
        put_key(o, key);
        put_text(o, "[");
    }
}

void out_list_end(out *o) {
    if (o->json) {
        put_text(o, "]");
    }
}

void out_item(out *o) {
    if (o->json) {
        put_comma(o);
        put_text(o, "{");
    }
}

void out_item_end(out *o) {
    if (o->json) {
        put_text(o, "}");
    }
}

static void write_line(out *o, FILE *file, const char *text, size_t len) {
    if (file == stdout && o->held != NULL) {
        file = o->held;
    }
    if (o->bar) {
        (void)fputs("\r\033[K", stderr);
        o->bar = 0;
    }
    if (fwrite(text, 1, len, file) != len || fputc('\n', file) == EOF || fflush(file) != 0) {
        o->failed |= file != stderr;
    }
}

static void write_clean(out *o, FILE *file, const char *prefix, const char *format, va_list args) {
    char *raw = NULL;
    char *clean = NULL;
    int len = vasprintf(&raw, format, args);

    if (len < 0) {
        return;
    }
    clean = out_clean(raw, (size_t)len);
    if (clean != NULL) {
        o->len = 0;
        put_text(o, prefix);
        put_text(o, clean);
        write_line(o, file, o->buf, o->len);
    }
    free(clean);
    free(raw);
}

void out_close(out *o, const char *format, ...) {
    va_list args;

    if (o->json) {
        put_text(o, "}");
        write_line(o, stdout, o->buf, o->len);
    } else if (format != NULL) {
        va_start(args, format);
        write_clean(o, stdout, "", format, args);
        va_end(args);
    }
}

void out_aside(out *o, const char *format, ...) {
    va_list args;

    if (o->json) {
        out_close(o, NULL);
        return;
    }
    va_start(args, format);
    write_clean(o, o->aside ? stderr : stdout, "", format, args);
    va_end(args);
}

void out_error(out *o, int32_t code, const char *format, ...) {
    va_list args;
    char *text = NULL;

    va_start(args, format);
    if (!o->json) {
        write_clean(o, stderr, "atlas: ", format, args);
    } else if (vasprintf(&text, format, args) >= 0) {
        out_open(o, "error");
        out_code(o, code);
        out_str(o, "text", text);
        out_close(o, NULL);
        free(text);
    }
    va_end(args);
}

void out_note(out *o, const char *format, ...) {
    va_list args;

    va_start(args, format);
    write_clean(o, stderr, "", format, args);
    va_end(args);
}

void out_free(out *o) {
    free(o->buf);
    o->buf = NULL;
}
