#include "relay/messages.h"

#include <string.h>

#define UINT(id, required) \
    { id, required, 1, 0, 0, 0, 0, NULL, 0 }
#define BYTES(id, required, min, max) \
    { id, required, 0, min, max, 0, 0, NULL, 0 }
#define PEER(id) BYTES(id, 1, ATL_PEER_ID_BINARY, ATL_PEER_ID_BINARY)
#define CIRCUIT_ID(id, required) BYTES(id, required, ATL_RELAY_ID_LEN, ATL_RELAY_ID_LEN)

/* ---- codes ---- */

typedef struct code_row {
    int32_t code;
    uint8_t wire;
} code_row;

/* The first row of a wire code is what it decodes to; the others are nearest matches. */
static const code_row CODES[] = {
    {ATLAS_ERR_RELAY_CIRCUIT_CLOSED, ATL_RELAY_CODE_CLOSED},
    {ATLAS_OK, ATL_RELAY_CODE_CLOSED},
    {ATLAS_ERR_CANCELLED, ATL_RELAY_CODE_CLOSED},
    {ATLAS_ERR_CLOSED, ATL_RELAY_CODE_CLOSED},
    {ATLAS_ERR_SHUTDOWN, ATL_RELAY_CODE_CLOSED},
    {ATLAS_ERR_RELAY_NOT_REGISTERED, ATL_RELAY_CODE_NOT_REGISTERED},
    {ATLAS_ERR_RELAY_CAPACITY, ATL_RELAY_CODE_CAPACITY},
    {ATLAS_ERR_LIMIT, ATL_RELAY_CODE_CAPACITY},
    {ATLAS_ERR_NOMEM, ATL_RELAY_CODE_CAPACITY},
    {ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT, ATL_RELAY_CODE_HANDSHAKE_TIMEOUT},
    {ATLAS_ERR_TIMEOUT, ATL_RELAY_CODE_HANDSHAKE_TIMEOUT},
    {ATLAS_ERR_RELAY_REFUSED, ATL_RELAY_CODE_REFUSED},
    {ATLAS_ERR_RELAY_NOT_AUTHORISED, ATL_RELAY_CODE_NOT_AUTHORISED},
    {ATLAS_ERR_RELAY_RATE_LIMITED, ATL_RELAY_CODE_RATE_LIMITED},
    {ATLAS_ERR_RELAY_MALFORMED, ATL_RELAY_CODE_MALFORMED},
    {ATLAS_ERR_TRUNCATED, ATL_RELAY_CODE_MALFORMED},
    {ATLAS_ERR_MALFORMED, ATL_RELAY_CODE_MALFORMED},
    {ATLAS_ERR_DUPLICATE, ATL_RELAY_CODE_MALFORMED},
    {ATLAS_ERR_PEER_ID, ATL_RELAY_CODE_MALFORMED},
    {ATLAS_ERR_TOO_LARGE, ATL_RELAY_CODE_MALFORMED},
    {ATLAS_ERR_RELAY_CLOCK_DRIFT, ATL_RELAY_CODE_CLOCK_DRIFT},
    {ATLAS_ERR_RELAY_IDENTITY, ATL_RELAY_CODE_IDENTITY},
    {ATLAS_ERR_RELAY_REPLACED, ATL_RELAY_CODE_REPLACED},
    {ATLAS_ERR_RELAY_DRAINING, ATL_RELAY_CODE_DRAINING},
    {ATLAS_ERR_RELAY_EXPIRED, ATL_RELAY_CODE_EXPIRED},
    {ATLAS_ERR_RELAY_LOST, ATL_RELAY_CODE_EXPIRED},
};

uint64_t atl_relay_code_to_wire(int32_t code) {
    size_t i;

    for (i = 0; i < ATL_COUNT(CODES); i++) {
        if (CODES[i].code == code) {
            return CODES[i].wire;
        }
    }
    return ATL_RELAY_CODE_INTERNAL;
}

