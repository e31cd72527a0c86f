#include "discovery/dialback_message.h"

#include <string.h>

#include "http3/capsule.h"
#include "stun/message.h"

#define P_NONCE 0x01
#define P_CANDIDATES 0x02
#define P_OBSERVED 0x03
#define P_RESULTS 0x04
#define P_PADDING 0x05

#define ADDR_MAX 19 /* family, address, port */
#define ATTRIBUTE 0xc0a7
#define VALUE_LEN 20
#define ATTR_HEADER 4

_Static_assert(ATL_DIALBACK_CANDIDATES *ATL_DIALBACK_PRICE < ATL_DIALBACK_BODY_MAX,
               "the body of the most candidates fits");
_Static_assert(ATL_STUN_HEADER + ATTR_HEADER + VALUE_LEN + 8 == ATL_DIALBACK_DATAGRAM,
               "header, attribute, FINGERPRINT");

/* ---- addresses ---- */

static void put_addr(atl_writer *writer, const atl_addr *addr) {
    atl_write_u8(writer, addr->family);
    atl_write_bytes(writer, addr->ip, addr->family == 4 ? 4 : 16);
    atl_write_u16(writer, addr->port);
}

static int32_t get_addr(atl_reader *reader, atl_addr *out) {
    uint8_t family;
    uint8_t ip[16];
    uint16_t port;

    if (atl_read_u8(reader, &family) != ATLAS_OK || (family != 4 && family != 6) ||
        atl_read_bytes(reader, ip, family == 4 ? 4 : 16) != ATLAS_OK ||
        atl_read_u16(reader, &port) != ATLAS_OK) {
        return ATLAS_ERR_MALFORMED;
    }
    if (family == 4) {
        atl_addr_set4(out, ip, port);
    } else {
        atl_addr_set6(out, ip, 0, port);
    }
    return ATLAS_OK;
}

static int is_ip(const atl_addr *addr) {
    return addr->family == 4 || addr->family == 6;
}

/* ---- request ---- */

static void put_candidates(atl_writer *writer, const atl_dialback_request *msg) {
    uint8_t list[ATL_DIALBACK_CANDIDATES * ADDR_MAX];
    atl_writer inner;
    size_t i;

    atl_writer_init(&inner, list, sizeof(list));
    for (i = 0; i < msg->n_candidates; i++) {
        put_addr(&inner, &msg->candidates[i]);
    }
    atl_write_varint(writer, P_CANDIDATES);
    atl_write_varint(writer, inner.len);
    atl_write_bytes(writer, list, inner.len);
}

/* What is sent for a request must not be more than the request itself. One candidate leaves more
 * than 500 bytes to pad: the length takes two. */
static void pad(atl_writer *writer, size_t to) {
    if (to > writer->len + 3) {
        size_t n = to - writer->len - 3;

        atl_write_varint(writer, P_PADDING);
        atl_write_varint(writer, n);
        atl_write_zeros(writer, n);
    }
}

int32_t atl_dialback_request_encode(const atl_dialback_request *msg, uint8_t *buf, size_t cap,
                                    size_t *len) {
    atl_writer writer;
    size_t i;

    if (msg->n_candidates > ATL_DIALBACK_CANDIDATES) {
        return ATLAS_ERR_INVALID;
    }
    for (i = 0; i < msg->n_candidates; i++) {
        if (!is_ip(&msg->candidates[i])) {
            return ATLAS_ERR_INVALID;
        }
    }
    atl_writer_init(&writer, buf, cap);
    atl_write_varint(&writer, P_NONCE);
    atl_write_varint(&writer, sizeof(msg->nonce));
    atl_write_bytes(&writer, msg->nonce, sizeof(msg->nonce));
    if (msg->n_candidates > 0) {
        put_candidates(&writer, msg);
    }
    pad(&writer, msg->n_candidates * ATL_DIALBACK_PRICE);
    if (writer.error == ATLAS_OK) {
        *len = writer.len;
    }
    return writer.error;
}

int32_t atl_dialback_request_decode(const uint8_t *data, size_t len, atl_dialback_request *out) {
    atl_param params[] = {
        {.id = P_NONCE, .required = 1, .min = ATL_DIALBACK_NONCE, .max = ATL_DIALBACK_NONCE},
        {.id = P_CANDIDATES, .min = 1, .max = (size_t)ATL_DIALBACK_CANDIDATES * ADDR_MAX},
    };
    int32_t rc = atl_params_read(data, len, params, ATL_COUNT(params));
    atl_dialback_request msg;
    atl_reader reader;

    if (rc != ATLAS_OK) {
        return rc;
    }
    memset(&msg, 0, sizeof(msg));
    memcpy(msg.nonce, params[0].data, sizeof(msg.nonce));
    atl_reader_init(&reader, params[1].data, params[1].len);
    while (reader.left > 0) {
        if (msg.n_candidates == ATL_DIALBACK_CANDIDATES ||
            get_addr(&reader, &msg.candidates[msg.n_candidates]) != ATLAS_OK) {
            return ATLAS_ERR_MALFORMED;
        }
        msg.n_candidates++;
    }
    *out = msg;
    return ATLAS_OK;
}

/* ---- reply ---- */

