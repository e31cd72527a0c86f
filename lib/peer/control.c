#include "peer/control.h"

#include <string.h>

uint64_t atl_ctrl_known(void *user, uint64_t type) {
    (void)user;
    switch (type) {
    case ATL_CTRL_HELLO:
    case ATL_CTRL_PING:
    case ATL_CTRL_PONG:
    case ATL_CTRL_DISCONNECT:
    case ATL_CTRL_ADDRESSES:
    case ATL_CTRL_PUNCH:
    case ATL_CTRL_PATH_REQUEST:
    case ATL_CTRL_SLEEP:
        return ATL_CTRL_VALUE_MAX;
    case ATL_CTRL_RECORD:
        return ATL_CTRL_RECORD_VALUE_MAX;
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
    if (msg->patience != 0) {
        atl_capsule_param_uint(&writer, ATL_CTRL_P_PATIENCE, msg->patience);
    }
    return atl_capsule_end(&writer, len);
}

int32_t atl_ctrl_hello_decode(const uint8_t *value, size_t len, atl_ctrl_hello *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_VERSION, .required = 1, .is_uint = 1},
        {.id = ATL_CTRL_P_AGENT, .max = ATL_CTRL_AGENT_MAX},
        {.id = ATL_CTRL_P_FEATURES, .is_uint = 1},
        {.id = ATL_CTRL_P_PATIENCE, .is_uint = 1},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        memset(out, 0, sizeof(*out));
        out->version = params[0].number;
        out->features = params[2].number;
        out->patience = params[3].number;
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

/* ---- addresses ---- */

#define CANDIDATE_LONGEST 24 /* kind, priority, family, IPv6 address, port */

static size_t ip_len(uint8_t family) {
    return family == 4 ? 4 : 16;
}

static void write_addr(atl_writer *writer, const atl_addr *addr) {
    atl_write_u8(writer, addr->family);
    atl_write_bytes(writer, addr->ip, ip_len(addr->family));
    atl_write_u16(writer, addr->port);
}

/* The length of an address of an unknown family is unknown: nothing behind it can be read. */
static int32_t read_addr(atl_reader *reader, atl_addr *out) {
    uint8_t ip[16];
    uint8_t family;
    uint16_t port;

    if (atl_read_u8(reader, &family) != ATLAS_OK || (family != 4 && family != 6) ||
        atl_read_bytes(reader, ip, ip_len(family)) != ATLAS_OK ||
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

/* Whether a datagram to it can reach one host, and that host only. An IPv6 link-local address needs
 * a zone, which only the sender knows. */
static int sensible(const atl_addr *addr) {
    if (addr->port == 0 || atl_addr_is_unspecified(addr) || atl_addr_is_multicast(addr)) {
        return 0;
    }
    if (addr->family == 4) {
        return addr->ip[0] != 0 && addr->ip[0] < 240;
    }
    return addr->family == 6 && !atl_addr_is_link_local(addr);
}

static int known_kind(uint8_t kind) {
    return kind >= ATLAS_CANDIDATE_HOST && kind <= ATLAS_CANDIDATE_SERVER_REFLEXIVE;
}

static int named_before(const atl_ctrl_addresses *msg, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < msg->n_candidates; i++) {
        if (atl_addr_equal(&msg->candidates[i].addr, addr)) {
            return 1;
        }
    }
    return 0;
}

static void put_candidates(atl_capsule_writer *writer, const atl_ctrl_addresses *msg) {
    uint8_t value[ATL_CANDIDATES_MAX * CANDIDATE_LONGEST];
    atl_writer out;
    size_t i;

    atl_writer_init(&out, value, sizeof(value));
    for (i = 0; i < msg->n_candidates && i < ATL_CANDIDATES_MAX; i++) {
        const atl_candidate *candidate = &msg->candidates[i];

        if (known_kind(candidate->kind) && sensible(&candidate->addr)) {
            atl_write_u8(&out, candidate->kind);
            atl_write_u32(&out, candidate->priority);
            write_addr(&out, &candidate->addr);
        }
    }
    if (out.len > 0) {
        atl_capsule_param(writer, ATL_CTRL_P_CANDIDATES, value, out.len);
    }
}

/* A relay that can be dialled by its transport. */
static int is_relay(const atl_maddr *maddr) {
    if (maddr->host_kind == ATL_HOST_IP && !sensible(&maddr->addr)) {
        return 0;
    }
    return maddr->host_kind != ATL_HOST_NONE && maddr->quic && maddr->has_peer && !maddr->has_relay;
}

/* Relays with long names may be too many for one message: those that come first matter most. */
static void put_relays(atl_capsule_writer *writer, const atl_ctrl_addresses *msg) {
    uint8_t value[ATL_CTRL_VALUE_MAX];
    size_t used = writer->out.len - writer->length_at - 2;
    size_t head = 1 + atl_varint_len(ATL_CTRL_VALUE_MAX);
    size_t room = used + head < ATL_CTRL_VALUE_MAX ? ATL_CTRL_VALUE_MAX - used - head : 0;
    atl_writer out;
    size_t i;

    atl_writer_init(&out, value, room);
    for (i = 0; i < msg->n_relays && i < ATL_CTRL_RELAYS_MAX; i++) {
        char text[ATLAS_MULTIADDR_MAX];
        uint8_t bytes[ATL_MULTIADDR_BYTES];
        size_t len;

        if (is_relay(&msg->relays[i]) &&
            atl_maddr_text(&msg->relays[i], text, sizeof(text)) == ATLAS_OK &&
            atl_multiaddr_encode(text, bytes, sizeof(bytes), &len) == ATLAS_OK &&
            out.cap - out.len >= len + 2) {
            atl_write_u16(&out, (uint16_t)len);
            atl_write_bytes(&out, bytes, len);
        }
    }
    if (out.len > 0) {
        atl_capsule_param(writer, ATL_CTRL_P_RELAYS, value, out.len);
    }
}

int32_t atl_ctrl_addresses_encode(const atl_ctrl_addresses *msg, uint8_t *buf, size_t cap,
                                  size_t *len) {
    atl_capsule_writer writer;

    if (!fits(msg->generation)) {
        return ATLAS_ERR_INVALID;
    }
    atl_capsule_begin(&writer, buf, cap, ATL_CTRL_ADDRESSES);
    if (writer.out.error != ATLAS_OK) {
        return writer.out.error;
    }
    atl_capsule_param_uint(&writer, ATL_CTRL_P_GENERATION, msg->generation);
    put_candidates(&writer, msg);
    put_relays(&writer, msg);
    return atl_capsule_end(&writer, len);
}

static int32_t get_candidates(const atl_param *param, atl_ctrl_addresses *msg) {
    atl_reader reader;
    size_t read;

    atl_reader_init(&reader, param->data, param->len);
    for (read = 0; reader.left > 0; read++) {
        atl_candidate candidate;

        memset(&candidate, 0, sizeof(candidate));
        if (read == ATL_CANDIDATES_MAX || atl_read_u8(&reader, &candidate.kind) != ATLAS_OK ||
            atl_read_u32(&reader, &candidate.priority) != ATLAS_OK ||
            read_addr(&reader, &candidate.addr) != ATLAS_OK) {
            return ATLAS_ERR_MALFORMED;
        }
        if (known_kind(candidate.kind) && sensible(&candidate.addr) &&
            !named_before(msg, &candidate.addr)) {
            msg->candidates[msg->n_candidates++] = candidate;
        }
    }
    return ATLAS_OK;
}

static int32_t get_relays(const atl_param *param, atl_ctrl_addresses *msg) {
    atl_reader reader;
    size_t read;

    atl_reader_init(&reader, param->data, param->len);
    for (read = 0; reader.left > 0; read++) {
        atl_maddr *relay = &msg->relays[msg->n_relays];
        atl_reader bytes;
        uint16_t len;

        if (read == ATL_CTRL_RELAYS_MAX || atl_read_u16(&reader, &len) != ATLAS_OK ||
            atl_read_sub(&reader, len, &bytes) != ATLAS_OK) {
            return ATLAS_ERR_MALFORMED;
        }
        if (atl_maddr_from_bytes(bytes.data, bytes.left, relay) == ATLAS_OK && is_relay(relay)) {
            msg->n_relays++;
        } else {
            memset(relay, 0, sizeof(*relay));
        }
    }
    return ATLAS_OK;
}

int32_t atl_ctrl_addresses_decode(const uint8_t *value, size_t len, atl_ctrl_addresses *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_GENERATION, .required = 1, .is_uint = 1},
        {.id = ATL_CTRL_P_CANDIDATES, .max = ATL_CANDIDATES_MAX * CANDIDATE_LONGEST},
        {.id = ATL_CTRL_P_RELAYS, .max = ATL_CTRL_VALUE_MAX},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));
    atl_ctrl_addresses msg;

    if (status != ATLAS_OK) {
        return status;
    }
    memset(&msg, 0, sizeof(msg));
    msg.generation = params[0].number;
    status = get_candidates(&params[1], &msg);
    if (status == ATLAS_OK) {
        status = get_relays(&params[2], &msg);
    }
    if (status == ATLAS_OK) {
        memcpy(out, &msg, sizeof(msg));
    }
    return status;
}

