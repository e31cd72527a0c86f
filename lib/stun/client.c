#include "stun/client.h"

#include <sodium.h>
#include <string.h>

#include "base/hashmap.h"

#define ERROR_TRY_ALTERNATE 300

struct atl_stun_client {
    atl_loop *loop;
    atl_env *env;
    atl_stun_send send;
    void *send_user;
    atl_hashmap txns; /* by transaction id */
};

struct atl_stun_txn {
    atl_stun_client *client;
    atl_hash_node node;
    uint8_t id[ATL_STUN_ID_LEN];
    atl_timer timer;
    uint64_t deadline;
    uint64_t sent_at;
    uint32_t sent; /* of the present request */
    uint8_t redirected;
    uint8_t integrity_failed; /* an answer was discarded for it */
    uint32_t integrity;
    atl_addr asked_local; /* family 0: any */
    atl_addr expect;      /* family 0: who is asked */
    uint32_t change;
    uint16_t response_port;
    char *username;
    char *password;
    atl_stun_done done;
    void *user;
    atl_stun_reply reply;
    size_t request_len;
    uint8_t request[ATL_STUN_MESSAGE_MAX];
};

static void txn_free(atl_stun_txn *txn) {
    atl_stun_client *client = txn->client;

    atl_timer_clear(client->loop, &txn->timer);
    atl_hashmap_remove(&client->txns, &txn->node);
    atl_free(client->env, txn->username);
    if (txn->password != NULL) {
        sodium_memzero(txn->password, strlen(txn->password));
    }
    atl_free(client->env, txn->password);
    atl_free(client->env, txn);
}

static void finish(atl_stun_txn *txn, int32_t code) {
    atl_stun_reply reply = txn->reply;
    atl_stun_done done = txn->done;
    void *user = txn->user;

    reply.code = code;
    txn_free(txn);
    done(user, &reply);
}

/* ---- requests ---- */

static int32_t build_request(atl_stun_txn *txn) {
    atl_writer writer;

    atl_writer_init(&writer, txn->request, sizeof(txn->request));
    atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, txn->id);
    if (txn->change != 0) {
        atl_stun_put_u32(&writer, ATL_STUN_A_CHANGE_REQUEST, txn->change);
    }
    if (txn->response_port != 0) {
        atl_stun_put_response_port(&writer, txn->response_port);
    }
    if (txn->integrity != 0) {
        size_t key_len = strlen(txn->password);

        atl_stun_put(&writer, ATL_STUN_A_USERNAME, txn->username, strlen(txn->username));
        if ((txn->integrity & ATLAS_STUN_SHA1) != 0) {
            atl_stun_put_sha1(&writer, txn->password, key_len);
        }
        if ((txn->integrity & ATLAS_STUN_SHA256) != 0) {
            atl_stun_put_sha256(&writer, txn->password, key_len);
        }
    }
    atl_stun_put_fingerprint(&writer);
    txn->request_len = writer.len;
    return writer.error;
}

/* Sends once and sets the timer for what comes next: the next request, the last wait's end, or the
 * deadline. */
static int32_t transmit(atl_stun_txn *txn) {
    atl_stun_client *client = txn->client;
    uint64_t now = client->loop->now;
    uint64_t next;
    int32_t rc = client->send(client->send_user, &txn->asked_local, &txn->reply.remote,
                              txn->request, txn->request_len);

    if (rc != ATLAS_OK && rc != ATLAS_ERR_AGAIN) {
        return rc;
    }
    txn->sent_at = now;
    txn->sent++;
    txn->reply.transmissions++;
    next = now +
           (txn->sent < ATL_STUN_RC ? ATL_STUN_RTO << (txn->sent - 1) : ATL_STUN_RTO * ATL_STUN_RM);
    atl_timer_set(client->loop, &txn->timer, next < txn->deadline ? next : txn->deadline);
    return ATLAS_OK;
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_stun_txn *txn = timer->user;
    int32_t rc;

    if (now >= txn->deadline || txn->sent >= ATL_STUN_RC) {
        finish(txn, txn->integrity_failed ? ATLAS_ERR_STUN_INTEGRITY : ATLAS_ERR_STUN_TIMEOUT);
        return;
    }
    rc = transmit(txn);
    if (rc != ATLAS_OK) {
        finish(txn, rc);
    }
}

