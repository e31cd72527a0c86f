/* Two QUIC endpoints on the simulated network, for the tests of quic/ and of what stands on it. */
#ifndef ATL_TESTS_UNIT_QUIC_PAIR_H
#define ATL_TESTS_UNIT_QUIC_PAIR_H

#include "net.h"
#include "quic/conn.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PAIR_UNUSED __attribute__((unused))

typedef struct pair_node {
    sim_host *host;
    atlas_hooks hooks;
    atl_env env;
    atl_loop loop;
    atl_io io;
    atlas_key *key;
    atl_peer_id id;
    atl_endpoint *ep;
    atl_endpoint_hooks ep_hooks;
    size_t live; /* memory blocks */
    /* what the test's on_accept does */
    int32_t (*accept)(struct pair_node *node, atl_qconn *conn);
    atl_qconn *accepted;
    void *user;
} pair_node;

PAIR_UNUSED static void *pair_malloc(void *user, size_t size) {
    (void)user;
    return malloc(size);
}

PAIR_UNUSED static void *pair_realloc(void *user, void *ptr, size_t size) {
    (void)user;
    return realloc(ptr, size);
}

PAIR_UNUSED static void pair_free(void *user, void *ptr) {
    (void)user;
    free(ptr);
}

PAIR_UNUSED static void pair_drive(void *user) {
    pair_node *node = user;

    atl_loop_update(&node->loop);
    sim_host_process(node->host);
    atl_loop_run_timers(&node->loop, 1000);
    atl_loop_run_work(&node->loop, 1000);
    atl_loop_run_events(&node->loop, 1000);
    atl_loop_run_work(&node->loop, 1000);
}

PAIR_UNUSED static uint64_t pair_deadline(void *user) {
    return atl_loop_deadline(&((pair_node *)user)->loop);
}

PAIR_UNUSED static int32_t pair_on_accept(void *user, atl_qconn *conn) {
    pair_node *node = user;

    node->accepted = conn;
    return node->accept == NULL ? ATLAS_OK : node->accept(node, conn);
}

/* (Re)opens the node's endpoint; the key stays. */
PAIR_UNUSED static void pair_open(pair_node *node, uint16_t port) {
    atl_endpoint_config config;

    memset(&config, 0, sizeof(config));
    config.loop = &node->loop;
    config.io = &node->io;
    config.key = node->key;
    config.ipv4 = 1;
    config.port = port;
    node->ep_hooks.user = node;
    node->ep_hooks.on_accept = pair_on_accept;
    assert_int_equal(atl_endpoint_new(&config, &node->ep_hooks, &node->ep), ATLAS_OK);
    atl_tls_set_server_protocols(atl_endpoint_tls(node->ep), ATL_PROTO_ATLAS | ATL_PROTO_H3);
}

PAIR_UNUSED static void pair_init(pair_node *node, sim_net *net, const char *ip, uint8_t seed,
                                  uint16_t port) {
    uint8_t bytes[32];

    memset(node, 0, sizeof(*node));
    memset(bytes, seed, sizeof(bytes));
    node->host = sim_host_new(net, ip);
    sim_host_hooks(node->host, &node->hooks);
    node->hooks.malloc = pair_malloc;
    node->hooks.realloc = pair_realloc;
    node->hooks.free = pair_free;
    atl_env_init(&node->env, &node->hooks);
    atl_loop_init(&node->loop, &node->env);
    sim_host_io(node->host, &node->io);
    assert_int_equal(atlas_key_from_seed(bytes, &node->key), ATLAS_OK);
    atl_key_id(node->key, &node->id);
    pair_open(node, port);
    sim_host_program(node->host, pair_drive, pair_deadline, node);
}

PAIR_UNUSED static void pair_done(pair_node *node) {
    if (node->ep != NULL) {
        atl_endpoint_free(node->ep);
    }
    atlas_key_free(node->key);
}

PAIR_UNUSED static atl_qpath pair_path(const pair_node *to) {
    atl_qpath path;

    memset(&path, 0, sizeof(path));
    assert_int_equal(atl_endpoint_local(to->ep, 4, &path.remote), ATLAS_OK);
    to->io.local_addrs(to->io.impl, &path.local, 1);
    memcpy(path.remote.ip, path.local.ip, sizeof(path.remote.ip));
    memset(&path.local, 0, sizeof(path.local));
    return path;
}

#endif
