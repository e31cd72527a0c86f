/* atlas/context.h: what the application knows of the host: another network, sleep. */
#include "api/context.h"

int32_t atlas_network_changed(atlas_ctx *ctx) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_peers_network_changed(&ctx->peers);
    atl_ctx_leave(ctx);
    return ATLAS_OK;
}

int32_t atlas_set_idle(atlas_ctx *ctx, uint32_t on) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (on > 1) {
        return ATLAS_ERR_INVALID;
    }
    /* the same again is no activity: on_idle itself may call this */
    if (on == ctx->idle.asleep) {
        return ATLAS_OK;
    }
    ctx->idle.asleep = (uint8_t)on;
    atl_peers_set_idle(&ctx->peers, (int)on);
    atl_ctx_leave(ctx);
    return ATLAS_OK;
}