/* A fresh id, the request for it, and its first transmission. The transaction is in no table
 * before. */
static int32_t launch(atl_stun_txn *txn) {
    atl_stun_client *client = txn->client;
    int32_t rc = atl_random(client->env, txn->id, sizeof(txn->id));

    if (rc == ATLAS_OK) {
        rc = build_request(txn);
    }
    if (rc == ATLAS_OK) {
        rc = atl_hashmap_add(&client->txns, &txn->node, txn->id, sizeof(txn->id));
    }
    if (rc == ATLAS_OK) {
        txn->sent = 0;
        rc = transmit(txn);
    }
    return rc;
}

static int creds_valid(const atl_stun_creds *creds) {
    if (creds == NULL || creds->integrity == 0) {
        return 1;
    }
    return (creds->integrity & ~(uint32_t)(ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256)) == 0 &&
           creds->username != NULL && creds->password != NULL &&
           strlen(creds->username) <= ATL_STUN_USERNAME_MAX;
}

static int32_t copy_creds(atl_stun_txn *txn, const atl_stun_creds *creds) {
    if (creds == NULL || creds->integrity == 0) {
        return ATLAS_OK;
    }
    txn->integrity = creds->integrity;
    txn->username = atl_strdup(txn->client->env, creds->username);
    txn->password = atl_strdup(txn->client->env, creds->password);
    return txn->username == NULL || txn->password == NULL ? ATLAS_ERR_NOMEM : ATLAS_OK;
}

