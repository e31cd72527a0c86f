/* Reachability over the simulated network: servers with HTTP/3, the dial-back service and a STUN
 * server's second address; a node behind NATs of every kind. 50 ms of round-trip time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/dialback.h"
#include "discovery/reach.h"
#include "net_router.h"
#include "quic_pair.h"
#include "stun/agent.h"

#define SERVERS 8
#define ASKS 32
#define PORT 443

typedef struct server {
    pair_node node;
    atl_stun_agent *stun;
    atl_dialback *dialback;
    atl_relay_server *http;
} server;

typedef struct ask {
    struct world *world;
    atl_h3 *h3;            /* NULL: free */
    atl_h3_stream *stream; /* NULL: it has ended */
    int open;              /* done is still to be called */
    void (*done)(void *, int32_t, const uint8_t *, size_t, const char *);
    void *done_user;
    int32_t status;
    uint8_t request[ATL_DIALBACK_BODY_MAX];
    size_t request_len;
    uint8_t body[512];
    size_t len;
} ask;

typedef struct world {
    sim_net *net;
    size_t n;
    server servers[SERVERS];
    pair_node node;
    atl_reach *reach;
    ask asks[ASKS];
    int name_candidate; /* else it has to be learned */
    uint64_t start;
    size_t n_events;
    uint64_t first_at;
    uint32_t first;
    uint64_t to_node; /* datagrams of the dial-back service, wherever they went */
    uint64_t elsewhere;
    atl_addr outside;
} world;

static world w;

/* ---- servers ---- */

static void server_stun(void *user, const atl_rx *rx) {
    server *s = ((pair_node *)user)->user;

    atl_stun_agent_on_datagram(s->stun, rx);
}

static int32_t server_accept(pair_node *node, atl_qconn *conn) {
    server *s = node->user;

    return atl_relay_server_accept(s->http, conn);
}

static int32_t server_send(void *user, const atl_addr *local, const atl_addr *remote,
                           const uint8_t *data, size_t len) {
    return atl_endpoint_send_raw(((server *)user)->node.ep, local, remote, data, len);
}

static int32_t server_local(void *user, uint8_t family, atl_addr *out) {
    return atl_endpoint_local(((server *)user)->node.ep, family, out);
}

static int32_t server_other(void *user, const atl_addr *remote, const uint8_t *data, size_t len) {
    return atl_stun_agent_send_alternate(((server *)user)->stun, remote, data, len);
}

static void server_start(server *s, size_t i, int second) {
    atl_relay_limits limits = {.max_nodes = 10,
                               .max_circuits = 10,
                               .max_per_ipv4 = 10,
                               .presence_interval = 30 * ATL_SECOND,
                               .handshake_timeout = 10 * ATL_SECOND};
    atl_stun_agent_config stun;
    atl_dialback_config dialback;
    char ip[32];
    atl_addr addr;

    (void)snprintf(ip, sizeof(ip), "198.18.%zu.1", i + 1);
    s->node.accept = NULL;
    pair_init(&s->node, w.net, ip, (uint8_t)(i + 1), PORT);
    s->node.accept = server_accept;
    s->node.user = s;
    s->node.ep_hooks.on_stun = server_stun;
    atl_endpoint_free(s->node.ep);
    (void)snprintf(ip, sizeof(ip), "198.18.%zu.2", i + 1);
    if (second) {
        sim_host_add_addr(s->node.host, NULL, ip);
    }
    pair_open(&s->node, PORT);
    memset(&stun, 0, sizeof(stun));
    stun.loop = &s->node.loop;
    stun.io = &s->node.io;
    stun.user = s;
    stun.send = server_send;
    stun.local = server_local;
    assert_int_equal(atl_stun_agent_new(&stun, &s->stun), ATLAS_OK);
    if (second) {
        assert_int_equal(atl_addr_parse_ip(ip, strlen(ip), 444, &addr), ATLAS_OK);
        assert_int_equal(atl_stun_agent_set_alternate(s->stun, &addr), ATLAS_OK);
    }
    memset(&dialback, 0, sizeof(dialback));
    dialback.loop = &s->node.loop;
    dialback.io = &s->node.io;
    dialback.user = s;
    dialback.send_other = server_other;
    dialback.local = server_local;
    assert_int_equal(atl_dialback_new(&dialback, &s->dialback), ATLAS_OK);
    assert_int_equal(atl_relay_server_new(s->node.ep, &limits, &s->http), ATLAS_OK);
    assert_int_equal(atl_relay_server_add_requests(s->http, &atl_dialback_ops, s->dialback),
                     ATLAS_OK);
}

static void server_stop(server *s) {
    atl_relay_server_free(s->http);
    atl_dialback_free(s->dialback);
    atl_stun_agent_free(s->stun);
    pair_done(&s->node);
}

/* ---- the node asks ---- */

static void finish(ask *a, int32_t code) {
    if (a->open) {
        a->open = 0;
        a->done(a->done_user, code, a->body, a->len, "");
    }
}

