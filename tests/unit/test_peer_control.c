/* The messages of the peers' control stream: round trips, cuts at every byte, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer/control.h"

/* Checks type and length of a capsule and returns its value. */
static const uint8_t *open_capsule(const uint8_t *buf, size_t len, uint64_t type,
                                   size_t *value_len) {
    atl_reader reader;
    uint64_t got_type;
    uint64_t got_len;

    atl_reader_init(&reader, buf, len);
    assert_int_equal(atl_read_varint(&reader, &got_type), ATLAS_OK);
    assert_int_equal(atl_read_varint(&reader, &got_len), ATLAS_OK);
    assert_int_equal(got_type, type);
    assert_int_equal(got_len, reader.left);
    *value_len = reader.left;
    return reader.data;
}

static void test_hello(void **state) {
    atl_ctrl_hello in = {ATL_CTRL_VERSION, 0x3fff1234, 45000, "libatlas/0.1.0"};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    const uint8_t *value;
    atl_ctrl_hello out;
    size_t value_len;
    size_t len;

    (void)state;
    assert_int_equal(atl_ctrl_hello_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_HELLO, &value_len);
    assert_int_equal(atl_ctrl_hello_decode(value, value_len, &out), ATLAS_OK);
    assert_int_equal(out.version, 1);
    assert_int_equal(out.features, 0x3fff1234);
    assert_int_equal(out.patience, 45000);
    assert_string_equal(out.agent, "libatlas/0.1.0");
    in.features = 0;
    memset(in.agent, 'a', ATL_CTRL_AGENT_MAX);
    in.agent[ATL_CTRL_AGENT_MAX] = '\0';
    assert_int_equal(atl_ctrl_hello_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_HELLO, &value_len);
    assert_int_equal(atl_ctrl_hello_decode(value, value_len, &out), ATLAS_OK);
    assert_int_equal(out.features, 0);
    assert_int_equal(strlen(out.agent), ATL_CTRL_AGENT_MAX);
    in.version = UINT64_C(1) << 62;
    assert_int_equal(atl_ctrl_hello_encode(&in, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
}

static void test_ping(void **state) {
    atl_ctrl_ping in = {77, UINT64_MAX - 5};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    const uint8_t *value;
    atl_ctrl_ping out;
    size_t value_len;
    size_t len;

    (void)state;
    assert_int_equal(atl_ctrl_ping_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_PING, &value_len);
    assert_int_equal(atl_ctrl_ping_decode(value, value_len, &out), ATLAS_OK);
    assert_int_equal(out.id, 77);
    assert_true(out.timestamp == UINT64_MAX - 5);
    assert_int_equal(atl_ctrl_pong_encode(&out, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_PONG, &value_len);
    assert_int_equal(atl_ctrl_ping_decode(value, value_len, &out), ATLAS_OK);
    assert_int_equal(out.id, 77);
    assert_true(out.timestamp == UINT64_MAX - 5);
    assert_int_equal(atl_ctrl_ping_decode((const uint8_t *)"\x04\x01\x05", 3, &out), ATLAS_OK);
    assert_int_equal(out.id, 5);
    assert_int_equal(out.timestamp, 0);
}

static void test_disconnect(void **state) {
    atl_ctrl_disconnect in = {"tired of \x1b[31mthis\xc2\x9b"};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    const uint8_t *value;
    atl_ctrl_disconnect out;
    size_t value_len;
    size_t len;

    (void)state;
    assert_int_equal(atl_ctrl_disconnect_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_DISCONNECT, &value_len);
    assert_int_equal(atl_ctrl_disconnect_decode(value, value_len, &out), ATLAS_OK);
    assert_string_equal(out.reason, "tired of ?[31mthis??"); /* nothing that a terminal obeys */
    assert_int_equal(atl_ctrl_disconnect_decode(value, 0, &out), ATLAS_OK);
    assert_string_equal(out.reason, "");
}

/* ---- addresses ---- */

static atl_addr addr_of(const char *text) {
    atl_addr addr;

    assert_int_equal(atl_addr_parse(text, &addr), ATLAS_OK);
    return addr;
}

static void add_candidate(atl_ctrl_addresses *msg, uint8_t kind, uint32_t priority,
                          const char *addr) {
    atl_candidate *candidate = &msg->candidates[msg->n_candidates++];

    candidate->kind = kind;
    candidate->priority = priority;
    candidate->addr = addr_of(addr);
}

static void add_relay(atl_ctrl_addresses *msg, const char *transport) {
    atl_maddr *relay = &msg->relays[msg->n_relays++];

    assert_int_equal(atl_maddr_parse(transport, relay), ATLAS_OK);
    relay->has_peer = 1;
    memset(relay->peer.key, (int)msg->n_relays, sizeof(relay->peer.key));
}

static void through(const atl_ctrl_addresses *in, atl_ctrl_addresses *out) {
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    const uint8_t *value;
    size_t value_len;
    size_t len;

    assert_int_equal(atl_ctrl_addresses_encode(in, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_ADDRESSES, &value_len);
    assert_in_range(value_len, 1, ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_addresses_decode(value, value_len, out), ATLAS_OK);
}

static void test_addresses(void **state) {
    static atl_ctrl_addresses in;
    static atl_ctrl_addresses out;

    (void)state;
    memset(&in, 0, sizeof(in));
    in.generation = 9;
    through(&in, &out);
    assert_memory_equal(&in, &out, sizeof(in)); /* nobody home */
    add_candidate(&in, ATLAS_CANDIDATE_HOST, 0x7effffff, "[2001:db8::7]:4001");
    add_candidate(&in, ATLAS_CANDIDATE_HOST, 0x7e00ffff, "192.168.1.5:4001");
    add_candidate(&in, ATLAS_CANDIDATE_SERVER_REFLEXIVE, 0x64000001, "203.0.113.9:61234");
    add_relay(&in, "/ip4/198.51.100.2/udp/4001/quic-v1");
    add_relay(&in, "/dns4/relay.example/udp/443/quic-v1");
    through(&in, &out);
    assert_memory_equal(&in, &out, sizeof(in));
    in.candidates[0].base = addr_of("10.0.0.1:1"); /* stays at home */
    through(&in, &out);
    assert_int_equal(out.candidates[0].base.family, 0);
}

/* Full lists fit; of relays with the longest names, as many as there is room for. */
static void test_addresses_full(void **state) {
    static atl_ctrl_addresses in;
    static atl_ctrl_addresses out;
    size_t i;

    (void)state;
    memset(&in, 0, sizeof(in));
    in.generation = (UINT64_C(1) << 62) - 1;
    for (i = 0; i < ATL_CANDIDATES_MAX; i++) {
        char text[64];

        (void)snprintf(text, sizeof(text), "[2001:db8:ffff:ffff:ffff:ffff:ffff:%x]:65535",
                       (unsigned)i + 1);
        add_candidate(&in, ATLAS_CANDIDATE_SERVER_REFLEXIVE, UINT32_MAX - (uint32_t)i, text);
    }
    for (i = 0; i < ATL_CTRL_RELAYS_MAX; i++) {
        add_relay(&in, "/ip6/2001:db8:ffff:ffff:ffff:ffff:ffff:1/udp/65535/quic-v1");
    }
    through(&in, &out);
    assert_memory_equal(&in, &out, sizeof(in));
    for (i = 0; i < 3; i++) {
        size_t k;

        in.relays[i].host_kind = ATL_HOST_DNS;
        memset(&in.relays[i].addr, 0, sizeof(in.relays[i].addr));
        memset(in.relays[i].host, 'a', 253);
        for (k = 50; k < 253; k += 51) {
            in.relays[i].host[k] = '.';
        }
    }
    through(&in, &out);
    assert_int_equal(out.n_candidates, ATL_CANDIDATES_MAX);
    assert_int_equal(out.n_relays, 2);
    assert_memory_equal(&out.relays[0], &in.relays[0], sizeof(in.relays[0]));
    assert_memory_equal(&out.relays[1], &in.relays[1], sizeof(in.relays[1]));
    in.relays[1] = in.relays[3]; /* a short one behind a long one */
    through(&in, &out);
    assert_int_equal(out.n_relays, 3);
}

typedef struct left_out {
    const char *name;
    const char *bytes;
    size_t len;
    size_t kept;
} left_out;

#define LEFT(name, bytes, kept) \
    { name, bytes, sizeof(bytes) - 1, kept }

static const left_out LEFT_OUT[] = {
    LEFT("one", "\x07\x01\x01\x08\x0c\x01\x00\x00\x00\x01\x04\xc0\x00\x02\x01\x10\x00", 1),
    LEFT("port 0", "\x07\x01\x01\x08\x0c\x01\x00\x00\x00\x01\x04\xc0\x00\x02\x01\x00\x00", 0),
    LEFT("kind 0", "\x07\x01\x01\x08\x0c\x00\x00\x00\x00\x01\x04\xc0\x00\x02\x01\x10\x00", 0),
    LEFT("kind 4", "\x07\x01\x01\x08\x0c\x04\x00\x00\x00\x01\x04\xc0\x00\x02\x01\x10\x00", 0),
    LEFT("unspecified", "\x07\x01\x01\x08\x0c\x01\x00\x00\x00\x01\x04\x00\x00\x00\x00\x10\x00", 0),
    LEFT("this network", "\x07\x01\x01\x08\x0c\x01\x00\x00\x00\x01\x04\x00\x00\x00\x07\x10\x00", 0),
    LEFT("multicast", "\x07\x01\x01\x08\x0c\x01\x00\x00\x00\x01\x04\xe0\x00\x00\x01\x10\x00", 0),
    LEFT("broadcast", "\x07\x01\x01\x08\x0c\x01\x00\x00\x00\x01\x04\xff\xff\xff\xff\x10\x00", 0),
    LEFT("twice",
         "\x07\x01\x01\x08\x18\x01\x00\x00\x00\x01\x04\xc0\x00\x02\x01\x10\x00"
         "\x03\x00\x00\x00\x09\x04\xc0\x00\x02\x01\x10\x00",
         1),
    LEFT("multicast, IPv6",
         "\x07\x01\x01\x08\x18\x01\x00\x00\x00\x01\x06\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00"
         "\x00\x00\x00\x00\x01\x10\x00",
         0),
    LEFT("link-local, IPv6",
         "\x07\x01\x01\x08\x18\x01\x00\x00\x00\x01\x06\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00"
         "\x00\x00\x00\x00\x01\x10\x00",
         0),
    LEFT("multicast, mapped into IPv6",
         "\x07\x01\x01\x08\x18\x01\x00\x00\x00\x01\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff"
         "\xff\xe0\x00\x00\x01\x10\x00",
         0),
    LEFT("an unknown parameter", "\x07\x01\x01\x41\x00\x03xyz", 0),
};

static void test_left_out(void **state) {
    static atl_ctrl_addresses out;

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(LEFT_OUT); i++) {
        const left_out *row = &LEFT_OUT[i];
        int32_t status = atl_ctrl_addresses_decode((const uint8_t *)row->bytes, row->len, &out);

        if (status != ATLAS_OK || out.n_candidates != row->kept) {
            fail_msg("%s: %d with %zu candidates", row->name, status, out.n_candidates);
        }
    }
    /* a name where a relay should be, a bare peer, a relay's circuit: none can be dialled */
    assert_int_equal(
        atl_ctrl_addresses_decode(
            (const uint8_t *)"\x07\x01\x01\x09\x0c\x00\x03xyz\x00\x05\x04\x7f\x00\x00\x01", 17,
            &out),
        ATLAS_OK);
    assert_int_equal(out.n_relays, 0);
}

/* The encoder does not say what no decoder would take. */
static void test_encoder_leaves_out(void **state) {
    static atl_ctrl_addresses in;
    static atl_ctrl_addresses out;
    size_t len;
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];

    (void)state;
    memset(&in, 0, sizeof(in));
    add_candidate(&in, ATLAS_CANDIDATE_RELAY, 1, "192.0.2.1:1");
    add_candidate(&in, ATLAS_CANDIDATE_HOST, 1, "0.0.0.0:1");
    add_candidate(&in, ATLAS_CANDIDATE_HOST, 1, "[fe80::1]:1");
    add_candidate(&in, ATLAS_CANDIDATE_HOST, 1, "192.0.2.1:1");
    assert_int_equal(atl_maddr_parse("/ip4/192.0.2.1/udp/1/quic-v1", &in.relays[0]), ATLAS_OK);
    in.n_relays = 1; /* a relay without its peer id */
    through(&in, &out);
    assert_int_equal(out.n_candidates, 1);
    assert_int_equal(out.n_relays, 0);
    in.generation = UINT64_C(1) << 62;
    assert_int_equal(atl_ctrl_addresses_encode(&in, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
}

/* ---- punch, path requests, sleep ---- */

static void test_punch(void **state) {
    atl_ctrl_punch in = {(UINT64_C(1) << 62) - 1, ATL_CTRL_PUNCH_REPLY};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    const uint8_t *value;
    atl_ctrl_punch out;
    size_t value_len;
    size_t len;

    (void)state;
    assert_int_equal(atl_ctrl_punch_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_PUNCH, &value_len);
    assert_int_equal(atl_ctrl_punch_decode(value, value_len, &out), ATLAS_OK);
    assert_memory_equal(&in, &out, sizeof(in));
    in.attempt++;
    assert_int_equal(atl_ctrl_punch_encode(&in, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
}

static void test_path_request(void **state) {
    atl_ctrl_path_request in;
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    const uint8_t *value;
    atl_ctrl_path_request out;
    size_t value_len;
    size_t len;

    (void)state;
    memset(&in, 0, sizeof(in));
    in.kind = ATLAS_PATH_DIRECT;
    in.remote = addr_of("[2001:db8::1]:4001");
    memcpy(in.reason, "5 ms nearer", 12);
    assert_int_equal(atl_ctrl_path_request_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_PATH_REQUEST, &value_len);
    assert_int_equal(atl_ctrl_path_request_decode(value, value_len, &out), ATLAS_OK);
    assert_memory_equal(&in, &out, sizeof(in));
    in.kind = ATLAS_PATH_RELAY;
    memset(&in.remote, 0, sizeof(in.remote));
    memset(in.relay.key, 7, sizeof(in.relay.key));
    memset(in.reason, 'r', ATL_CTRL_REASON_MAX);
    assert_int_equal(atl_ctrl_path_request_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
    value = open_capsule(buf, len, ATL_CTRL_PATH_REQUEST, &value_len);
    assert_int_equal(atl_ctrl_path_request_decode(value, value_len, &out), ATLAS_OK);
    assert_memory_equal(&in, &out, sizeof(in));
    in.kind = ATLAS_PATH_DIRECT; /* without an address */
    assert_int_equal(atl_ctrl_path_request_encode(&in, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
    in.kind = ATLAS_PATH_NONE;
    assert_int_equal(atl_ctrl_path_request_encode(&in, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
}

static void test_sleep(void **state) {
    static const uint64_t ROWS[][2] = {
        {0, 0}, {60, 60}, {86400, 86400}, {86401, 86400}, {(UINT64_C(1) << 62) - 1, 86400}};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    atl_ctrl_sleep in;
    size_t len;

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(ROWS); i++) {
        const uint8_t *value;
        atl_ctrl_sleep out;
        size_t value_len;

        in.seconds = ROWS[i][0];
        assert_int_equal(atl_ctrl_sleep_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
        value = open_capsule(buf, len, ATL_CTRL_SLEEP, &value_len);
        assert_int_equal(atl_ctrl_sleep_decode(value, value_len, &out), ATLAS_OK);
        assert_int_equal(out.seconds, ROWS[i][1]);
    }
    in.seconds = UINT64_MAX;
    assert_int_equal(atl_ctrl_sleep_encode(&in, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
}

/* ---- what is refused ---- */

typedef struct refused {
    const char *name;
    uint64_t type;
    const char *bytes;
    size_t len;
    int32_t status;
} refused;

#define ROW(name, type, bytes, status) \
    { name, type, bytes, sizeof(bytes) - 1, status }

static const refused REFUSED[] = {
    ROW("hello without version", ATL_CTRL_HELLO, "\x02\x01x", ATLAS_ERR_MALFORMED),
    ROW("hello with an empty version", ATL_CTRL_HELLO, "\x01\x00", ATLAS_ERR_MALFORMED),
    ROW("hello twice", ATL_CTRL_HELLO, "\x01\x01\x01\x01\x01\x01", ATLAS_ERR_DUPLICATE),
    ROW("hello cut", ATL_CTRL_HELLO, "\x01\x01\x01\x02\x05x", ATLAS_ERR_TRUNCATED),
    ROW("hello with a long agent", ATL_CTRL_HELLO,
        "\x01\x01\x01\x02\x40\x41"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ATLAS_ERR_MALFORMED),
    ROW("ping without id", ATL_CTRL_PING, "", ATLAS_ERR_MALFORMED),
    ROW("ping with a short time", ATL_CTRL_PING, "\x04\x01\x01\x05\x07tttttt7",
        ATLAS_ERR_MALFORMED),
    ROW("ping with a long time", ATL_CTRL_PING, "\x04\x01\x01\x05\x09ttttttttt",
        ATLAS_ERR_MALFORMED),
    ROW("ping with a huge time", ATL_CTRL_PING, "\x04\x01\x01\x05\xff\xff\xff\xff\xff\xff\xff\xff",
        ATLAS_ERR_TRUNCATED),
    ROW("disconnect twice", ATL_CTRL_DISCONNECT, "\x06\x01x\x06\x01x", ATLAS_ERR_DUPLICATE),
    ROW("addresses without generation", ATL_CTRL_ADDRESSES, "\x08\x00", ATLAS_ERR_MALFORMED),
    ROW("addresses twice", ATL_CTRL_ADDRESSES, "\x07\x01\x01\x08\x00\x08\x00", ATLAS_ERR_DUPLICATE),
    ROW("addresses with an unknown id twice", ATL_CTRL_ADDRESSES, "\x07\x01\x01\x3f\x00\x3f\x00",
        ATLAS_ERR_DUPLICATE),
    ROW("an address of no family", ATL_CTRL_ADDRESSES,
        "\x07\x01\x01\x08\x0c\x01\x00\x00\x00\x01\x05\xc0\x00\x02\x01\x10\x00",
        ATLAS_ERR_MALFORMED),
    ROW("an address cut", ATL_CTRL_ADDRESSES,
        "\x07\x01\x01\x08\x0b\x01\x00\x00\x00\x01\x04\xc0\x00\x02\x01\x10", ATLAS_ERR_MALFORMED),
    ROW("an IPv6 address cut", ATL_CTRL_ADDRESSES,
        "\x07\x01\x01\x08\x0c\x01\x00\x00\x00\x01\x06\xc0\x00\x02\x01\x10\x00",
        ATLAS_ERR_MALFORMED),
    ROW("a relay cut", ATL_CTRL_ADDRESSES, "\x07\x01\x01\x09\x03\x00\x02x", ATLAS_ERR_MALFORMED),
    ROW("a relay's length cut", ATL_CTRL_ADDRESSES, "\x07\x01\x01\x09\x01\x00",
        ATLAS_ERR_MALFORMED),
    ROW("a relay of huge length", ATL_CTRL_ADDRESSES, "\x07\x01\x01\x09\x03\xff\xffx",
        ATLAS_ERR_MALFORMED),
    ROW("five relays", ATL_CTRL_ADDRESSES,
        "\x07\x01\x01\x09\x0f\x00\x01x\x00\x01x\x00\x01x\x00\x01x\x00\x01x", ATLAS_ERR_MALFORMED),
    ROW("punch without phase", ATL_CTRL_PUNCH, "\x0a\x01\x01", ATLAS_ERR_MALFORMED),
    ROW("punch without number", ATL_CTRL_PUNCH, "\x0b\x01\x01", ATLAS_ERR_MALFORMED),
    ROW("punch of phase 0", ATL_CTRL_PUNCH, "\x0a\x01\x01\x0b\x01\x00", ATLAS_ERR_MALFORMED),
    ROW("punch of phase 3", ATL_CTRL_PUNCH, "\x0a\x01\x01\x0b\x01\x03", ATLAS_ERR_MALFORMED),
    ROW("path without kind", ATL_CTRL_PATH_REQUEST, "\x0c\x07\x04\xc0\x00\x02\x01\x10\x00",
        ATLAS_ERR_MALFORMED),
    ROW("path to nowhere", ATL_CTRL_PATH_REQUEST, "\x0b\x01\x01", ATLAS_ERR_MALFORMED),
    ROW("path to port 0", ATL_CTRL_PATH_REQUEST, "\x0b\x01\x01\x0c\x07\x04\xc0\x00\x02\x01\x00\x00",
        ATLAS_ERR_MALFORMED),
    ROW("path to two addresses", ATL_CTRL_PATH_REQUEST,
        "\x0b\x01\x01\x0c\x08\x04\xc0\x00\x02\x01\x10\x00\x00", ATLAS_ERR_MALFORMED),
    ROW("path to a group", ATL_CTRL_PATH_REQUEST,
        "\x0b\x01\x01\x0c\x07\x04\xe0\x00\x00\x01\x10\x00", ATLAS_ERR_MALFORMED),
    ROW("path over no relay", ATL_CTRL_PATH_REQUEST, "\x0b\x01\x02", ATLAS_ERR_MALFORMED),
    ROW("path over nobody", ATL_CTRL_PATH_REQUEST, "\x0b\x01\x02\x0d\x01x", ATLAS_ERR_MALFORMED),
    ROW("path of kind 3", ATL_CTRL_PATH_REQUEST, "\x0b\x01\x03", ATLAS_ERR_MALFORMED),
    ROW("sleep without end", ATL_CTRL_SLEEP, "", ATLAS_ERR_MALFORMED),
    ROW("sleep twice", ATL_CTRL_SLEEP, "\x0e\x01\x01\x0e\x01\x01", ATLAS_ERR_DUPLICATE),
};

typedef union any_message {
    atl_ctrl_hello hello;
    atl_ctrl_ping ping;
    atl_ctrl_disconnect disconnect;
    atl_ctrl_addresses addresses;
    atl_ctrl_punch punch;
    atl_ctrl_path_request path;
    atl_ctrl_sleep sleep;
} any_message;

static int32_t decode_any(uint64_t type, const uint8_t *value, size_t len, any_message *out) {
    switch (type) {
    case ATL_CTRL_HELLO:
        return atl_ctrl_hello_decode(value, len, &out->hello);
    case ATL_CTRL_PING:
        return atl_ctrl_ping_decode(value, len, &out->ping);
    case ATL_CTRL_ADDRESSES:
        return atl_ctrl_addresses_decode(value, len, &out->addresses);
    case ATL_CTRL_PUNCH:
        return atl_ctrl_punch_decode(value, len, &out->punch);
    case ATL_CTRL_PATH_REQUEST:
        return atl_ctrl_path_request_decode(value, len, &out->path);
    case ATL_CTRL_SLEEP:
        return atl_ctrl_sleep_decode(value, len, &out->sleep);
    default:
        return atl_ctrl_disconnect_decode(value, len, &out->disconnect);
    }
}

/* Whatever is refused leaves the output as it was. */
static int32_t decode(uint64_t type, const uint8_t *value, size_t len) {
    static any_message out;
    static uint8_t before[sizeof(out)];
    int32_t status;

    memset(&out, 0xa5, sizeof(out));
    memcpy(before, &out, sizeof(out));
    status = decode_any(type, value, len, &out);
    if (status != ATLAS_OK) {
        assert_memory_equal(before, &out, sizeof(out));
    }
    return status;
}

static void test_refused(void **state) {
    static uint8_t big[300];
    uint8_t *copy;

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(REFUSED); i++) {
        int32_t status;

        copy = malloc(REFUSED[i].len + 1);
        memcpy(copy, REFUSED[i].bytes, REFUSED[i].len);
        status = decode(REFUSED[i].type, copy, REFUSED[i].len);
        free(copy);
        if (status != REFUSED[i].status) {
            fail_msg("%s: %d, not %d", REFUSED[i].name, status, REFUSED[i].status);
        }
    }
    memcpy(big, "\x06\x41\x01", 3); /* a reason of 257 bytes */
    assert_int_equal(decode(ATL_CTRL_DISCONNECT, big, 3 + 257), ATLAS_ERR_MALFORMED);
    memcpy(big, "\x06\x41\x00", 3);
    assert_int_equal(decode(ATL_CTRL_DISCONNECT, big, 3 + 256), ATLAS_OK);
}

/* A cut between parameters may leave a whole message; anywhere else it does not decode. */
static void test_cut_everywhere(void **state) {
    static const uint8_t HELLO[] = "\x01\x01\x01\x02\x03xyz\x03\x02\x7b\xbd";
    size_t len = sizeof(HELLO) - 1;

    (void)state;
    for (size_t cut = 0; cut <= len; cut++) {
        uint8_t *copy = malloc(cut + 1);
        int whole = cut == 3 || cut == 8 || cut == len;

        memcpy(copy, HELLO, cut);
        assert_int_equal(decode(ATL_CTRL_HELLO, copy, cut) == ATLAS_OK, whole);
        free(copy);
    }
}

/* The longest record fits, one byte more does not; either way the capsule is what is read back. */
static void test_record(void **state) {
    static const size_t LENGTHS[] = {1, 63, 64, 1000, ATL_CTRL_RECORD_MAX};
    uint8_t record[ATL_CTRL_RECORD_MAX + 1];
    uint8_t buf[ATL_CTRL_RECORD_MESSAGE];
    atl_ctrl_record msg = {record, 0};
    atl_ctrl_record got;
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(record); i++) {
        record[i] = (uint8_t)(i * 7);
    }
    for (size_t i = 0; i < sizeof(LENGTHS) / sizeof(LENGTHS[0]); i++) {
        atl_reader reader;
        uint64_t type;
        uint64_t value_len;

        msg.len = LENGTHS[i];
        assert_int_equal(atl_ctrl_record_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
        atl_reader_init(&reader, buf, len);
        assert_int_equal(atl_read_varint(&reader, &type), ATLAS_OK);
        assert_int_equal(atl_read_varint(&reader, &value_len), ATLAS_OK);
        assert_true(type == ATL_CTRL_RECORD);
        assert_in_range(value_len, 1, ATL_CTRL_RECORD_VALUE_MAX);
        assert_int_equal(atl_ctrl_record_decode(reader.data, reader.left, &got), ATLAS_OK);
        assert_int_equal(got.len, msg.len);
        assert_memory_equal(got.data, record, got.len);
        assert_int_equal(atl_ctrl_record_decode(reader.data, reader.left - 1, &got),
                         ATLAS_ERR_TRUNCATED);
    }
    msg.len = 0;
    assert_int_equal(atl_ctrl_record_encode(&msg, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
    msg.len = ATL_CTRL_RECORD_MAX + 1;
    assert_int_equal(atl_ctrl_record_encode(&msg, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
    assert_int_equal(atl_ctrl_record_decode(record, 0, &got), ATLAS_ERR_MALFORMED);
}

static void test_known(void **state) {
    (void)state;
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_HELLO), ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_DISCONNECT), ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_ADDRESSES), ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_PUNCH), ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_PATH_REQUEST), ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_SLEEP), ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_RECORD), ATL_CTRL_RECORD_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_RECORD + 1), 0);
    assert_int_equal(atl_ctrl_known(NULL, 0), 0);
}

static void test_small_buffers(void **state) {
    static atl_ctrl_addresses addresses;
    atl_ctrl_ping ping = {1, 2};
    uint8_t big[256];
    uint8_t buf[64];
    size_t len = 0;
    size_t full;

    (void)state;
    assert_int_equal(atl_ctrl_ping_encode(&ping, buf, sizeof(buf), &full), ATLAS_OK);
    for (size_t cap = 0; cap < full; cap++) {
        assert_int_equal(atl_ctrl_ping_encode(&ping, buf, cap, &len), ATLAS_ERR_BUFFER);
        assert_int_equal(len, 0);
    }
    memset(&addresses, 0, sizeof(addresses));
    add_candidate(&addresses, ATLAS_CANDIDATE_HOST, 1, "192.0.2.1:1");
    add_relay(&addresses, "/ip4/192.0.2.1/udp/1/quic-v1");
    assert_int_equal(atl_ctrl_addresses_encode(&addresses, big, sizeof(big), &full), ATLAS_OK);
    for (size_t cap = 0; cap < full; cap++) {
        assert_int_equal(atl_ctrl_addresses_encode(&addresses, big, cap, &len), ATLAS_ERR_BUFFER);
        assert_int_equal(len, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),         cmocka_unit_test(test_ping),
        cmocka_unit_test(test_disconnect),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_addresses),     cmocka_unit_test(test_addresses_full),
        cmocka_unit_test(test_left_out),      cmocka_unit_test(test_encoder_leaves_out),
        cmocka_unit_test(test_punch),         cmocka_unit_test(test_path_request),
        cmocka_unit_test(test_sleep),         cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_record),        cmocka_unit_test(test_known),
        cmocka_unit_test(test_small_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
