/* Capsules: the incremental parser at every split, its bounds, and parameter lists. Type and length
 * encodings are those of RFC 9297 section 3.2; varint samples are from RFC 9000 appendix A.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http3/capsule.h"

#define TYPE_A UINT64_C(0x2a7a5030)
#define TYPE_B UINT64_C(0x2a7a5031)
#define TYPE_BIG UINT64_C(0x7fff)

/* ---- environment that counts what is held ---- */

typedef struct fixture {
    atl_env env;
    size_t live;    /* allocations not freed */
    size_t largest; /* bytes of the largest one */
    int fail;       /* the allocator returns NULL */
    uint8_t log[16384];
    size_t log_len;
    size_t calls;
    int32_t answer;           /* what fn returns */
    atl_capsule_parser *kill; /* freed from inside fn */
} fixture;

static void *count_malloc(void *user, size_t size) {
    fixture *f = user;

    if (f->fail) {
        return NULL;
    }
    f->live++;
    f->largest = size > f->largest ? size : f->largest;
    return malloc(size);
}

static void count_free(void *user, void *ptr) {
    fixture *f = user;

    f->live--;
    free(ptr);
}

static uint64_t known(void *user, uint64_t type) {
    (void)user;
    if (type == TYPE_A || type == TYPE_B) {
        return 300;
    }
    return type == TYPE_BIG ? UINT64_MAX : 0;
}

static int32_t record(void *user, uint64_t type, const uint8_t *value, size_t len) {
    fixture *f = user;
    atl_writer writer;

    f->calls++;
    atl_writer_init(&writer, f->log + f->log_len, sizeof(f->log) - f->log_len);
    atl_write_varint(&writer, type);
    atl_write_varint(&writer, len);
    atl_write_bytes(&writer, value, len);
    assert_int_equal(writer.error, ATLAS_OK);
    f->log_len += writer.len;
    if (f->kill != NULL) {
        atl_capsule_parser_free(f->kill);
    }
    return f->answer;
}

static void begin(fixture *f, atl_capsule_parser *parser) {
    atlas_hooks hooks;

    memset(f, 0, sizeof(*f));
    memset(&hooks, 0, sizeof(hooks));
    hooks.user = f;
    hooks.malloc = count_malloc;
    hooks.free = count_free;
    f->env.hooks = hooks;
    atl_capsule_parser_init(parser, &f->env, known, record, f);
}

static void put(atl_writer *writer, uint64_t type, size_t len, uint8_t fill) {
    atl_write_varint(writer, type);
    atl_write_varint(writer, len);
    for (size_t i = 0; i < len; i++) {
        atl_write_u8(writer, (uint8_t)(fill + i));
    }
}

/* Known, unknown, empty and long capsules in a row; `expected` gets the known ones only. */
static size_t sample(uint8_t *buf, size_t cap, uint8_t *expected, size_t *expected_len) {
    atl_writer all;
    atl_writer want;

    atl_writer_init(&all, buf, cap);
    atl_writer_init(&want, expected, cap);
    put(&all, TYPE_A, 3, 1);
    put(&want, TYPE_A, 3, 1);
    put(&all, 0x17, 0, 0);
    put(&all, 0x1234567, 20, 9);
    put(&all, TYPE_B, 0, 0);
    put(&want, TYPE_B, 0, 0);
    put(&all, TYPE_A, 300, 7);
    put(&want, TYPE_A, 300, 7);
    put(&all, UINT64_C(0x3fffffffffffffff), 70, 3);
    put(&all, TYPE_B, 1, 5);
    put(&want, TYPE_B, 1, 5);
    assert_int_equal(all.error, ATLAS_OK);
    *expected_len = want.len;
    return all.len;
}

static void check_sample(const fixture *f, const atl_capsule_parser *parser,
                         const uint8_t *expected, size_t len) {
    assert_int_equal(f->calls, 4);
    assert_int_equal(f->log_len, len);
    assert_memory_equal(f->log, expected, len);
    assert_int_equal(atl_capsule_parser_idle(parser), 1);
    assert_int_equal(f->live, 0);
}

static void test_whole(void **state) {
    uint8_t buf[1024], expected[1024];
    size_t want, len = sample(buf, sizeof(buf), expected, &want);
    atl_capsule_parser parser;
    fixture f;

    (void)state;
    begin(&f, &parser);
    assert_int_equal(atl_capsule_feed(&parser, buf, len), ATLAS_OK);
    check_sample(&f, &parser, expected, want);
    assert_int_equal(f.largest, 0); /* nothing is copied when all is there */
    atl_capsule_parser_free(&parser);
}

