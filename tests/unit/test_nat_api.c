/* atlas/nat.h and the second address of the STUN server, through the public interface: real
 * contexts on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <atlas/atlas.h>

typedef struct fixture {
    atlas_ctx *server;
    atlas_ctx *client;
    char addr[64];
    int progress;
    int results;
    int finals;
    int shutdowns;
    int32_t status;
    atlas_nat_event result;
    char text[512];
    int free_in_event; /* calls what is not allowed there */
    int again;         /* starts another from the final event */
} fixture;

static atlas_ctx *node(fixture *f) {
    static const atlas_callbacks none = {.size = sizeof(none)};
    atlas_ctx *ctx = NULL;

    (void)f;
    assert_int_equal(atlas_new(NULL, NULL, &ctx), ATLAS_OK);
    assert_int_equal(atlas_set_callbacks(ctx, &none), ATLAS_OK);
    assert_int_equal(atlas_set_u64(ctx, ATLAS_OPT_IPV6, 0), ATLAS_OK);
    return ctx;
}

/* The port of a node that is bound to 127.0.0.1. */
static void address_of(atlas_ctx *ctx, char *out, size_t cap) {
    char multiaddr[ATLAS_MULTIADDR_MAX];
    unsigned port = 0;

    assert_int_equal(atlas_local_addr(ctx, 0, multiaddr, sizeof(multiaddr)), ATLAS_OK);
    assert_int_equal(sscanf(multiaddr, "/ip4/127.0.0.1/udp/%u", &port), 1);
    snprintf(out, cap, "127.0.0.1:%u", port);
}

static int set_up(void **state) {
    static fixture f;

    memset(&f, 0, sizeof(f));
    f.server = node(&f);
    f.client = node(&f);
    assert_int_equal(atlas_set_str(f.server, ATLAS_OPT_BIND4, "127.0.0.1"), ATLAS_OK);
    assert_int_equal(atlas_set_u64(f.server, ATLAS_OPT_STUN_SERVER, 1), ATLAS_OK);
    assert_int_equal(atlas_open(f.server), ATLAS_OK);
    address_of(f.server, f.addr, sizeof(f.addr));
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;

    assert_int_equal(atlas_free(f->client), ATLAS_OK);
    assert_int_equal(atlas_free(f->server), ATLAS_OK);
    return 0;
}

static void on_event(void *user, atlas_nat *nat, const atlas_nat_event *event, int32_t status) {
    fixture *f = user;

    if (f->free_in_event) {
        assert_int_equal(atlas_free(f->client), ATLAS_ERR_REENTRANT);
        assert_int_equal(atlas_process(f->client, NULL, 0), ATLAS_ERR_REENTRANT);
    }
    if (event == NULL) {
        f->finals++;
        f->status = status;
        if (f->again > 0) {
            const char *const servers[] = {f->addr};

            f->again--;
            assert_int_equal(atlas_nat_probe(f->client, servers, 1, NULL, on_event, f, NULL),
                             ATLAS_OK);
        }
        assert_int_equal(atlas_nat_cancel(nat), ATLAS_OK);
        return;
    }
    assert_int_equal(status, ATLAS_OK);
    if (event->what == ATLAS_NAT_RESULT) {
        f->results++;
        f->result = *event;
        snprintf(f->text, sizeof(f->text), "%s", event->text);
    } else {
        f->progress++;
    }
}

static void run(fixture *f, int finals) {
    uint64_t from = atlas_now(f->client);

    while (f->finals < finals) {
        assert_int_equal(atlas_run_once(f->client, 2), ATLAS_OK);
        assert_int_equal(atlas_run_once(f->server, 2), ATLAS_OK);
        assert_true(atlas_now(f->client) - from < UINT64_C(10000000000));
    }
}

static void probes(void **state) {
    fixture *f = *state;
    const char *const servers[] = {f->addr};
    const atlas_nat_options how = {.size = sizeof(how), .timeout_ms = 500};

    assert_int_equal(atlas_stun_server_alternate(f->server, "127.0.0.2"), ATLAS_OK);
    f->free_in_event = 1;
    f->again = 1;
    assert_int_equal(atlas_nat_probe(f->client, servers, 1, &how, on_event, f, NULL), ATLAS_OK);
    assert_int_equal(f->results + f->progress + f->finals, 0);
    run(f, 2);
    assert_int_equal(f->status, ATLAS_OK);
    assert_int_equal(f->results, 2);
    assert_true(f->progress >= 2);
    assert_int_equal(f->result.family, 4);
    assert_int_equal(f->result.kind, ATLAS_NAT_KIND_NONE);
    assert_int_equal(f->result.filtering, ATLAS_NAT_FILTERING_NONE);
    assert_non_null(strstr(f->text, "127.0.0.2"));
}

/* With one address, and with the servers that are configured. */
static void configured(void **state) {
    fixture *f = *state;
    const atlas_nat_options how = {.size = sizeof(how), .timeout_ms = 500, .lifetime_ms = 8000};

    assert_int_equal(atlas_nat_probe(f->client, NULL, 0, &how, on_event, f, NULL),
                     ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atlas_stun_add_server(f->client, f->addr), ATLAS_OK);
    assert_int_equal(atlas_nat_probe(f->client, NULL, 0, &how, on_event, f, NULL), ATLAS_OK);
    run(f, 1);
    assert_int_equal(f->status, ATLAS_OK);
    assert_int_equal(f->result.mapping, ATLAS_NAT_MAPPING_NONE);
    assert_int_equal(f->result.filtering, ATLAS_NAT_FILTERING_UNKNOWN);
}

