/* The loop contract: hooks, reentrancy, deadlines, options, waking up, ending in any state. */
#include "nodes.h"

#include <pthread.h>
#include <unistd.h>

typedef struct probe {
    atlas_ctx *ctx;
    int interests;
    int watched;
    int timers;
    uint64_t deadline;
    int allocations;
    int32_t reentrant; /* what a call from a hook returned last */
    uint64_t clock;
    uint64_t clock_step;
    int logs;
} probe;

static void hook_interest(void *user, int32_t fd, uint32_t events, void **slot) {
    probe *p = user;

    assert_true(fd >= 0);
    assert_non_null(slot);
    if (*slot == NULL && events != 0) {
        *slot = p;
        p->watched++;
    } else if (events == 0) {
        assert_ptr_equal(*slot, p);
        p->watched--;
    }
    p->interests++;
    if (p->ctx != NULL) {
        p->reentrant = atlas_open(p->ctx);
    }
}

static void hook_timer(void *user, uint64_t deadline) {
    probe *p = user;

    p->timers++;
    p->deadline = deadline;
    if (p->ctx != NULL) {
        p->reentrant = atlas_process(p->ctx, NULL, 0);
        assert_int_equal(atlas_free(p->ctx), ATLAS_ERR_REENTRANT);
        assert_int_equal(atlas_listen(p->ctx), ATLAS_ERR_REENTRANT);
    }
}

static uint64_t hook_now(void *user) {
    probe *p = user;

    p->clock += p->clock_step;
    return p->clock;
}

static void *hook_malloc(void *user, size_t size) {
    ((probe *)user)->allocations++;
    return malloc(size);
}

static void *hook_realloc(void *user, void *ptr, size_t size) {
    probe *p = user;

    p->allocations += ptr == NULL;
    return realloc(ptr, size);
}

static void hook_free(void *user, void *ptr) {
    ((probe *)user)->allocations -= ptr != NULL;
    free(ptr);
}

static void hook_log(void *user, int32_t level, const char *text) {
    assert_true(level >= ATLAS_LOG_ERROR && level <= ATLAS_LOG_TRACE);
    assert_non_null(text);
    ((probe *)user)->logs++;
}

static atlas_hooks all_hooks(probe *p) {
    atlas_hooks hooks = {
        .size = sizeof(hooks),
        .user = p,
        .interest = hook_interest,
        .timer = hook_timer,
        .malloc = hook_malloc,
        .realloc = hook_realloc,
        .free = hook_free,
        .log = hook_log,
    };

    return hooks;
}

