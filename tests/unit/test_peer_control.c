/* The messages of the peers' control stream: round trips, cuts at every byte, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
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
    atl_ctrl_hello in = {ATL_CTRL_VERSION, 0x3fff1234, "libatlas/0.1.0"};
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
};

static int32_t decode(uint64_t type, const uint8_t *value, size_t len) {
    union {
        atl_ctrl_hello hello;
        atl_ctrl_ping ping;
        atl_ctrl_disconnect disconnect;
        uint8_t bytes[512];
    } out;
    uint8_t before[sizeof(out)];
    int32_t status;

    memset(&out, 0xa5, sizeof(out));
    memcpy(before, &out, sizeof(out));
    status = type == ATL_CTRL_HELLO  ? atl_ctrl_hello_decode(value, len, &out.hello)
             : type == ATL_CTRL_PING ? atl_ctrl_ping_decode(value, len, &out.ping)
                                     : atl_ctrl_disconnect_decode(value, len, &out.disconnect);
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

static void test_known(void **state) {
    (void)state;
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_HELLO), ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_DISCONNECT), ATL_CTRL_VALUE_MAX);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_ADDRESSES), 0);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_PUNCH), 0);
    assert_int_equal(atl_ctrl_known(NULL, ATL_CTRL_PATH_REQUEST), 0);
    assert_int_equal(atl_ctrl_known(NULL, 0), 0);
}

static void test_small_buffers(void **state) {
    atl_ctrl_ping ping = {1, 2};
    uint8_t buf[64];
    size_t len = 0;
    size_t full;

    (void)state;
    assert_int_equal(atl_ctrl_ping_encode(&ping, buf, sizeof(buf), &full), ATLAS_OK);
    for (size_t cap = 0; cap < full; cap++) {
        assert_int_equal(atl_ctrl_ping_encode(&ping, buf, cap, &len), ATLAS_ERR_BUFFER);
        assert_int_equal(len, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),          cmocka_unit_test(test_ping),
        cmocka_unit_test(test_disconnect),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cut_everywhere), cmocka_unit_test(test_known),
        cmocka_unit_test(test_small_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
