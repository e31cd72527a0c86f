#include "quic/internal.h"

#include <sodium.h>

static void *mem_malloc(size_t size, void *user) {
    return atl_malloc(user, size);
}

static void mem_free(void *ptr, void *user) {
    atl_free(user, ptr);
}

static void *mem_calloc(size_t n, size_t size, void *user) {
    return atl_calloc(user, n, size);
}

static void *mem_realloc(void *ptr, size_t size, void *user) {
    return atl_realloc(user, ptr, size);
}

uint64_t atl_id_key(const uint8_t id[ATL_CID_LEN]) {
    uint64_t key;

    memcpy(&key, id, sizeof(key));
    return key;
}

uint64_t atl_initial_key(const atl_endpoint *ep, const uint8_t *id, size_t len) {
    uint64_t key;

    (void)crypto_shorthash((unsigned char *)&key, id, len, ep->initial_key);
    return key | 1; /* 0 means none */
}

atl_socket *atl_endpoint_socket(atl_endpoint *ep, uint8_t family) {
    atl_socket *sock = &ep->sockets[family == 4 ? 0 : 1];

    return family == 0 || sock->udp == NULL ? NULL : sock;
}

/* ---- making ---- */

/* The reset secret follows from the node key, so that a restarted node still resets the connections
 * of its former life at once. */
static int32_t make_secrets(atl_endpoint *ep, const atlas_key *key) {
    static const char LABEL[] = "atlas stateless reset";
    uint8_t signature[ATL_SIGNATURE_LEN];

    atl_key_sign(key, (const uint8_t *)LABEL, sizeof(LABEL) - 1, signature);
    (void)crypto_generichash(ep->reset_secret, sizeof(ep->reset_secret), signature,
                             sizeof(signature), NULL, 0);
    sodium_memzero(signature, sizeof(signature));
    if (atl_random(ep->env, ep->retry_secret, sizeof(ep->retry_secret)) != ATLAS_OK ||
        atl_random(ep->env, ep->initial_key, sizeof(ep->initial_key)) != ATLAS_OK) {
        return ATLAS_ERR_RANDOM;
    }
    return ATLAS_OK;
}

static int32_t open_socket(atl_endpoint *ep, const atl_endpoint_config *config, size_t index,
                           uint16_t port) {
    atl_socket *sock = &ep->sockets[index];
    atl_addr bind = index == 0 ? config->bind4 : config->bind6;
    int32_t rv;

    bind.family = index == 0 ? 4 : 6;
    bind.port = port;
    sock->ep = ep;
    rv = ep->io->udp_open(ep->io->impl, &bind, config->plain ? ATL_UDP_PLAIN : 0, atl_receive_ready,
                          sock, &sock->udp);
    if (rv == ATLAS_OK) {
        ep->io->udp_local(ep->io->impl, sock->udp, &sock->local);
    }
    return rv;
}

/* Both families on one port where that is possible: a peer that learns one may try the other. */
static int32_t open_sockets(atl_endpoint *ep, const atl_endpoint_config *config) {
    int32_t rv4 = ATLAS_ERR_FAMILY;
    int32_t rv6 = ATLAS_ERR_FAMILY;
    uint16_t port = config->port;

    if (config->ipv4) {
        rv4 = open_socket(ep, config, 0, port);
        if (rv4 == ATLAS_OK && port == 0) {
            port = ep->sockets[0].local.port;
        } else if (rv4 != ATLAS_OK && rv4 != ATLAS_ERR_FAMILY) {
            return rv4;
        }
    }
    if (config->ipv6) {
        rv6 = open_socket(ep, config, 1, port);
        if (rv6 == ATLAS_ERR_ADDR_IN_USE && config->port == 0) {
            rv6 = open_socket(ep, config, 1, 0);
        }
        if (rv6 != ATLAS_OK && rv4 == ATLAS_OK && config->port != 0 &&
            rv6 == ATLAS_ERR_ADDR_IN_USE) {
            return rv6;
        }
    }
    return rv4 == ATLAS_OK || rv6 == ATLAS_OK ? ATLAS_OK : rv4 != ATLAS_ERR_FAMILY ? rv4 : rv6;
}

static void flush_task(atl_task *task) {
    atl_endpoint *ep = task->user;

    atl_send_ready(ep);
}

void atl_endpoint_wake(atl_endpoint *ep) {
    if (!ep->freeing) {
        atl_post_work(ep->loop, &ep->flush);
    }
}

static void init_endpoint(atl_endpoint *ep, const atl_endpoint_config *config,
                          const atl_endpoint_hooks *hooks) {
    ep->loop = config->loop;
    ep->env = config->loop->env;
    ep->io = config->io;
    ep->hooks = *hooks;
    ep->params.idle_timeout = 30 * ATL_SECOND;
    ep->params.handshake_timeout = 10 * ATL_SECOND;
    ep->params.max_conns = 1024;
    ep->params.max_streams = 128;
    ep->params.stream_window = 1 << 20;
    ep->params.handshake_limit = 256;
    ep->mem.user_data = ep->env;
    ep->mem.malloc = mem_malloc;
    ep->mem.free = mem_free;
    ep->mem.calloc = mem_calloc;
    ep->mem.realloc = mem_realloc;
    atl_list_init(&ep->conns);
    atl_list_init(&ep->dirty);
    atl_list_init(&ep->dialing);
    atl_list_init(&ep->graveyard);
    atl_task_init(&ep->flush, flush_task, ep);
    atl_bucket_init(&ep->handshakes, ep->params.handshake_limit, ep->params.handshake_limit,
                    ep->loop->now);
}

