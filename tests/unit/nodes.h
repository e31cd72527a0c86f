/* Nodes in one process over loopback: contexts that record their events, and a loop that drives all
 * of them until something holds. */
#ifndef TEST_NODES_H
#define TEST_NODES_H

#include <atlas/atlas.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NODES_MAX 8
#define MESSAGES_MAX 256

struct node;

/* What a connection has told. */
typedef struct tie {
    struct node *node;
    atlas_conn *conn;
    int connected;
    int paths;
    uint32_t path_kind;
    uint32_t path_candidate;
    char path_reason[256];
    char path_remote[ATLAS_ADDR_MAX];
    char path_relay[ATLAS_PEER_ID_MAX];
    int upgrades;
    int32_t upgrade_code;
    int attempts;
    int32_t attempt_code;
    char attempt_text[512];
    int messages;
    size_t message_bytes;
    char last[256];
    size_t last_len;
    int sent;
    int32_t sent_code;
    uint64_t sent_id;
    int datagrams;
    char datagram[256];
    int pongs;
    uint64_t pong_rtt;
    uint32_t pong_kind;
    int streams;
    int closed;
    int32_t code;
    uint64_t app_code;
    char text[4096];
    int early_event; /* something came before on_connected or on_connection, or after on_closed */
} tie;

typedef struct node {
    atlas_ctx *ctx;
    tie in[16]; /* accepted */
    int accepted;
    int refuse; /* give no callbacks */
    tie out[16];
    int dialled;
    int relay_events;
    uint32_t relay_state;
    int32_t relay_code;
    int shutdowns;
    int wakeups;
    int idles;
    uint64_t quiet_ns; /* of the last on_idle */
    void (*on_stream)(struct node *node, atlas_conn *conn, atlas_stream *stream);
    void (*on_message)(tie *l, const uint8_t *data, size_t len);
    char addr[ATLAS_MULTIADDR_MAX]; /* on loopback */
} node;

typedef struct world {
    node nodes[NODES_MAX];
    int n;
} world;

static inline void note(tie *l) {
    l->early_event |= l->closed || !l->connected;
}

static inline void cb_connected(void *user, atlas_conn *conn) {
    tie *l = user;

    assert_ptr_equal(conn, l->conn);
    l->connected++;
    l->early_event |= l->closed;
}

static inline void cb_path(void *user, atlas_conn *conn, const atlas_path_info *path,
                           const char *reason) {
    tie *l = user;

    (void)conn;
    assert_non_null(reason);
    l->paths++;
    l->path_kind = path->kind;
    l->path_candidate = path->candidate;
    assert_int_equal(path->size, sizeof(*path));
    assert_int_equal(path->reserved, 0);
    snprintf(l->path_reason, sizeof(l->path_reason), "%.200s", reason);
    memcpy(l->path_remote, path->remote, sizeof(l->path_remote));
    memcpy(l->path_relay, path->relay, sizeof(l->path_relay));
}

static inline void cb_attempt(void *user, atlas_conn *conn, const char *addr, int32_t code,
                              const char *text) {
    tie *l = user;

    (void)conn;
    assert_true(strlen(addr) > 0);
    l->attempts++;
    l->attempt_code = code;
    snprintf(l->attempt_text, sizeof(l->attempt_text), "%.400s", text);
}

static inline void cb_stream(void *user, atlas_conn *conn, atlas_stream *stream) {
    tie *l = user;

    note(l);
    l->streams++;
    if (l->node->on_stream != NULL) {
        l->node->on_stream(l->node, conn, stream);
    }
}

static inline void cb_message(void *user, atlas_conn *conn, const uint8_t *data, size_t len) {
    tie *l = user;

    (void)conn;
    note(l);
    l->messages++;
    l->message_bytes += len;
    l->last_len = len < sizeof(l->last) ? len : sizeof(l->last);
    memcpy(l->last, data, l->last_len);
    if (l->node->on_message != NULL) {
        l->node->on_message(l, data, len);
    }
}

