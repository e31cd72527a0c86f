/* Allocation failure: every single allocation of a context's life, a direct dial, a relay session
 * and a STUN probe fails once, alone and with all that follow it. Nothing crashes, nothing leaks
 * (sim_node_done() counts), and every handle that was given ends in exactly one final event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

typedef struct world {
    sim_net *net;
    sim_faults faults;
    sim_node a;
    sim_node b;
    sim_node relay;
    sim_node second; /* relay */
    uint64_t from;   /* allocations before what is of interest */
    int probes;      /* STUN: final events, and whether there should be one */
    int probing;
    int complete; /* the scenario did all that it wanted */
} world;

static int run(world *w, double seconds, int (*done)(void *)) {
    return sim_run(w->net, sim_now(w->net) + (uint64_t)(seconds * 1e9), done, w);
}

static int a_settled(void *user) {
    const world *w = user;

    return w->a.connected > 0 || w->a.closed > 0;
}

static int a_done(void *user) {
    const world *w = user;

    return w->a.closed > 0 || (w->a.sent == w->a.sent_next && (w->a.out == NULL || w->b.got_fin));
}

static int b_announced(void *user) {
    return ((world *)user)->b.relay_state == ATLAS_RELAY_ANNOUNCED;
}

static int probed(void *user) {
    return ((world *)user)->probes > 0;
}

/* What a dial leads to, as far as it gets. */
static void use_connection(world *w) {
    uint64_t ping;
    int sent;

    run(w, 40, a_settled);
    assert_int_equal(w->a.connected + w->a.closed > 0, 1);
    if (w->a.conn == NULL) {
        return;
    }
    sent = sim_node_message(&w->a, "a message") == ATLAS_OK;
    sent &= sim_node_try_send(&w->a, 40000) == ATLAS_OK;
    sent &= atlas_conn_ping(w->a.conn, &ping) == ATLAS_OK;
    sent &= atlas_conn_send_datagram(w->a.conn, "a datagram", 10) == ATLAS_OK;
    run(w, 20, a_done);
    w->complete = sent && w->b.messages > 0 && w->b.got_bytes == 40000 &&
                  w->a.sent_hash == w->b.got_hash && w->a.sent_code == ATLAS_OK;
    if (w->a.conn != NULL) {
        /* ATLAS_ERR_CLOSED: it has failed, and on_closed is on its way */
        int32_t rv = atlas_conn_close(w->a.conn, 7, "done");

        assert_true(rv == ATLAS_OK || rv == ATLAS_ERR_CLOSED);
    }
}

/* Every handle has had its final event when nothing more can come. */
static void check_finals(world *w) {
    sim_node *nodes[] = {&w->a, &w->b, &w->relay, &w->second};
    size_t i;

    run(w, 120, NULL);
    for (i = 0; i < ATL_COUNT(nodes); i++) {
        assert_int_equal(nodes[i]->finals, nodes[i]->conns);
        assert_int_equal(nodes[i]->streams_closed, nodes[i]->streams);
        assert_int_equal(nodes[i]->sent, nodes[i]->sent_next);
    }
    assert_int_equal(w->probes, w->probing);
}

static void direct(world *w) {
    if (sim_node_try_init(&w->a, w->net, "192.0.2.1", 2, 0, &w->faults) != ATLAS_OK ||
        sim_node_try_init(&w->b, w->net, "192.0.2.2", 3, 0, &w->faults) != ATLAS_OK ||
        atlas_listen(w->b.ctx) != ATLAS_OK || sim_node_dial(&w->a, w->b.addr, 0) != ATLAS_OK) {
        return;
    }
    use_connection(w);
}