int32_t atl_relay_code_from_wire(uint64_t wire) {
    size_t i;

    for (i = 0; i < ATL_COUNT(CODES); i++) {
        if (CODES[i].wire == wire) {
            return CODES[i].code;
        }
    }
    return ATLAS_ERR_INTERNAL;
}

uint64_t atl_relay_known(void *user, uint64_t type) {
    (void)user;
    return type >= ATL_RELAY_ANNOUNCE && type <= ATL_RELAY_DRAIN ? ATL_RELAY_VALUE_MAX : 0;
}

/* ---- values ---- */

/* Overflow of a number is the caller's mistake, not a small buffer. */
static int32_t finish(atl_capsule_writer *writer, int numbers_fit, size_t *len) {
    return numbers_fit ? atl_capsule_end(writer, len) : ATLAS_ERR_INVALID;
}

static int fits(uint64_t value) {
    return value >> 62 == 0;
}

static void put_peer(atl_capsule_writer *writer, uint64_t id, const atl_peer_id *peer) {
    uint8_t binary[ATL_PEER_ID_BINARY];

    atl_peer_id_encode(peer, binary);
    atl_capsule_param(writer, id, binary, sizeof(binary));
}

static int32_t get_peer(const atl_param *param, atl_peer_id *out) {
    return atl_peer_id_decode(param->data, param->len, out);
}

static void put_addr(atl_capsule_writer *writer, uint64_t id, const atl_addr *addr) {
    size_t ip_len = addr->family == 4 ? 4 : 16;
    uint8_t value[18];

    memcpy(value, addr->ip, ip_len);
    value[ip_len] = (uint8_t)(addr->port >> 8);
    value[ip_len + 1] = (uint8_t)addr->port;
    atl_capsule_param(writer, id, value, ip_len + 2);
}

static int32_t get_addr(const atl_param *param, atl_addr *out) {
    uint16_t port;

    if (!param->present) {
        return ATLAS_OK;
    }
    if (param->len != 6 && param->len != 18) {
        return ATLAS_ERR_MALFORMED;
    }
    port = (uint16_t)(param->data[param->len - 2] << 8 | param->data[param->len - 1]);
    if (param->len == 6) {
        atl_addr_set4(out, param->data, port);
    } else {
        atl_addr_set6(out, param->data, 0, port);
    }
    return ATLAS_OK;
}

/* What strangers write goes to terminals and logs: printable ASCII only. */
static void get_text(const atl_param *param, char *out) {
    size_t i;

    for (i = 0; i < param->len; i++) {
        uint8_t byte = param->data[i];

        out[i] = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    out[i] = '\0';
}

/* ---- announce ---- */

int32_t atl_relay_announce_encode(const atl_relay_announce *msg, uint8_t *buf, size_t cap,
                                  size_t *len) {
    atl_capsule_writer writer;

    atl_capsule_begin(&writer, buf, cap, ATL_RELAY_ANNOUNCE);
    put_peer(&writer, ATL_RELAY_P_NODE_ID, &msg->node);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_TIMESTAMP, msg->timestamp);
    if (msg->yield) {
        atl_capsule_param_uint(&writer, ATL_RELAY_P_YIELD, 1);
    }
    return finish(&writer, fits(msg->timestamp), len);
}

int32_t atl_relay_announce_decode(const uint8_t *value, size_t len, atl_relay_announce *out) {
    atl_param params[] = {
        PEER(ATL_RELAY_P_NODE_ID),
        UINT(ATL_RELAY_P_TIMESTAMP, 1),
        UINT(ATL_RELAY_P_YIELD, 0),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));
    atl_relay_announce msg;

    memset(&msg, 0, sizeof(msg));
    if (status == ATLAS_OK) {
        status = get_peer(&params[0], &msg.node);
    }
    if (status == ATLAS_OK && params[2].number > 1) {
        status = ATLAS_ERR_MALFORMED;
    }
    if (status == ATLAS_OK) {
        msg.timestamp = params[1].number;
        msg.yield = (uint8_t)params[2].number;
        *out = msg;
    }
    return status;
}