int32_t atl_dialback_reply_encode(const atl_dialback_reply *msg, uint8_t *buf, size_t cap,
                                  size_t *len) {
    atl_writer writer;

    if (!is_ip(&msg->observed) || msg->n_results > ATL_DIALBACK_CANDIDATES) {
        return ATLAS_ERR_INVALID;
    }
    atl_writer_init(&writer, buf, cap);
    atl_write_varint(&writer, P_OBSERVED);
    atl_write_varint(&writer, msg->observed.family == 4 ? 7 : ADDR_MAX);
    put_addr(&writer, &msg->observed);
    atl_write_varint(&writer, P_RESULTS);
    atl_write_varint(&writer, msg->n_results);
    atl_write_bytes(&writer, msg->results, msg->n_results);
    if (writer.error == ATLAS_OK) {
        *len = writer.len;
    }
    return writer.error;
}

int32_t atl_dialback_reply_decode(const uint8_t *data, size_t len, atl_dialback_reply *out) {
    atl_param params[] = {
        {.id = P_OBSERVED, .required = 1, .min = 7, .max = ADDR_MAX},
        {.id = P_RESULTS, .required = 1, .min = 0, .max = ATL_DIALBACK_CANDIDATES},
    };
    int32_t rc = atl_params_read(data, len, params, ATL_COUNT(params));
    atl_dialback_reply msg;
    atl_reader reader;
    size_t i;

    if (rc != ATLAS_OK) {
        return rc;
    }
    memset(&msg, 0, sizeof(msg));
    atl_reader_init(&reader, params[0].data, params[0].len);
    if (get_addr(&reader, &msg.observed) != ATLAS_OK || reader.left > 0) {
        return ATLAS_ERR_MALFORMED;
    }
    for (i = 0; i < params[1].len; i++) {
        if (params[1].data[i] > ATL_DIALBACK_FAILED) {
            return ATLAS_ERR_MALFORMED;
        }
        msg.results[msg.n_results++] = params[1].data[i];
    }
    *out = msg;
    return ATLAS_OK;
}

/* ---- datagram ---- */

int32_t atl_dialback_datagram_encode(const uint8_t nonce[ATL_DIALBACK_NONCE], uint8_t index,
                                     uint8_t from, uint8_t *buf, size_t cap, size_t *len) {
    uint8_t value[VALUE_LEN] = {0};
    atl_writer writer;

    memcpy(value, nonce, ATL_DIALBACK_NONCE);
    value[ATL_DIALBACK_NONCE] = index;
    value[ATL_DIALBACK_NONCE + 1] = from;
    atl_writer_init(&writer, buf, cap);
    if (cap < ATL_DIALBACK_DATAGRAM) {
        return ATLAS_ERR_BUFFER;
    }
    atl_stun_begin(&writer, ATL_STUN_INDICATION, ATL_STUN_BINDING, nonce);
    atl_stun_put(&writer, ATTRIBUTE, value, sizeof(value));
    atl_stun_put_fingerprint(&writer);
    *len = writer.len;
    return ATLAS_OK;
}

/* The first of our attributes: the codec passes over those that it does not know. */
static int32_t find_value(const uint8_t *data, size_t len, atl_reader *out) {
    atl_reader reader;
    uint16_t type;
    uint16_t length;
    atl_reader value;

    atl_reader_init(&reader, data, len);
    if (atl_read_skip(&reader, ATL_STUN_HEADER) != ATLAS_OK) {
        return ATLAS_ERR_MALFORMED;
    }
    while (atl_read_u16(&reader, &type) == ATLAS_OK && atl_read_u16(&reader, &length) == ATLAS_OK &&
           atl_read_sub(&reader, length, &value) == ATLAS_OK &&
           atl_read_skip(&reader, (4u - length % 4u) % 4u) == ATLAS_OK) {
        if (type == ATTRIBUTE) {
            *out = value;
            return length == VALUE_LEN ? ATLAS_OK : ATLAS_ERR_MALFORMED;
        }
    }
    return ATLAS_ERR_MALFORMED;
}

int32_t atl_dialback_datagram_decode(const uint8_t *data, size_t len,
                                     uint8_t nonce[ATL_DIALBACK_NONCE], uint8_t *index,
                                     uint8_t *from) {
    atl_stun_msg msg;
    atl_reader value;
    uint8_t said[ATL_DIALBACK_NONCE];
    uint8_t which;
    uint8_t source;

    if (atl_stun_parse(data, len, &msg) != ATLAS_OK || msg.header.cls != ATL_STUN_INDICATION ||
        msg.header.method != ATL_STUN_BINDING || !msg.has_fingerprint || msg.unknown_count > 0 ||
        find_value(data, len, &value) != ATLAS_OK ||
        atl_read_bytes(&value, said, sizeof(said)) != ATLAS_OK ||
        atl_read_u8(&value, &which) != ATLAS_OK || atl_read_u8(&value, &source) != ATLAS_OK) {
        return ATLAS_ERR_MALFORMED;
    }
    if (memcmp(said, msg.header.id, sizeof(msg.header.id)) != 0 ||
        which >= ATL_DIALBACK_CANDIDATES ||
        (source != ATL_DIALBACK_FROM_PORT && source != ATL_DIALBACK_FROM_ADDRESS)) {
        return ATLAS_ERR_MALFORMED;
    }
    memcpy(nonce, said, sizeof(said));
    *index = which;
    *from = source;
    return ATLAS_OK;
}
