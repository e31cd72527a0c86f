#include "stun/server.h"

#include <sodium.h>
#include <string.h>

#define RATE_SLOTS 1024
#define ERROR_BAD_REQUEST 400
#define ERROR_UNAUTHENTICATED 401
#define ERROR_UNKNOWN_ATTRIBUTE 420
/* IP and UDP */
#define HEADERS_IPV4 28
#define HEADERS_IPV6 48

struct atl_stun_server {
    atl_loop *loop;
    atl_env *env;
    atl_stun_send send;
    void *send_user;
    atl_source_limit *limit;
    char *username; /* NULL: no credentials demanded */
    char *password;
    uint32_t integrity;
    atl_stun_pair pair[2]; /* IPv4, IPv6; family 0: none */
    atl_stun_server_stats stats;
};

/* What is decided about one request. */
typedef struct answer {
    uint16_t error; /* 0: success */
    uint32_t
        integrity; /* ATLAS_STUN_SHA1 or ATLAS_STUN_SHA256 when the request was authenticated */
    const char *reason;
    const atl_stun_msg *msg; /* NULL when the attributes do not parse */
    const atl_stun_pair *pair;
    atl_addr from; /* where the answer leaves; with a pair it is one of the four */
    atl_addr to;
    atl_addr other; /* OTHER-ADDRESS; family 0: none */
} answer;

/* ---- credentials ---- */

static int same_text(const atl_stun_view *view, const char *text) {
    return view->len == strlen(text) && sodium_memcmp(view->data, text, view->len) == 0;
}

/* RFC 8489 section 9.1.3. */
static void authenticate(const atl_stun_server *server, const atl_stun_msg *msg, answer *out) {
    size_t key_len;

    if (server->username == NULL) {
        return;
    }
    if (msg->username.data == NULL || (msg->integrity_at == 0 && msg->integrity256_at == 0)) {
        out->error = ERROR_BAD_REQUEST;
        out->reason = "Bad Request";
        return;
    }
    out->error = ERROR_UNAUTHENTICATED;
    out->reason = "Unauthenticated";
    if (!same_text(&msg->username, server->username)) {
        return;
    }
    key_len = strlen(server->password);
    if (msg->integrity256_at != 0 && (server->integrity & ATLAS_STUN_SHA256) != 0) {
        if (atl_stun_check_sha256(msg, server->password, key_len) != ATLAS_OK) {
            return;
        }
        out->integrity = ATLAS_STUN_SHA256;
    } else if ((server->integrity & ATLAS_STUN_SHA1) != 0 &&
               atl_stun_check_sha1(msg, server->password, key_len) == ATLAS_OK) {
        out->integrity = ATLAS_STUN_SHA1;
    } else {
        return;
    }
    out->error = 0;
}

/* ---- the second address ---- */