/* ---- connect ---- */

int32_t atl_relay_connect_encode(const atl_relay_connect *msg, uint8_t *buf, size_t cap,
                                 size_t *len) {
    atl_capsule_writer writer;

    atl_capsule_begin(&writer, buf, cap, ATL_RELAY_CONNECT);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_REQUEST, msg->request);
    put_peer(&writer, ATL_RELAY_P_SOURCE_ID, &msg->source);
    put_peer(&writer, ATL_RELAY_P_TARGET_ID, &msg->target);
    atl_capsule_param(&writer, ATL_RELAY_P_RECEIVE_ID, msg->receive_id, sizeof(msg->receive_id));
    atl_capsule_param_uint(&writer, ATL_RELAY_P_TIMESTAMP, msg->timestamp);
    return finish(&writer, fits(msg->request) && fits(msg->timestamp), len);
}

int32_t atl_relay_connect_decode(const uint8_t *value, size_t len, atl_relay_connect *out) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_REQUEST, 1),   PEER(ATL_RELAY_P_SOURCE_ID),
        PEER(ATL_RELAY_P_TARGET_ID),    CIRCUIT_ID(ATL_RELAY_P_RECEIVE_ID, 1),
        UINT(ATL_RELAY_P_TIMESTAMP, 1),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));
    atl_relay_connect msg;

    memset(&msg, 0, sizeof(msg));
    if (status == ATLAS_OK) {
        status = get_peer(&params[1], &msg.source);
    }
    if (status == ATLAS_OK) {
        status = get_peer(&params[2], &msg.target);
    }
    if (status == ATLAS_OK) {
        msg.request = params[0].number;
        memcpy(msg.receive_id, params[3].data, sizeof(msg.receive_id));
        msg.timestamp = params[4].number;
        *out = msg;
    }
    return status;
}

/* ---- ready ---- */

static int put_waiting(atl_capsule_writer *writer, const atl_relay_ready *msg) {
    atl_capsule_param_uint(writer, ATL_RELAY_P_EXPIRY, msg->expiry);
    if (msg->observed.family != 0) {
        put_addr(writer, ATL_RELAY_P_OBSERVED, &msg->observed);
    }
    atl_capsule_param_uint(writer, ATL_RELAY_P_INTERVAL, msg->interval);
    return fits(msg->expiry) && fits(msg->interval);
}

static int put_ready(atl_capsule_writer *writer, const atl_relay_ready *msg) {
    atl_capsule_param_uint(writer, ATL_RELAY_P_REQUEST, msg->request);
    atl_capsule_param_uint(writer, ATL_RELAY_P_CIRCUIT, msg->circuit);
    atl_capsule_param(writer, ATL_RELAY_P_SEND_ID, msg->send_id, sizeof(msg->send_id));
    return fits(msg->request) && fits(msg->circuit);
}

int32_t atl_relay_ready_encode(const atl_relay_ready *msg, uint8_t *buf, size_t cap, size_t *len) {
    atl_capsule_writer writer;
    int fit;

    if (msg->status != ATL_RELAY_STATUS_WAITING && msg->status != ATL_RELAY_STATUS_READY) {
        return ATLAS_ERR_INVALID;
    }
    atl_capsule_begin(&writer, buf, cap, ATL_RELAY_READY);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_STATUS, msg->status);
    fit = msg->status == ATL_RELAY_STATUS_WAITING ? put_waiting(&writer, msg)
                                                  : put_ready(&writer, msg);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_BANDWIDTH, msg->bandwidth);
    return finish(&writer, fit && fits(msg->bandwidth), len);
}

static int32_t get_waiting(const uint8_t *value, size_t len, atl_relay_ready *msg) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_EXPIRY, 1),
        BYTES(ATL_RELAY_P_OBSERVED, 0, 6, 18),
        UINT(ATL_RELAY_P_INTERVAL, 0),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        msg->expiry = params[0].number;
        msg->interval = params[2].number;
        status = get_addr(&params[1], &msg->observed);
    }
    return status;
}

