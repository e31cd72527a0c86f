#include "node.h"

#include "api/context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)

static uint64_t fnv(uint64_t hash, const uint8_t *data, size_t len) {
    size_t i;

    for (i = 0; i < len; i++) {
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* ---- the simulator as the context's source of sockets ---- */

static int32_t factory_open(void *user, atl_loop *loop, atl_io *io) {
    (void)loop;
    sim_host_io(((sim_node *)user)->host, io);
    return ATLAS_OK;
}

static void factory_close(void *user, atl_io *io) {
    (void)user;
    (void)io;
}

static int32_t factory_process(void *user, atl_io *io, size_t budget) {
    (void)io;
    (void)budget;
    return sim_host_process(((sim_node *)user)->host);
}

/* ---- streams ---- */

static void pump(sim_node *node) {
    static uint8_t block[16384];

    while (node->out != NULL && node->sent_bytes < node->to_send) {
        size_t want = node->to_send - node->sent_bytes < sizeof(block)
                          ? (size_t)(node->to_send - node->sent_bytes)
                          : sizeof(block);
        size_t taken = 0;
        size_t i;

        for (i = 0; i < want; i++) {
            block[i] = (uint8_t)((node->sent_bytes + i) * 31 >> 3);
        }
        if (atlas_stream_write(node->out, block, want, node->sent_bytes + want == node->to_send,
                               &taken) != ATLAS_OK ||
            taken == 0) {
            return;
        }
        node->sent_hash = fnv(node->sent_hash, block, taken);
        node->sent_bytes += taken;
    }
}

static void progress(sim_node *node) {
    uint64_t now = sim_now(sim_host_net(node->host));

    if (node->got_at != 0 && now - node->got_at > node->longest_stall) {
        node->longest_stall = now - node->got_at;
        node->longest_stall_at = now;
    }
    node->got_at = now;
}

void sim_node_reset_stall(sim_node *node) {
    node->longest_stall = 0;
    node->longest_stall_at = 0;
}

static void on_readable(void *user, atlas_stream *stream) {
    sim_node *node = user;
    uint8_t buf[8192];
    uint32_t fin = 0;
    size_t len;

    while (!fin && !node->deaf &&
           atlas_stream_read(stream, buf, sizeof(buf), &len, &fin) == ATLAS_OK) {
        node->got_hash = fnv(node->got_hash, buf, len);
        node->got_bytes += len;
        progress(node);
    }
    node->got_fin |= (int)fin;
    node->got_at = fin ? 0 : node->got_at;
}

static void on_writable(void *user, atlas_stream *stream) {
    (void)stream;
    pump(user);
}

static void on_acked(void *user, atlas_stream *stream) {
    (void)stream;
    ((sim_node *)user)->out_acked = 1;
}

static void on_stream_closed(void *user, atlas_stream *stream, int32_t code, uint64_t app_code) {
    sim_node *node = user;

    (void)code;
    (void)app_code;
    node->streams_closed++;
    if (node->out == stream) {
        node->out = NULL;
    }
}

static const atlas_stream_callbacks STREAM = {sizeof(STREAM), on_readable, on_writable, on_acked,
                                              on_stream_closed};

/* ---- connections ---- */

static void on_connected(void *user, atlas_conn *conn) {
    sim_node *node = user;

    node->connected++;
    node->conn = conn;
}

static void on_path(void *user, atlas_conn *conn, const atlas_path_info *path, const char *reason) {
    sim_node *node = user;
    sim_path_change *change = &node->paths[node->n_paths++ % SIM_PATHS];

    (void)conn;
    node->path = path->kind;
    change->at = sim_now(sim_host_net(node->host));
    change->kind = path->kind;
    change->candidate = path->candidate;
    snprintf(change->remote, sizeof(change->remote), "%s", path->remote);
    snprintf(change->reason, sizeof(change->reason), "%s", reason);
}

static void on_upgrade(void *user, atlas_conn *conn, const atlas_upgrade_info *info) {
    sim_node *node = user;

    (void)conn;
    node->upgrades++;
    node->upgrade = *info;
    snprintf(node->upgrade_text, sizeof(node->upgrade_text), "%s", info->text);
    node->upgrade.text = NULL;
}

static void on_attempt(void *user, atlas_conn *conn, const char *addr, int32_t code,
                       const char *text) {
    sim_node *node = user;

    (void)conn;
    (void)addr;
    (void)text;
    if (node->attempts_failed++ == 0) {
        node->first_attempt_code = code;
    }
    node->attempt_code = code;
}

static void on_stream(void *user, atlas_conn *conn, atlas_stream *stream) {
    (void)conn;
    ((sim_node *)user)->streams++;
    assert_int_equal(atlas_stream_set_callbacks(stream, &STREAM, user), ATLAS_OK);
}

static void on_message(void *user, atlas_conn *conn, const uint8_t *data, size_t len) {
    sim_node *node = user;

    (void)conn;
    node->messages++;
    snprintf(node->last_message, sizeof(node->last_message), "%.*s", (int)len, (const char *)data);
}

static void on_message_sent(void *user, atlas_conn *conn, uint64_t id, int32_t code) {
    sim_node *node = user;

    (void)conn;
    (void)id;
    node->sent++;
    node->sent_code = code;
}

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text) {
    sim_node *node = user;

    node->closed++;
    node->finals++;
    node->close_app = app_code;
    node->close_code = code;
    snprintf(node->close_text, sizeof(node->close_text), "%s", text);
    if (node->conn == conn) {
        node->conn = NULL;
    }
}

static const atlas_conn_callbacks CONN = {.size = sizeof(CONN),
                                          .on_connected = on_connected,
                                          .on_path = on_path,
                                          .on_attempt = on_attempt,
                                          .on_stream = on_stream,
                                          .on_message = on_message,
                                          .on_message_sent = on_message_sent,
                                          .on_closed = on_closed,
                                          .on_upgrade = on_upgrade};

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    sim_node *node = user;
    atlas_path_info path = {.size = sizeof(path)};

    (void)ctx;
    if (node->accept != NULL) {
        node->accept(node->accept_user, node, conn);
        return;
    }
    node->conn = conn;
    node->connected++;
    node->conns++;
    assert_int_equal(atlas_conn_set_callbacks(conn, &CONN, node), ATLAS_OK);
    assert_int_equal(atlas_conn_get_path(conn, &path), ATLAS_OK);
    node->path = path.kind;
}

