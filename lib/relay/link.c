/* The control connection to a relay: look-up, dial (each address in turn), HTTP/3, the control
 * stream. */
#include "relay/client_state.h"

#include <stdio.h>
#include <string.h>

#define FIRST_DIAL (3 * ATL_SECOND) /* a lost relay is tried often rather than long, at first */
#define AGAIN_AFTER (250 * ATL_MS)
#define H3_NO_ERROR 0x100u

static void dial_next(atl_relay_client *client);

static void copy_text(char *out, size_t cap, const char *text) {
    size_t len = strlen(text);

    len = len < cap ? len : cap - 1;
    memmove(out, text, len);
    out[len] = '\0';
}

static void down(atl_relay_client *client, int32_t code, const char *text) {
    char copy[ATL_RELAY_TEXT_MAX];

    copy_text(copy, sizeof(copy), text);
    client->link = ATL_LINK_DOWN;
    client->h3 = NULL;
    client->control = NULL;
    atl_capsule_parser_free(&client->parser);
    atl_relay_client_down(client, code, copy);
}

void atl_relay_link_fail(atl_relay_client *client, int32_t code, const char *text) {
    const atl_io *io = atl_endpoint_io(client->config.ep);

    if (client->link == ATL_LINK_DOWN || client->link == ATL_LINK_CLOSING) {
        return;
    }
    if (client->resolve != NULL) {
        io->resolve_cancel(io->impl, client->resolve);
        client->resolve = NULL;
    }
    if (client->h3 == NULL) {
        down(client, code, text);
        return;
    }
    client->fail_code = code;
    copy_text(client->fail_text, sizeof(client->fail_text), text);
    client->link = ATL_LINK_CLOSING;
    atl_h3_close(client->h3, H3_NO_ERROR, "");
}

void atl_relay_link_free(atl_relay_client *client) {
    const atl_io *io = atl_endpoint_io(client->config.ep);

    if (client->resolve != NULL) {
        io->resolve_cancel(io->impl, client->resolve);
        client->resolve = NULL;
    }
    if (client->h3 != NULL) {
        atl_h3_abort(client->h3);
        client->h3 = NULL;
    }
    client->control = NULL;
    client->link = ATL_LINK_DOWN;
    atl_capsule_parser_free(&client->parser);
}

int32_t atl_relay_link_send(atl_relay_client *client, const uint8_t *capsule, size_t len) {
    int32_t rc;

    if (client->link != ATL_LINK_UP || client->control == NULL) {
        return ATLAS_ERR_RELAY_LOST;
    }
    rc = atl_h3_write(client->control, capsule, len);
    if (rc != ATLAS_OK) {
        atl_relay_link_fail(client, ATLAS_ERR_RELAY_LOST,
                            "the relay does not read its control stream");
    }
    return rc;
}

/* ---- HTTP/3 ---- */

static void on_ready(void *user, atl_h3 *h3) {
    atl_relay_client *client = user;
    atl_h3_request request = {"CONNECT",     "https", "", "/.well-known/atlas/relay/",
                              "atlas-relay", 1};
    char authority[ATL_HOST_MAX + 8];
    int32_t rc;

    if (client->link != ATL_LINK_DIALLING) {
        return;
    }
    if (client->config.addr.host_kind == ATL_HOST_IP) {
        atl_addr_text(&client->config.addr.addr, authority);
    } else {
        (void)snprintf(authority, sizeof(authority), "%s:%u", client->config.addr.host,
                       client->config.addr.port);
    }
    request.authority = authority;
    client->link = ATL_LINK_OPENING;
    rc = atl_h3_open(h3, &request, NULL, &client->control);
    if (rc != ATLAS_OK) {
        atl_relay_link_fail(client, rc, "the relay accepts no control stream");
    }
}

static int32_t code_of_status(int32_t status) {
    switch (status) {
    case 401:
    case 403:
        return ATLAS_ERR_RELAY_NOT_AUTHORISED;
    case 503:
        return ATLAS_ERR_RELAY_DRAINING;
    default:
        return ATLAS_ERR_HTTP;
    }
}

static void on_response(void *user, atl_h3_stream *stream, int32_t status) {
    atl_relay_client *client = user;
    char text[64];

    if (stream != client->control || client->link != ATL_LINK_OPENING) {
        return;
    }
    if (status < 200 || status > 299) {
        (void)snprintf(text, sizeof(text), "the relay answered with HTTP status %d", (int)status);
        atl_relay_link_fail(client, code_of_status(status), text);
        return;
    }
    client->link = ATL_LINK_UP;
    client->up_at = client->loop->now;
    atl_relay_client_up(client);
}

static int32_t on_capsule(void *user, uint64_t type, const uint8_t *value, size_t len) {
    atl_relay_client *client = user;

    return client->link == ATL_LINK_UP ? atl_relay_client_capsule(client, type, value, len)
                                       : ATLAS_OK;
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    atl_relay_client *client = user;

    if (stream == client->control && client->link == ATL_LINK_UP &&
        atl_capsule_feed(&client->parser, data, len) != ATLAS_OK) {
        atl_relay_link_fail(client, ATLAS_ERR_RELAY_MALFORMED,
                            "a message of the relay does not parse");
    }
}

