/* Capsules (RFC 9297 section 3.2): an incremental parser with a bounded value, and the writer. A
 * capsule's value in our protocol is a list of parameters: varint id, varint length, bytes; unknown
 * ids are ignored, a duplicate is an error. */
#ifndef ATL_HTTP3_CAPSULE_H
#define ATL_HTTP3_CAPSULE_H

#include "base/env.h"
#include "base/reader.h"
#include "base/writer.h"

#define ATL_CAPSULE_MAX                                                                         \
    4096 /* longest value buffered; longer known capsules are an error, longer unknown ones are \
            skipped */

/* A complete capsule; `value` is valid during the call. A negative return stops the parser with
 * that code. */
typedef int32_t (*atl_capsule_fn)(void *user, uint64_t type, const uint8_t *value, size_t len);

typedef struct atl_capsule_parser {
    atl_env *env;
    uint64_t (*known)(
        void *user,
        uint64_t type); /* longest value accepted for a type; 0 = skip capsules of this type */
    atl_capsule_fn fn;
    void *user;
    uint8_t head[16];
    size_t head_len;
    uint64_t type;
    uint64_t left;  /* bytes of the value still to come */
    uint8_t *value; /* allocated while a value is incomplete */
    size_t value_len;
    uint8_t state;
} atl_capsule_parser;

void atl_capsule_parser_init(atl_capsule_parser *parser, atl_env *env,
                             uint64_t (*known)(void *, uint64_t), atl_capsule_fn fn, void *user);
void atl_capsule_parser_free(atl_capsule_parser *parser);
/* Feeds bytes. ATLAS_OK, ATLAS_ERR_TOO_LARGE, ATLAS_ERR_NOMEM, or fn's code; after an error it
 * stays in error. */
int32_t atl_capsule_feed(atl_capsule_parser *parser, const uint8_t *data, size_t len);
/* 1 when not in the middle of a capsule. */
int atl_capsule_parser_idle(const atl_capsule_parser *parser);

/* Writing: begin, parameters, end (fixes up the length, which is written as a 2-byte varint: values
 * up to 16383 bytes). */
typedef struct atl_capsule_writer {
    atl_writer out;
    size_t length_at;
} atl_capsule_writer;
void atl_capsule_begin(atl_capsule_writer *writer, uint8_t *buf, size_t cap, uint64_t type);
void atl_capsule_param(atl_capsule_writer *writer, uint64_t id, const void *data, size_t len);
void atl_capsule_param_uint(atl_capsule_writer *writer, uint64_t id,
                            uint64_t value); /* as a varint */
/* ATLAS_OK and the capsule's length, or ATLAS_ERR_BUFFER. */
int32_t atl_capsule_end(atl_capsule_writer *writer, size_t *len);

/* Reading a parameter list: describes what is expected, fills views. */
typedef struct atl_param {
    uint64_t id;
    uint8_t required;
    uint8_t is_uint; /* value must be one varint, stored in `number` */
    size_t min, max; /* length in bytes when not is_uint */
    /* out */
    uint8_t present;
    uint64_t number;
    const uint8_t *data;
    size_t len;
} atl_param;
/* ATLAS_OK, ATLAS_ERR_TRUNCATED, ATLAS_ERR_DUPLICATE (known or unknown id twice),
 * ATLAS_ERR_MALFORMED (length, missing required, more than 64 parameters). */
int32_t atl_params_read(const uint8_t *value, size_t len, atl_param *params, size_t n);

#endif