static void on_relay(void *user, atlas_ctx *ctx, const atlas_relay_event *event) {
    sim_node *node = user;

    (void)ctx;
    if (event->state == ATLAS_RELAY_ANNOUNCED && node->relay_state != ATLAS_RELAY_ANNOUNCED) {
        node->relay_announced++;
    }
    node->relay_state = (int)event->state;
    node->relay_code = event->code;
    snprintf(node->observed, sizeof(node->observed), "%s", event->observed);
}

/* ---- the node ---- */

/* ---- the node's services: the host's, memory that is counted and can fail, a wrong clock ---- */

/* In front of every block, so that freeing it can be counted. */
typedef union block_head {
    size_t size;
    max_align_t align;
} block_head;

static int memory_fails(sim_node *node) {
    sim_faults *faults = node->faults;

    if (faults == NULL) {
        return 0;
    }
    faults->count++;
    return faults->fail_at != 0 && (faults->count == faults->fail_at ||
                                    (faults->fail_on && faults->count > faults->fail_at));
}

static void *hook_realloc(void *user, void *ptr, size_t size) {
    sim_node *node = user;
    block_head *old = ptr == NULL ? NULL : (block_head *)ptr - 1;
    size_t before = old == NULL ? 0 : old->size;
    block_head *head = memory_fails(node) ? NULL : realloc(old, sizeof(*head) + size);

    if (head == NULL) {
        return NULL;
    }
    head->size = size;
    node->live_blocks += old == NULL;
    node->live_bytes += size - before;
    if (node->live_bytes > node->peak_bytes) {
        node->peak_bytes = node->live_bytes;
    }
    return head + 1;
}

static void *hook_malloc(void *user, size_t size) {
    void *ptr = hook_realloc(user, NULL, size);

    if (ptr != NULL) {
        memset(ptr, 0xa5, size); /* so that nobody relies on zeros */
    }
    return ptr;
}

static void hook_free(void *user, void *ptr) {
    sim_node *node = user;
    block_head *head = (block_head *)ptr - 1;

    if (ptr != NULL) {
        node->live_blocks--;
        node->live_bytes -= head->size;
        free(head);
    }
}

static uint64_t hook_now(void *user) {
    sim_node *node = user;

    return node->base.now(node->base.user);
}

static int64_t hook_wall(void *user) {
    sim_node *node = user;

    return node->base.wall(node->base.user) + node->wall_offset;
}

static int32_t hook_random(void *user, uint8_t *buf, size_t len) {
    sim_node *node = user;

    return node->base.random(node->base.user, buf, len);
}

/* What the library says goes into the log of the network, to see why a scenario failed. */
static void on_log(void *user, int32_t level, const char *text) {
    sim_node *node = user;

    if (level <= ATLAS_LOG_DEBUG) {
        sim_log_line(sim_host_net(node->host), node->host, (int)level, text);
    }
}

void sim_node_hooks(sim_node *node, atlas_hooks *hooks) {
    sim_host_hooks(node->host, &node->base);
    memset(hooks, 0, sizeof(*hooks));
    hooks->size = sizeof(*hooks);
    hooks->user = node;
    hooks->now = hook_now;
    hooks->wall = hook_wall;
    hooks->random = hook_random;
    hooks->malloc = hook_malloc;
    hooks->realloc = hook_realloc;
    hooks->free = hook_free;
    hooks->log = on_log;
}

/* ---- the node ---- */

static void drive(void *user) {
    assert_int_equal(atlas_process(((sim_node *)user)->ctx, NULL, 0), ATLAS_OK);
}

static uint64_t deadline(void *user) {
    return atlas_next_deadline(((sim_node *)user)->ctx);
}

