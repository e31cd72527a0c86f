/* Capsules: what the parser delivers must not depend on how the bytes are split, and a parameter
 * list that is read and written again must read the same. The first byte chooses the split. */
#include <stdlib.h>
#include <string.h>

#include "http3/capsule.h"

typedef struct run {
    atl_env env;
    uint64_t sum; /* over everything delivered */
    size_t calls;
    size_t live;
    size_t largest;
} run;

static void check(int ok) {
    if (!ok) {
        abort();
    }
}

static void *run_malloc(void *user, size_t size) {
    run *r = user;

    r->live++;
    r->largest = size > r->largest ? size : r->largest;
    return malloc(size);
}

static void run_free(void *user, void *ptr) {
    ((run *)user)->live--;
    free(ptr);
}

static uint64_t known(void *user, uint64_t type) {
    (void)user;
    return type % 3 == 0 ? 0 : type % 5 == 0 ? ATL_CAPSULE_MAX : 40;
}

static void add(run *r, const void *data, size_t len) {
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++) {
        r->sum = (r->sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
}

/* Reads the list without expectations, then again with every parameter expected and written. */
static void params_again(const uint8_t *value, size_t len) {
    atl_reader reader;
    atl_param params[64];
    atl_capsule_writer writer;
    uint8_t buf[ATL_CAPSULE_MAX + 1024];
    size_t n = 0;
    size_t out_len;

    if (atl_params_read(value, len, NULL, 0) != ATLAS_OK) {
        return;
    }
    memset(params, 0, sizeof(params));
    atl_reader_init(&reader, value, len);
    while (reader.left > 0) {
        atl_reader sub;

        check(n < 64);
        check(atl_read_varint(&reader, &params[n].id) == ATLAS_OK);
        check(atl_read_varint_sub(&reader, &sub) == ATLAS_OK);
        params[n].required = 1;
        params[n].max = SIZE_MAX;
        n++;
    }
    check(atl_params_read(value, len, params, n) == ATLAS_OK);
    atl_capsule_begin(&writer, buf, sizeof(buf), 0x40);
    for (size_t i = 0; i < n; i++) {
        atl_capsule_param(&writer, params[i].id, params[i].data, params[i].len);
    }
    check(atl_capsule_end(&writer, &out_len) == ATLAS_OK);
    check(out_len >= 4 && out_len - 4 <= len); /* the writer uses the shortest varints */
    for (size_t i = 0; i < n; i++) {
        const uint8_t *before = params[i].data;
        size_t before_len = params[i].len;

        check(atl_params_read(buf + 4, out_len - 4, &params[i], 1) == ATLAS_OK);
        check(params[i].present && params[i].len == before_len);
        check(before_len == 0 || memcmp(params[i].data, before, before_len) == 0);
    }
}

static int32_t deliver(void *user, uint64_t type, const uint8_t *value, size_t len) {
    run *r = user;

    r->calls++;
    add(r, &type, sizeof(type));
    add(r, &len, sizeof(len));
    add(r, value, len);
    params_again(value, len);
    return type % 7 == 0 && len == 1 ? ATLAS_ERR_LIMIT : ATLAS_OK;
}

static int32_t feed(run *r, const uint8_t *data, size_t size, size_t step) {
    atl_capsule_parser parser;
    int32_t status = ATLAS_OK;

    memset(r, 0, sizeof(*r));
    r->env.hooks.user = r;
    r->env.hooks.malloc = run_malloc;
    r->env.hooks.free = run_free;
    atl_capsule_parser_init(&parser, &r->env, known, deliver, r);
    for (size_t at = 0; at < size && status == ATLAS_OK; at += step) {
        status = atl_capsule_feed(&parser, data + at, size - at < step ? size - at : step);
        check(r->live <= 1);
    }
    check(status == ATLAS_OK || atl_capsule_feed(&parser, data, 1) == ATLAS_ERR_CLOSED);
    atl_capsule_parser_free(&parser);
    check(r->live == 0 && r->largest <= ATL_CAPSULE_MAX);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    run whole;
    run split;

    if (size == 0) {
        return 0;
    }
    check(feed(&whole, data + 1, size - 1, size) ==
          feed(&split, data + 1, size - 1, (size_t)data[0] % 19 + 1));
    check(whole.sum == split.sum && whole.calls == split.calls);
    return 0;
}