/* ---- punch ---- */

int32_t atl_ctrl_punch_encode(const atl_ctrl_punch *msg, uint8_t *buf, size_t cap, size_t *len) {
    atl_capsule_writer writer;

    if (!fits(msg->attempt) || !fits(msg->phase)) {
        return ATLAS_ERR_INVALID;
    }
    atl_capsule_begin(&writer, buf, cap, ATL_CTRL_PUNCH);
    atl_capsule_param_uint(&writer, ATL_CTRL_P_ATTEMPT, msg->attempt);
    atl_capsule_param_uint(&writer, ATL_CTRL_P_PHASE, msg->phase);
    return atl_capsule_end(&writer, len);
}

int32_t atl_ctrl_punch_decode(const uint8_t *value, size_t len, atl_ctrl_punch *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_ATTEMPT, .required = 1, .is_uint = 1},
        {.id = ATL_CTRL_P_PHASE, .required = 1, .is_uint = 1},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK && params[1].number != ATL_CTRL_PUNCH_START &&
        params[1].number != ATL_CTRL_PUNCH_REPLY) {
        status = ATLAS_ERR_MALFORMED;
    }
    if (status == ATLAS_OK) {
        out->attempt = params[0].number;
        out->phase = params[1].number;
    }
    return status;
}

/* ---- path requests ---- */