int32_t atl_stun_client_ask(atl_stun_client *client, const atl_stun_ask *ask, atl_stun_done done,
                            void *user, atl_stun_txn **out) {
    atl_stun_txn *txn;
    int32_t rc;

    if (ask->remote.family == 0 || ask->remote.port == 0 || !creds_valid(ask->creds)) {
        return ATLAS_ERR_INVALID;
    }
    if (client->txns.count >= ATL_STUN_TXNS_MAX) {
        return ATLAS_ERR_LIMIT;
    }
    txn = atl_calloc(client->env, 1, sizeof(*txn));
    if (txn == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    txn->client = client;
    txn->deadline = ask->deadline;
    txn->done = done;
    txn->user = user;
    txn->reply.remote = ask->remote;
    txn->asked_local = ask->local;
    txn->expect = ask->expect;
    txn->change = ask->change;
    txn->response_port = ask->response_port;
    atl_timer_init(&txn->timer, on_timer, txn);
    rc = copy_creds(txn, ask->creds);
    if (rc == ATLAS_OK) {
        rc = launch(txn);
    }
    if (rc != ATLAS_OK) {
        txn_free(txn);
        return rc;
    }
    *out = txn;
    return ATLAS_OK;
}

int32_t atl_stun_client_start(atl_stun_client *client, const atl_addr *local,
                              const atl_addr *remote, uint64_t deadline,
                              const atl_stun_creds *creds, atl_stun_done done, void *user,
                              atl_stun_txn **out) {
    atl_stun_ask ask;

    memset(&ask, 0, sizeof(ask));
    if (local != NULL) {
        ask.local = *local;
    }
    ask.remote = *remote;
    ask.deadline = deadline;
    ask.creds = creds;
    return atl_stun_client_ask(client, &ask, done, user, out);
}

void atl_stun_client_cancel(atl_stun_client *client, atl_stun_txn *txn) {
    (void)client;
    txn_free(txn);
}

/* ---- answers ---- */

/* RFC 8489 section 9.1.4: with credentials, the answer must have an integrity of a kind that was in
 * the request. */
static int integrity_holds(const atl_stun_txn *txn, const atl_stun_msg *msg) {
    size_t key_len;

    if (txn->integrity == 0) {
        return 1;
    }
    key_len = strlen(txn->password);
    if (msg->integrity256_at != 0 && (txn->integrity & ATLAS_STUN_SHA256) != 0) {
        return atl_stun_check_sha256(msg, txn->password, key_len) == ATLAS_OK;
    }
    return (txn->integrity & ATLAS_STUN_SHA1) != 0 &&
           atl_stun_check_sha1(msg, txn->password, key_len) == ATLAS_OK;
}

/* The server's words end up in logs and terminals: printable ASCII only. */
static void copy_reason(atl_stun_reply *reply, const atl_stun_msg *msg) {
    size_t n = 0;

    while (n < msg->reason.len && n < sizeof(reply->reason) - 1) {
        uint8_t byte = msg->reason.data[n];

        reply->reason[n++] = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    reply->reason[n] = '\0';
    reply->stun_code = msg->error_code;
}

/* An alternate server is followed once, never to another family, and never to where no server is: a
 * server on the network has no business to send us to our own loopback. */
static int may_follow(const atl_stun_txn *txn, const atl_stun_msg *msg) {
    const atl_addr *to = &msg->alternate;
    const atl_addr *from = &txn->reply.remote;

    return msg->error_code == ERROR_TRY_ALTERNATE && !txn->redirected && txn->expect.family == 0 &&
           to->family == from->family && to->port != 0 && !atl_addr_equal(to, from) &&
           !atl_addr_is_unspecified(to) && !atl_addr_is_multicast(to) &&
           !atl_addr_is_link_local(to) && (!atl_addr_is_loopback(to) || atl_addr_is_loopback(from));
}

static void follow_alternate(atl_stun_txn *txn, const atl_addr *to) {
    int32_t rc;

    atl_hashmap_remove(&txn->client->txns, &txn->node);
    txn->redirected = 1;
    txn->integrity_failed = 0;
    txn->reply.remote = *to;
    txn->reply.stun_code = 0;
    txn->reply.reason[0] = '\0';
    rc = launch(txn);
    if (rc != ATLAS_OK) {
        finish(txn, rc);
    }
}

static void on_success(atl_stun_txn *txn, const atl_stun_msg *msg) {
    const atl_addr *mapped = msg->xor_mapped.family != 0 ? &msg->xor_mapped : &msg->mapped;

    if (mapped->family == 0) {
        finish(txn, ATLAS_ERR_STUN_NO_ADDRESS);
        return;
    }
    txn->reply.stun_code = 0;
    txn->reply.reason[0] = '\0';
    txn->reply.reflexive = *mapped;
    txn->reply.other = msg->other;
    finish(txn, ATLAS_OK);
}

static void on_answer(atl_stun_txn *txn, const atl_stun_msg *msg, const atl_rx *rx) {
    if (!integrity_holds(txn, msg)) {
        /* as if it had never come; what it said is only told when nothing better comes */
        txn->integrity_failed = 1;
        copy_reason(&txn->reply, msg);
        return;
    }
    txn->reply.rtt = txn->client->loop->now - txn->sent_at;
    txn->reply.local = rx->local;
    if (msg->unknown_count > 0) {
        finish(txn, ATLAS_ERR_STUN_UNKNOWN);
        return;
    }
    if (msg->header.cls == ATL_STUN_SUCCESS) {
        on_success(txn, msg);
        return;
    }
    copy_reason(&txn->reply, msg);
    if (may_follow(txn, msg)) {
        follow_alternate(txn, &msg->alternate);
        return;
    }
    finish(txn, ATLAS_ERR_STUN_RESPONSE);
}

typedef struct icmp_search {
    const atl_addr *remote;
    atl_stun_txn *found;
} icmp_search;

static void match_remote(void *user, atl_hash_node *node) {
    icmp_search *search = user;
    atl_stun_txn *txn = ATL_CONTAINER(node, atl_stun_txn, node);

    if (atl_addr_equal(&txn->reply.remote, search->remote)) {
        search->found = txn;
    }
}

/* A hard error ends every transaction with that server; one that cannot have come from a request of
 * ours ends none. */
static int on_icmp(atl_stun_client *client, const atl_rx *rx) {
    int any = 0;
    size_t left = client->txns.count;

    if (rx->error != ATLAS_ERR_REFUSED && rx->error != ATLAS_ERR_UNREACHABLE) {
        return 0;
    }
    /* the callback may start a new transaction: search anew, as often as there were transactions */
    while (left-- > 0) {
        icmp_search search = {&rx->remote, NULL};

        atl_hashmap_each(&client->txns, match_remote, &search);
        if (search.found == NULL) {
            break;
        }
        finish(search.found, rx->error);
        any = 1;
    }
    return any;
}

static int from_whom(const atl_stun_txn *txn, uint8_t cls, const atl_addr *remote) {
    if (txn->expect.family != 0 && atl_addr_equal(&txn->expect, remote)) {
        return 1;
    }
    return (txn->expect.family == 0 || cls == ATL_STUN_ERROR) &&
           atl_addr_equal(&txn->reply.remote, remote);
}

int atl_stun_client_on_datagram(atl_stun_client *client, const atl_rx *rx) {
    atl_stun_header header;
    atl_stun_msg msg;
    atl_hash_node *node;
    atl_stun_txn *txn;

    if (rx->error != 0) {
        return on_icmp(client, rx);
    }
    if (atl_stun_parse_header(rx->data, rx->len, &header) != ATLAS_OK ||
        header.method != ATL_STUN_BINDING ||
        (header.cls != ATL_STUN_SUCCESS && header.cls != ATL_STUN_ERROR)) {
        return 0;
    }
    node = atl_hashmap_get(&client->txns, header.id, sizeof(header.id));
    if (node == NULL) {
        return 0;
    }
    txn = ATL_CONTAINER(node, atl_stun_txn, node);
    if (!from_whom(txn, header.cls, &rx->remote) ||
        atl_stun_parse(rx->data, rx->len, &msg) != ATLAS_OK ||
        (header.cls == ATL_STUN_ERROR && msg.error_code == 0)) {
        return 0;
    }
    on_answer(txn, &msg, rx);
    return 1;
}

/* ---- the client ---- */

int32_t atl_stun_client_new(atl_loop *loop, atl_stun_send send, void *send_user,
                            atl_stun_client **out) {
    atl_stun_client *client = atl_calloc(loop->env, 1, sizeof(*client));
    int32_t rc;

    if (client == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    client->loop = loop;
    client->env = loop->env;
    client->send = send;
    client->send_user = send_user;
    rc = atl_hashmap_init(&client->txns, loop->env);
    if (rc != ATLAS_OK) {
        atl_free(loop->env, client);
        return rc;
    }
    *out = client;
    return ATLAS_OK;
}

void atl_stun_client_free(atl_stun_client *client) {
    atl_hash_node *node;

    if (client == NULL) {
        return;
    }
    while ((node = atl_hashmap_any(&client->txns)) != NULL) {
        txn_free(ATL_CONTAINER(node, atl_stun_txn, node));
    }
    atl_hashmap_free(&client->txns);
    atl_free(client->env, client);
}

int atl_stun_client_knows(const atl_stun_client *client, const uint8_t id[ATL_STUN_ID_LEN]) {
    return atl_hashmap_get(&client->txns, id, ATL_STUN_ID_LEN) != NULL;
}

size_t atl_stun_client_count(const atl_stun_client *client) {
    return client->txns.count;
}
