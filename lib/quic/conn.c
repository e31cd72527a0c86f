#include "quic/internal.h"

#include <stdio.h>

/* Windows grow on their own from these, up to the limits of the parameters. */
#define WINDOW_START ((uint64_t)262144)
#define CONN_WINDOW_FACTOR 8
/* One ACK for this many packets at full speed: for every two it would cost a quarter of the
 * goodput. */
#define ACK_THRESHOLD 16
#define INITIAL_RTT (100 * ATL_MS)
/* Longest DATAGRAM frame accepted. */
#define DATAGRAM_FRAME_MAX 65535
#define CLIENT_DCID_LEN 16
/* What the peer is told. The connection itself ends much earlier, by its own patience, which may
 * change while it lives (conn_watch.c). */
#define IDLE_LIMIT (3600 * ATL_SECOND)
/* The most connection ids of the peer that ngtcp2 takes; the peer is asked for fewer
 * (tls_session.c). */
#define ID_LIMIT 8

static const uint16_t MTU_PROBES[] = {ATL_UDP_MTU, 1391, 1271};

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_qconn *conn = timer->user;
    int rv;

    (void)now;
    if (conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    conn->inside = 1;
    rv = ngtcp2_conn_handle_expiry(conn->quic, atl_qconn_clock(conn));
    conn->inside = 0;
    if (rv != 0) {
        atl_qconn_fail_liberr(conn, rv);
        return;
    }
    atl_qconn_mark_dirty(conn);
}

