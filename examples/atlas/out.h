/* What the program prints: one line an event, for people or as a JSON object. Text that came from
 * others never reaches the terminal raw. */
#ifndef ATLAS_PROGRAM_OUT_H
#define ATLAS_PROGRAM_OUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct out {
    int json;
    int failed; /* standard output is gone */
    int bar;    /* a progress bar stands on the terminal */
    int aside;  /* what out_aside() says goes to standard error */
    FILE *held; /* lines for standard output go here; NULL: no */
    char *buf;
    size_t len;
    size_t cap;
} out;

/* An event: open, any number of fields (written in JSON only), close with the line for people
 * (printf style, no newline; NULL: none). Fields that are NULL or "" are left out. */
void out_open(out *o, const char *event);
void out_str(out *o, const char *key, const char *value);
void out_bytes(out *o, const char *key, const void *data, size_t len);
void out_u64(out *o, const char *key, uint64_t value);
void out_bool(out *o, const char *key, int value);
void out_ms(out *o, const char *key, uint64_t ns); /* milliseconds; left out when 0 */
void out_seconds(out *o, const char *key, uint64_t ns);
void out_code(out *o, int32_t code); /* "code": the name of an error; left out for ATLAS_OK */
void out_strings(out *o, const char *key, const char *const *values, size_t count);
/* A list of objects: its items stand between these two, each with fields of its own. */
void out_list(out *o, const char *key);
void out_list_end(out *o);
void out_item(out *o);
void out_item_end(out *o);
void out_close(out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for what happens by the way: people get it on standard error where `aside` is set. */
void out_aside(out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An error: to standard error for people, an event "error" in JSON. */
void out_error(out *o, int32_t code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A line for people on standard error, in JSON too. */
void out_note(out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `data` with control characters, invalid UTF-8 and invisible direction marks written as \n, \xNN
 * and the like. To be freed by the caller; NULL when memory is short. */
char *out_clean(const void *data, size_t len);

void out_free(out *o);

#endif