static void test_split_everywhere(void **state) {
    uint8_t buf[1024], expected[1024];
    size_t want, len = sample(buf, sizeof(buf), expected, &want);

    (void)state;
    for (size_t cut = 0; cut <= len; cut++) {
        atl_capsule_parser parser;
        fixture f;

        begin(&f, &parser);
        assert_int_equal(atl_capsule_feed(&parser, buf, cut), ATLAS_OK);
        assert_int_equal(atl_capsule_feed(&parser, buf + cut, len - cut), ATLAS_OK);
        check_sample(&f, &parser, expected, want);
        atl_capsule_parser_free(&parser);
    }
}

static void test_byte_by_byte(void **state) {
    uint8_t buf[1024], expected[1024];
    size_t want, len = sample(buf, sizeof(buf), expected, &want);
    atl_capsule_parser parser;
    fixture f;

    (void)state;
    begin(&f, &parser);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(atl_capsule_feed(&parser, buf + i, 1), ATLAS_OK);
        assert_true(f.live <= 1);
    }
    check_sample(&f, &parser, expected, want);
    assert_int_equal(f.largest, 300);
    atl_capsule_parser_free(&parser);
}

static void test_too_large(void **state) {
    static const uint64_t LENGTHS[] = {301, ATL_CAPSULE_MAX + 1, UINT64_C(1) << 32,
                                       (UINT64_C(1) << 62) - 1};

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(LENGTHS); i++) {
        uint64_t type = i == 0 ? TYPE_A : TYPE_BIG;
        atl_capsule_parser parser;
        atl_writer writer;
        uint8_t buf[32];
        fixture f;

        begin(&f, &parser);
        atl_writer_init(&writer, buf, sizeof(buf));
        atl_write_varint(&writer, type);
        atl_write_varint(&writer, LENGTHS[i]);
        assert_int_equal(atl_capsule_feed(&parser, buf, writer.len), ATLAS_ERR_TOO_LARGE);
        assert_int_equal(atl_capsule_feed(&parser, buf, 1), ATLAS_ERR_CLOSED);
        assert_int_equal(f.calls, 0);
        assert_int_equal(f.largest, 0);
        atl_capsule_parser_free(&parser);
    }
}

/* A value that never ends costs no memory when unknown, and is refused at its head when known. */
static void test_never_ending(void **state) {
    atl_capsule_parser parser;
    uint8_t chunk[4096];
    atl_writer writer;
    uint8_t head[16];
    fixture f;

    (void)state;
    memset(chunk, 0xff, sizeof(chunk));
    begin(&f, &parser);
    atl_writer_init(&writer, head, sizeof(head));
    atl_write_varint(&writer, 0x40);
    atl_write_varint(&writer, (UINT64_C(1) << 62) - 1);
    assert_int_equal(atl_capsule_feed(&parser, head, writer.len), ATLAS_OK);
    for (int i = 0; i < 4096; i++) {
        assert_int_equal(atl_capsule_feed(&parser, chunk, sizeof(chunk)), ATLAS_OK);
    }
    assert_int_equal(atl_capsule_parser_idle(&parser), 0);
    assert_int_equal(f.calls, 0);
    assert_int_equal(f.largest, 0);
    atl_capsule_parser_free(&parser);
}

static void test_owner_errors(void **state) {
    uint8_t buf[64];
    atl_writer writer;

    (void)state;
    atl_writer_init(&writer, buf, sizeof(buf));
    put(&writer, TYPE_A, 5, 1);
    put(&writer, TYPE_A, 5, 1);
    for (size_t step = 1; step <= writer.len; step += writer.len - 1) {
        for (int kill = 0; kill < 2; kill++) {
            int32_t expected = kill ? ATLAS_ERR_CLOSED : ATLAS_ERR_LIMIT;
            int32_t status = ATLAS_OK;
            atl_capsule_parser parser;
            fixture f;

            begin(&f, &parser);
            f.answer = kill ? ATLAS_OK : ATLAS_ERR_LIMIT;
            f.kill = kill ? &parser : NULL;
            for (size_t at = 0; at < writer.len && status == ATLAS_OK; at += step) {
                status = atl_capsule_feed(&parser, buf + at, step);
            }
            assert_int_equal(status, expected);
            assert_int_equal(f.calls, 1);
            assert_int_equal(f.live, 0);
            assert_int_equal(atl_capsule_feed(&parser, buf, 1), ATLAS_ERR_CLOSED);
            atl_capsule_parser_free(&parser);
        }
    }
}