int32_t atl_endpoint_new(const atl_endpoint_config *config, const atl_endpoint_hooks *hooks,
                         atl_endpoint **out) {
    atl_env *env = config->loop->env;
    atl_endpoint *ep = atl_calloc(env, 1, sizeof(*ep));
    uint64_t seeds[3];
    int32_t rv = ATLAS_ERR_NOMEM;

    if (ep == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    init_endpoint(ep, config, hooks);
    if (atl_random(env, seeds, sizeof(seeds)) != ATLAS_OK) {
        rv = ATLAS_ERR_RANDOM;
        goto done;
    }
    atl_idmap_init(&ep->ids, env, seeds[0]);
    atl_idmap_init(&ep->initials, env, seeds[1]);
    atl_idmap_init(&ep->resets, env, seeds[2]);
    if ((rv = make_secrets(ep, config->key)) != ATLAS_OK ||
        (rv = atl_source_limit_new(env, 256, 10, 10, &ep->reset_limit)) != ATLAS_OK ||
        (rv = atl_tls_new(env, config->key, &ep->tls)) != ATLAS_OK ||
        (rv = open_sockets(ep, config)) != ATLAS_OK) {
        goto done;
    }
    *out = ep;
done:
    if (rv != ATLAS_OK) {
        atl_endpoint_free(ep);
    }
    return rv;
}

static void close_connections(atl_endpoint *ep) {
    atl_list *node;

    while ((node = atl_list_pop(&ep->conns)) != NULL) {
        atl_qconn *conn = ATL_CONTAINER(node, atl_qconn, node);

        ngtcp2_ccerr_default(&conn->ccerr);
        if (conn->state == ATL_CONN_OPEN || conn->state == ATL_CONN_HANDSHAKE) {
            ngtcp2_ccerr_set_application_error(&conn->ccerr, 0, NULL, 0);
            atl_qconn_write_close(conn);
        }
        atl_qconn_free(conn);
    }
    while ((node = atl_list_pop(&ep->graveyard)) != NULL) {
        atl_qconn_free(ATL_CONTAINER(node, atl_qconn, node));
    }
}

void atl_endpoint_free(atl_endpoint *ep) {
    size_t i;

    ep->freeing = 1;
    atl_task_cancel(&ep->flush);
    close_connections(ep);
    for (i = 0; i < ATL_COUNT(ep->sockets); i++) {
        if (ep->sockets[i].udp != NULL) {
            atl_send_flush(&ep->sockets[i]);
            ep->io->udp_close(ep->io->impl, ep->sockets[i].udp);
        }
        atl_free(ep->env, ep->sockets[i].arena);
    }
    atl_tls_free(ep->tls);
    atl_source_limit_free(ep->reset_limit);
    if (ep->ids.env != NULL) {
        atl_idmap_free(&ep->ids);
        atl_idmap_free(&ep->initials);
        atl_idmap_free(&ep->resets);
    }
    sodium_memzero(ep->retry_secret, sizeof(ep->retry_secret));
    sodium_memzero(ep->reset_secret, sizeof(ep->reset_secret));
    atl_free(ep->env, ep);
}

/* ---- answers ---- */

atl_quic_params *atl_endpoint_params(atl_endpoint *ep) {
    return &ep->params;
}

atl_tls *atl_endpoint_tls(atl_endpoint *ep) {
    return ep->tls;
}

atl_loop *atl_endpoint_loop(atl_endpoint *ep) {
    return ep->loop;
}

const atl_io *atl_endpoint_io(atl_endpoint *ep) {
    return ep->io;
}

const atl_endpoint_stats *atl_endpoint_get_stats(const atl_endpoint *ep) {
    return &ep->stats;
}

int32_t atl_endpoint_local(const atl_endpoint *ep, uint8_t family, atl_addr *out) {
    const atl_socket *sock = &ep->sockets[family == 4 ? 0 : 1];

    if (sock->udp == NULL) {
        return ATLAS_ERR_FAMILY;
    }
    *out = sock->local;
    return ATLAS_OK;
}

/* ---- ids ---- */

int32_t atl_endpoint_id_new(atl_endpoint *ep, uint32_t kind, void *ptr, uint8_t out[ATL_CID_LEN]) {
    uint8_t id[ATL_CID_LEN];
    int32_t rv;

    do {
        if (atl_random(ep->env, id, sizeof(id)) != ATLAS_OK) {
            return ATLAS_ERR_RANDOM;
        }
        rv = atl_idmap_add(&ep->ids, atl_id_key(id), kind, ptr);
    } while (rv == ATLAS_ERR_EXISTS);
    if (rv == ATLAS_OK) {
        memcpy(out, id, sizeof(id));
    }
    return rv;
}

void atl_endpoint_id_remove(atl_endpoint *ep, const uint8_t id[ATL_CID_LEN]) {
    atl_idmap_remove(&ep->ids, atl_id_key(id));
}
