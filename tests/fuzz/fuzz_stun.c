/* STUN: the parser, what it accepts written again and parsed again, the server and the client fed
 * with it. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/os.h"
#include "stun/client.h"
#include "stun/server.h"

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int same_view(const atl_stun_view *a, const atl_stun_view *b) {
    return (a->data == NULL) == (b->data == NULL) && a->len == b->len &&
           (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void put_view(atl_writer *writer, uint16_t type, const atl_stun_view *view) {
    if (view->data != NULL) {
        atl_stun_put(writer, type, view->data, view->len);
    }
}

static void put_addr(atl_writer *writer, uint16_t type, const atl_addr *addr, int masked) {
    if (addr->family != 0 && masked) {
        atl_stun_put_xor_addr(writer, type, addr);
    } else if (addr->family != 0) {
        atl_stun_put_addr(writer, type, addr);
    }
}

/* Writes what was understood of a message, without its integrity. */
static void write_again(const atl_stun_msg *msg, atl_writer *writer) {
    atl_stun_begin(writer, msg->header.cls, msg->header.method, msg->header.id);
    put_addr(writer, ATL_STUN_A_MAPPED_ADDRESS, &msg->mapped, 0);
    put_addr(writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &msg->xor_mapped, 1);
    put_addr(writer, ATL_STUN_A_ALTERNATE_SERVER, &msg->alternate, 0);
    put_addr(writer, ATL_STUN_A_RESPONSE_ORIGIN, &msg->origin, 0);
    put_addr(writer, ATL_STUN_A_OTHER_ADDRESS, &msg->other, 0);
    put_view(writer, ATL_STUN_A_USERNAME, &msg->username);
    put_view(writer, ATL_STUN_A_USERHASH, &msg->userhash);
    put_view(writer, ATL_STUN_A_REALM, &msg->realm);
    put_view(writer, ATL_STUN_A_NONCE, &msg->nonce);
    put_view(writer, ATL_STUN_A_SOFTWARE, &msg->software);
    put_view(writer, ATL_STUN_A_UNKNOWN_ATTRIBUTES, &msg->unknown_list);
    if (msg->error_code != 0) {
        char reason[65536];

        memcpy(reason, msg->reason.data, msg->reason.len);
        reason[msg->reason.len] = '\0';
        atl_stun_put_error(writer, msg->error_code, reason);
    }
    if (msg->has_priority) {
        atl_stun_put_u32(writer, ATL_STUN_A_PRIORITY, msg->priority);
    }
    if (msg->use_candidate) {
        atl_stun_put(writer, ATL_STUN_A_USE_CANDIDATE, NULL, 0);
    }
    if (msg->has_controlling) {
        atl_stun_put_u64(writer, ATL_STUN_A_ICE_CONTROLLING, msg->tie_breaker);
    }
    if (msg->has_controlled) {
        atl_stun_put_u64(writer, ATL_STUN_A_ICE_CONTROLLED, msg->tie_breaker);
    }
    if (msg->has_change) {
        atl_stun_put_u32(writer, ATL_STUN_A_CHANGE_REQUEST, msg->change);
    }
    if (msg->has_response_port) {
        atl_stun_put_response_port(writer, msg->response_port);
    }
    if (msg->has_padding) {
        atl_stun_put(writer, ATL_STUN_A_PADDING, NULL, 0);
    }
    for (size_t i = 0; i < msg->unknown_count; i++) {
        atl_stun_put(writer, msg->unknown[i], NULL, 0);
    }
    atl_stun_put_sha1(writer, "key", 3);
    atl_stun_put_sha256(writer, "key", 3);
    atl_stun_put_fingerprint(writer);
}

static void round_trip(const atl_stun_msg *msg) {
    static uint8_t buf[140000];
    atl_writer writer;
    atl_stun_msg again;

    atl_writer_init(&writer, buf, sizeof(buf));
    write_again(msg, &writer);
    CHECK(writer.error == ATLAS_OK);
    if (writer.len - ATL_STUN_HEADER > UINT16_MAX) {
        return;
    }
    CHECK(atl_stun_parse(buf, writer.len, &again) == ATLAS_OK);
    /* member by member: there is padding behind them */
    CHECK(again.header.method == msg->header.method && again.header.cls == msg->header.cls);
    CHECK(memcmp(again.header.id, msg->header.id, sizeof(again.header.id)) == 0);
    CHECK(atl_addr_equal(&again.mapped, &msg->mapped));
    CHECK(atl_addr_equal(&again.xor_mapped, &msg->xor_mapped));
    CHECK(atl_addr_equal(&again.alternate, &msg->alternate));
    CHECK(atl_addr_equal(&again.origin, &msg->origin) && atl_addr_equal(&again.other, &msg->other));
    CHECK(again.has_change == msg->has_change && again.change == msg->change);
    CHECK(again.has_response_port == msg->has_response_port &&
          again.response_port == msg->response_port && again.has_padding == msg->has_padding);
    CHECK(same_view(&again.username, &msg->username) && same_view(&again.userhash, &msg->userhash));
    CHECK(same_view(&again.realm, &msg->realm) && same_view(&again.nonce, &msg->nonce));
    CHECK(same_view(&again.software, &msg->software));
    CHECK(same_view(&again.unknown_list, &msg->unknown_list));
    CHECK(again.error_code == msg->error_code && again.priority == msg->priority);
    CHECK(again.use_candidate == msg->use_candidate && again.tie_breaker == msg->tie_breaker);
    CHECK(again.has_controlled == msg->has_controlled &&
          again.has_controlling == msg->has_controlling);
    CHECK(again.unknown_count == msg->unknown_count);
    CHECK(memcmp(again.unknown, msg->unknown, sizeof(again.unknown)) == 0);
    CHECK(atl_stun_check_sha1(&again, "key", 3) == ATLAS_OK);
    CHECK(atl_stun_check_sha256(&again, "key", 3) == ATLAS_OK);
    CHECK(again.has_fingerprint);
}