static void relayed(world *w) {
    if (sim_node_try_init(&w->relay, w->net, "192.0.2.3", 1, 4001, &w->faults) != ATLAS_OK ||
        sim_node_try_init(&w->a, w->net, "192.0.2.1", 2, 0, &w->faults) != ATLAS_OK ||
        sim_node_try_init(&w->b, w->net, "192.0.2.2", 3, 0, &w->faults) != ATLAS_OK ||
        atlas_relay_start(w->relay.ctx) != ATLAS_OK ||
        atlas_relay_add(w->a.ctx, w->relay.addr) != ATLAS_OK ||
        atlas_relay_add(w->b.ctx, w->relay.addr) != ATLAS_OK ||
        atlas_listen(w->b.ctx) != ATLAS_OK || atlas_relay_presence(w->b.ctx, 1) != ATLAS_OK) {
        return;
    }
    run(w, 20, b_announced);
    if (sim_node_dial(&w->a, atlas_self_id(w->b.ctx), 0) == ATLAS_OK) {
        use_connection(w);
    }
}

/* ---- paths ---- */

static int a_direct(void *user) {
    const world *w = user;

    return w->a.closed > 0 || w->a.path == ATLAS_PATH_DIRECT;
}

static int a_relayed(void *user) {
    const world *w = user;

    return w->a.closed > 0 || w->a.path == ATLAS_PATH_RELAY;
}

static int on_both(void *user) {
    const world *w = user;

    return w->b.relay_announced >= 2;
}

static int start_relay(world *w, sim_node *relay, const char *ip, uint8_t seed) {
    return sim_node_try_init(relay, w->net, ip, seed, 4001, &w->faults) == ATLAS_OK &&
           atlas_relay_start(relay->ctx) == ATLAS_OK;
}

static int join(sim_node *node, const world *w) {
    return atlas_relay_add(node->ctx, w->relay.addr) == ATLAS_OK &&
           atlas_relay_add(node->ctx, w->second.addr) == ATLAS_OK;
}

/* A relayed connection becomes direct, falls back, and loses its relay: bytes flow all the time. */
static void moved(world *w) {
    if (!start_relay(w, &w->relay, "192.0.2.3", 1) || !start_relay(w, &w->second, "192.0.2.4", 4) ||
        sim_node_try_init(&w->a, w->net, "192.0.2.1", 2, 0, &w->faults) != ATLAS_OK ||
        sim_node_try_init(&w->b, w->net, "192.0.2.2", 3, 0, &w->faults) != ATLAS_OK ||
        !join(&w->a, w) || !join(&w->b, w) || atlas_listen(w->b.ctx) != ATLAS_OK ||
        atlas_relay_presence(w->a.ctx, 1) != ATLAS_OK ||
        atlas_relay_presence(w->b.ctx, 1) != ATLAS_OK) {
        return;
    }
    run(w, 20, on_both);
    w->from = w->faults.count;
    sim_cut(w->net, w->a.host, w->b.host, 1);
    if (sim_node_dial(&w->a, atlas_self_id(w->b.ctx), 0) != ATLAS_OK) {
        return;
    }
    run(w, 20, a_settled);
    sim_cut(w->net, w->a.host, w->b.host, 0);
    run(w, 20, a_direct);
    sim_cut(w->net, w->a.host, w->b.host, 1);
    if (w->a.conn != NULL) {
        (void)sim_node_message(&w->a, "is it still there?");
    }
    run(w, 20, a_relayed);
    sim_host_set_down(w->relay.host, 1);
    use_connection(w);
    sim_host_set_down(w->relay.host, 0);
}

static void on_probe(void *user, atlas_stun *probe, const atlas_stun_result *result,
                     int32_t status) {
    world *w = user;

    (void)probe;
    if (result == NULL) {
        w->probes++;
        w->complete = status == ATLAS_OK;
    }
}