static int32_t get_ready(const uint8_t *value, size_t len, atl_relay_ready *msg) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_REQUEST, 1),
        UINT(ATL_RELAY_P_CIRCUIT, 1),
        CIRCUIT_ID(ATL_RELAY_P_SEND_ID, 1),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        msg->request = params[0].number;
        msg->circuit = params[1].number;
        memcpy(msg->send_id, params[2].data, sizeof(msg->send_id));
    }
    return status;
}

int32_t atl_relay_ready_decode(const uint8_t *value, size_t len, atl_relay_ready *out) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_STATUS, 1),
        UINT(ATL_RELAY_P_BANDWIDTH, 0),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));
    atl_relay_ready msg;

    if (status != ATLAS_OK) {
        return status;
    }
    memset(&msg, 0, sizeof(msg));
    msg.bandwidth = params[1].number;
    if (params[0].number == ATL_RELAY_STATUS_WAITING) {
        msg.status = ATL_RELAY_STATUS_WAITING;
        status = get_waiting(value, len, &msg);
    } else if (params[0].number == ATL_RELAY_STATUS_READY) {
        msg.status = ATL_RELAY_STATUS_READY;
        status = get_ready(value, len, &msg);
    } else {
        status = ATLAS_ERR_MALFORMED;
    }
    if (status == ATLAS_OK) {
        *out = msg;
    }
    return status;
}

/* ---- error ---- */

int32_t atl_relay_error_encode(const atl_relay_error *msg, uint8_t *buf, size_t cap, size_t *len) {
    uint64_t wire = atl_relay_code_to_wire(msg->code);
    size_t reason_len = strnlen(msg->reason, ATL_RELAY_REASON_MAX);
    atl_capsule_writer writer;

    if (wire == ATL_RELAY_CODE_CLOSED) {
        return ATLAS_ERR_INVALID;
    }
    atl_capsule_begin(&writer, buf, cap, ATL_RELAY_ERROR);
    if (msg->has_request) {
        atl_capsule_param_uint(&writer, ATL_RELAY_P_REQUEST, msg->request);
    }
    atl_capsule_param_uint(&writer, ATL_RELAY_P_CODE, wire);
    if (reason_len > 0) {
        atl_capsule_param(&writer, ATL_RELAY_P_REASON, msg->reason, reason_len);
    }
    return finish(&writer, !msg->has_request || fits(msg->request), len);
}

int32_t atl_relay_error_decode(const uint8_t *value, size_t len, atl_relay_error *out) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_REQUEST, 0),
        UINT(ATL_RELAY_P_CODE, 1),
        BYTES(ATL_RELAY_P_REASON, 0, 0, ATL_RELAY_REASON_MAX),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK && params[1].number == ATL_RELAY_CODE_CLOSED) {
        status = ATLAS_ERR_MALFORMED;
    }
    if (status == ATLAS_OK) {
        memset(out, 0, sizeof(*out));
        out->has_request = params[0].present;
        out->request = params[0].number;
        out->code = atl_relay_code_from_wire(params[1].number);
        get_text(&params[2], out->reason);
    }
    return status;
}

/* ---- incoming ---- */

int32_t atl_relay_incoming_encode(const atl_relay_incoming *msg, uint8_t *buf, size_t cap,
                                  size_t *len) {
    atl_capsule_writer writer;

    atl_capsule_begin(&writer, buf, cap, ATL_RELAY_INCOMING);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_CIRCUIT, msg->circuit);
    put_peer(&writer, ATL_RELAY_P_SOURCE_ID, &msg->source);
    atl_capsule_param(&writer, ATL_RELAY_P_SEND_ID, msg->send_id, sizeof(msg->send_id));
    return finish(&writer, fits(msg->circuit), len);
}

