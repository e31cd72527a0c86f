/* A link's connection: look-up, dial (each address in turn), its end. */
#include "discovery/link_state.h"

#include <stdio.h>
#include <string.h>

#define H3_NO_ERROR 0x100u
#define AGAIN_AFTER (250 * ATL_MS)
/* For an address when there are others to try. */
#define FIRST_DIAL (3 * ATL_SECOND)
/* A request on a connection where nothing is heard for this long is dialled for again: the
 * connection may have died while nobody used it. */
#define SILENCE (2 * ATL_SECOND)
/* A server lets a client make 32 requests a second, and 256 at once (docs/protocol.md, section 3);
 * what the network delays and then delivers together must not count as more. */
#define PACE 32u
#define PACE_BURST 224u

static void dial_next(atl_link *link);

static void down(atl_link *link, int32_t code, const char *text) {
    link->state = ATL_LINK_NONE;
    atl_link_fail_waiting(link, code, text);
    atl_link_watch_use(link);
}

/* ---- HTTP/3 ---- */

static void on_ready(void *user, atl_h3 *h3) {
    atl_link *link = user;

    (void)h3;
    if (link->state == ATL_LINK_DIAL) {
        link->state = ATL_LINK_READY;
        link->goaway = 0;
        atl_bucket_init(&link->pace, PACE, PACE_BURST, link->loop->now);
        atl_link_pump(link);
        atl_link_watch_use(link);
    }
}

static void on_response(void *user, atl_h3_stream *stream, int32_t status) {
    (void)user;
    atl_link_on_response(stream, status);
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    (void)user;
    atl_link_on_data(stream, data, len);
}

static void on_end(void *user, atl_h3_stream *stream) {
    (void)user;
    atl_link_on_end(stream);
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    atl_link_on_stream_closed(user, stream);
}

static void on_allowed(void *user, atl_h3 *h3) {
    (void)h3;
    atl_link_pump(user);
}

static void on_goaway(void *user, atl_h3 *h3) {
    atl_link *link = user;

    (void)h3;
    link->goaway = 1;
    atl_link_pump(link);
}

static void on_silent(void *user, atl_h3 *h3, uint64_t silent) {
    atl_link *link = user;

    (void)h3;
    if (link->state == ATL_LINK_READY && silent >= SILENCE && atl_link_may_lose(link)) {
        atl_link_close(link);
    }
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    atl_link *link = user;
    int said = why->text[0] == '\0' || strcmp(why->text, atlas_error_text(why->code)) == 0;
    int32_t code = why->code == ATLAS_OK ? ATLAS_ERR_IDLE_TIMEOUT : why->code;
    char text[ATL_LINK_TEXT_MAX];

    (void)h3;
    (void)snprintf(text, sizeof(text), "%s%s%.60s", atlas_error_text(code), said ? "" : ": ",
                   said ? "" : why->text);
    link->h3 = NULL;
    link->n_streams = 0;
    if (link->state == ATL_LINK_DIAL) {
        if (link->next_addr < link->n_addrs && !atl_list_empty(&link->waiting)) {
            dial_next(link);
        } else {
            down(link, code, text);
        }
        return;
    }
    link->state = ATL_LINK_NONE;
    atl_link_lose_active(link, code, text);
    if (!atl_list_empty(&link->waiting)) {
        atl_link_dial(link);
    }
    atl_link_watch_use(link);
}

static const atl_h3_ops link_ops = {
    .on_ready = on_ready,
    .on_response = on_response,
    .on_data = on_data,
    .on_end = on_end,
    .on_stream_closed = on_stream_closed,
    .on_allowed = on_allowed,
    .on_goaway = on_goaway,
    .on_silent = on_silent,
    .on_closed = on_closed,
};

/* ---- dialling ---- */

static uint64_t dial_timeout(const atl_link *link) {
    uint64_t timeout = *link->config.handshake_timeout;

    return link->next_addr < link->n_addrs && timeout > FIRST_DIAL ? FIRST_DIAL : timeout;
}

static int32_t dial(atl_link *link, const atl_addr *remote) {
    static const atl_qconn_ops no_ops;
    atl_qpath path;
    atl_qconn *conn;
    int32_t rc;

    memset(&path, 0, sizeof(path));
    path.remote = *remote;
    rc = atl_qconn_connect(link->config.ep, &path, ATL_PROTO_H3, &link->config.addr.peer,
                           dial_timeout(link), &no_ops, NULL, &conn);
    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = atl_h3_new(conn, &link_ops, link, &link->h3);
    if (rc != ATLAS_OK) {
        atl_qconn_abort(conn);
        return rc;
    }
    link->remote = *remote;
    link->has_remote = 1;
    return ATLAS_OK;
}