static void test_no_memory(void **state) {
    uint8_t buf[64];
    atl_capsule_parser parser;
    atl_writer writer;
    fixture f;

    (void)state;
    atl_writer_init(&writer, buf, sizeof(buf));
    put(&writer, TYPE_A, 5, 1);
    begin(&f, &parser);
    f.fail = 1;
    assert_int_equal(atl_capsule_feed(&parser, buf, writer.len - 1), ATLAS_ERR_NOMEM);
    assert_int_equal(atl_capsule_feed(&parser, buf, 1), ATLAS_ERR_CLOSED);
    assert_int_equal(f.calls, 0);
    atl_capsule_parser_free(&parser);
}

/* Freed in the middle of a value: nothing leaks. */
static void test_free_in_value(void **state) {
    uint8_t buf[64];
    atl_capsule_parser parser;
    atl_writer writer;
    fixture f;

    (void)state;
    atl_writer_init(&writer, buf, sizeof(buf));
    put(&writer, TYPE_A, 5, 1);
    begin(&f, &parser);
    assert_int_equal(atl_capsule_feed(&parser, buf, writer.len - 1), ATLAS_OK);
    assert_int_equal(f.live, 1);
    atl_capsule_parser_free(&parser);
    assert_int_equal(f.live, 0);
}

/* ---- writer ---- */

static void test_writer(void **state) {
    /* type 0x2a7a5030 as a 4-byte varint, length 8 as a 2-byte one, then two parameters */
    static const uint8_t EXPECTED[] = {0xaa, 0x7a, 0x50, 0x30, 0x40, 0x08, 0x01,
                                       0x02, 0x68, 0x69, 0x02, 0x02, 0x7b, 0xbd};
    atl_capsule_writer writer;
    uint8_t buf[64];
    size_t len = 0;

    (void)state;
    atl_capsule_begin(&writer, buf, sizeof(buf), TYPE_A);
    atl_capsule_param(&writer, 1, "hi", 2);
    atl_capsule_param_uint(&writer, 2, 15293); /* RFC 9000: 7bbd */
    assert_int_equal(atl_capsule_end(&writer, &len), ATLAS_OK);
    assert_int_equal(len, sizeof(EXPECTED));
    assert_memory_equal(buf, EXPECTED, sizeof(EXPECTED));
}

static void test_writer_overflow(void **state) {
    static uint8_t big[20000];
    static uint8_t filler[17000];
    atl_capsule_writer writer;
    uint8_t buf[14];
    size_t len = 77;

    (void)state;
    for (size_t cap = 0; cap <= sizeof(buf); cap++) {
        atl_capsule_begin(&writer, buf, cap, TYPE_A);
        atl_capsule_param(&writer, 1, "hi", 2);
        atl_capsule_param_uint(&writer, 2, 15293);
        assert_int_equal(atl_capsule_end(&writer, &len), cap < 14 ? ATLAS_ERR_BUFFER : ATLAS_OK);
        assert_int_equal(len, cap < 14 ? 77 : 14);
    }
    atl_capsule_begin(&writer, big, sizeof(big), TYPE_A);
    atl_capsule_param(&writer, 1, filler, sizeof(filler));
    assert_int_equal(atl_capsule_end(&writer, &len), ATLAS_ERR_BUFFER);
    atl_capsule_begin(&writer, big, sizeof(big), TYPE_A);
    atl_capsule_param_uint(&writer, 1, UINT64_C(1) << 62);
    assert_int_equal(atl_capsule_end(&writer, &len), ATLAS_ERR_BUFFER);
    assert_int_equal(len, 14);
}

/* ---- parameter lists ---- */

typedef struct param_case {
    const char *name;
    const char *bytes;
    size_t len;
    int32_t status;
} param_case;

#define CASE(name, bytes, status) \
    { name, bytes, sizeof(bytes) - 1, status }

