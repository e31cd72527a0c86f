/* Opening a context's sockets: the endpoint with its hooks, the STUN agent, the node's own
 * addresses. */
#include "api/context.h"

#include "peer/network.h"

#include <string.h>

#define LOCAL_ADDRS 64

/* ---- the endpoint's hooks ---- */

static void on_stun(void *user, const atl_rx *rx) {
    atlas_ctx *ctx = user;

    if (!atl_network_on_stun(&ctx->peers, rx) &&
        (ctx->discovery == NULL || !atl_discovery_on_stun(ctx->discovery, rx)) &&
        ctx->stun != NULL) {
        atl_stun_agent_on_datagram(ctx->stun, rx);
    }
}

static size_t on_forward(void *user, void *ptr, const atl_rx *rx) {
    atlas_ctx *ctx = user;

    return ctx->relay_server == NULL ? rx->len
                                     : atl_relay_server_on_forward(ctx->relay_server, ptr, rx);
}

static void on_batch_end(void *user) {
    atlas_ctx *ctx = user;

    if (ctx->relay_server != NULL) {
        atl_relay_server_on_batch_end(ctx->relay_server);
    }
}

static int32_t on_initial(void *user, const atl_addr *remote, const atl_circuit *circuit) {
    atlas_ctx *ctx = user;

    (void)remote;
    if (ctx->shutdown != ATL_SHUTDOWN_NO) {
        return ATLAS_ERR_SHUTDOWN;
    }
    if (ctx->relay_server != NULL && circuit == NULL) {
        return ATLAS_OK;
    }
    return atl_peers_on_initial(&ctx->peers);
}

static int32_t on_accept(void *user, atl_qconn *conn) {
    atlas_ctx *ctx = user;

    if (atl_qconn_protocol(conn) == ATL_PROTO_H3) {
        return ctx->relay_server == NULL ? ATLAS_ERR_UNSUPPORTED
                                         : atl_relay_server_accept(ctx->relay_server, conn);
    }
    return atl_peers_accept(&ctx->peers, conn);
}

static int32_t stun_send(void *user, const atl_addr *local, const atl_addr *remote,
                         const uint8_t *data, size_t len) {
    atlas_ctx *ctx = user;

    return atl_endpoint_send_raw(ctx->ep, local, remote, data, len);
}

static int32_t stun_local(void *user, uint8_t family, atl_addr *out) {
    atlas_ctx *ctx = user;

    return atl_endpoint_local(ctx->ep, family, out);
}

/* ---- opening ---- */

static int32_t open_endpoint(atlas_ctx *ctx) {
    const atl_options *options = &ctx->options;
    const atl_endpoint_hooks hooks = {
        .user = ctx,
        .on_stun = on_stun,
        .on_forward = on_forward,
        .on_initial = on_initial,
        .on_accept = on_accept,
        .on_batch_end = on_batch_end,
    };
    const atl_endpoint_config config = {
        .loop = &ctx->loop,
        .io = &ctx->io,
        .key = ctx->key,
        .port = (uint16_t)options->u64[ATLAS_OPT_PORT],
        .ipv4 = options->u64[ATLAS_OPT_IPV4] != 0,
        .ipv6 = options->u64[ATLAS_OPT_IPV6] != 0,
        .plain = options->u64[ATLAS_OPT_GSO] == 0,
        .bind4 = options->bind4,
        .bind6 = options->bind6,
    };

    return atl_endpoint_new(&config, &hooks, &ctx->ep);
}

static int32_t open_stun(atlas_ctx *ctx) {
    const atl_stun_agent_config config = {
        .loop = &ctx->loop,
        .io = &ctx->io,
        .user = ctx,
        .send = stun_send,
        .local = stun_local,
    };
    int32_t rv = atl_stun_agent_new(&config, &ctx->stun);

    if (rv == ATLAS_OK) {
        atl_stun_server_set_rate(atl_stun_agent_server(ctx->stun),
                                 ctx->options.u64[ATLAS_OPT_STUN_RATE]);
    }
    return rv;
}