static void on_end(void *user, atl_h3_stream *stream) {
    atl_relay_client *client = user;

    if (stream == client->control) {
        atl_relay_link_fail(client,
                            client->drains ? ATLAS_ERR_RELAY_DRAINING : ATLAS_ERR_RELAY_LOST,
                            "the relay ended the control stream");
    }
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    atl_relay_client *client = user;

    if (stream == client->control) {
        client->control = NULL;
        atl_relay_link_fail(client, ATLAS_ERR_RELAY_LOST, "the relay reset the control stream");
    }
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    atl_relay_client *client = user;
    char text[ATL_RELAY_TEXT_MAX];

    (void)h3;
    client->h3 = NULL;
    client->control = NULL;
    if (client->link == ATL_LINK_CLOSING) {
        down(client, client->fail_code, client->fail_text);
    } else if (client->link == ATL_LINK_DIALLING && client->next_addr < client->n_addrs) {
        dial_next(client);
    } else {
        int said = why->text[0] == '\0' || strcmp(why->text, atlas_error_text(why->code)) == 0;

        (void)snprintf(text, sizeof(text), "%s%s%.100s", atlas_error_text(why->code),
                       said ? "" : ": ", said ? "" : why->text);
        down(client, why->code == ATLAS_OK ? ATLAS_ERR_RELAY_LOST : why->code, text);
    }
}

static void on_silent(void *user, atl_h3 *h3, uint64_t silent) {
    (void)h3;
    (void)silent;
    atl_relay_health_silent(user);
}

static void on_heard(void *user, atl_h3 *h3) {
    (void)h3;
    atl_relay_health_heard(user);
}

static const atl_h3_ops link_ops = {
    .on_ready = on_ready,
    .on_response = on_response,
    .on_data = on_data,
    .on_end = on_end,
    .on_stream_closed = on_stream_closed,
    .on_silent = on_silent,
    .on_heard = on_heard,
    .on_closed = on_closed,
};

void atl_relay_link_again(atl_relay_client *client) {
    if ((client->link != ATL_LINK_DIALLING && client->link != ATL_LINK_OPENING) ||
        client->loop->now < client->dialled_at + AGAIN_AFTER) {
        return;
    }
    atl_relay_link_free(client);
    atl_relay_link_start(client);
}

/* ---- dialling ---- */

static uint64_t dial_timeout(const atl_relay_client *client) {
    uint64_t timeout = FIRST_DIAL << (client->attempts < 3 ? client->attempts : 3);

    return timeout < *client->config.handshake_timeout ? timeout
                                                       : *client->config.handshake_timeout;
}

static int32_t dial(atl_relay_client *client, const atl_addr *remote) {
    static const atl_qconn_ops no_ops;
    atl_qpath path;
    atl_qconn *conn;
    int32_t rc;

    memset(&path, 0, sizeof(path));
    path.remote = *remote;
    rc = atl_qconn_connect(client->config.ep, &path, ATL_PROTO_H3, &client->config.addr.peer,
                           dial_timeout(client), &no_ops, NULL, &conn);
    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = atl_h3_new(conn, &link_ops, client, &client->h3);
    if (rc != ATLAS_OK) {
        atl_qconn_abort(conn);
    } else if (!atl_addr_equal(&client->remote, remote)) {
        client->remote = *remote;
        atl_relay_health_news(client);
    }
    return rc;
}

static void dial_next(atl_relay_client *client) {
    int32_t rc = ATLAS_ERR_RESOLVE;

    client->link = ATL_LINK_DIALLING;
    while (client->next_addr < client->n_addrs) {
        rc = dial(client, &client->addrs[client->next_addr++]);
        if (rc == ATLAS_OK) {
            return;
        }
    }
    down(client, rc, atlas_error_text(rc));
}

static void on_resolved(void *user, int32_t status, const atl_addr *addrs, size_t n) {
    atl_relay_client *client = user;

    client->resolve = NULL;
    if (status != ATLAS_OK || n == 0) {
        down(client, ATLAS_ERR_RESOLVE, "the relay's name does not resolve");
        return;
    }
    client->n_addrs = (uint8_t)(n < ATL_RESOLVE_MAX ? n : ATL_RESOLVE_MAX);
    memcpy(client->addrs, addrs, client->n_addrs * sizeof(addrs[0]));
    dial_next(client);
}

static uint8_t wanted_family(const atl_maddr *addr) {
    return addr->host_kind == ATL_HOST_DNS4 ? 4 : addr->host_kind == ATL_HOST_DNS6 ? 6 : 0;
}

void atl_relay_link_start(atl_relay_client *client) {
    const atl_maddr *addr = &client->config.addr;
    const atl_io *io = atl_endpoint_io(client->config.ep);
    int32_t rc;

    if (client->link != ATL_LINK_DOWN) {
        return;
    }
    atl_capsule_parser_init(&client->parser, client->env, atl_relay_known, on_capsule, client);
    client->dialled_at = client->loop->now;
    client->up_at = 0;
    client->next_addr = 0;
    if (addr->host_kind == ATL_HOST_IP) {
        client->addrs[0] = addr->addr;
        client->n_addrs = 1;
        dial_next(client);
        return;
    }
    client->link = ATL_LINK_RESOLVING;
    rc = io->resolve(io->impl, addr->host, addr->port, wanted_family(addr), on_resolved, client,
                     &client->resolve);
    if (rc != ATLAS_OK) {
        client->resolve = NULL;
        down(client, rc, "the relay's name cannot be looked up");
    }
}
