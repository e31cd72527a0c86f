/* A configuration file applied to a context: every key reaches its option, all of it or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/context.h"
#include "config/config.h"

#include <atlas/atlas.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_A "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define RELAY_A "/ip4/192.0.2.1/udp/4001/quic-v1/p2p/" ID_A

typedef struct heard {
    int errors;
    int warnings;
    char text[2048]; /* the last complaint */
} heard;

static void hear(void *user, int32_t code, const char *file, uint32_t line, const char *text) {
    heard *h = user;

    (void)file;
    (void)line;
    h->errors += code != ATLAS_OK;
    h->warnings += code == ATLAS_OK;
    (void)snprintf(h->text, sizeof(h->text), "%s", text);
}

static atlas_ctx *make(void) {
    atlas_ctx *ctx = NULL;

    assert_int_equal(atlas_new(NULL, NULL, &ctx), ATLAS_OK);
    return ctx;
}

static int32_t parse(atlas_ctx *ctx, const char *text, heard *h) {
    memset(h, 0, sizeof(*h));
    return atlas_config_parse(ctx, text, strlen(text), "f", hear, h);
}

static uint64_t get(atlas_ctx *ctx, uint32_t option) {
    uint64_t value = 0;

    assert_int_equal(atlas_get_u64(ctx, option, &value), ATLAS_OK);
    return value;
}

/* Both ends of a key's range are taken by its option, and what lies beyond is not: the two tables
 * agree. */
static void ranges_are_those_of_the_options(void **state) {
    atlas_ctx *ctx = make();
    size_t i;

    (void)state;
    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        const atl_config_key *key = &atl_config_keys[i];

        if (key->kind == ATL_KEY_LIST) {
            continue;
        }
        assert_int_equal(atlas_set_u64(ctx, key->target, key->min), ATLAS_OK);
        assert_int_equal(atlas_set_u64(ctx, key->target, key->max), ATLAS_OK);
        assert_int_equal(atlas_set_u64(ctx, key->target, key->max + 1), ATLAS_ERR_INVALID);
        if (key->min > 0) {
            assert_int_equal(atlas_set_u64(ctx, key->target, key->min - 1), ATLAS_ERR_INVALID);
        }
    }
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

/* Every key, set to a value other than the default, is found in its option. */
static void every_key_arrives(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_CONFIG_KEYS; i++) {
        const atl_config_key *key = &atl_config_keys[i];
        atlas_ctx *ctx = make();
        uint64_t value;
        char text[256];
        heard h;

        if (key->kind != ATL_KEY_LIST) {
            value = get(ctx, key->target) == key->max ? key->min : key->max;
            if (key->kind == ATL_KEY_BOOL) {
                (void)snprintf(text, sizeof(text), "[%s]\n%s = %s\n", key->section, key->name,
                               value ? "true" : "false");
            } else if (key->kind == ATL_KEY_SECONDS) {
                (void)snprintf(text, sizeof(text), "[%s]\n%s = %.3f\n", key->section, key->name,
                               (double)value / 1000);
            } else {
                (void)snprintf(text, sizeof(text), "[%s]\n%s = %llu\n", key->section, key->name,
                               (unsigned long long)value);
            }
            assert_int_equal(parse(ctx, text, &h), ATLAS_OK);
            assert_true(get(ctx, key->target) == value);
            assert_int_equal(h.warnings, 0);
        }
        assert_int_equal(atlas_free(ctx), ATLAS_OK);
    }
}

static const char lists_text[] = "[network]\nrelays = [\"" RELAY_A
                                 "\", \"/dns/relay.example.org/udp/1/quic-v1/p2p/%s\"]\n"
                                 "bootstrap = [\"/dns4/boot.example.org/udp/443/quic-v1/p2p/" ID_A
                                 "\"]\n"
                                 "[stun]\nservers = [\"a.example\", \"b.example:99\"]\n"
                                 "[relay]\nallow = [\"" ID_A "\"]\ndeny = [\"" ID_A "\"]\n";