/* 1: required uint; 2: required, 2 to 4 bytes; 3: optional, empty */
static const param_case PARAM_CASES[] = {
    CASE("both", "\x01\x01\x25\x02\x02hi", ATLAS_OK),
    CASE("any order", "\x02\x02hi\x01\x01\x25", ATLAS_OK),
    CASE("with optional", "\x01\x01\x25\x02\x02hi\x03\x00", ATLAS_OK),
    CASE("unknown ignored", "\x01\x01\x25\x3f\x03xyz\x02\x02hi", ATLAS_OK),
    CASE("long form of a varint", "\x01\x04\x80\x00\x00\x25\x02\x02hi", ATLAS_OK),
    CASE("long form of an id", "\x40\x01\x01\x25\x02\x02hi", ATLAS_OK),
    CASE("nothing", "", ATLAS_ERR_MALFORMED),
    CASE("one missing", "\x01\x01\x25", ATLAS_ERR_MALFORMED),
    CASE("other missing", "\x02\x02hi", ATLAS_ERR_MALFORMED),
    CASE("empty number", "\x01\x00\x02\x02hi", ATLAS_ERR_MALFORMED),
    CASE("number cut", "\x01\x01\x40\x02\x02hi", ATLAS_ERR_MALFORMED),
    CASE("number with a tail", "\x01\x02\x25\x00\x02\x02hi", ATLAS_ERR_MALFORMED),
    CASE("too short", "\x01\x01\x25\x02\x01h", ATLAS_ERR_MALFORMED),
    CASE("too long", "\x01\x01\x25\x02\x05hello", ATLAS_ERR_MALFORMED),
    CASE("not empty", "\x01\x01\x25\x02\x02hi\x03\x01x", ATLAS_ERR_MALFORMED),
    CASE("duplicate", "\x01\x01\x25\x02\x02hi\x01\x01\x25", ATLAS_ERR_DUPLICATE),
    CASE("duplicate in another form", "\x01\x01\x25\x02\x02hi\x40\x01\x01\x25",
         ATLAS_ERR_DUPLICATE),
    CASE("duplicate unknown", "\x3f\x00\x01\x01\x25\x02\x02hi\x3f\x00", ATLAS_ERR_DUPLICATE),
    CASE("id only", "\x01\x01\x25\x02\x02hi\x05", ATLAS_ERR_TRUNCATED),
    CASE("value cut", "\x01\x01\x25\x02\x03hi", ATLAS_ERR_TRUNCATED),
    CASE("huge length", "\x01\x01\x25\x02\xff\xff\xff\xff\xff\xff\xff\xffhi", ATLAS_ERR_TRUNCATED),
    CASE("id cut", "\x01\x01\x25\x02\x02hi\xc0\x00", ATLAS_ERR_TRUNCATED),
};

static void spec(atl_param params[3]) {
    memset(params, 0x55, 3 * sizeof(params[0]));
    params[0].id = 1;
    params[0].required = 1;
    params[0].is_uint = 1;
    params[1].id = 2;
    params[1].required = 1;
    params[1].is_uint = 0;
    params[1].min = 2;
    params[1].max = 4;
    params[2].id = 3;
    params[2].required = 0;
    params[2].is_uint = 0;
    params[2].min = 0;
    params[2].max = 0;
}

static void test_params(void **state) {
    (void)state;
    for (size_t i = 0; i < ATL_COUNT(PARAM_CASES); i++) {
        const param_case *row = &PARAM_CASES[i];
        uint8_t *copy = malloc(row->len + 1);
        atl_param params[3];
        int32_t status;

        memcpy(copy, row->bytes, row->len);
        spec(params);
        status = atl_params_read(copy, row->len, params, 3);
        if (status != row->status) {
            fail_msg("%s: %d, not %d", row->name, status, row->status);
        }
        if (status == ATLAS_OK) {
            assert_int_equal(params[0].number, 0x25);
            assert_int_equal(params[1].len, 2);
            assert_memory_equal(params[1].data, "hi", 2);
        }
        free(copy);
    }
}

static void test_params_truncated(void **state) {
    static const uint8_t FULL[] = "\x01\x01\x25\x02\x04hihi\x03";
    size_t len = sizeof(FULL); /* the literal's NUL is the length of parameter 3 */

    (void)state;
    for (size_t cut = 0; cut <= len; cut++) {
        uint8_t *copy = malloc(cut + 1);
        atl_param params[3];
        int32_t status;

        memcpy(copy, FULL, cut);
        spec(params);
        status = atl_params_read(copy, cut, params, 3);
        assert_int_equal(status == ATLAS_OK, cut == 9 || cut == len);
        free(copy);
    }
}

static void test_params_many(void **state) {
    uint8_t buf[512];

    (void)state;
    for (size_t n = 64; n <= 65; n++) {
        atl_writer writer;

        atl_writer_init(&writer, buf, sizeof(buf));
        for (size_t i = 0; i < n; i++) {
            atl_write_varint(&writer, 1000 + i);
            atl_write_varint(&writer, 0);
        }
        assert_int_equal(atl_params_read(buf, writer.len, NULL, 0),
                         n == 64 ? ATLAS_OK : ATLAS_ERR_MALFORMED);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),        cmocka_unit_test(test_split_everywhere),
        cmocka_unit_test(test_byte_by_byte), cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_never_ending), cmocka_unit_test(test_owner_errors),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_free_in_value),
        cmocka_unit_test(test_writer),       cmocka_unit_test(test_writer_overflow),
        cmocka_unit_test(test_params),       cmocka_unit_test(test_params_truncated),
        cmocka_unit_test(test_params_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
