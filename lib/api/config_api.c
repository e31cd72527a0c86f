/* atlas/config.h: a configuration file, applied to a context as a whole or not at all. */
#include "config/config.h"

#include "api/context.h"
#include "config/file.h"

#include <string.h>

/* What a context had before, to go back to. */
typedef struct snapshot {
    atl_options options;
    size_t stun_servers;
    size_t relays;
    size_t nodes;
    size_t allow;
    size_t deny;
} snapshot;

static void take_snapshot(const atlas_ctx *ctx, snapshot *before) {
    before->options = ctx->options;
    before->stun_servers = ctx->stun_server_count;
    before->relays = ctx->peers.relays.configured;
    before->nodes = ctx->discovery == NULL ? 0 : atl_discovery_nodes(ctx->discovery);
    before->allow = ctx->relay_allow_count;
    before->deny = ctx->relay_deny_count;
}

/* A relay that was added a moment ago, before the sockets are open: nothing refers to it. */
static void remove_last_relay(atlas_ctx *ctx) {
    atl_relays *relays = &ctx->peers.relays;
    atl_relay_entry *entry = atl_relays_at(relays, relays->configured - 1);

    relays->configured--;
    atl_list_remove(&entry->node);
    atl_free(&ctx->env, entry);
}

static void restore(atlas_ctx *ctx, const snapshot *before) {
    ctx->options = before->options;
    while (ctx->stun_server_count > before->stun_servers) {
        ctx->stun_server_count--;
        atl_free(&ctx->env, ctx->stun_servers[ctx->stun_server_count]);
    }
    while (ctx->peers.relays.configured > before->relays) {
        remove_last_relay(ctx);
    }
    if (ctx->discovery != NULL) {
        atl_discovery_forget_nodes(ctx->discovery, before->nodes);
    }
    ctx->relay_allow_count = before->allow;
    ctx->relay_deny_count = before->deny;
}

/* Also with what had been set before the file: enable_relay 0 by the application, offer_relay true
 * in the file. */
static int32_t apply_numbers(atlas_ctx *ctx, const atl_config *config, atl_config_sink *sink) {
    uint32_t offer_line = 0;
    size_t i;

    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        const atl_config_key *key = &atl_config_keys[i];
        int32_t rv;

        if (config->line[i] == 0 || key->kind == ATL_KEY_LIST) {
            continue;
        }
        rv = atl_options_set_u64(&ctx->options, key->target, config->value[i], 0);
        if (rv != ATLAS_OK) {
            return rv;
        }
        if (key->target == ATLAS_OPT_OFFER_RELAY) {
            offer_line = config->line[i];
        }
    }
    if (offer_line != 0 && ctx->options.u64[ATLAS_OPT_OFFER_RELAY] &&
        !ctx->options.u64[ATLAS_OPT_ENABLE_RELAY]) {
        atl_config_complain(sink, ATLAS_ERR_CONFIG, offer_line,
                            "offer_relay: expected false, since relays are not enabled");
        return ATLAS_ERR_CONFIG;
    }
    return ATLAS_OK;
}

static int32_t add_entry(atlas_ctx *ctx, uint32_t list, const char *text) {
    switch (list) {
    case ATL_LIST_RELAYS:
        return atlas_relay_add(ctx, text);
    case ATL_LIST_BOOTSTRAP:
        return atlas_bootstrap_add(ctx, text);
    case ATL_LIST_STUN:
        return atlas_stun_add_server(ctx, text);
    case ATL_LIST_ALLOW:
        return atlas_relay_allow(ctx, text);
    case ATL_LIST_DENY:
        return atlas_relay_deny(ctx, text);
    default:
        return ATLAS_ERR_INTERNAL;
    }
}

static int32_t apply_list(atlas_ctx *ctx, uint32_t which, const atl_config_list *list,
                          atl_config_sink *sink) {
    size_t i;

    for (i = 0; i < list->count; i++) {
        int32_t rv = add_entry(ctx, which, list->items[i]);

        if (rv == ATLAS_ERR_NOMEM) {
            return rv;
        }
        if (rv == ATLAS_ERR_EXISTS) {
            atl_config_complain(sink, ATLAS_OK, list->line,
                                "\"%.600s\" is configured already and is ignored", list->items[i]);
            continue;
        }
        /* a file that several nodes share lists them all */
        if (rv == ATLAS_ERR_SELF) {
            atl_config_complain(sink, ATLAS_OK, list->line,
                                "\"%.600s\" is this node itself and is ignored", list->items[i]);
            continue;
        }
        if (rv != ATLAS_OK) {
            atl_config_complain(sink, ATLAS_ERR_CONFIG, list->line, "\"%.600s\" cannot be used: %s",
                                list->items[i], atlas_error_text(rv));
            return ATLAS_ERR_CONFIG;
        }
    }
    return ATLAS_OK;
}

static int32_t apply(atlas_ctx *ctx, const atl_config *config, atl_config_sink *sink) {
    snapshot before;
    uint32_t i;
    int32_t rv;

    take_snapshot(ctx, &before);
    rv = apply_numbers(ctx, config, sink);
    for (i = 0; i < ATL_LIST_COUNT && rv == ATLAS_OK; i++) {
        rv = apply_list(ctx, i, &config->lists[i], sink);
    }
    if (rv != ATLAS_OK) {
        restore(ctx, &before);
    } else {
        atl_ctx_apply_options(ctx);
    }
    return rv;
}

static int32_t parse_and_apply(atlas_ctx *ctx, const char *text, size_t len,
                               atl_config_sink *sink) {
    atl_config *config;
    int32_t rv = atl_config_parse(&ctx->env, text, len, sink, &config);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = apply(ctx, config, sink);
    atl_config_free(&ctx->env, config);
    return rv;
}

/* Both calls begin with this. */
static int32_t begin(atlas_ctx *ctx, const char *given) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (given == NULL) {
        return ATLAS_ERR_INVALID;
    }
    return ctx->ep != NULL ? ATLAS_ERR_STATE : ATLAS_OK;
}

int32_t atlas_config_parse(atlas_ctx *ctx, const char *text, size_t len, const char *name,
                           atlas_config_cb cb, void *user) {
    atl_config_sink sink = {.cb = cb, .user = user, .file = name == NULL ? "configuration" : name};
    int32_t rv = begin(ctx, text);

    if (rv == ATLAS_OK) {
        rv = parse_and_apply(ctx, text, len, &sink);
        atl_ctx_leave(ctx);
    }
    return rv;
}

int32_t atlas_config_load(atlas_ctx *ctx, const char *path, atlas_config_cb cb, void *user) {
    atl_config_sink sink = {.cb = cb, .user = user, .file = path};
    char *text;
    size_t len;
    int32_t rv = begin(ctx, path);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_config_read_file(&ctx->env, path, &text, &len);
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = parse_and_apply(ctx, text, len, &sink);
    atl_free(&ctx->env, text);
    atl_ctx_leave(ctx);
    return rv;
}
