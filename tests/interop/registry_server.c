/* A relay with a registry on loopback, for interop_http3.py: prints its port and its peer id, and
 * runs until its standard input ends. */
#include "api/context.h"
#include "discovery/registry_http.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

static const uint64_t ttl = 3600;
static const uint64_t drift = 300;

static int32_t start(atlas_ctx *ctx) {
    atl_registry_http_config config = {.loop = &ctx->loop,
                                       .limits = {1000, 1000, 1000, 300},
                                       .ttl = &ttl,
                                       .max_clock_drift = &drift,
                                       .version = atlas_version()};
    int32_t rc = atlas_relay_start(ctx);

    if (rc == ATLAS_OK) {
        rc = atl_registry_http_new(&config, &ctx->registry); /* the context frees it */
    }
    if (rc == ATLAS_OK) {
        rc =
            atl_relay_server_add_requests(ctx->relay_server, &atl_registry_http_ops, ctx->registry);
    }
    return rc;
}

static int input_ended(void) {
    struct pollfd in = {0, POLLIN, 0};

    return poll(&in, 1, 0) > 0 && getchar() == EOF;
}

static int serve(atlas_ctx *ctx) {
    char addr[ATLAS_MULTIADDR_MAX];
    atl_maddr parsed;

    if (atlas_local_addr(ctx, 0, addr, sizeof(addr)) != ATLAS_OK ||
        atl_maddr_parse(addr, &parsed) != ATLAS_OK) {
        return 1;
    }
    printf("%u %s\n", parsed.port, atlas_self_id(ctx));
    fflush(stdout);
    while (!input_ended()) {
        if (atlas_run_once(ctx, 50) != ATLAS_OK) {
            return 1;
        }
    }
    return 0;
}

int main(void) {
    atlas_ctx *ctx = NULL;
    int32_t rc = atlas_new(NULL, NULL, &ctx);
    int status = 1;

    if (rc == ATLAS_OK) {
        rc = atlas_set_u64(ctx, ATLAS_OPT_IPV6, 0);
    }
    if (rc == ATLAS_OK) {
        rc = atlas_set_str(ctx, ATLAS_OPT_BIND4, "127.0.0.1");
    }
    if (rc == ATLAS_OK) {
        rc = start(ctx);
    }
    if (rc == ATLAS_OK) {
        status = serve(ctx);
    } else {
        fprintf(stderr, "registry_server: %s\n", atlas_error_text(rc));
    }
    return atlas_free(ctx) == ATLAS_OK ? status : 1;
}