int32_t atl_ctrl_path_request_encode(const atl_ctrl_path_request *msg, uint8_t *buf, size_t cap,
                                     size_t *len) {
    uint8_t bytes[ATL_PEER_ID_BINARY];
    atl_capsule_writer writer;
    atl_writer out;

    if (msg->kind == ATLAS_PATH_DIRECT ? !sensible(&msg->remote) : msg->kind != ATLAS_PATH_RELAY) {
        return ATLAS_ERR_INVALID;
    }
    atl_capsule_begin(&writer, buf, cap, ATL_CTRL_PATH_REQUEST);
    atl_capsule_param_uint(&writer, ATL_CTRL_P_PHASE, msg->kind);
    if (msg->kind == ATLAS_PATH_DIRECT) {
        atl_writer_init(&out, bytes, sizeof(bytes));
        write_addr(&out, &msg->remote);
        atl_capsule_param(&writer, ATL_CTRL_P_REMOTE, bytes, out.len);
    } else {
        atl_peer_id_encode(&msg->relay, bytes);
        atl_capsule_param(&writer, ATL_CTRL_P_RELAY, bytes, sizeof(bytes));
    }
    atl_capsule_param(&writer, ATL_CTRL_P_REASON, msg->reason,
                      strnlen(msg->reason, ATL_CTRL_REASON_MAX));
    return atl_capsule_end(&writer, len);
}

