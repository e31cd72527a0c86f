/* The messages of hole punching: their form and lengths, what is authentic, and the window of
 * numbers. */
#include "punch_world.h"

static const uint8_t PREFIX[ATL_PUNCH_PREFIX] = {1, 2, 3, 4, 5, 6, 7, 8};
static const char TOKEN[ATL_PUNCH_TOKEN + 1] = "000102030405060708090a0b0c0d0e0f";

static void fill_key(uint8_t key[ATL_PUNCH_KEY]) {
    memset(key, 0x42, ATL_PUNCH_KEY);
}

static void a_request_says_what_it_must(void **state) {
    uint8_t data[ATL_PUNCH_REQUEST_LEN];
    uint8_t key[ATL_PUNCH_KEY];
    atl_stun_msg msg;

    (void)state;
    fill_key(key);
    assert_int_equal(atl_punch_put_request(PREFIX, 0x01020304, TOKEN, 77, key, data),
                     ATL_PUNCH_REQUEST_LEN);
    assert_int_equal(atl_stun_parse(data, sizeof(data), &msg), ATLAS_OK);
    assert_int_equal(msg.header.cls, ATL_STUN_REQUEST);
    assert_int_equal(msg.header.method, ATL_STUN_BINDING);
    assert_memory_equal(msg.header.id, PREFIX, sizeof(PREFIX));
    assert_int_equal(atl_punch_number(msg.header.id), 0x01020304);
    assert_int_equal(msg.username.len, ATL_PUNCH_TOKEN);
    assert_memory_equal(msg.username.data, TOKEN, ATL_PUNCH_TOKEN);
    assert_int_equal(msg.priority, 77);
    assert_int_equal(msg.integrity256_len, 32);
    assert_true(msg.has_fingerprint);
    assert_true(atl_punch_authentic(&msg, key));
    key[31] ^= 1;
    assert_false(atl_punch_authentic(&msg, key));
}

static void an_answer_is_never_longer_than_a_request(void **state) {
    static const struct {
        const char *addr;
        size_t len;
    } rows[] = {
        {"192.0.2.1:4", 76},
        {"[2001:db8::1]:65535", 88},
    };
    uint8_t id[ATL_STUN_ID_LEN] = {9};
    uint8_t data[ATL_PUNCH_ANSWER_MAX];
    uint8_t key[ATL_PUNCH_KEY];
    size_t i;

    (void)state;
    fill_key(key);
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_addr addr = pw_addr(rows[i].addr);
        atl_stun_msg msg;
        size_t len = atl_punch_put_answer(id, &addr, key, data);

        assert_int_equal(len, rows[i].len);
        assert_true(len <= ATL_PUNCH_REQUEST_LEN);
        assert_int_equal(atl_stun_parse(data, len, &msg), ATLAS_OK);
        assert_int_equal(msg.header.cls, ATL_STUN_SUCCESS);
        assert_memory_equal(msg.header.id, id, sizeof(id));
        assert_true(atl_addr_equal(&msg.xor_mapped, &addr));
        assert_true(atl_punch_authentic(&msg, key));
    }
}

/* What is signed with the right key, but not in the form that we make. */
static void other_forms_are_not_authentic(void **state) {
    uint8_t id[ATL_STUN_ID_LEN] = {9};
    uint8_t key[ATL_PUNCH_KEY];
    int row;

    (void)state;
    fill_key(key);
    for (row = 0; row < 4; row++) {
        uint8_t data[256];
        atl_writer writer;
        atl_stun_msg msg;

        atl_writer_init(&writer, data, sizeof(data));
        atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, id);
        atl_stun_put(&writer, row == 1 ? 0x7ffe : ATL_STUN_A_USERNAME, TOKEN, ATL_PUNCH_TOKEN);
        if (row == 2) {
            atl_stun_put_sha1(&writer, key, sizeof(key));
        } else {
            atl_stun_put_sha256(&writer, key, sizeof(key));
        }
        if (row != 3) {
            atl_stun_put_fingerprint(&writer);
        }
        assert_int_equal(writer.error, ATLAS_OK);
        assert_int_equal(atl_stun_parse(data, writer.len, &msg), ATLAS_OK);
        assert_int_equal(atl_punch_authentic(&msg, key), row == 0);
    }
}

static void every_number_is_taken_once(void **state) {
    static const struct {
        uint32_t number;
        int taken;
    } rows[] = {
        {1000, 1},
        {1000, 0},
        {1001, 1},
        {1005, 1},
        {1003, 1},
        {1003, 0},
        {1004, 1},
        {1005 - ATL_PUNCH_WINDOW, 0}, /* too old */
        {1005 - ATL_PUNCH_WINDOW + 1, 1},
        {1005 - ATL_PUNCH_WINDOW + 1, 0},
        {1005 + ATL_PUNCH_WINDOW - 1, 1},
        {1005, 0},
        {1006, 1},
        {1006, 0},
        {100000, 1}, /* beyond the window: a new one */
        {100000 - 1, 1},
        {1006, 0},
        {100000 + (UINT32_C(1) << 31), 0}, /* half of the circle is the past */
        {UINT32_C(0x80000000), 1},
        {UINT32_C(0xffffff00), 1},
        {UINT32_C(0xffffffff), 1},
        {0, 1}, /* wraps */
        {0, 0},
        {UINT32_C(0xffffffff), 0},
        {UINT32_C(0xfffffffe), 1},
        {5, 1},
    };
    atl_punch_window window;
    size_t i;

    (void)state;
    memset(&window, 0, sizeof(window));
    for (i = 0; i < ATL_COUNT(rows); i++) {
        if (atl_punch_window_take(&window, rows[i].number) != rows[i].taken) {
            fail_msg("row %zu", i);
        }
    }
}

/* Against a plain list of what was taken, in random order and distance. */
static void the_window_agrees_with_a_list(void **state) {
    atl_punch_window window;
    static uint8_t taken[4096];
    uint32_t base = UINT32_C(0xfffffc00);
    uint32_t top = 0;
    testenv t;
    int i;

    (void)state;
    testenv_init(&t);
    memset(&window, 0, sizeof(window));
    memset(taken, 0, sizeof(taken));
    for (i = 0; i < 20000; i++) {
        uint32_t at = (uint32_t)(testenv_rand(&t) % 1200) + (uint32_t)i / 8;
        int expected;

        if (at >= sizeof(taken)) {
            continue;
        }
        expected = !taken[at] && (i == 0 || at + ATL_PUNCH_WINDOW > top);
        assert_int_equal(atl_punch_window_take(&window, base + at), expected);
        taken[at] = 1;
        top = i == 0 || at > top ? at : top;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_says_what_it_must),
        cmocka_unit_test(an_answer_is_never_longer_than_a_request),
        cmocka_unit_test(other_forms_are_not_authentic),
        cmocka_unit_test(every_number_is_taken_once),
        cmocka_unit_test(the_window_agrees_with_a_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