typedef struct exchange {
    size_t request_len;
    size_t headers; /* counted with a second address */
    atl_addr source;
    uint8_t id[ATL_STUN_ID_LEN];
} exchange;

static int32_t check_answer(void *user, const atl_addr *local, const atl_addr *remote,
                            const uint8_t *data, size_t len) {
    exchange *e = user;
    atl_stun_msg msg;

    /* never to another host, and to another port with a second address only */
    CHECK(memcmp(remote->ip, e->source.ip, sizeof(remote->ip)) == 0);
    CHECK(e->headers != 0 || remote->port == e->source.port);
    CHECK(local->family == 4 && local->port != 0 && remote->port != 0);
    CHECK(len + e->headers <= 2 * (e->request_len + e->headers));
    CHECK(atl_stun_parse(data, len, &msg) == ATLAS_OK);
    CHECK(msg.header.cls == ATL_STUN_SUCCESS || msg.header.cls == ATL_STUN_ERROR);
    return ATLAS_OK;
}

static int32_t keep_id(void *user, const atl_addr *local, const atl_addr *remote,
                       const uint8_t *data, size_t len) {
    exchange *e = user;

    (void)local;
    (void)remote;
    (void)len;
    memcpy(e->id, data + 8, sizeof(e->id));
    return ATLAS_OK;
}

static void on_done(void *user, const atl_stun_reply *reply) {
    (void)user;
    CHECK(reply->code != ATLAS_OK || reply->reflexive.family != 0);
    CHECK(memchr(reply->reason, '\0', sizeof(reply->reason)) != NULL);
}

/* The same bytes as a request to a server, and, with the right id, as the answer that a client
 * waits for. */
static void feed(const uint8_t *data, size_t size) {
    static const uint8_t ip[4] = {192, 0, 2, 1};
    static const uint8_t ip2[4] = {192, 0, 2, 2};
    atl_stun_pair pair;
    const atl_stun_creds creds = {"user", "key", ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256};
    exchange e = {.request_len = size};
    atlas_hooks hooks;
    atl_env env;
    atl_loop loop;
    atl_stun_server *server;
    atl_stun_client *client;
    atl_stun_txn *txn;
    atl_rx rx;
    uint8_t *copy = malloc(size + 1);
    int with_creds;

    CHECK(copy != NULL);
    memset(&hooks, 0, sizeof(hooks));
    hooks.size = sizeof(hooks);
    CHECK(atl_os_default_hooks(&hooks) == ATLAS_OK);
    atl_env_init(&env, &hooks);
    atl_loop_init(&loop, &env);
    memcpy(copy, data, size);
    memset(&rx, 0, sizeof(rx));
    rx.data = copy;
    rx.len = size;
    rx.segment = size;
    atl_addr_set4(&rx.remote, ip, 3478);
    atl_addr_set4(&rx.local, ip, 1000);
    e.source = rx.remote;
    memset(&pair, 0, sizeof(pair));
    atl_addr_set4(&pair.primary, ip, 1000);
    atl_addr_set4(&pair.alternate, ip2, 1001);
    CHECK(atl_stun_server_new(&loop, check_answer, &e, &server) == ATLAS_OK);
    CHECK(atl_stun_client_new(&loop, keep_id, &e, &client) == ATLAS_OK);
    for (with_creds = 0; with_creds < 4; with_creds++) {
        CHECK(atl_stun_server_set_creds(server, with_creds % 2 ? &creds : NULL) == ATLAS_OK);
        CHECK(atl_stun_server_set_pair(server, 4, with_creds / 2 ? &pair : NULL) == ATLAS_OK);
        e.headers = with_creds / 2 ? 28 : 0;
        atl_stun_server_on_datagram(server, &rx);
    }
    for (with_creds = 0; with_creds < 2 && size >= ATL_STUN_HEADER; with_creds++) {
        CHECK(atl_stun_client_start(client, NULL, &rx.remote, UINT64_MAX,
                                    with_creds ? &creds : NULL, on_done, NULL, &txn) == ATLAS_OK);
        memcpy(copy + 8, e.id, sizeof(e.id));
        (void)atl_stun_client_on_datagram(client, &rx);
    }
    atl_stun_client_free(client);
    atl_stun_server_free(server);
    CHECK(loop.timers == NULL);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    atl_stun_msg msg;
    atl_stun_header header;

    if (sodium_init() < 0) {
        return 0;
    }
    if (atl_stun_parse(data, size, &msg) == ATLAS_OK) {
        CHECK(atl_stun_parse_header(data, size, &header) == ATLAS_OK);
        (void)atl_stun_check_sha1(&msg, "key", 3);
        (void)atl_stun_check_sha256(&msg, "key", 3);
        /* an ERROR-CODE may hold a NUL, which our own never do */
        if (msg.reason.len == 0 || memchr(msg.reason.data, '\0', msg.reason.len) == NULL) {
            round_trip(&msg);
        }
    }
    feed(data, size);
    return 0;
}