static int32_t get_remote(const atl_param *param, atl_addr *out) {
    atl_reader reader;

    atl_reader_init(&reader, param->data, param->len);
    if (!param->present || read_addr(&reader, out) != ATLAS_OK || reader.left > 0 ||
        !sensible(out)) {
        return ATLAS_ERR_MALFORMED;
    }
    return ATLAS_OK;
}

static int32_t get_relay(const atl_param *param, atl_peer_id *out) {
    if (!param->present || atl_peer_id_decode(param->data, param->len, out) != ATLAS_OK) {
        return ATLAS_ERR_MALFORMED;
    }
    return ATLAS_OK;
}

int32_t atl_ctrl_path_request_decode(const uint8_t *value, size_t len, atl_ctrl_path_request *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_PHASE, .required = 1, .is_uint = 1},
        {.id = ATL_CTRL_P_REMOTE, .max = 19},
        {.id = ATL_CTRL_P_RELAY, .max = ATL_PEER_ID_BINARY},
        {.id = ATL_CTRL_P_REASON, .max = ATL_CTRL_REASON_MAX},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));
    atl_ctrl_path_request msg;

    if (status != ATLAS_OK) {
        return status;
    }
    memset(&msg, 0, sizeof(msg));
    msg.kind = params[0].number;
    status = msg.kind == ATLAS_PATH_DIRECT  ? get_remote(&params[1], &msg.remote)
             : msg.kind == ATLAS_PATH_RELAY ? get_relay(&params[2], &msg.relay)
                                            : ATLAS_ERR_MALFORMED;
    if (status == ATLAS_OK) {
        get_text(&params[3], msg.reason);
        memcpy(out, &msg, sizeof(msg));
    }
    return status;
}

/* ---- sleep ---- */

int32_t atl_ctrl_sleep_encode(const atl_ctrl_sleep *msg, uint8_t *buf, size_t cap, size_t *len) {
    atl_capsule_writer writer;

    if (!fits(msg->seconds)) {
        return ATLAS_ERR_INVALID;
    }
    atl_capsule_begin(&writer, buf, cap, ATL_CTRL_SLEEP);
    atl_capsule_param_uint(&writer, ATL_CTRL_P_SECONDS, msg->seconds);
    return atl_capsule_end(&writer, len);
}

int32_t atl_ctrl_sleep_decode(const uint8_t *value, size_t len, atl_ctrl_sleep *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_SECONDS, .required = 1, .is_uint = 1},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        out->seconds =
            params[0].number > ATL_CTRL_SLEEP_MAX ? ATL_CTRL_SLEEP_MAX : params[0].number;
    }
    return status;
}

/* ---- record ---- */

int32_t atl_ctrl_record_encode(const atl_ctrl_record *msg, uint8_t *buf, size_t cap, size_t *len) {
    atl_capsule_writer writer;

    if (msg->len == 0 || msg->len > ATL_CTRL_RECORD_MAX) {
        return ATLAS_ERR_INVALID;
    }
    atl_capsule_begin(&writer, buf, cap, ATL_CTRL_RECORD);
    atl_capsule_param(&writer, ATL_CTRL_P_ENVELOPE, msg->data, msg->len);
    return atl_capsule_end(&writer, len);
}

int32_t atl_ctrl_record_decode(const uint8_t *value, size_t len, atl_ctrl_record *out) {
    atl_param params[] = {
        {.id = ATL_CTRL_P_ENVELOPE, .required = 1, .min = 1, .max = ATL_CTRL_RECORD_MAX},
    };
    int32_t status = atl_params_read(value, len, params, ATL_COUNT(params));

    if (status == ATLAS_OK) {
        out->data = params[0].data;
        out->len = params[0].len;
    }
    return status;
}