static void lists_arrive(void **state) {
    atlas_relay_event event = {.size = sizeof(event)};
    atlas_ctx *ctx = make();
    char text[1024];
    heard h;

    (void)state;
    /* the second relay is this node itself */
    (void)snprintf(text, sizeof(text), lists_text, atlas_self_id(ctx));
    assert_int_equal(parse(ctx, text, &h), ATLAS_OK);
    assert_int_equal(h.errors, 0);
    assert_int_equal(h.warnings, 1);
    assert_non_null(strstr(h.text, "is this node itself"));
    assert_int_equal(atlas_relay_info(ctx, 0, &event), ATLAS_OK);
    assert_string_equal(event.addr, RELAY_A);
    assert_int_equal(atlas_relay_info(ctx, 1, &event), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(ctx->stun_server_count, 2);
    assert_string_equal(ctx->stun_servers[1], "b.example:99");
    assert_int_equal(ctx->relay_allow_count, 1);
    assert_int_equal(ctx->relay_deny_count, 1);
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

static void nothing_changes_on_an_error(void **state) {
    atlas_relay_event event = {.size = sizeof(event)};
    atlas_ctx *ctx = make();
    heard h;

    (void)state;
    assert_int_equal(
        parse(ctx,
              "[network]\nport = 5\nrelays = [\"" RELAY_A "\"]\n[stun]\nservers = [\"a.example\"]\n"
              "[relay]\nallow = [\"" ID_A "\"]\nmax_nodes = x\n",
              &h),
        ATLAS_ERR_CONFIG);
    assert_int_equal(h.errors, 1);
    assert_int_equal(get(ctx, ATLAS_OPT_PORT), 0);
    assert_int_equal(atlas_relay_info(ctx, 0, &event), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(ctx->stun_server_count, 0);
    assert_int_equal(ctx->relay_allow_count, 0);
    /* what the application said before counts too */
    assert_int_equal(atlas_set_u64(ctx, ATLAS_OPT_ENABLE_RELAY, 0), ATLAS_OK);
    assert_int_equal(parse(ctx, "[network]\nport = 5\n[transport]\noffer_relay = true\n", &h),
                     ATLAS_ERR_CONFIG);
    assert_non_null(strstr(h.text, "f:4: offer_relay: expected false"));
    assert_int_equal(get(ctx, ATLAS_OPT_PORT), 0);
    assert_int_equal(get(ctx, ATLAS_OPT_OFFER_RELAY), 0);
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

/* More relays than there is room for: those that were added go again. */
static void full_lists(void **state) {
    atlas_relay_event event = {.size = sizeof(event)};
    atlas_ctx *ctx = make();
    char addr[ATLAS_MULTIADDR_MAX];
    char id[ATLAS_PEER_ID_MAX];
    heard h;
    int i;

    (void)state;
    for (i = 0; i < 63; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        atlas_key *key;

        assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
        assert_int_equal(atlas_key_peer_id(key, id, sizeof(id)), ATLAS_OK);
        atlas_key_free(key);
        (void)snprintf(addr, sizeof(addr), "/ip4/192.0.2.2/udp/1/quic-v1/p2p/%s", id);
        assert_int_equal(atlas_relay_add(ctx, addr), ATLAS_OK);
    }
    (void)snprintf(
        addr, sizeof(addr),
        "[network]\nport = 9\nrelays = [\"" RELAY_A
        "\", \"%s\",\n"
        "\"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/"
        "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN\"]\n",
        "/ip4/192.0.2.9/udp/4001/quic-v1/p2p/12D3KooWNvSZnPi3RrhrTwEY4LuuBeB6K6facKUCJcyWG1aoDd2p");
    assert_int_equal(parse(ctx, addr, &h), ATLAS_ERR_CONFIG);
    assert_non_null(strstr(h.text, "f:3: "));
    assert_non_null(strstr(h.text, "cannot be used"));
    assert_int_equal(atlas_relay_info(ctx, 62, &event), ATLAS_OK);
    assert_int_equal(atlas_relay_info(ctx, 63, &event), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(get(ctx, ATLAS_OPT_PORT), 0);
    assert_int_equal(parse(ctx, "[network]\nrelays = [\"" RELAY_A "\"]\n", &h), ATLAS_OK);
    assert_int_equal(parse(ctx, "[network]\nrelays = [\"" RELAY_A "\"]\n", &h), ATLAS_OK);
    assert_non_null(strstr(h.text, "configured already"));
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

static void files(void **state) {
    char dir[] = "/tmp/atlas-config-XXXXXX";
    char path[64];
    atlas_ctx *ctx = make();
    heard h = {0};
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/config.toml", dir);
    assert_int_equal(atlas_config_load(ctx, path, hear, &h), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atlas_config_load(ctx, dir, hear, &h), ATLAS_ERR_INVALID);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(atlas_config_load(ctx, path, hear, &h), ATLAS_ERR_INVALID);
    assert_int_equal(unlink(path), 0);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("[network]\nport = 4001\nprot = 1\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(atlas_config_load(ctx, path, hear, &h), ATLAS_OK);
    assert_int_equal(get(ctx, ATLAS_OPT_PORT), 4001);
    assert_int_equal(h.warnings, 1);
    assert_non_null(
        strstr(h.text, "config.toml:3: unknown key prot in [network]; did you mean port?"));
    assert_int_equal(truncate(path, (1 << 20) + 1), 0);
    assert_int_equal(atlas_config_load(ctx, path, hear, &h), ATLAS_ERR_TOO_LARGE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

static void illegal_calls(void **state) {
    atlas_ctx *ctx = make();
    heard h;

    (void)state;
    assert_int_equal(atlas_config_parse(NULL, "", 0, NULL, NULL, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_config_parse(ctx, NULL, 0, NULL, NULL, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_config_load(ctx, NULL, NULL, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_config_parse(ctx, "[network]\nport = x", 18, NULL, NULL, NULL),
                     ATLAS_ERR_CONFIG);
    assert_int_equal(atlas_set_str(ctx, ATLAS_OPT_BIND4, "127.0.0.1"), ATLAS_OK);
    assert_int_equal(atlas_set_u64(ctx, ATLAS_OPT_IPV6, 0), ATLAS_OK);
    assert_int_equal(atlas_open(ctx), ATLAS_OK);
    assert_int_equal(parse(ctx, "[network]\nport = 1\n", &h), ATLAS_ERR_STATE);
    assert_int_equal(atlas_free(ctx), ATLAS_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_those_of_the_options),
        cmocka_unit_test(every_key_arrives),
        cmocka_unit_test(lists_arrive),
        cmocka_unit_test(nothing_changes_on_an_error),
        cmocka_unit_test(full_lists),
        cmocka_unit_test(files),
        cmocka_unit_test(illegal_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