static void stun(world *w) {
    static const char *const SERVERS[] = {"192.0.2.3:4001", "stun.example:4001", "192.0.2.99:3478"};
    const atlas_stun_options options = {
        sizeof(options), 0, "user", "password", ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256, 0};

    sim_add_name(w->net, "stun.example", "192.0.2.3");
    if (sim_node_try_init(&w->relay, w->net, "192.0.2.3", 1, 4001, &w->faults) != ATLAS_OK ||
        sim_node_try_init(&w->a, w->net, "192.0.2.1", 2, 0, &w->faults) != ATLAS_OK ||
        atlas_set_u64(w->relay.ctx, ATLAS_OPT_STUN_SERVER, 1) != ATLAS_OK) {
        return;
    }
    w->probing += atlas_stun_probe(w->a.ctx, SERVERS, 3, &options, on_probe, w, NULL) == ATLAS_OK;
    run(w, 10, probed);
    w->probing += atlas_stun_probe(w->a.ctx, SERVERS, 3, NULL, on_probe, w, NULL) == ATLAS_OK;
    run(w, 10, NULL);
}

static const char PEER[] = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
static const char CONFIG[] =
    "[network]\nrelays = [\"/ip4/192.0.2.3/udp/4001/quic-v1/p2p/"
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq\"]\n"
    "[stun]\nservers = [\"192.0.2.3\", \"192.0.2.4:3478\"]\n"
    "[transport]\nidle_timeout = 20\n[relay]\nallow = "
    "[\"12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq\"]\n";

/* A context on the operating system's sockets, configured from text, opened and freed. */
static int configured(world *w) {
    atlas_ctx *ctx = NULL;
    atlas_hooks hooks;
    int good;

    sim_node_hooks(&w->a, &hooks);
    if (atlas_new(&hooks, NULL, &ctx) != ATLAS_OK) {
        assert_null(ctx);
        return 0;
    }
    good = atlas_config_parse(ctx, CONFIG, sizeof(CONFIG) - 1, NULL, NULL, NULL) == ATLAS_OK;
    good &= atlas_set_str(ctx, ATLAS_OPT_BIND4, "127.0.0.1") == ATLAS_OK;
    good &= atlas_set_u64(ctx, ATLAS_OPT_IPV6, 0) == ATLAS_OK;
    good &= atlas_open(ctx) == ATLAS_OK;
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
    return good;
}