static int32_t try_start(sim_node *node, uint16_t port) {
    atl_io_factory factory = {node, factory_open, factory_close, factory_process};
    atlas_callbacks callbacks = {.size = sizeof(callbacks),
                                 .user = node,
                                 .on_connection = on_connection,
                                 .on_relay = on_relay};
    atlas_hooks hooks;
    atlas_key *key;
    uint8_t seed[32];
    int32_t rv;

    sim_node_discovery(&callbacks);
    memset(seed, (int)(node->seed & 0xff), sizeof(seed));
    for (size_t i = 1; i < sizeof(uint32_t); i++) {
        seed[i] ^= (uint8_t)(node->seed >> (8 * i));
    }
    sim_node_hooks(node, &hooks);
    assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
    rv = atl_ctx_new_with_io(&hooks, key, &factory, &node->ctx);
    atlas_key_free(key);
    if (rv != ATLAS_OK) {
        return rv;
    }
    assert_int_equal(atlas_set_u64(node->ctx, ATLAS_OPT_PORT, port), ATLAS_OK);
    assert_int_equal(atlas_set_callbacks(node->ctx, &callbacks), ATLAS_OK);
    rv = atlas_open(node->ctx);
    if (rv != ATLAS_OK) {
        sim_node_done(node);
        return rv;
    }
    assert_int_equal(atlas_local_addr(node->ctx, 0, node->addr, sizeof(node->addr)), ATLAS_OK);
    node->got_hash = FNV_START;
    node->sent_hash = FNV_START;
    sim_host_program(node->host, drive, deadline, node);
    sim_host_set_down(node->host, 0);
    return ATLAS_OK;
}

void sim_node_start(sim_node *node, uint16_t port) {
    assert_int_equal(try_start(node, port), ATLAS_OK);
}

static int32_t try_on_host(sim_node *node, sim_host *host, uint32_t seed, uint16_t port,
                           sim_faults *faults) {
    memset(node, 0, sizeof(*node));
    node->host = host;
    sim_host_addr(host, &node->host_ip);
    node->seed = seed;
    node->faults = faults;
    return try_start(node, port);
}

int32_t sim_node_try_init(sim_node *node, sim_net *net, const char *ip, uint32_t seed,
                          uint16_t port, sim_faults *faults) {
    return try_on_host(node, sim_host_new(net, ip), seed, port, faults);
}

void sim_node_on_host(sim_node *node, sim_host *host, uint32_t seed, uint16_t port) {
    assert_int_equal(try_on_host(node, host, seed, port, NULL), ATLAS_OK);
}

void sim_node_init(sim_node *node, sim_net *net, const char *ip, uint32_t seed, uint16_t port) {
    assert_int_equal(sim_node_try_init(node, net, ip, seed, port, NULL), ATLAS_OK);
}

static void end(sim_node *node) {
    assert_int_equal(atlas_free(node->ctx), ATLAS_OK);
    node->ctx = NULL;
    node->conn = NULL;
    node->out = NULL;
    assert_int_equal(node->live_blocks, 0);
    assert_int_equal(node->live_bytes, 0);
}

void sim_node_kill(sim_node *node) {
    sim_host_set_down(node->host, 1);
    end(node);
}

void sim_node_done(sim_node *node) {
    if (node->ctx != NULL) {
        sim_host_program(node->host, NULL, NULL, NULL);
        end(node);
    }
}

int32_t sim_node_dial(sim_node *node, const char *target, uint64_t timeout_ms) {
    int32_t rv = atlas_dial(node->ctx, target, timeout_ms, &CONN, node, &node->conn);

    node->conns += rv == ATLAS_OK;
    return rv;
}

int32_t sim_node_message(sim_node *node, const char *text) {
    int32_t rv = atlas_conn_send_message(node->conn, text, strlen(text), NULL);

    node->sent_next += rv == ATLAS_OK;
    return rv;
}

int32_t sim_node_try_send(sim_node *node, uint64_t bytes) {
    int32_t rv = atlas_stream_open(node->conn, 0, &STREAM, node, &node->out);

    if (rv == ATLAS_OK) {
        node->streams++;
        node->to_send = bytes;
        node->sent_bytes = 0;
        pump(node);
    }
    return rv;
}

void sim_node_send(sim_node *node, uint64_t bytes) {
    assert_int_equal(sim_node_try_send(node, bytes), ATLAS_OK);
}

/* ---- relays ---- */

static void serve(sim_node *node) {
    assert_int_equal(atlas_relay_start(node->ctx), ATLAS_OK);
    assert_int_equal(atlas_set_u64(node->ctx, ATLAS_OPT_RELAY_BANDWIDTH, 0), ATLAS_OK);
}

void sim_relay_init(sim_node *node, sim_net *net, const char *ip, uint32_t seed) {
    sim_node_init(node, net, ip, seed, 4001);
    serve(node);
}

void sim_relay_return(sim_node *node) {
    sim_node_done(node);
    sim_node_start(node, 4001);
    serve(node);
}

void sim_relay_drain(sim_node *node, uint64_t drain_ms) {
    assert_int_equal(atlas_shutdown(node->ctx, drain_ms), ATLAS_OK);
}
