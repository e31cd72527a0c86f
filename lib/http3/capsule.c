#include "http3/capsule.h"

#include <string.h>

#define STATE_HEAD 0  /* collecting type and length */
#define STATE_VALUE 1 /* collecting a value that fn wants */
#define STATE_SKIP 2  /* passing over a value that nobody wants */
#define STATE_DEAD 3  /* an error was returned, or the parser was freed */

#define PARAMS_MAX 64

/* ---- incremental parser ---- */

void atl_capsule_parser_init(atl_capsule_parser *parser, atl_env *env,
                             uint64_t (*known)(void *, uint64_t), atl_capsule_fn fn, void *user) {
    memset(parser, 0, sizeof(*parser));
    parser->env = env;
    parser->known = known;
    parser->fn = fn;
    parser->user = user;
}

void atl_capsule_parser_free(atl_capsule_parser *parser) {
    atl_free(parser->env, parser->value);
    parser->value = NULL;
    parser->value_len = 0;
    parser->state = STATE_DEAD;
}

int atl_capsule_parser_idle(const atl_capsule_parser *parser) {
    return parser->state == STATE_HEAD && parser->head_len == 0;
}

static int32_t fail(atl_capsule_parser *parser, int32_t code) {
    atl_capsule_parser_free(parser);
    return code;
}

/* Hands a whole value to the owner, who may free the parser meanwhile: only its memory has to stay.
 */
static int32_t deliver(atl_capsule_parser *parser, const uint8_t *value, size_t len) {
    int32_t status;

    parser->state = STATE_HEAD;
    status = parser->fn(parser->user, parser->type, value, len);
    if (status < 0) {
        return fail(parser, status);
    }
    return parser->state == STATE_DEAD ? ATLAS_ERR_CLOSED : ATLAS_OK;
}

/* The head is complete: what becomes of the value. */
static int32_t begin_value(atl_capsule_parser *parser, uint64_t type, uint64_t len) {
    uint64_t limit = parser->known(parser->user, type);

    parser->head_len = 0;
    parser->type = type;
    parser->left = len;
    if (limit == 0) {
        parser->state = len == 0 ? STATE_HEAD : STATE_SKIP;
        return ATLAS_OK;
    }
    if (len > limit || len > ATL_CAPSULE_MAX) {
        return fail(parser, ATLAS_ERR_TOO_LARGE);
    }
    if (len == 0) {
        return deliver(parser, parser->head, 0);
    }
    parser->state = STATE_VALUE;
    return ATLAS_OK;
}

/* Takes one byte of a head: two varints are at most 16 bytes, so the buffer cannot overflow. */
static int32_t feed_head(atl_capsule_parser *parser, uint8_t byte) {
    atl_reader reader;
    uint64_t type;
    uint64_t len;

    parser->head[parser->head_len++] = byte;
    atl_reader_init(&reader, parser->head, parser->head_len);
    if (atl_read_varint(&reader, &type) != ATLAS_OK || atl_read_varint(&reader, &len) != ATLAS_OK) {
        return ATLAS_OK;
    }
    return begin_value(parser, type, len);
}

/* Collects what came in pieces. */
static int32_t buffer_value(atl_capsule_parser *parser, const uint8_t *data, size_t len) {
    uint8_t *whole;
    int32_t status;

    if (parser->value == NULL) {
        parser->value = atl_malloc(parser->env, (size_t)parser->left);
        parser->value_len = 0;
        if (parser->value == NULL) {
            return fail(parser, ATLAS_ERR_NOMEM);
        }
    }
    memcpy(parser->value + parser->value_len, data, len);
    parser->value_len += len;
    parser->left -= len;
    if (parser->left > 0) {
        return ATLAS_OK;
    }
    whole = parser->value;
    parser->value = NULL;
    status = deliver(parser, whole, parser->value_len);
    atl_free(parser->env, whole);
    return status;
}

/* Takes as much of the value as there is and says how much that was. */
static int32_t feed_value(atl_capsule_parser *parser, const uint8_t *data, size_t len,
                          size_t *taken) {
    size_t n = parser->left < len ? (size_t)parser->left : len;

    *taken = n;
    if (parser->state == STATE_SKIP) {
        parser->left -= n;
        if (parser->left == 0) {
            parser->state = STATE_HEAD;
        }
        return ATLAS_OK;
    }
    if (parser->value == NULL && n == parser->left) {
        return deliver(parser, data, n);
    }
    return buffer_value(parser, data, n);
}