static void on_ready(void *user, atl_h3 *h3) {
    static const atl_h3_request request = {"POST", "https", "x", ATL_DIALBACK_PATH, "", 0};
    ask *a = user;

    assert_int_equal(
        atl_h3_open_with(h3, &request, NULL, a->request, a->request_len, NULL, &a->stream),
        ATLAS_OK);
}

static void on_response(void *user, atl_h3_stream *stream, int32_t status) {
    (void)stream;
    ((ask *)user)->status = status;
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    ask *a = user;

    (void)stream;
    assert_true(len <= sizeof(a->body) - a->len);
    memcpy(a->body + a->len, data, len);
    a->len += len;
}

static void on_end(void *user, atl_h3_stream *stream) {
    ask *a = user;

    (void)stream;
    finish(a, a->status == 200 ? ATLAS_OK : ATLAS_ERR_HTTP);
    atl_h3_close(a->h3, 0x100, "");
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    ask *a = user;

    (void)h3;
    a->h3 = NULL;
    finish(a, why->code == ATLAS_OK ? ATLAS_ERR_CLOSED : why->code);
}

static const atl_h3_ops h3_ops = {
    .on_ready = on_ready,
    .on_response = on_response,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
};

static int32_t on_ask(void *user, const atl_reach_server *to, const uint8_t *body, size_t len,
                      uint64_t timeout,
                      void (*done)(void *, int32_t, const uint8_t *, size_t, const char *),
                      void *done_user, void **request) {
    static const atl_qconn_ops none;
    ask *a = w.asks;
    atl_qpath path;
    atl_qconn *conn;

    (void)user;
    (void)timeout;
    while (a->h3 != NULL) {
        a++;
    }
    assert_true(a < w.asks + ASKS);
    memset(a, 0, sizeof(*a));
    memset(&path, 0, sizeof(path));
    path.remote = to->addr;
    a->open = 1;
    a->done = done;
    a->done_user = done_user;
    memcpy(a->request, body, len);
    a->request_len = len;
    assert_int_equal(
        atl_qconn_connect(w.node.ep, &path, ATL_PROTO_H3, &to->peer, 0, &none, NULL, &conn),
        ATLAS_OK);
    assert_int_equal(atl_h3_new(conn, &h3_ops, a, &a->h3), ATLAS_OK);
    *request = a;
    return ATLAS_OK;
}

static void on_cancel(void *user, void *request) {
    ask *a = request;

    (void)user;
    a->open = 0;
    if (a->h3 != NULL) {
        atl_h3_abort(a->h3);
        a->h3 = NULL;
    }
}

static size_t on_servers(void *user, atl_reach_server *out, size_t cap) {
    size_t i;

    (void)user;
    for (i = 0; i < w.n && i < cap; i++) {
        memset(&out[i], 0, sizeof(out[i]));
        out[i].peer = w.servers[i].node.id;
        sim_host_addr(w.servers[i].node.host, &out[i].addr);
        out[i].addr.port = PORT;
    }
    return i;
}

static size_t on_candidates(void *user, uint8_t family, atl_addr *out, size_t cap) {
    (void)user;
    if (!w.name_candidate || family != 4 || cap == 0) {
        return 0;
    }
    sim_host_addr(w.node.host, out);
    out->port = 5000;
    return 1;
}

static int on_has_met(void *user, const atl_addr *ip) {
    (void)user;
    (void)ip;
    return 0;
}

static void on_verdict(void *user, uint8_t family, int changed) {
    (void)user;
    (void)changed;
    if (w.n_events++ == 0) {
        w.first_at = sim_now(w.net) - w.start;
        w.first = atl_reach_verdict(w.reach, family);
    }
}

static void node_stun(void *user, const atl_rx *rx) {
    (void)user;
    (void)atl_reach_on_stun(w.reach, rx);
}

static void node_start(int kind) {
    atl_reach_config config;
    uint8_t seed[32] = {77};
    pair_node *node = &w.node;

    assert_int_equal(atl_addr_parse("203.0.113.7:0", &w.outside), ATLAS_OK);
    node->host = sim_host_natted(w.net, kind, "203.0.113.7", 3, NULL);
    sim_host_hooks(node->host, &node->hooks);
    node->hooks.malloc = pair_malloc;
    node->hooks.realloc = pair_realloc;
    node->hooks.free = pair_free;
    atl_env_init(&node->env, &node->hooks);
    atl_loop_init(&node->loop, &node->env);
    sim_host_io(node->host, &node->io);
    assert_int_equal(atlas_key_from_seed(seed, &node->key), ATLAS_OK);
    atl_key_id(node->key, &node->id);
    node->ep_hooks.on_stun = node_stun;
    pair_open(node, 5000);
    sim_host_program(node->host, pair_drive, pair_deadline, node);
    memset(&config, 0, sizeof(config));
    config.loop = &node->loop;
    config.servers = on_servers;
    config.candidates = on_candidates;
    config.ask = on_ask;
    config.cancel = on_cancel;
    config.has_met = on_has_met;
    config.on_verdict = on_verdict;
    assert_int_equal(atl_reach_new(&config, &w.reach), ATLAS_OK);
}

