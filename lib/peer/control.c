#include "peer/control.h"

#include <string.h>

uint64_t atl_ctrl_known(void *user, uint64_t type) {
    (void)user;
    switch (type) {
    case ATL_CTRL_HELLO:
    case ATL_CTRL_PING:
    case ATL_CTRL_PONG:
    case ATL_CTRL_DISCONNECT:
        return ATL_CTRL_VALUE_MAX;
    default:
        return 0;
    }
}

static int fits(uint64_t value) {
    return value >> 62 == 0;
}

/* What peers write goes to terminals and logs: printable ASCII only. */
static void get_text(const atl_param *param, char *out) {
    size_t i;

    for (i = 0; i < param->len; i++) {
        uint8_t byte = param->data[i];

        out[i] = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    out[i] = '\0';
}

/* ---- hello ---- */

int32_t atl_ctrl_hello_encode(const atl_ctrl_hello *msg, uint8_t *buf, size_t cap, size_t *len) {
    atl_capsule_writer writer;

    if (!fits(msg->version) || !fits(msg->features)) {
        return ATLAS_ERR_INVALID;
    }
    atl_capsule_begin(&writer, buf, cap, ATL_CTRL_HELLO);
    atl_capsule_param_uint(&writer, ATL_CTRL_P_VERSION, msg->version);
    atl_capsule_param(&writer, ATL_CTRL_P_AGENT, msg->agent,
                      strnlen(msg->agent, ATL_CTRL_AGENT_MAX));
    if (msg->features != 0) {
        atl_capsule_param_uint(&writer, ATL_CTRL_P_FEATURES, msg->features);
    }
    return atl_capsule_end(&writer, len);
}

int32_t atl_ctrl_hello_decode(const uint8_t *value, size_t len, atl_ctrl_hello *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_VERSION, .required = 1, .is_uint = 1},
        {.id = ATL_CTRL_P_AGENT, .max = ATL_CTRL_AGENT_MAX},
        {.id = ATL_CTRL_P_FEATURES, .is_uint = 1},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        memset(out, 0, sizeof(*out));
        out->version = params[0].number;
        out->features = params[2].number;
        get_text(&params[1], out->agent);
    }
    return status;
}

/* ---- ping and pong ---- */

static int32_t encode_ping(uint64_t type, const atl_ctrl_ping *msg, uint8_t *buf, size_t cap,
                           size_t *len) {
    atl_capsule_writer writer;
    uint8_t stamp[8];
    size_t i;

    if (!fits(msg->id)) {
        return ATLAS_ERR_INVALID;
    }
    for (i = 0; i < sizeof(stamp); i++) {
        stamp[i] = (uint8_t)(msg->timestamp >> (56 - 8 * i));
    }
    atl_capsule_begin(&writer, buf, cap, type);
    atl_capsule_param_uint(&writer, ATL_CTRL_P_ID, msg->id);
    atl_capsule_param(&writer, ATL_CTRL_P_TIMESTAMP, stamp, sizeof(stamp));
    return atl_capsule_end(&writer, len);
}

int32_t atl_ctrl_ping_encode(const atl_ctrl_ping *msg, uint8_t *buf, size_t cap, size_t *len) {
    return encode_ping(ATL_CTRL_PING, msg, buf, cap, len);
}

int32_t atl_ctrl_pong_encode(const atl_ctrl_ping *msg, uint8_t *buf, size_t cap, size_t *len) {
    return encode_ping(ATL_CTRL_PONG, msg, buf, cap, len);
}

int32_t atl_ctrl_ping_decode(const uint8_t *value, size_t len, atl_ctrl_ping *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_ID, .required = 1, .is_uint = 1},
        {.id = ATL_CTRL_P_TIMESTAMP, .min = 8, .max = 8},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));
    atl_reader reader;

    if (status == ATLAS_OK) {
        out->id = params[0].number;
        out->timestamp = 0;
        atl_reader_init(&reader, params[1].data, params[1].len);
        (void)atl_read_u64(&reader, &out->timestamp);
    }
    return status;
}

/* ---- disconnect ---- */

int32_t atl_ctrl_disconnect_encode(const atl_ctrl_disconnect *msg, uint8_t *buf, size_t cap,
                                   size_t *len) {
    atl_capsule_writer writer;

    atl_capsule_begin(&writer, buf, cap, ATL_CTRL_DISCONNECT);
    atl_capsule_param(&writer, ATL_CTRL_P_REASON, msg->reason,
                      strnlen(msg->reason, ATL_CTRL_REASON_MAX));
    return atl_capsule_end(&writer, len);
}

int32_t atl_ctrl_disconnect_decode(const uint8_t *value, size_t len, atl_ctrl_disconnect *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_REASON, .max = ATL_CTRL_REASON_MAX},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        get_text(&params[0], out->reason);
    }
    return status;
}