static void test_arguments(void **state) {
    atlas_hooks hooks = {.size = 8};
    atlas_callbacks callbacks = {.size = 8};
    atlas_ctx *ctx = NULL;
    char buf[8];
    uint64_t value;

    (void)state;
    assert_int_equal(atlas_new(NULL, NULL, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_new(&hooks, NULL, &ctx), ATLAS_ERR_INVALID);
    hooks.size = sizeof(hooks);
    hooks.malloc = hook_malloc; /* all three or none */
    assert_int_equal(atlas_new(&hooks, NULL, &ctx), ATLAS_ERR_INVALID);
    assert_null(ctx);
    assert_int_equal(atlas_free(NULL), ATLAS_OK);
    assert_int_equal(atlas_new(NULL, NULL, &ctx), ATLAS_OK);
    assert_int_equal(atlas_process(NULL, NULL, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_process(ctx, NULL, 1), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_run_once(NULL, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_wakeup(NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_shutdown(NULL, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_open(NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_listen(NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_callbacks(NULL, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_callbacks(ctx, &callbacks), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_callbacks(ctx, NULL), ATLAS_OK);
    assert_int_equal(atlas_local_addr(ctx, 0, buf, sizeof(buf)), ATLAS_ERR_STATE);
    assert_int_equal(atlas_set_u64(NULL, ATLAS_OPT_PORT, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_str(NULL, ATLAS_OPT_BIND4, ""), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_get_u64(NULL, ATLAS_OPT_PORT, &value), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_get_u64(ctx, ATLAS_OPT_PORT, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_next_deadline(NULL), ATLAS_NO_DEADLINE);
    assert_int_equal(atlas_fds(NULL, NULL, 0), 0);
    assert_int_equal(atlas_now(NULL), 0);
    assert_null(atlas_self_id(NULL));
    assert_int_equal(strncmp(atlas_self_id(ctx), "12D3KooW", 8), 0);
    assert_true(strlen(atlas_version()) >= 5);
    assert_int_equal(atlas_open(ctx), ATLAS_OK);
    assert_int_equal(atlas_local_addr(ctx, 0, buf, sizeof(buf)), ATLAS_ERR_BUFFER);
    assert_int_equal(atlas_local_addr(ctx, 1000, buf, sizeof(buf)), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

static void test_identity_is_copied(void **state) {
    atlas_key *key = NULL;
    atlas_ctx *ctx = NULL;
    char id[ATLAS_PEER_ID_MAX];

    (void)state;
    assert_int_equal(atlas_key_generate(&key), ATLAS_OK);
    assert_int_equal(atlas_key_peer_id(key, id, sizeof(id)), ATLAS_OK);
    assert_int_equal(atlas_new(NULL, key, &ctx), ATLAS_OK);
    atlas_key_free(key);
    assert_string_equal(atlas_self_id(ctx), id);
    assert_int_equal(atlas_open(ctx), ATLAS_OK);
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

static const struct {
    uint32_t option;
    uint64_t initial;
    uint64_t low, high;
    int before_start;
} table[] = {
    {ATLAS_OPT_PORT, 0, 0, 65535, 1},
    {ATLAS_OPT_IPV4, 1, 0, 1, 1},
    {ATLAS_OPT_IPV6, 1, 0, 1, 1},
    {ATLAS_OPT_ENABLE_RELAY, 1, 0, 1, 0},
    {ATLAS_OPT_OFFER_RELAY, 0, 0, 1, 0},
    {ATLAS_OPT_IDLE_TIMEOUT_MS, 90000, 1000, 600000, 0},
    {ATLAS_OPT_UPGRADE, 1, 0, 1, 0},
    {ATLAS_OPT_KEEPALIVE_MAX_MS, 60000, 1000, 600000, 0},
    {ATLAS_OPT_IDLE_MODE_MAX_S, 3600, 0, 86400, 0},
    {ATLAS_OPT_AUTORELAY, 1, 0, 2, 0},
    {ATLAS_OPT_AUTORELAY_COUNT, 3, 1, 8, 0},
    {ATLAS_OPT_RECORD_LIFETIME_S, 3600, 60, 86400, 0},
    {ATLAS_OPT_REGISTRY_MAX_RECORDS, 1000000, 1, 100000000, 0},
    {ATLAS_OPT_REGISTRY_MAX_PER_IPV4, 256, 1, 100000000, 0},
    {ATLAS_OPT_REGISTRY_MAX_PER_IPV6_64, 256, 1, 100000000, 0},
    {ATLAS_OPT_MAX_CONNECTIONS, 1024, 1, 1000000, 0},
    {ATLAS_OPT_MAX_STREAMS, 128, 1, 65535, 0},
    {ATLAS_OPT_MAX_MESSAGE_SIZE, 1048576, 1, 1u << 30, 0},
    {ATLAS_OPT_STREAM_BUFFER, 1048576, 16384, 1u << 30, 0},
    {ATLAS_OPT_HANDSHAKE_LIMIT, 256, 1, 1000000, 0},
    {ATLAS_OPT_MAX_CLOCK_DRIFT_S, 300, 1, 86400, 0},
    {ATLAS_OPT_PRESENCE_INTERVAL_MS, 2000, 100, 60000, 0},
    {ATLAS_OPT_HANDSHAKE_TIMEOUT_MS, 10000, 100, 120000, 0},
    {ATLAS_OPT_STUN_TIMEOUT_MS, 3000, 100, 39500, 0},
    {ATLAS_OPT_RELAY_BANDWIDTH, 1048576, 0, UINT64_C(1) << 33, 0},
    {ATLAS_OPT_STUN_SERVER, 0, 0, 1, 0},
    {ATLAS_OPT_GSO, 1, 0, 1, 1},
    {ATLAS_OPT_RELAY_DELAY_MS, 250, 0, 10000, 0},
    {ATLAS_OPT_STUN_RATE, 50, 1, 1000000, 0},
};

static void test_options(void **state) {
    atlas_ctx *ctx = NULL;
    uint64_t value;
    size_t i;

    (void)state;
    assert_int_equal(atlas_new(NULL, NULL, &ctx), ATLAS_OK);
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(atlas_get_u64(ctx, table[i].option, &value), ATLAS_OK);
        assert_int_equal(value, table[i].initial);
        assert_int_equal(atlas_set_u64(ctx, table[i].option, table[i].high + 1), ATLAS_ERR_INVALID);
        if (table[i].low > 0) {
            assert_int_equal(atlas_set_u64(ctx, table[i].option, table[i].low - 1),
                             ATLAS_ERR_INVALID);
        }
        assert_int_equal(atlas_set_u64(ctx, table[i].option, table[i].high), ATLAS_OK);
        assert_int_equal(atlas_set_u64(ctx, table[i].option, table[i].low), ATLAS_OK);
        assert_int_equal(atlas_get_u64(ctx, table[i].option, &value), ATLAS_OK);
        assert_int_equal(value, table[i].low);
        assert_int_equal(atlas_set_u64(ctx, table[i].option, table[i].initial), ATLAS_OK);
    }
    assert_int_equal(atlas_set_u64(ctx, 0, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_u64(ctx, 37, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_u64(ctx, ATLAS_OPT_BIND4, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_get_u64(ctx, 37, &value), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_BIND4, "127.0.0.1"), ATLAS_OK);
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_BIND4, "::1"), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_BIND6, "127.0.0.1"), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_BIND6, "::1"), ATLAS_OK);
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_BIND4, "host"), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_BIND4, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_PORT, "1"), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_open(ctx), ATLAS_OK);
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(atlas_set_u64(ctx, table[i].option, table[i].initial),
                         table[i].before_start ? ATLAS_ERR_STATE : ATLAS_OK);
    }
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_BIND4, "127.0.0.1"), ATLAS_ERR_STATE);
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

static void test_port_in_use(void **state) {
    world w = {0};
    node *a = world_add(&w);
    node *b = world_add(&w);
    unsigned port = 0;

    (void)state;
    node_open(a);
    assert_int_equal(sscanf(a->addr, "/ip4/127.0.0.1/udp/%u/", &port), 1);
    assert_int_equal(atlas_set_u64(b->ctx, ATLAS_OPT_PORT, port), ATLAS_OK);
    assert_int_equal(atlas_open(b->ctx), ATLAS_ERR_ADDR_IN_USE);
    assert_int_equal(atlas_set_u64(b->ctx, ATLAS_OPT_PORT, 0), ATLAS_OK);
    assert_int_equal(atlas_open(b->ctx), ATLAS_OK);
    assert_int_equal(atlas_open(b->ctx), ATLAS_OK);
    assert_int_equal(atlas_set_u64(a->ctx, ATLAS_OPT_IPV4, 1), ATLAS_ERR_STATE);
    world_free(&w);
    a = world_add(&w);
    assert_int_equal(atlas_set_u64(a->ctx, ATLAS_OPT_IPV4, 0), ATLAS_OK);
    assert_int_equal(atlas_open(a->ctx), ATLAS_ERR_FAMILY);
    world_free(&w);
}

/* Interest is removed before the end, every byte is given back, and calls from hooks are refused.
 */
static void test_hooks(void **state) {
    probe p = {0};
    atlas_hooks hooks = all_hooks(&p);
    world w = {0};
    node *a = world_add_with(&w, &hooks);
    node *b = world_add_listener(&w);
    tie *l;
    int timers;

    (void)state;
    assert_non_null(a);
    p.ctx = a->ctx;
    l = node_dial(a, b->addr, 5000);
    assert_int_equal(p.reentrant, ATLAS_ERR_REENTRANT);
    assert_true(p.watched > 0);
    assert_true(p.timers > 0);
    assert_true(p.deadline <= atlas_now(a->ctx)); /* something is to be done now */
    timers = p.timers;
    atlas_next_deadline(a->ctx);
    assert_int_equal(atlas_set_u64(a->ctx, ATLAS_OPT_MAX_STREAMS, 12), ATLAS_OK);
    assert_int_equal(p.timers, timers); /* no news */
    WORLD_UNTIL(&w, 5000, l->connected && b->accepted == 1);
    assert_int_equal(p.deadline, atlas_next_deadline(a->ctx));
    assert_int_equal(atlas_conn_send_message(l->conn, "x", 1, NULL), ATLAS_OK);
    assert_true(p.deadline <= atlas_now(a->ctx));
    WORLD_UNTIL(&w, 5000, l->sent == 1);
    assert_true(p.allocations > 0);
    world_free(&w);
    assert_int_equal(p.watched, 0);
    assert_int_equal(p.allocations, 0);
    assert_int_equal(l->closed, 0); /* no callback fires on the way out */
}

/* Only the hooks drive: no asking for descriptors or deadlines. */
static void test_spurious_calls(void **state) {
    atlas_fd_event nonsense[3] = {{-1, 7}, {100000, 7}, {0, 0}};
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    tie *l;
    int i;

    (void)state;
    for (i = 0; i < 50; i++) {
        assert_int_equal(atlas_process(a->ctx, nonsense, 3), ATLAS_OK);
        assert_int_equal(atlas_process(a->ctx, nonsense, 0), ATLAS_OK);
    }
    l = node_dial(a, b->addr, 5000);
    while (!l->connected) {
        assert_int_equal(atlas_process(a->ctx, nonsense, 3), ATLAS_OK);
        world_turn(&w, 5);
    }
    assert_int_equal(l->closed, 0);
    world_free(&w);
}

static void test_clock_steps_back(void **state) {
    probe p = {.clock = UINT64_C(1) << 40, .clock_step = 1000};
    atlas_hooks hooks = {.size = sizeof(hooks), .user = &p, .now = hook_now};
    atlas_ctx *ctx = NULL;
    uint64_t before;

    (void)state;
    assert_int_equal(atlas_new(&hooks, NULL, &ctx), ATLAS_OK);
    assert_int_equal(atlas_open(ctx), ATLAS_OK);
    before = atlas_now(ctx);
    p.clock = 5;
    assert_true(atlas_now(ctx) >= before);
    assert_int_equal(atlas_process(ctx, NULL, 0), ATLAS_OK);
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

static void *wake(void *user) {
    usleep(50000);
    assert_int_equal(atlas_wakeup(user), ATLAS_OK);
    assert_int_equal(atlas_wakeup(user), ATLAS_OK);
    return NULL;
}

static void test_wakeup_and_run_once(void **state) {
    world w = {0};
    node *a = world_add(&w);
    pthread_t thread;
    uint64_t started = real_now();

    (void)state;
    node_open(a);
    assert_int_equal(atlas_run_once(a->ctx, 20), ATLAS_OK);
    assert_true(real_now() - started >= UINT64_C(15000000));
    assert_int_equal(a->wakeups, 0);
    assert_int_equal(pthread_create(&thread, NULL, wake, a->ctx), 0);
    started = real_now();
    while (a->wakeups == 0) {
        assert_int_equal(atlas_run_once(a->ctx, 5000), ATLAS_OK);
    }
    assert_true(real_now() - started < UINT64_C(4000000000));
    pthread_join(thread, NULL);
    world_run(&w, 20);
    assert_true(a->wakeups <= 2);
    world_free(&w);
}

/* A context is freed in the middle of everything: no crash, no leak, no event. */
static void test_free_in_any_state(void **state) {
    int stop;

    (void)state;
    for (stop = 0; stop < 40; stop++) {
        world w = {0};
        node *relay = world_add(&w);
        node *b = world_add_listener(&w);
        node *a = world_add(&w);
        atlas_stream *stream = NULL;
        static const atlas_stream_callbacks none = {.size = sizeof(none)};
        tie *l;
        int turns;
        int closed;

        node_open(relay);
        assert_int_equal(atlas_relay_start(relay->ctx), ATLAS_OK);
        assert_int_equal(atlas_relay_add(b->ctx, relay->addr), ATLAS_OK);
        assert_int_equal(atlas_relay_add(a->ctx, relay->addr), ATLAS_OK);
        assert_int_equal(atlas_relay_presence(b->ctx, 1), ATLAS_OK);
        l = node_dial(a, stop % 2 ? b->addr : atlas_self_id(b->ctx), 5000);
        for (turns = 0; turns < stop; turns++) {
            world_turn(&w, 2);
            if (l->connected && stream == NULL) {
                size_t taken;

                assert_int_equal(atlas_conn_send_message(l->conn, "m", 1, NULL), ATLAS_OK);
                assert_int_equal(atlas_conn_ping(l->conn, NULL), ATLAS_OK);
                assert_int_equal(atlas_stream_open(l->conn, 0, &none, NULL, &stream), ATLAS_OK);
                assert_int_equal(atlas_stream_write(stream, "s", 1, 0, &taken), ATLAS_OK);
            }
        }
        closed = l->closed;
        world_free(&w);
        assert_int_equal(l->closed, closed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_identity_is_copied),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_spurious_calls),
        cmocka_unit_test(test_clock_steps_back),
        cmocka_unit_test(test_wakeup_and_run_once),
        cmocka_unit_test(test_free_in_any_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