int32_t atl_qconn_alloc(atl_endpoint *ep, int is_server, const atl_qpath *path, atl_qconn **out) {
    atl_qconn *conn = atl_calloc(ep->env, 1, sizeof(*conn));

    if (conn == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    conn->ep = ep;
    conn->is_server = (uint8_t)is_server;
    atl_timer_init(&conn->timer, on_timer, conn);
    atl_list_init(&conn->dirty_node);
    atl_list_init(&conn->dial_node);
    atl_list_init(&conn->streams);
    atl_list_init(&conn->sendable);
    atl_list_init(&conn->dead);
    atl_path_begin(conn, &conn->paths[0], path);
    atl_watch_init(conn);
    atl_list_append(&ep->conns, &conn->node);
    ep->stats.conns++;
    if (is_server) {
        conn->handshaking = 1;
        ep->handshaking++;
    }
    *out = conn;
    return ATLAS_OK;
}

/* ---- ending ---- */

static void remove_ids(atl_qconn *conn) {
    atl_endpoint *ep = conn->ep;
    ngtcp2_cid cids[16];
    size_t n;
    size_t i;

    if (conn->quic != NULL && ngtcp2_conn_get_scid2(conn->quic, NULL) <= ATL_COUNT(cids)) {
        n = ngtcp2_conn_get_scid2(conn->quic, cids);
        for (i = 0; i < n; i++) {
            if (cids[i].datalen == ATL_CID_LEN) {
                atl_endpoint_id_remove(ep, cids[i].data);
            }
        }
    }
    for (i = 0; i < conn->n_old_ids && i < ATL_OLD_IDS; i++) {
        atl_endpoint_id_remove(ep, conn->old_ids[i]);
    }
    if (conn->initial_hash != 0) {
        atl_idmap_remove(&ep->initials, conn->initial_hash);
        conn->initial_hash = 0;
    }
    for (i = 0; i < ATL_COUNT(conn->reset_keys); i++) {
        if (conn->reset_keys[i] != 0) {
            atl_idmap_remove(&ep->resets, conn->reset_keys[i]);
            conn->reset_keys[i] = 0;
        }
    }
}

void atl_qconn_count_out(atl_qconn *conn) {
    if (conn->handshaking) {
        conn->handshaking = 0;
        conn->ep->handshaking--;
    }
}

/* Takes the connection out of everything that leads to it. */
static void detach(atl_qconn *conn) {
    size_t i;

    if (conn->state == ATL_CONN_DEAD) {
        return;
    }
    atl_qconn_count_out(conn);
    conn->state = ATL_CONN_DEAD;
    conn->ep->stats.conns--;
    remove_ids(conn);
    atl_timer_clear(conn->ep->loop, &conn->timer);
    atl_timer_clear(conn->ep->loop, &conn->watch.timer);
    atl_list_remove(&conn->dirty_node);
    atl_list_remove(&conn->dial_node);
    for (i = 0; i < ATL_CONN_PATHS; i++) {
        atl_path_release(&conn->paths[i]);
    }
}

static void free_stream_list(atl_list *list) {
    atl_list *node;

    while ((node = atl_list_pop(list)) != NULL) {
        atl_qstream_free(ATL_CONTAINER(node, atl_qstream, node));
    }
}

void atl_qconn_free(atl_qconn *conn) {
    atl_env *env = conn->ep->env;

    detach(conn);
    atl_list_remove(&conn->node);
    free_stream_list(&conn->streams);
    free_stream_list(&conn->dead);
    while (conn->datagrams != NULL) {
        atl_out_datagram *next = conn->datagrams->next;

        atl_free(env, conn->datagrams);
        conn->datagrams = next;
    }
    ngtcp2_conn_del(conn->quic);
    if (conn->tls.session != NULL) {
        atl_tls_session_free(conn->tls.session);
    }
    atl_free(env, conn);
}

void atl_qconn_discard(atl_qconn *conn) {
    conn->ops = NULL;
    atl_qconn_free(conn);
}

void atl_qconn_finish(atl_qconn *conn) {
    const atl_qconn_ops *ops = conn->ops;
    atl_list *node;

    if (conn->close_sent_by_us) {
        conn->close_sent_by_us = 0;
        atl_qconn_write_close(conn);
    }
    detach(conn);
    atl_list_remove(&conn->node);
    atl_list_append(&conn->ep->graveyard, &conn->node);
    while (!atl_list_empty(&conn->streams)) {
        node = conn->streams.next;
        atl_qstream_end(ATL_CONTAINER(node, atl_qstream, node));
    }
    conn->why.text = conn->text;
    conn->ops = NULL;
    if (ops != NULL && ops->on_closed != NULL) {
        ops->on_closed(conn->user, conn, &conn->why);
    }
}

void atl_qconn_fail(atl_qconn *conn, int32_t code, int tell, const char *text) {
    size_t i;

    if (conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    atl_qconn_count_out(conn);
    conn->state = ATL_CONN_CLOSING;
    conn->why.code = code;
    conn->close_sent_by_us = (uint8_t)tell;
    (void)snprintf(conn->text, sizeof(conn->text), "%s", text == NULL ? "" : text);
    for (i = 0; conn->text[i] != '\0'; i++) {
        /* the peer may have chosen it: nothing but printable ASCII reaches a terminal */
        if (conn->text[i] < 0x20 || conn->text[i] > 0x7e) {
            conn->text[i] = '?';
        }
    }
    atl_log(conn->ep->env, ATLAS_LOG_DEBUG, "quic: %s connection %p ends: %s%s%s",
            conn->is_server ? "inbound" : "outbound", (void *)conn, atlas_error_name(code),
            conn->text[0] == '\0' ? "" : ": ", conn->text);
    atl_timer_clear(conn->ep->loop, &conn->timer);
    atl_timer_clear(conn->ep->loop, &conn->watch.timer);
    atl_qconn_mark_dirty(conn);
}

void atl_qconn_close(atl_qconn *conn, uint64_t app_code, const char *reason) {
    if (conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    atl_qconn_fail(conn, ATLAS_OK, 1, reason == NULL ? "" : reason);
    conn->why.is_app = 1;
    conn->why.error_code = app_code;
    ngtcp2_ccerr_set_application_error(&conn->ccerr, app_code, (const uint8_t *)conn->text,
                                       strlen(conn->text));
}

void atl_qconn_abort(atl_qconn *conn) {
    if (conn->state == ATL_CONN_DEAD) {
        return;
    }
    detach(conn);
    conn->ops = NULL;
    atl_list_remove(&conn->node);
    atl_list_append(&conn->ep->graveyard, &conn->node);
    atl_endpoint_wake(conn->ep);
}

void atl_qconn_part(atl_qconn *conn, uint64_t app_code) {
    if (conn->state == ATL_CONN_DEAD) {
        return;
    }
    if (conn->state < ATL_CONN_CLOSING) {
        ngtcp2_ccerr_set_application_error(&conn->ccerr, app_code, NULL, 0);
        conn->close_sent_by_us = 1;
    }
    if (conn->close_sent_by_us) {
        conn->close_sent_by_us = 0;
        atl_qconn_write_close(conn);
    }
    atl_qconn_abort(conn);
}

/* ---- running ---- */

void atl_qconn_mark_dirty(atl_qconn *conn) {
    if (conn->state != ATL_CONN_DEAD && atl_list_empty(&conn->dirty_node)) {
        atl_list_append(&conn->ep->dirty, &conn->dirty_node);
    }
    atl_endpoint_wake(conn->ep);
}

/* Before the first answer nothing is at stake but the dial itself; afterwards ICMP, which anyone
 * can forge, ends nothing. */
void atl_qconn_refused(atl_endpoint *ep, const atl_addr *remote, int32_t code) {
    atl_list *node = ep->dialing.next;

    while (node != &ep->dialing) {
        atl_qconn *conn = ATL_CONTAINER(node, atl_qconn, dial_node);

        node = node->next;
        if (atl_addr_equal(&conn->paths[conn->active].real.remote, remote)) {
            atl_list_remove(&conn->dial_node);
            atl_qconn_fail(conn, code, 0, atlas_error_text(code));
        }
    }
}

/* ---- making ---- */

void atl_qconn_settings(atl_qconn *conn, ngtcp2_settings *settings, ngtcp2_transport_params *params,
                        uint64_t handshake_timeout) {
    const atl_quic_params *p = &conn->ep->params;
    uint64_t window = p->stream_window < WINDOW_START ? p->stream_window : WINDOW_START;

    ngtcp2_settings_default(settings);
    settings->initial_ts = conn->ep->loop->now;
    settings->initial_rtt = INITIAL_RTT;
    settings->max_tx_udp_payload_size = ATL_UDP_MTU;
    settings->pmtud_probes = MTU_PROBES;
    settings->pmtud_probeslen = ATL_COUNT(MTU_PROBES);
    settings->max_stream_window = p->stream_window;
    settings->max_window = p->stream_window * CONN_WINDOW_FACTOR;
    settings->ack_thresh = ACK_THRESHOLD;
    settings->handshake_timeout = handshake_timeout;
    settings->rand_ctx.native_handle = conn->ep->env;
    ngtcp2_transport_params_default(params);
    params->initial_max_stream_data_bidi_local = window;
    params->initial_max_stream_data_bidi_remote = window;
    params->initial_max_stream_data_uni = window;
    params->initial_max_data = window * 2;
    params->initial_max_streams_bidi = p->max_streams;
    params->initial_max_streams_uni = p->max_streams;
    params->max_idle_timeout = IDLE_LIMIT;
    params->max_datagram_frame_size = DATAGRAM_FRAME_MAX;
    params->active_connection_id_limit = ID_LIMIT;
}

static int32_t start_client(atl_qconn *conn, uint32_t protocol, const atl_peer_id *peer,
                            uint64_t timeout) {
    atl_endpoint *ep = conn->ep;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_callbacks callbacks;
    ngtcp2_path path = atl_path_synthetic(&conn->paths[0]);
    ngtcp2_cid scid;
    ngtcp2_cid dcid;
    int32_t rv = atl_tls_client_new(ep->tls, protocol, peer, &conn->tls.session);

    if (rv != ATLAS_OK) {
        return rv;
    }
    scid.datalen = ATL_CID_LEN;
    dcid.datalen = CLIENT_DCID_LEN;
    if ((rv = atl_random(ep->env, dcid.data, CLIENT_DCID_LEN)) != ATLAS_OK ||
        (rv = atl_endpoint_id_new(ep, ATL_ID_CONN, conn, scid.data)) != ATLAS_OK) {
        return rv;
    }
    atl_qconn_settings(conn, &settings, &params,
                       timeout == 0 ? ep->params.handshake_timeout : timeout);
    atl_qconn_fill_callbacks(&callbacks);
    if (ngtcp2_conn_client_new(&conn->quic, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &callbacks,
                               &settings, &params, &ep->mem, conn) != 0) {
        atl_endpoint_id_remove(ep, scid.data);
        return ATLAS_ERR_NOMEM;
    }
    atl_tls_session_set_conn(conn->tls.session, conn->quic);
    return ATLAS_OK;
}

int32_t atl_qconn_connect(atl_endpoint *ep, const atl_qpath *path, uint32_t protocol,
                          const atl_peer_id *peer, uint64_t timeout, const atl_qconn_ops *ops,
                          void *user, atl_qconn **out) {
    atl_qconn *conn;
    int32_t rv;

    if (path->circuit == NULL && atl_endpoint_socket(ep, path->remote.family) == NULL) {
        return ATLAS_ERR_FAMILY;
    }
    if (path->circuit != NULL && (!path->circuit->ready || path->circuit->ended)) {
        return ATLAS_ERR_RELAY_CIRCUIT_CLOSED;
    }
    if (ep->stats.conns >= ep->params.max_conns) {
        return ATLAS_ERR_LIMIT;
    }
    rv = atl_qconn_alloc(ep, 0, path, &conn);
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = start_client(conn, protocol, peer, timeout);
    if (rv != ATLAS_OK) {
        atl_qconn_discard(conn);
        return rv;
    }
    atl_watch_confirm(conn, timeout == 0 ? ep->params.handshake_timeout : timeout);
    conn->ops = ops;
    conn->user = user;
    if (path->circuit == NULL) {
        atl_list_append(&ep->dialing, &conn->dial_node);
    }
    atl_qconn_mark_dirty(conn);
    *out = conn;
    return ATLAS_OK;
}