int32_t atl_capsule_feed(atl_capsule_parser *parser, const uint8_t *data, size_t len) {
    int32_t status = parser->state == STATE_DEAD ? ATLAS_ERR_CLOSED : ATLAS_OK;
    size_t at = 0;

    while (status == ATLAS_OK && at < len) {
        size_t taken = 1;

        if (parser->state == STATE_HEAD) {
            status = feed_head(parser, data[at]);
        } else {
            status = feed_value(parser, data + at, len - at, &taken);
        }
        at += taken;
    }
    return status;
}

/* ---- writer ---- */

void atl_capsule_begin(atl_capsule_writer *writer, uint8_t *buf, size_t cap, uint64_t type) {
    atl_writer_init(&writer->out, buf, cap);
    atl_write_varint(&writer->out, type);
    writer->length_at = writer->out.len;
    atl_write_zeros(&writer->out, 2);
}

void atl_capsule_param(atl_capsule_writer *writer, uint64_t id, const void *data, size_t len) {
    atl_write_varint(&writer->out, id);
    atl_write_varint(&writer->out, len);
    atl_write_bytes(&writer->out, data, len);
}

void atl_capsule_param_uint(atl_capsule_writer *writer, uint64_t id, uint64_t value) {
    atl_write_varint(&writer->out, id);
    atl_write_varint(&writer->out, atl_varint_len(value));
    atl_write_varint(&writer->out, value);
}

int32_t atl_capsule_end(atl_capsule_writer *writer, size_t *len) {
    size_t value_len;

    if (writer->out.error != ATLAS_OK) {
        return writer->out.error;
    }
    value_len = writer->out.len - writer->length_at - 2;
    if (value_len > 0x3fff) {
        return ATLAS_ERR_BUFFER;
    }
    writer->out.data[writer->length_at] = (uint8_t)(0x40 | value_len >> 8);
    writer->out.data[writer->length_at + 1] = (uint8_t)value_len;
    *len = writer->out.len;
    return ATLAS_OK;
}

/* ---- parameter lists ---- */

static int32_t store_param(atl_param *param, const atl_reader *value) {
    param->data = value->data;
    param->len = value->left;
    if (param->is_uint) {
        atl_reader reader = *value;

        if (atl_read_varint(&reader, &param->number) != ATLAS_OK || reader.left != 0) {
            return ATLAS_ERR_MALFORMED;
        }
    } else if (param->len < param->min || param->len > param->max) {
        return ATLAS_ERR_MALFORMED;
    }
    param->present = 1;
    return ATLAS_OK;
}

static int32_t note_id(uint64_t *seen, size_t *n, uint64_t id) {
    size_t i;

    for (i = 0; i < *n; i++) {
        if (seen[i] == id) {
            return ATLAS_ERR_DUPLICATE;
        }
    }
    if (*n == PARAMS_MAX) {
        return ATLAS_ERR_MALFORMED;
    }
    seen[(*n)++] = id;
    return ATLAS_OK;
}

static int32_t read_param(atl_reader *reader, uint64_t *seen, size_t *n_seen, atl_param *params,
                          size_t n) {
    atl_reader value;
    uint64_t id;
    int32_t status;
    size_t i;

    if (atl_read_varint(reader, &id) != ATLAS_OK ||
        atl_read_varint_sub(reader, &value) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    status = note_id(seen, n_seen, id);
    for (i = 0; i < n && status == ATLAS_OK; i++) {
        if (params[i].id == id) {
            return store_param(&params[i], &value);
        }
    }
    return status;
}

int32_t atl_params_read(const uint8_t *value, size_t len, atl_param *params, size_t n) {
    uint64_t seen[PARAMS_MAX];
    size_t n_seen = 0;
    atl_reader reader;
    int32_t status = ATLAS_OK;
    size_t i;

    for (i = 0; i < n; i++) {
        params[i].present = 0;
        params[i].number = 0;
        params[i].data = NULL;
        params[i].len = 0;
    }
    atl_reader_init(&reader, value, len);
    while (reader.left > 0 && status == ATLAS_OK) {
        status = read_param(&reader, seen, &n_seen, params, n);
    }
    for (i = 0; i < n && status == ATLAS_OK; i++) {
        if (params[i].required && !params[i].present) {
            status = ATLAS_ERR_MALFORMED;
        }
    }
    return status;
}