static inline void cb_sent(void *user, atlas_conn *conn, uint64_t id, int32_t code) {
    tie *l = user;

    (void)conn;
    note(l);
    l->sent++;
    l->sent_code = code;
    l->sent_id = id;
}

static inline void cb_datagram(void *user, atlas_conn *conn, const uint8_t *data, size_t len) {
    tie *l = user;

    (void)conn;
    note(l);
    l->datagrams++;
    snprintf(l->datagram, sizeof(l->datagram), "%.*s", (int)(len < 200 ? len : 200),
             (const char *)data);
}

static inline void cb_pong(void *user, atlas_conn *conn, uint64_t id, uint64_t rtt, uint32_t kind) {
    tie *l = user;

    (void)conn;
    (void)id;
    note(l);
    l->pongs++;
    l->pong_rtt = rtt;
    l->pong_kind = kind;
}

static inline void cb_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                             const char *text) {
    tie *l = user;

    assert_ptr_equal(conn, l->conn);
    assert_non_null(text);
    l->closed++;
    l->code = code;
    l->app_code = app_code;
    snprintf(l->text, sizeof(l->text), "%s", text);
    l->conn = NULL;
}

static inline void cb_upgrade(void *user, atlas_conn *conn, const atlas_upgrade_info *info) {
    tie *l = user;

    (void)conn;
    note(l);
    assert_int_equal(info->size, sizeof(*info));
    assert_non_null(info->text);
    l->upgrades++;
    l->upgrade_code = info->code;
}

static const atlas_conn_callbacks link_callbacks = {
    .size = sizeof(atlas_conn_callbacks),
    .on_connected = cb_connected,
    .on_path = cb_path,
    .on_attempt = cb_attempt,
    .on_stream = cb_stream,
    .on_message = cb_message,
    .on_message_sent = cb_sent,
    .on_datagram = cb_datagram,
    .on_pong = cb_pong,
    .on_closed = cb_closed,
    .on_upgrade = cb_upgrade,
};

static inline void cb_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    node *nd = user;
    tie *l = &nd->in[nd->accepted % 16];

    assert_ptr_equal(ctx, nd->ctx);
    assert_int_equal(atlas_conn_is_dialer(conn), 0);
    nd->accepted++;
    if (nd->refuse) {
        return;
    }
    memset(l, 0, sizeof(*l));
    l->node = nd;
    l->conn = conn;
    l->connected = 1;
    assert_int_equal(atlas_conn_set_callbacks(conn, &link_callbacks, l), ATLAS_OK);
}

static inline void cb_relay(void *user, atlas_ctx *ctx, const struct atlas_relay_event *event) {
    node *nd = user;

    (void)ctx;
    nd->relay_events++;
    nd->relay_state = event->state;
    nd->relay_code = event->code;
}

static inline void cb_shutdown(void *user, atlas_ctx *ctx) {
    (void)ctx;
    ((node *)user)->shutdowns++;
}

static inline void cb_wakeup(void *user, atlas_ctx *ctx) {
    (void)ctx;
    ((node *)user)->wakeups++;
}

static inline void cb_idle(void *user, atlas_ctx *ctx, uint64_t quiet_ns) {
    node *nd = user;

    assert_ptr_equal(ctx, nd->ctx);
    nd->idles++;
    nd->quiet_ns = quiet_ns;
}

/* A node on a port of its own on 127.0.0.1. */
static inline node *world_add_with(world *w, const atlas_hooks *hooks) {
    node *nd = &w->nodes[w->n];
    atlas_callbacks callbacks = {
        .size = sizeof(callbacks),
        .user = nd,
        .on_connection = cb_connection,
        .on_relay = cb_relay,
        .on_shutdown = cb_shutdown,
        .on_wakeup = cb_wakeup,
    };

    memset(nd, 0, sizeof(*nd));
    if (atlas_new(hooks, NULL, &nd->ctx) != ATLAS_OK) {
        return NULL;
    }
    w->n++;
    assert_int_equal(atlas_set_u64(nd->ctx, ATLAS_OPT_IPV6, 0), ATLAS_OK);
    assert_int_equal(atlas_set_str(nd->ctx, ATLAS_OPT_BIND4, "127.0.0.1"), ATLAS_OK);
    assert_int_equal(atlas_set_callbacks(nd->ctx, &callbacks), ATLAS_OK);
    return nd;
}