static void dial_next(atl_link *link) {
    int32_t rc = ATLAS_ERR_RESOLVE;

    link->state = ATL_LINK_DIAL;
    while (link->next_addr < link->n_addrs) {
        link->next_addr++;
        rc = dial(link, &link->addrs[link->next_addr - 1]);
        if (rc == ATLAS_OK) {
            return;
        }
    }
    down(link, rc, atlas_error_text(rc));
}

static void on_resolved(void *user, int32_t status, const atl_addr *addrs, size_t n) {
    atl_link *link = user;

    link->resolve = NULL;
    if (status != ATLAS_OK || n == 0) {
        down(link, ATLAS_ERR_RESOLVE, "the server's name does not resolve");
        return;
    }
    link->n_addrs = (uint8_t)(n < ATL_RESOLVE_MAX ? n : ATL_RESOLVE_MAX);
    memcpy(link->addrs, addrs, link->n_addrs * sizeof(addrs[0]));
    dial_next(link);
}

static uint8_t wanted_family(const atl_maddr *addr) {
    return addr->host_kind == ATL_HOST_DNS4 ? 4 : addr->host_kind == ATL_HOST_DNS6 ? 6 : 0;
}

void atl_link_dial(atl_link *link) {
    const atl_maddr *addr = &link->config.addr;
    const atl_io *io = atl_endpoint_io(link->config.ep);
    int32_t rc;

    link->dialled = link->loop->now;
    link->next_addr = 0;
    if (addr->host_kind == ATL_HOST_IP) {
        link->addrs[0] = addr->addr;
        link->n_addrs = 1;
        dial_next(link);
        return;
    }
    link->state = ATL_LINK_NAME;
    rc = io->resolve(io->impl, addr->host, addr->port, wanted_family(addr), on_resolved, link,
                     &link->resolve);
    if (rc != ATLAS_OK) {
        link->resolve = NULL;
        down(link, rc, "the server's name cannot be looked up");
    }
}

void atl_link_close(atl_link *link) {
    link->state = ATL_LINK_CLOSES;
    atl_h3_close(link->h3, H3_NO_ERROR, "");
}

void atl_link_drop(atl_link *link) {
    const atl_io *io = atl_endpoint_io(link->config.ep);

    if (link->resolve != NULL) {
        io->resolve_cancel(io->impl, link->resolve);
        link->resolve = NULL;
    }
    if (link->h3 != NULL) {
        atl_h3_part(link->h3, H3_NO_ERROR);
        link->h3 = NULL;
    }
    link->n_streams = 0;
    link->state = ATL_LINK_NONE;
}

void atl_link_network_changed(atl_link *link) {
    if (link->state == ATL_LINK_READY) {
        /* the server learns at once where we are now */
        atl_qconn_ping(atl_h3_conn(link->h3));
        return;
    }
    if ((link->state == ATL_LINK_NAME || link->state == ATL_LINK_DIAL) &&
        link->loop->now >= link->dialled + AGAIN_AFTER) {
        atl_link_drop(link);
        atl_link_dial(link);
    }
}

/* ---- answers ---- */

void atl_link_authority(const atl_link *link, char out[ATL_LINK_AUTHORITY_MAX]) {
    const atl_maddr *addr = &link->config.addr;

    if (addr->host_kind == ATL_HOST_IP) {
        atl_addr_text(&addr->addr, out);
    } else {
        (void)snprintf(out, ATL_LINK_AUTHORITY_MAX, "%s:%u", addr->host, addr->port);
    }
}

int atl_link_is_up(const atl_link *link) {
    return link->state == ATL_LINK_READY;
}

int32_t atl_link_remote(const atl_link *link, atl_addr *out) {
    if (!link->has_remote) {
        return ATLAS_ERR_NOT_FOUND;
    }
    *out = link->remote;
    return ATLAS_OK;
}

uint64_t atl_link_rtt(const atl_link *link) {
    atl_qconn_info info;

    if (link->state != ATL_LINK_READY) {
        return 0;
    }
    atl_qconn_get_info(atl_h3_conn(link->h3), &info);
    return info.srtt;
}
