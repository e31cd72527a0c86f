/* The registry. The first byte chooses: 'p' a page of records, which is read, written again, and
 * must read the same; 'q' a path; else a script of requests by the owner of a record, a stranger
 * and a client without certificate, which go through HTTP/3 on the simulated network: any method,
 * path and body, and real records with bytes changed. After each script every request has been
 * answered from the document's table, an honest record is still there, and nothing waits or has
 * grown beyond its bounds. The world is made anew after a number of scripts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "discovery/records_page.h"
#include "registry_world.h"

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

#define SCRIPTS_PER_WORLD 64
#define REQUESTS 6 /* of a script */
#define MEMORY_BOUND (1u << 20)
#define MAX_RECORDS 50

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static registry_world w;
static asking asks[REQUESTS];
static made honest;
static int alive;
static unsigned scripts;
static size_t base_bytes;
static uint64_t counter; /* sequence numbers */

/* ---- pages and paths ---- */

static void page(const uint8_t *data, size_t size) {
    static uint8_t buf[ATL_RECORDS_PAGE_MAX];
    atl_records_page out;
    atl_reader reader;
    uint64_t cursor;
    const uint8_t *record;
    const uint8_t *again;
    size_t len;
    size_t again_len;
    int32_t rc;

    if (atl_records_page_open(data, size, &reader, &cursor) != ATLAS_OK) {
        return;
    }
    atl_records_page_begin(&out, buf, sizeof(buf));
    while ((rc = atl_records_page_next(&reader, &record, &len)) == ATLAS_OK) {
        CHECK(record >= data && record + len <= data + size);
        CHECK(atl_records_page_add(&out, record, len) == ATLAS_OK || size > sizeof(buf) - 8);
    }
    if (rc != ATLAS_ERR_NOT_FOUND || size > sizeof(buf) - 8) {
        return;
    }
    again = atl_records_page_finish(&out, cursor, &again_len);
    CHECK(again_len <= size); /* varints may have been longer than they need to be */
    CHECK(atl_records_page_open(again, again_len, &reader, &cursor) == ATLAS_OK);
    CHECK(again_len < size || memcmp(again, data, size) == 0);
}

static void path(const uint8_t *data, size_t size) {
    char text[4096];
    atl_registry_target target;
    const char *why = NULL;
    int32_t rc;

    size = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
    memcpy(text, data, size);
    text[size] = '\0';
    rc = atl_registry_parse(text, &target, &why);
    if (rc == ATLAS_OK && target.what == ATL_REGISTRY_LIST) {
        CHECK(target.limit >= 1 && target.limit <= ATL_REGISTRY_LIMIT_MAX);
        CHECK(target.offer == 1 || target.offer == 2 || target.offer == 4);
        CHECK(target.after <= ATL_REGISTRY_CURSOR_MAX && !(target.random && target.has_after));
    }
    CHECK(rc == ATLAS_OK || rc == ATLAS_ERR_NOT_FOUND || why != NULL);
}

/* ---- scripts ---- */

static void begin(void) {
    client *owner;

    registry_world_start(&w, NULL);
    atl_record_store_limits_of(w.registry->store)->max_records = MAX_RECORDS;
    atl_registry_http_set_get_rate(w.registry, 0, 0);
    owner = client_new(&w, 20);
    (void)client_new(&w, 21);
    (void)client_make(&w, 22, 0);
    record_make(w.r.relay.key, 1, world_seconds(&w), 86400, ATLAS_OFFER_RELAY, "", &honest);
    CHECK(atl_registry_http_put_own(w.registry, honest.data, honest.len) == ATLAS_OK);
    CHECK(ask(&w, owner, "GET", honest.path, NULL, 0) == 200);
    base_bytes = w.r.bytes;
    alive = 1;
    scripts = 0;
    counter = 1;
}

static uint8_t next(atl_reader *script) {
    uint8_t byte = 0;

    (void)atl_read_u8(script, &byte);
    return byte;
}

static size_t next_bytes(atl_reader *script, size_t len, void *out) {
    len = len < script->left ? len : script->left;
    (void)atl_read_bytes(script, out, len);
    return len;
}

/* A record that the client could put, with bytes of it changed. */
static void spoil(atl_reader *script, const client *c, uint8_t how, made *out) {
    unsigned changes = how & 3u;

    record_make(c->node.key, ++counter, world_seconds(&w), 60, how >> 2 & 7,
                "/ip4/10.0.2.1/udp/4001/quic-v1", out);
    while (changes-- > 0) {
        size_t at = (size_t)next(script) << 8 | next(script);

        out->data[at % out->len] ^= next(script);
    }
    if (how >> 7 != 0) {
        out->len = next(script) % (out->len + 1);
    }
}

static void request(atl_reader *script, asking *a) {
    static const char *const methods[] = {"GET", "PUT", "DELETE", "HEAD", "POST", "LIST", "", "?"};
    uint8_t op = next(script);
    client *c = &w.clients[(op >> 3 & 3) % 3];
    const char *method = methods[op & 7];
    uint8_t body[4096];
    char line[512];
    made record;
    size_t len;

    if (op >> 7 != 0) { /* a real record, at its own path or that of another */
        spoil(script, c, next(script), &record);
        (void)snprintf(line, sizeof(line), "%s", op >> 5 & 1 ? honest.path : record.path);
        memcpy(body, record.data, record.len);
        len = record.len;
    } else {
        len = next_bytes(script, next(script), line);
        line[len] = '\0';
        len = next_bytes(script, (size_t)next(script) << 8 | next(script), body);
        len = len < sizeof(body) ? len : sizeof(body);
    }
    if (method[0] == '\0' || line[0] == '\0') {
        return;
    }
    if (c->h3 == NULL) { /* handshakes from one address are limited */
        registry_world_run(&w, 2 * ATL_SECOND);
        client_dial(&w, c);
    }
    ask_begin(c, a, method, line, body, len);
}

static int answered(const asking *a) {
    static const int32_t statuses[] = {0,   200, 204, 400, 401, 403, 404,
                                       405, 408, 409, 413, 429, 503};

    for (size_t i = 0; i < ATL_COUNT(statuses); i++) {
        if (a->status == statuses[i]) {
            return a->closed;
        }
    }
    return 0;
}

static void run(const uint8_t *data, size_t size) {
    atl_reader script;
    atl_record_view view;
    size_t n;

    if (!alive) {
        begin();
    }
    atl_reader_init(&script, data, size);
    for (n = 0; n < REQUESTS && script.left > 0; n++) {
        memset(&asks[n], 0, offsetof(asking, body));
        asks[n].closed = 1; /* until it is asked */
        request(&script, &asks[n]);
    }
    registry_world_run(&w, 300 * ATL_MS);
    for (size_t i = 0; i < n; i++) {
        CHECK(answered(&asks[i]));
    }
    CHECK(w.registry->n_puts == 0);
    CHECK(store_stats(&w)->records <= MAX_RECORDS);
    CHECK(stored(&w, &honest.peer, &view) && view.len == honest.len);
    CHECK(w.r.bytes < base_bytes + MEMORY_BOUND);
    if (++scripts == SCRIPTS_PER_WORLD) {
        registry_world_done(&w);
        alive = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    if (data[0] == 'p') {
        page(data + 1, size - 1);
    } else if (data[0] == 'q') {
        path(data + 1, size - 1);
    } else {
        run(data + 1, size - 1);
    }
    return 0;
}