/* Counts the datagrams of dial-backs, and those that go to anybody but the node. */
static int tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
               size_t len) {
    uint8_t nonce[ATL_DIALBACK_NONCE];
    uint8_t index;
    uint8_t source;

    (void)user;
    (void)from;
    if (atl_dialback_datagram_decode(data, len, nonce, &index, &source) == ATLAS_OK) {
        w.to_node++;
        w.elsewhere += memcmp(to->ip, w.outside.ip, sizeof(to->ip)) != 0;
    }
    return 0;
}

/* ---- scenarios ---- */

typedef struct row {
    const char *servers; /* 2: with a second address, 1: without, -: down */
    int kind;
    uint32_t verdict;
    uint32_t within; /* milliseconds */
    int name_candidate;
} row;

static void run_row(const row *r) {
    sim_link link = {.delay = 25 * ATL_MS, .mtu = 1500};
    const atl_dialback_stats *stats;
    uint64_t sent = 0;
    size_t i;

    memset(&w, 0, sizeof(w));
    w.net = sim_new_quiet(11);
    sim_set_link(w.net, &link);
    sim_set_tap(w.net, tap, NULL);
    w.name_candidate = r->name_candidate;
    w.n = strlen(r->servers);
    for (i = 0; i < w.n; i++) {
        server_start(&w.servers[i], i, r->servers[i] == '2');
        sim_host_set_down(w.servers[i].node.host, r->servers[i] == '-');
    }
    node_start(r->kind);
    (void)sim_run(w.net, ATL_SECOND, NULL, NULL);
    w.start = sim_now(w.net);
    atl_reach_run(w.reach, 1);
    sim_host_touch(w.node.host);
    (void)sim_run(w.net, w.start + 8 * ATL_SECOND, NULL, NULL);
    if (w.first != r->verdict || atl_reach_verdict(w.reach, 4) != r->verdict ||
        w.first_at > r->within * ATL_MS || w.n_events == 0) {
        print_error("%s behind %s: verdict %u, first %u after %u ms\n", r->servers,
                    sim_nat_name(r->kind), (unsigned)atl_reach_verdict(w.reach, 4),
                    (unsigned)w.first, (unsigned)(w.first_at / ATL_MS));
        fail();
    }
    assert_false(atl_reach_busy(w.reach));
    assert_int_equal(w.elsewhere, 0);
    for (i = 0; i < w.n; i++) {
        stats = atl_dialback_get_stats(w.servers[i].dialback);
        sent += stats->datagrams;
        assert_int_equal(stats->refused_malformed + stats->refused_identity + stats->refused_rate,
                         0);
    }
    assert_int_equal(w.to_node, sent);
    assert_true(sent > 0);
    atl_reach_free(w.reach);
    for (i = 0; i < ASKS; i++) {
        if (w.asks[i].h3 != NULL) {
            atl_h3_abort(w.asks[i].h3);
        }
    }
    for (i = 0; i < w.n; i++) {
        server_stop(&w.servers[i]);
    }
    pair_done(&w.node);
    sim_free(w.net);
}

static void nats(void **state) {
    static const row rows[] = {
        {"22222", SIM_NAT_NONE, ATLAS_REACH_PUBLIC, 500, 1},
        {"11111", SIM_NAT_NONE, ATLAS_REACH_PUBLIC, 500, 1},
        {"222", SIM_NAT_NONE, ATLAS_REACH_PUBLIC, 1000, 0},
        {"22222", SIM_NAT_FULL_CONE, ATLAS_REACH_PUBLIC, 1000, 0},
        {"11111", SIM_NAT_FULL_CONE, ATLAS_REACH_PUBLIC, 1000, 0},
        {"22222", SIM_NAT_ADDRESS_RESTRICTED, ATLAS_REACH_PRIVATE, 2000, 0},
        {"222", SIM_NAT_PORT_RESTRICTED, ATLAS_REACH_PRIVATE, 2000, 0},
        {"11111", SIM_NAT_PORT_RESTRICTED, ATLAS_REACH_PRIVATE, 2000, 0},
        {"22222", SIM_NAT_PORT_RESTRICTED, ATLAS_REACH_PRIVATE, 2000, 1}, /* of no use: private */
        {"22222", SIM_NAT_SYMMETRIC, ATLAS_REACH_PRIVATE, 2000, 0},
        {"11111", SIM_NAT_CGNAT, ATLAS_REACH_PRIVATE, 2000, 0},
        {"--222", SIM_NAT_NONE, ATLAS_REACH_PUBLIC, 1000, 1},
        {"-----222", SIM_NAT_NONE, ATLAS_REACH_PUBLIC, 2000, 0},
        {"--111", SIM_NAT_PORT_RESTRICTED, ATLAS_REACH_PRIVATE, 2800, 0},
        {"-----222", SIM_NAT_PORT_RESTRICTED, ATLAS_REACH_PRIVATE, 2800, 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        run_row(&rows[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