static int same_ip(const atl_addr *a, const atl_addr *b) {
    return memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

int32_t atl_stun_server_set_pair(atl_stun_server *server, uint8_t family,
                                 const atl_stun_pair *pair) {
    atl_stun_pair *to = &server->pair[family == 6];

    if (pair == NULL) {
        memset(to, 0, sizeof(*to));
        return ATLAS_OK;
    }
    if (pair->primary.family != family || pair->alternate.family != family ||
        pair->primary.port == 0 || pair->alternate.port == 0 ||
        pair->primary.port == pair->alternate.port || same_ip(&pair->primary, &pair->alternate)) {
        return ATLAS_ERR_INVALID;
    }
    *to = *pair;
    return ATLAS_OK;
}

/* The opposite corner of the address that was asked. */
static atl_addr opposite(const atl_stun_pair *pair, const atl_addr *asked) {
    atl_addr other = same_ip(asked, &pair->alternate) ? pair->primary : pair->alternate;

    other.port = asked->port == pair->alternate.port ? pair->primary.port : pair->alternate.port;
    return other;
}

/* What a server with one address does not know must be refused (RFC 5780 section 6.1). */
static void refuse_behaviour(atl_stun_msg *msg) {
    const uint16_t types[] = {msg->has_change ? ATL_STUN_A_CHANGE_REQUEST : 0,
                              msg->has_response_port ? ATL_STUN_A_RESPONSE_PORT : 0,
                              msg->has_padding ? ATL_STUN_A_PADDING : 0};
    size_t i;

    for (i = 0; i < ATL_COUNT(types); i++) {
        if (types[i] != 0 && msg->unknown_count < ATL_STUN_UNKNOWN_MAX) {
            msg->unknown[msg->unknown_count++] = types[i];
        }
    }
}

/* From where, and to which port of the source. */
static void direct(const atl_stun_msg *msg, answer *a) {
    if (a->pair == NULL || a->error != 0) {
        return;
    }
    if (msg->has_response_port && (msg->response_port == 0 || msg->has_padding)) {
        a->error = ERROR_BAD_REQUEST;
        a->reason = "Bad Request";
        return;
    }
    a->other = opposite(a->pair, &a->from);
    if ((msg->change & ATL_STUN_CHANGE_IP) != 0) {
        uint16_t port = a->from.port;

        a->from = a->other;
        a->from.port = port;
    }
    if ((msg->change & ATL_STUN_CHANGE_PORT) != 0) {
        a->from.port = a->other.port;
    }
    if (msg->has_response_port) {
        a->to.port = msg->response_port;
    }
}

/* ---- answers ---- */

/* `extras`: how much of what need not be there is written. Two: everything; one: without
 * RESPONSE-ORIGIN; none: no OTHER-ADDRESS, and errors without words. */
static void write_answer(const atl_stun_server *server, const answer *a,
                         const atl_stun_header *header, const atl_addr *remote, int extras,
                         atl_writer *writer) {
    if (a->error == 0) {
        atl_stun_begin(writer, ATL_STUN_SUCCESS, header->method, header->id);
        atl_stun_put_xor_addr(writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, remote);
        if (a->other.family != 0 && extras > 1) {
            atl_stun_put_addr(writer, ATL_STUN_A_RESPONSE_ORIGIN, &a->from);
        }
        if (a->other.family != 0 && extras > 0) {
            atl_stun_put_addr(writer, ATL_STUN_A_OTHER_ADDRESS, &a->other);
        }
    } else {
        atl_stun_begin(writer, ATL_STUN_ERROR, header->method, header->id);
        atl_stun_put_error(writer, a->error, extras > 0 ? a->reason : "");
        if (a->error == ERROR_UNKNOWN_ATTRIBUTE) {
            atl_stun_put_unknown(writer, a->msg->unknown, a->msg->unknown_count);
        }
    }
    if (a->integrity == ATLAS_STUN_SHA256) {
        atl_stun_put_sha256(writer, server->password, strlen(server->password));
    } else if (a->integrity == ATLAS_STUN_SHA1) {
        atl_stun_put_sha1(writer, server->password, strlen(server->password));
    }
    if (a->msg != NULL && a->msg->has_fingerprint) {
        atl_stun_put_fingerprint(writer);
    }
}

static void count_answer(atl_stun_server_stats *stats, uint16_t error) {
    switch (error) {
    case 0:
        stats->successes++;
        break;
    case ERROR_UNKNOWN_ATTRIBUTE:
        stats->unknown++;
        break;
    case ERROR_UNAUTHENTICATED:
        stats->unauthorised++;
        break;
    default:
        stats->bad_requests++;
        break;
    }
}

static size_t longest_answer(const answer *a, const atl_rx *rx) {
    size_t most = 2 * rx->len;

    if (a->pair != NULL) {
        most += rx->remote.family == 4 ? HEADERS_IPV4 : HEADERS_IPV6;
    }
    return most < ATL_STUN_MESSAGE_MAX ? most : ATL_STUN_MESSAGE_MAX;
}

static void send_answer(atl_stun_server *server, const answer *a, const atl_stun_header *header,
                        const atl_rx *rx) {
    uint8_t buf[ATL_STUN_MESSAGE_MAX];
    atl_writer writer;
    size_t most = longest_answer(a, rx);
    int extras;

    for (extras = 2; extras >= 0; extras--) {
        atl_writer_init(&writer, buf, most);
        write_answer(server, a, header, &rx->remote, extras, &writer);
        if (writer.error == ATLAS_OK) {
            break;
        }
    }
    if (writer.error != ATLAS_OK) {
        server->stats.dropped_amplification++;
        return;
    }
    if (server->send(server->send_user, &a->from, &a->to, buf, writer.len) != ATLAS_OK) {
        server->stats.dropped_send++;
        return;
    }
    count_answer(&server->stats, a->error);
    if (!atl_addr_equal(&a->from, &rx->local) || !atl_addr_equal(&a->to, &rx->remote)) {
        server->stats.changed++;
    }
}

static const atl_stun_pair *pair_of(const atl_stun_server *server, const atl_addr *addr) {
    const atl_stun_pair *pair = &server->pair[addr->family == 6];

    return pair->primary.family == 0 ? NULL : pair;
}

/* What a well-formed request gets. */
static void decide(const atl_stun_server *server, atl_stun_msg *msg, answer *a) {
    a->msg = msg;
    if (a->pair == NULL) {
        refuse_behaviour(msg);
    }
    authenticate(server, msg, a);
    if (a->error == 0 && msg->unknown_count > 0) {
        a->error = ERROR_UNKNOWN_ATTRIBUTE;
        a->reason = "Unknown Attribute";
    }
    direct(msg, a);
}

static void on_request(atl_stun_server *server, const atl_stun_header *header, const atl_rx *rx) {
    answer a;
    atl_stun_msg msg;
    uint8_t key[8];
    size_t key_len = atl_addr_limit_key(&rx->remote, key);
    int32_t rc;

    server->stats.requests++;
    if (!atl_source_limit_take(server->limit, key, key_len, server->loop->now)) {
        server->stats.dropped_rate++;
        return;
    }
    rc = atl_stun_parse(rx->data, rx->len, &msg);
    if (rc == ATLAS_ERR_SIGNATURE) {
        server->stats.dropped_fingerprint++;
        return;
    }
    memset(&a, 0, sizeof(a));
    a.pair = pair_of(server, &rx->local);
    a.from = rx->local;
    a.to = rx->remote;
    if (rc == ATLAS_OK) {
        decide(server, &msg, &a);
    } else {
        a.error = ERROR_BAD_REQUEST;
        a.reason = "Bad Request";
    }
    send_answer(server, &a, header, rx);
}

void atl_stun_server_on_datagram(atl_stun_server *server, const atl_rx *rx) {
    atl_stun_header header;

    if (rx->error != 0) {
        return;
    }
    if (atl_stun_parse_header(rx->data, rx->len, &header) != ATLAS_OK) {
        server->stats.dropped_malformed++;
        return;
    }
    if (header.cls != ATL_STUN_REQUEST || header.method != ATL_STUN_BINDING) {
        server->stats.ignored++;
        return;
    }
    if (rx->remote.port == 0 || atl_addr_is_unspecified(&rx->remote) ||
        atl_addr_is_multicast(&rx->remote)) {
        server->stats.dropped_source++;
        return;
    }
    on_request(server, &header, rx);
}

/* ---- the server ---- */

static void forget_creds(atl_stun_server *server) {
    if (server->password != NULL) {
        sodium_memzero(server->password, strlen(server->password));
    }
    atl_free(server->env, server->username);
    atl_free(server->env, server->password);
    server->username = NULL;
    server->password = NULL;
    server->integrity = 0;
}

int32_t atl_stun_server_set_creds(atl_stun_server *server, const atl_stun_creds *creds) {
    char *username;
    char *password;

    if (creds == NULL) {
        forget_creds(server);
        return ATLAS_OK;
    }
    if (creds->username == NULL || creds->password == NULL ||
        strlen(creds->username) > ATL_STUN_USERNAME_MAX ||
        (creds->integrity & (ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256)) == 0) {
        return ATLAS_ERR_INVALID;
    }
    username = atl_strdup(server->env, creds->username);
    password = atl_strdup(server->env, creds->password);
    if (username == NULL || password == NULL) {
        atl_free(server->env, username);
        atl_free(server->env, password);
        return ATLAS_ERR_NOMEM;
    }
    forget_creds(server);
    server->username = username;
    server->password = password;
    server->integrity = creds->integrity;
    return ATLAS_OK;
}

int32_t atl_stun_server_new(atl_loop *loop, atl_stun_send send, void *send_user,
                            atl_stun_server **out) {
    atl_stun_server *server = atl_calloc(loop->env, 1, sizeof(*server));
    int32_t rc;

    if (server == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rc = atl_source_limit_new(loop->env, RATE_SLOTS, ATL_STUN_RATE_DEFAULT, ATL_STUN_RATE_DEFAULT,
                              &server->limit);
    if (rc != ATLAS_OK) {
        atl_free(loop->env, server);
        return rc;
    }
    server->loop = loop;
    server->env = loop->env;
    server->send = send;
    server->send_user = send_user;
    *out = server;
    return ATLAS_OK;
}

void atl_stun_server_free(atl_stun_server *server) {
    if (server == NULL) {
        return;
    }
    forget_creds(server);
    atl_source_limit_free(server->limit);
    atl_free(server->env, server);
}

void atl_stun_server_set_rate(atl_stun_server *server, uint64_t rate) {
    atl_source_limit_set_rate(server->limit, rate, rate);
}

const atl_stun_server_stats *atl_stun_server_get_stats(const atl_stun_server *server) {
    return &server->stats;
}
