#include "stun/server.h"

#include <sodium.h>
#include <string.h>

#define RATE_SLOTS 1024
#define ERROR_BAD_REQUEST 400
#define ERROR_UNAUTHENTICATED 401
#define ERROR_UNKNOWN_ATTRIBUTE 420

struct atl_stun_server {
    atl_loop *loop;
    atl_env *env;
    atl_stun_send send;
    void *send_user;
    atl_source_limit *limit;
    char *username; /* NULL: no credentials demanded */
    char *password;
    uint32_t integrity;
    atl_stun_server_stats stats;
};

/* What is decided about one request. */
typedef struct answer {
    uint16_t error; /* 0: success */
    uint32_t
        integrity; /* ATLAS_STUN_SHA1 or ATLAS_STUN_SHA256 when the request was authenticated */
    const char *reason;
    const atl_stun_msg *msg; /* NULL when the attributes do not parse */
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

/* ---- answers ---- */

static void write_answer(const atl_stun_server *server, const answer *a,
                         const atl_stun_header *header, const atl_addr *remote, int with_reason,
                         atl_writer *writer) {
    if (a->error == 0) {
        atl_stun_begin(writer, ATL_STUN_SUCCESS, header->method, header->id);
        atl_stun_put_xor_addr(writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, remote);
    } else {
        atl_stun_begin(writer, ATL_STUN_ERROR, header->method, header->id);
        atl_stun_put_error(writer, a->error, with_reason ? a->reason : "");
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

static void send_answer(atl_stun_server *server, const answer *a, const atl_stun_header *header,
                        const atl_rx *rx) {
    uint8_t buf[ATL_STUN_MESSAGE_MAX];
    atl_writer writer;
    size_t most = 2 * rx->len < sizeof(buf) ? 2 * rx->len : sizeof(buf);
    int with_reason;

    /* the words are given up first */
    for (with_reason = 1; with_reason >= 0; with_reason--) {
        atl_writer_init(&writer, buf, most);
        write_answer(server, a, header, &rx->remote, with_reason, &writer);
        if (writer.error == ATLAS_OK) {
            break;
        }
    }
    if (writer.error != ATLAS_OK) {
        server->stats.dropped_amplification++;
        return;
    }
    if (server->send(server->send_user, &rx->local, &rx->remote, buf, writer.len) != ATLAS_OK) {
        server->stats.dropped_send++;
        return;
    }
    count_answer(&server->stats, a->error);
}

static void on_request(atl_stun_server *server, const atl_stun_header *header, const atl_rx *rx) {
    answer a = {0, 0, "", NULL};
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
    if (rc != ATLAS_OK) {
        a.error = ERROR_BAD_REQUEST;
        a.reason = "Bad Request";
    } else {
        a.msg = &msg;
        authenticate(server, &msg, &a);
    }
    if (a.error == 0 && msg.unknown_count > 0) {
        a.error = ERROR_UNKNOWN_ATTRIBUTE;
        a.reason = "Unknown Attribute";
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