int32_t atl_ctx_open(atlas_ctx *ctx) {
    size_t i;
    int32_t rv;

    if (ctx->shutdown != ATL_SHUTDOWN_NO) {
        return ATLAS_ERR_SHUTDOWN;
    }
    if (ctx->ep != NULL) {
        return ATLAS_OK;
    }
    rv = open_endpoint(ctx);
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = open_stun(ctx);
    if (rv == ATLAS_OK) {
        rv = atl_peers_open(&ctx->peers, ctx->ep, atl_stun_agent_client(ctx->stun));
    }
    for (i = 0; rv == ATLAS_OK && i < ctx->stun_server_count; i++) {
        rv = atl_network_add_server(&ctx->peers, ctx->stun_servers[i]);
    }
    if (rv != ATLAS_OK) {
        atl_stun_agent_free(ctx->stun);
        ctx->stun = NULL;
        atl_endpoint_free(ctx->ep);
        ctx->ep = NULL;
        return rv;
    }
    atl_ctx_apply_options(ctx);
    atl_ctx_update_protocols(ctx);
    return ATLAS_OK;
}

void atl_ctx_update_protocols(atlas_ctx *ctx) {
    uint32_t protocols = 0;

    if (ctx->ep == NULL) {
        return;
    }
    if (ctx->peers.listening) {
        protocols |= ATL_PROTO_ATLAS;
    }
    if (ctx->relay_server != NULL) {
        protocols |= ATL_PROTO_H3;
    }
    atl_tls_set_server_protocols(atl_endpoint_tls(ctx->ep), protocols);
}

int32_t atlas_open(atlas_ctx *ctx) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_ctx_open(ctx);
    atl_ctx_leave(ctx);
    return rv;
}

/* ---- the node's own addresses ---- */

/* Whether one of the host's addresses leads to a socket of ours; its port then is in *port. */
static int reaches(const atlas_ctx *ctx, const atl_addr *addr, uint16_t *port) {
    atl_addr bound;
    atl_addr same;

    if (atl_addr_is_link_local(addr) ||
        atl_endpoint_local(ctx->ep, addr->family, &bound) != ATLAS_OK) {
        return 0;
    }
    *port = bound.port;
    if (atl_addr_is_unspecified(&bound)) {
        return 1;
    }
    same = bound;
    same.port = 0;
    return memcmp(same.ip, addr->ip, sizeof(same.ip)) == 0;
}

static int32_t local_addr(atlas_ctx *ctx, uint32_t index, char *buf, size_t cap) {
    atl_addr addrs[LOCAL_ADDRS];
    atl_maddr maddr;
    size_t n;
    size_t i;

    if (ctx->ep == NULL) {
        return ATLAS_ERR_STATE;
    }
    n = ctx->io.local_addrs(ctx->io.impl, addrs, LOCAL_ADDRS);
    for (i = 0; i < n; i++) {
        uint16_t port;

        if (!reaches(ctx, &addrs[i], &port)) {
            continue;
        }
        if (index-- > 0) {
            continue;
        }
        memset(&maddr, 0, sizeof(maddr));
        maddr.host_kind = ATL_HOST_IP;
        maddr.quic = 1;
        maddr.has_peer = 1;
        maddr.port = port;
        maddr.addr = addrs[i];
        maddr.addr.port = port;
        maddr.peer = ctx->self;
        return atl_maddr_text(&maddr, buf, cap);
    }
    return ATLAS_ERR_NOT_FOUND;
}

int32_t atlas_local_addr(atlas_ctx *ctx, uint32_t index, char *buf, size_t cap) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    return buf == NULL && cap > 0 ? ATLAS_ERR_INVALID : local_addr(ctx, index, buf, cap);
}