/* Everything that a program sets on a context. */
static void context(world *w) {
    if (sim_node_try_init(&w->a, w->net, "192.0.2.1", 2, 0, &w->faults) != ATLAS_OK) {
        return;
    }
    w->complete = configured(w);
    w->complete &= atlas_relay_add(w->a.ctx, w->a.addr) == ATLAS_ERR_SELF;
    w->complete &=
        atlas_relay_add(w->a.ctx,
                        "/dns/relay.example/udp/4001/quic-v1/p2p/"
                        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq") == ATLAS_OK;
    w->complete &= atlas_stun_add_server(w->a.ctx, "192.0.2.5") == ATLAS_OK;
    w->complete &= atlas_peer_add_addr(w->a.ctx, PEER, "/ip4/192.0.2.7/udp/9/quic-v1") == ATLAS_OK;
    w->complete &= atlas_relay_allow(w->a.ctx, PEER) == ATLAS_OK;
    w->complete &= atlas_relay_deny(w->a.ctx, PEER) == ATLAS_OK;
    w->complete &= atlas_relay_start(w->a.ctx) == ATLAS_OK;
    w->complete &= atlas_relay_presence(w->a.ctx, 1) == ATLAS_OK;
    run(w, 1, NULL);
}

/* Allocations of the last run before what was of interest in it. */
static uint64_t from;

/* One run with the given faults. Returns whether the scenario was complete. */
static int once(void (*scenario)(world *w), const sim_faults *faults, uint64_t *count) {
    static world w;

    memset(&w, 0, sizeof(w));
    w.net = sim_new_quiet(1);
    w.faults = *faults;
    scenario(&w);
    check_finals(&w);
    sim_node_done(&w.a);
    sim_node_done(&w.b);
    sim_node_done(&w.relay);
    sim_node_done(&w.second);
    sim_free(w.net);
    *count = w.faults.count;
    from = w.from;
    return w.complete;
}

static void each_failure(const char *name, void (*scenario)(world *w)) {
    sim_faults faults = {0, 0, 0};
    uint64_t count;
    uint64_t runs = 0;
    uint64_t survived = 0;

    assert_true(once(scenario, &faults, &count));
    for (faults.fail_at = from + 1;; faults.fail_at++) {
        uint64_t reached = 0;

        for (faults.fail_on = 0; faults.fail_on < 2; faults.fail_on++) {
            if (getenv("SIM_ALLOC") != NULL) {
                fprintf(stderr, "%s: allocation %llu, mode %d\n", name,
                        (unsigned long long)faults.fail_at, faults.fail_on);
            }
            survived += (uint64_t)once(scenario, &faults, &count);
            reached += count >= faults.fail_at;
            runs++;
        }
        if (reached == 0) {
            break;
        }
    }
    printf("%s: %llu runs, %llu of them did their job all the same\n", name,
           (unsigned long long)runs, (unsigned long long)survived);
}

static void test_context(void **state) {
    (void)state;
    each_failure("context", context);
}

static void test_direct(void **state) {
    (void)state;
    each_failure("direct", direct);
}

static void test_relayed(void **state) {
    (void)state;
    each_failure("relayed", relayed);
}

static void test_moved(void **state) {
    (void)state;
    each_failure("moved", moved);
}

static void test_stun(void **state) {
    (void)state;
    each_failure("stun", stun);
}

/* ---- wolfSSL's own allocations, which do not pass through the context's hooks ---- */

static sim_faults wolf;
static size_t wolf_live;

static int wolf_fails(void) {
    wolf.count++;
    return wolf.fail_at != 0 && wolf.count == wolf.fail_at;
}

static void *wolf_malloc(size_t size) {
    void *ptr = wolf_fails() ? NULL : malloc(size);

    wolf_live += ptr != NULL;
    return ptr;
}

static void wolf_free(void *ptr) {
    wolf_live -= ptr != NULL;
    free(ptr);
}

static void *wolf_realloc(void *ptr, size_t size) {
    void *moved = wolf_fails() ? NULL : realloc(ptr, size);

    wolf_live += ptr == NULL && moved != NULL;
    return moved;
}

static void each_wolf_failure(const char *name, void (*scenario)(world *w)) {
    const sim_faults none = {0, 0, 0};
    uint64_t count;
    uint64_t total;
    size_t live;

    wolf.fail_at = 0;
    assert_true(once(scenario, &none, &count));
    live = wolf_live; /* what wolfSSL keeps for the whole process */
    wolf.count = 0;
    assert_true(once(scenario, &none, &count));
    assert_int_equal(wolf_live, live);
    total = wolf.count;
    for (wolf.fail_at = 1; wolf.fail_at <= total; wolf.fail_at++) {
        if (getenv("SIM_ALLOC") != NULL) {
            fprintf(stderr, "wolfSSL, %s: allocation %llu\n", name,
                    (unsigned long long)wolf.fail_at);
        }
        wolf.count = 0;
        (void)once(scenario, &none, &count);
        assert_int_equal(wolf_live, live);
    }
    wolf.fail_at = 0;
    printf("wolfSSL, %s: %llu allocations\n", name, (unsigned long long)total);
}

static void test_wolfssl(void **state) {
    (void)state;
    assert_int_equal(wolfSSL_SetAllocators(wolf_malloc, wolf_free, wolf_realloc), 0);
    each_wolf_failure("direct", direct);
    each_wolf_failure("relayed", relayed);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_context), cmocka_unit_test(test_stun),
        cmocka_unit_test(test_direct),  cmocka_unit_test(test_relayed),
        cmocka_unit_test(test_moved),   cmocka_unit_test(test_wolfssl),
    };

    return cmocka_run_group_tests_name("allocation failure", TESTS, NULL, NULL);
}
