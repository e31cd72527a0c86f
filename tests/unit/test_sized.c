/* Callers of older versions of the library: shorter tables are taken, shorter outputs are filled as
 * far as they go, other sizes are refused. */
#include "nodes.h"

#include "api/sized.h"

/* The tables of version 0.1.0, as its headers had them. */
typedef struct old_callbacks {
    uint64_t size;
    void *user;
    void (*on_connection)(void *user, atlas_ctx *ctx, atlas_conn *conn);
    void (*on_relay)(void *user, atlas_ctx *ctx, const struct atlas_relay_event *event);
    void (*on_shutdown)(void *user, atlas_ctx *ctx);
    void (*on_wakeup)(void *user, atlas_ctx *ctx);
} old_callbacks;

typedef struct old_path_info {
    uint64_t size;
    uint32_t kind;
    uint32_t mtu;
    uint64_t rtt_ns;
    char local[ATLAS_ADDR_MAX];
    char remote[ATLAS_ADDR_MAX];
    char relay[ATLAS_PEER_ID_MAX];
} old_path_info;

typedef struct old_conn_callbacks {
    uint64_t size;
    void (*on_connected)(void *user, atlas_conn *conn);
    void (*on_path)(void *user, atlas_conn *conn, const atlas_path_info *path, const char *reason);
    void (*on_attempt)(void *user, atlas_conn *conn, const char *addr, int32_t code,
                       const char *text);
    void (*on_stream)(void *user, atlas_conn *conn, atlas_stream *stream);
    void (*on_message)(void *user, atlas_conn *conn, const uint8_t *data, size_t len);
    void (*on_message_sent)(void *user, atlas_conn *conn, uint64_t id, int32_t code);
    void (*on_datagram)(void *user, atlas_conn *conn, const uint8_t *data, size_t len);
    void (*on_pong)(void *user, atlas_conn *conn, uint64_t id, uint64_t rtt_ns, uint32_t path_kind);
    void (*on_closed)(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text);
} old_conn_callbacks;

static const struct {
    const atl_sized *versions;
    uint64_t old;
    uint64_t present;
    uint64_t between; /* 0: there were two versions only */
} tables[] = {
    {&atl_sized_callbacks, sizeof(old_callbacks), sizeof(atlas_callbacks),
     offsetof(atlas_callbacks, on_reach)},
    {&atl_sized_conn_callbacks, sizeof(old_conn_callbacks), sizeof(atlas_conn_callbacks), 0},
    {&atl_sized_path_info, sizeof(old_path_info), sizeof(atlas_path_info), 0},
};

static void test_sizes(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        uint64_t size;

        assert_int_equal(atl_sized_check(tables[i].versions, NULL), ATLAS_ERR_INVALID);
        for (size = 0; size < 2 * tables[i].present; size++) {
            int known = size == tables[i].old || size == tables[i].present ||
                        (size != 0 && size == tables[i].between);

            assert_int_equal(atl_sized_check(tables[i].versions, &size),
                             known ? ATLAS_OK : ATLAS_ERR_INVALID);
        }
        size = UINT64_MAX;
        assert_int_equal(atl_sized_check(tables[i].versions, &size), ATLAS_ERR_INVALID);
    }
}

/* Only the caller's bytes are read and written: the rest of these buffers belongs to nobody. */
static void test_bytes(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        uint64_t old = tables[i].old;
        uint64_t present = tables[i].present;
        uint8_t *theirs = malloc(old);
        uint8_t *full = malloc(present);
        uint64_t size;
        size_t k;

        assert_non_null(theirs);
        assert_non_null(full);
        memset(theirs, 0x11, old);
        memset(full, 0x22, present);
        memcpy(theirs, &old, sizeof(old));
        assert_int_equal(atl_sized_take(tables[i].versions, theirs, full), ATLAS_OK);
        memcpy(&size, full, sizeof(size));
        assert_int_equal(size, present);
        for (k = sizeof(size); k < present; k++) {
            assert_int_equal(full[k], k < old ? 0x11 : 0);
        }
        memset(full, 0x33, present);
        assert_int_equal(atl_sized_give(tables[i].versions, full, theirs), ATLAS_OK);
        memcpy(&size, theirs, sizeof(size));
        assert_int_equal(size, old);
        for (k = sizeof(size); k < old; k++) {
            assert_int_equal(theirs[k], 0x33);
        }
        size = old + 1;
        memcpy(theirs, &size, sizeof(size));
        assert_int_equal(atl_sized_take(tables[i].versions, theirs, full), ATLAS_ERR_INVALID);
        assert_int_equal(full[0], 0x33);
        assert_int_equal(atl_sized_give(tables[i].versions, full, theirs), ATLAS_ERR_INVALID);
        free(theirs);
        free(full);
    }
}

/* A program that was built with 0.1.0 listens, another dials. */
static void test_old_programs(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    old_callbacks *events = calloc(1, sizeof(*events));
    old_conn_callbacks *callbacks = calloc(1, sizeof(*callbacks));
    old_path_info *path = calloc(1, sizeof(*path));
    tie *l = &a->out[0];

    (void)state;
    assert_true(events != NULL && callbacks != NULL && path != NULL);
    events->size = sizeof(*events);
    events->user = b;
    events->on_connection = cb_connection;
    assert_int_equal(atlas_set_callbacks(b->ctx, (const atlas_callbacks *)(void *)events),
                     ATLAS_OK);
    callbacks->size = sizeof(*callbacks);
    callbacks->on_connected = cb_connected;
    callbacks->on_path = cb_path;
    callbacks->on_closed = cb_closed;
    l->node = a;
    assert_int_equal(atlas_dial(a->ctx, b->addr, 5000,
                                (const atlas_conn_callbacks *)(void *)callbacks, l, &l->conn),
                     ATLAS_OK);
    free(callbacks); /* copied */
    WORLD_UNTIL(&w, 5000, l->connected && b->accepted == 1);
    assert_int_equal(l->paths, 1);
    path->size = sizeof(*path);
    assert_int_equal(atlas_conn_get_path(l->conn, (atlas_path_info *)(void *)path), ATLAS_OK);
    assert_int_equal(path->size, sizeof(*path));
    assert_int_equal(path->kind, ATLAS_PATH_DIRECT);
    assert_string_equal(path->remote, l->path_remote);
    path->size++;
    assert_int_equal(atlas_conn_get_path(l->conn, (atlas_path_info *)(void *)path),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_close(l->conn, 0, NULL), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, l->closed);
    free(events);
    free(path);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_old_programs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