static inline node *world_add(world *w) {
    node *nd = world_add_with(w, NULL);

    assert_non_null(nd);
    return nd;
}

static inline void node_open(node *nd) {
    assert_int_equal(atlas_open(nd->ctx), ATLAS_OK);
    assert_int_equal(atlas_local_addr(nd->ctx, 0, nd->addr, sizeof(nd->addr)), ATLAS_OK);
}

static inline node *world_add_listener(world *w) {
    node *nd = world_add(w);

    node_open(nd);
    assert_int_equal(atlas_listen(nd->ctx), ATLAS_OK);
    return nd;
}

static inline uint64_t real_now(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* One turn of every context, waiting at most `max_ms` for something to happen. */
static inline void world_turn(world *w, int max_ms) {
    struct pollfd fds[NODES_MAX * 16];
    atlas_fd_event wanted[16];
    int wait = max_ms;
    nfds_t n = 0;
    int i;
    size_t k;

    for (i = 0; i < w->n; i++) {
        uint64_t deadline;
        uint64_t now;
        size_t count;

        if (w->nodes[i].ctx == NULL) {
            continue;
        }
        count = atlas_fds(w->nodes[i].ctx, wanted, 16);
        assert_true(count <= 16);
        for (k = 0; k < count; k++) {
            fds[n].fd = wanted[k].fd;
            fds[n].events = (short)(((wanted[k].events & ATLAS_FD_READ) ? POLLIN : 0) |
                                    ((wanted[k].events & ATLAS_FD_WRITE) ? POLLOUT : 0));
            fds[n++].revents = 0;
        }
        deadline = atlas_next_deadline(w->nodes[i].ctx);
        now = real_now();
        if (deadline <= now) {
            wait = 0;
        } else if (deadline != ATLAS_NO_DEADLINE &&
                   (deadline - now) / 1000000 + 1 < (uint64_t)wait) {
            wait = (int)((deadline - now) / 1000000 + 1);
        }
    }
    poll(fds, n, wait);
    for (i = 0; i < w->n; i++) {
        if (w->nodes[i].ctx != NULL) {
            assert_int_equal(atlas_process(w->nodes[i].ctx, NULL, 0), ATLAS_OK);
        }
    }
}

/* Drives until `cond` holds; fails the test after `ms`. */
#define WORLD_UNTIL(w, ms, cond)                                    \
    do {                                                            \
        uint64_t until_ = real_now() + (uint64_t)(ms)*1000000u;     \
        while (!(cond)) {                                           \
            if (real_now() > until_) {                              \
                fail_msg("not within %d ms: %s", (int)(ms), #cond); \
            }                                                       \
            world_turn((w), 20);                                    \
        }                                                           \
    } while (0)

static inline void world_run(world *w, int ms) {
    uint64_t until = real_now() + (uint64_t)ms * 1000000u;

    while (real_now() < until) {
        world_turn(w, 5);
    }
}

static inline void world_free(world *w) {
    int i;

    for (i = 0; i < w->n; i++) {
        if (w->nodes[i].ctx != NULL) {
            assert_int_equal(atlas_free(w->nodes[i].ctx), ATLAS_OK);
            w->nodes[i].ctx = NULL;
        }
    }
    w->n = 0;
}

static inline tie *node_dial(node *nd, const char *target, uint64_t timeout_ms) {
    tie *l = &nd->out[nd->dialled % 16];

    memset(l, 0, sizeof(*l));
    l->node = nd;
    assert_int_equal(atlas_dial(nd->ctx, target, timeout_ms, &link_callbacks, l, &l->conn),
                     ATLAS_OK);
    nd->dialled++;
    return l;
}

/* A connected pair. */
static inline tie *world_connect(world *w, node *from, node *to) {
    int before = to->accepted;
    tie *l = node_dial(from, to->addr, 5000);

    WORLD_UNTIL(w, 5000, l->connected && to->accepted > before);
    return l;
}

#endif