int32_t atl_relay_incoming_decode(const uint8_t *value, size_t len, atl_relay_incoming *out) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_CIRCUIT, 1),
        PEER(ATL_RELAY_P_SOURCE_ID),
        CIRCUIT_ID(ATL_RELAY_P_SEND_ID, 1),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));
    atl_relay_incoming msg;

    memset(&msg, 0, sizeof(msg));
    if (status == ATLAS_OK) {
        status = get_peer(&params[1], &msg.source);
    }
    if (status == ATLAS_OK) {
        msg.circuit = params[0].number;
        memcpy(msg.send_id, params[2].data, sizeof(msg.send_id));
        *out = msg;
    }
    return status;
}

/* ---- accept ---- */

int32_t atl_relay_accept_encode(const atl_relay_accept *msg, uint8_t *buf, size_t cap,
                                size_t *len) {
    uint64_t wire = atl_relay_code_to_wire(msg->code);
    atl_capsule_writer writer;

    if (msg->code != ATLAS_OK && wire == ATL_RELAY_CODE_CLOSED) {
        wire = ATL_RELAY_CODE_REFUSED; /* whoever shuts down refuses */
    }
    atl_capsule_begin(&writer, buf, cap, ATL_RELAY_ACCEPT);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_CIRCUIT, msg->circuit);
    if (msg->code == ATLAS_OK) {
        atl_capsule_param(&writer, ATL_RELAY_P_RECEIVE_ID, msg->receive_id,
                          sizeof(msg->receive_id));
    } else {
        atl_capsule_param_uint(&writer, ATL_RELAY_P_CODE, wire);
    }
    return finish(&writer, fits(msg->circuit), len);
}

int32_t atl_relay_accept_decode(const uint8_t *value, size_t len, atl_relay_accept *out) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_CIRCUIT, 1),
        CIRCUIT_ID(ATL_RELAY_P_RECEIVE_ID, 0),
        UINT(ATL_RELAY_P_CODE, 0),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK && params[1].present == params[2].present) {
        status = ATLAS_ERR_MALFORMED;
    }
    if (status == ATLAS_OK && params[2].present && params[2].number == ATL_RELAY_CODE_CLOSED) {
        status = ATLAS_ERR_MALFORMED;
    }
    if (status == ATLAS_OK) {
        memset(out, 0, sizeof(*out));
        out->circuit = params[0].number;
        if (params[1].present) {
            memcpy(out->receive_id, params[1].data, sizeof(out->receive_id));
        } else {
            out->code = atl_relay_code_from_wire(params[2].number);
        }
    }
    return status;
}

/* ---- close ---- */

int32_t atl_relay_close_encode(const atl_relay_close *msg, uint8_t *buf, size_t cap, size_t *len) {
    atl_capsule_writer writer;

    atl_capsule_begin(&writer, buf, cap, ATL_RELAY_CLOSE);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_CIRCUIT, msg->circuit);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_CODE, atl_relay_code_to_wire(msg->code));
    return finish(&writer, fits(msg->circuit), len);
}

int32_t atl_relay_close_decode(const uint8_t *value, size_t len, atl_relay_close *out) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_CIRCUIT, 1),
        UINT(ATL_RELAY_P_CODE, 1),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        memset(out, 0, sizeof(*out));
        out->circuit = params[0].number;
        out->code = atl_relay_code_from_wire(params[1].number);
    }
    return status;
}

/* ---- drain ---- */

int32_t atl_relay_drain_encode(const atl_relay_drain *msg, uint8_t *buf, size_t cap, size_t *len) {
    atl_capsule_writer writer;

    atl_capsule_begin(&writer, buf, cap, ATL_RELAY_DRAIN);
    atl_capsule_param_uint(&writer, ATL_RELAY_P_WITHIN, msg->within);
    return finish(&writer, fits(msg->within), len);
}

int32_t atl_relay_drain_decode(const uint8_t *value, size_t len, atl_relay_drain *out) {
    atl_param params[] = {
        UINT(ATL_RELAY_P_WITHIN, 1),
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        memset(out, 0, sizeof(*out));
        out->within = params[0].number;
    }
    return status;
}