static void on_shutdown(void *user, atlas_ctx *ctx) {
    (void)ctx;
    ((fixture *)user)->shutdowns++;
}

static void ends(void **state) {
    fixture *f = *state;
    const char *const dead[] = {"127.0.0.3:9"};
    const atlas_callbacks callbacks = {
        .size = sizeof(callbacks), .user = f, .on_shutdown = on_shutdown};
    atlas_nat *nat = NULL;

    assert_int_equal(atlas_nat_probe(f->client, dead, 1, NULL, on_event, f, &nat), ATLAS_OK);
    assert_int_equal(atlas_nat_cancel(nat), ATLAS_OK);
    assert_int_equal(atlas_nat_cancel(nat), ATLAS_OK);
    assert_int_equal(f->finals, 0);
    run(f, 1);
    assert_int_equal(f->status, ATLAS_ERR_CANCELLED);
    assert_int_equal(f->results + f->progress, 0);
    /* a shutdown cancels, and waits for the final event */
    assert_int_equal(atlas_set_callbacks(f->client, &callbacks), ATLAS_OK);
    assert_int_equal(atlas_nat_probe(f->client, dead, 1, NULL, on_event, f, NULL), ATLAS_OK);
    assert_int_equal(atlas_shutdown(f->client, 0), ATLAS_OK);
    run(f, 2);
    assert_int_equal(f->status, ATLAS_ERR_CANCELLED);
    while (f->shutdowns == 0) {
        assert_int_equal(atlas_run_once(f->client, 2), ATLAS_OK);
    }
    assert_int_equal(atlas_nat_probe(f->client, dead, 1, NULL, on_event, f, NULL),
                     ATLAS_ERR_SHUTDOWN);
}

/* Freeing the context ends a probe in silence. */
static void freed(void **state) {
    fixture *f = *state;
    const char *const servers[] = {f->addr};

    assert_int_equal(atlas_stun_server_alternate(f->server, "127.0.0.2"), ATLAS_OK);
    assert_int_equal(atlas_nat_probe(f->client, servers, 1, NULL, on_event, f, NULL), ATLAS_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(atlas_run_once(f->client, 1), ATLAS_OK);
        assert_int_equal(atlas_run_once(f->server, 1), ATLAS_OK);
    }
}

static void wrong_arguments(void **state) {
    fixture *f = *state;
    const char *const servers[] = {f->addr};
    const char *const bad[] = {"no address!"};
    const atlas_nat_options rows[] = {
        {.size = sizeof(rows[0]) - 8},
        {.size = sizeof(rows[0]), .timeout_ms = 50},
        {.size = sizeof(rows[0]), .timeout_ms = 39501},
        {.size = sizeof(rows[0]), .lifetime_ms = 7999},
        {.size = sizeof(rows[0]), .lifetime_ms = 7200001},
        {.size = sizeof(rows[0]), .reserved = 1},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(atlas_nat_probe(f->client, servers, 1, &rows[i], on_event, f, NULL),
                         ATLAS_ERR_INVALID);
    }
    assert_int_equal(atlas_nat_probe(NULL, servers, 1, NULL, on_event, f, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_nat_probe(f->client, servers, 1, NULL, NULL, f, NULL),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atlas_nat_probe(f->client, NULL, 1, NULL, on_event, f, NULL),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atlas_nat_probe(f->client, servers, 65, NULL, on_event, f, NULL),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atlas_nat_probe(f->client, bad, 1, NULL, on_event, f, NULL),
                     ATLAS_ERR_ADDRESS);
    assert_int_equal(atlas_nat_cancel(NULL), ATLAS_ERR_INVALID);
}

static void wrong_alternates(void **state) {
    static const struct {
        const char *text;
        int32_t code;
    } rows[] = {
        {NULL, ATLAS_ERR_INVALID},
        {"", ATLAS_ERR_ADDRESS},
        {"localhost", ATLAS_ERR_ADDRESS},
        {"127.0.0.2:0", ATLAS_ERR_ADDRESS},
        {"0.0.0.0:99", ATLAS_ERR_ADDRESS},
        {"224.0.0.1", ATLAS_ERR_ADDRESS},
        {"::1", ATLAS_ERR_FAMILY},
        {"127.0.0.1", ATLAS_ERR_INVALID},
        {"198.51.100.77:5555", ATLAS_ERR_NOT_FOUND}, /* not of this host */
    };
    fixture *f = *state;
    char own_port[64];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(atlas_stun_server_alternate(f->server, rows[i].text), rows[i].code);
    }
    snprintf(own_port, sizeof(own_port), "127.0.0.2%s", strchr(f->addr, ':'));
    assert_int_equal(atlas_stun_server_alternate(f->server, own_port), ATLAS_ERR_INVALID);
    /* the same where all addresses are bound */
    assert_int_equal(atlas_stun_server_alternate(f->client, "198.51.100.77"), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atlas_stun_server_alternate(NULL, "127.0.0.2"), ATLAS_ERR_INVALID);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(probes), TEST(configured),      TEST(ends),
        TEST(freed),  TEST(wrong_arguments), TEST(wrong_alternates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
