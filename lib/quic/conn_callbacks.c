/* ngtcp2's callbacks: from its events to upcalls. */
#include "quic/internal.h"

#include <sodium.h>

static void cb_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
    /* not for secrets, but never predictable either: a failing source must not make it constant */
    if (atl_random(ctx->native_handle, dest, len) != ATLAS_OK) {
        randombytes_buf(dest, len);
    }
}

static int cb_new_connection_id(ngtcp2_conn *quic, ngtcp2_cid *cid,
                                ngtcp2_stateless_reset_token *token, size_t cid_len, void *user) {
    atl_qconn *conn = user;

    (void)quic;
    if (cid_len != ATL_CID_LEN ||
        atl_endpoint_id_new(conn->ep, ATL_ID_CONN, conn, cid->data) != ATLAS_OK) {
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    cid->datalen = ATL_CID_LEN;
    atl_reset_token(conn->ep->reset_secret, cid, token->data);
    return 0;
}

/* A peer may use an id a little longer than it should: ngtcp2 drops what comes with it, but a
 * stateless reset in answer would end a connection that can go on. So the endpoint forgets retired
 * ids later than ngtcp2 does. */
static int cb_remove_connection_id(ngtcp2_conn *quic, const ngtcp2_cid *cid, void *user) {
    atl_qconn *conn = user;
    uint8_t *old = conn->old_ids[conn->n_old_ids % ATL_OLD_IDS];

    (void)quic;
    if (cid->datalen == ATL_CID_LEN) {
        if (conn->n_old_ids >= ATL_OLD_IDS) {
            atl_endpoint_id_remove(conn->ep, old);
        }
        memcpy(old, cid->data, ATL_CID_LEN);
        conn->n_old_ids++;
    }
    return 0;
}

static int cb_path_challenge(ngtcp2_conn *quic, ngtcp2_path_challenge_data *data, void *user) {
    atl_qconn *conn = user;

    (void)quic;
    return atl_random(conn->ep->env, data->data, sizeof(data->data)) == ATLAS_OK
               ? 0
               : NGTCP2_ERR_CALLBACK_FAILURE;
}

/* The peer's reset tokens lead back to the connection: a reset carries no id that we know. */
static int cb_dcid_status(ngtcp2_conn *quic, ngtcp2_connection_id_status_type type, uint64_t seq,
                          const ngtcp2_cid *cid, const ngtcp2_stateless_reset_token *token,
                          void *user) {
    atl_qconn *conn = user;
    uint64_t key;
    size_t i;

    (void)quic;
    (void)seq;
    (void)cid;
    if (token == NULL) {
        return 0;
    }
    memcpy(&key, token->data, sizeof(key));
    for (i = 0; key != 0 && i < ATL_COUNT(conn->reset_keys); i++) {
        if (type == NGTCP2_CONNECTION_ID_STATUS_TYPE_ACTIVATE && conn->reset_keys[i] == 0) {
            if (atl_idmap_add(&conn->ep->resets, key, ATL_ID_CONN, conn) == ATLAS_OK) {
                conn->reset_keys[i] = key;
            }
            break;
        }
        if (type == NGTCP2_CONNECTION_ID_STATUS_TYPE_DEACTIVATE && conn->reset_keys[i] == key) {
            atl_idmap_remove(&conn->ep->resets, key);
            conn->reset_keys[i] = 0;
            break;
        }
    }
    return 0;
}

static int cb_stateless_reset(ngtcp2_conn *quic, const ngtcp2_pkt_stateless_reset2 *reset,
                              void *user) {
    atl_qconn *conn = user;

    (void)quic;
    (void)reset;
    conn->why.code = ATLAS_ERR_STATELESS_RESET;
    return 0;
}

/* ---- handshake ---- */

static void drop_initial(atl_qconn *conn) {
    if (conn->initial_hash != 0) {
        atl_idmap_remove(&conn->ep->initials, conn->initial_hash);
        conn->initial_hash = 0;
    }
}

static void confirm(atl_qconn *conn) {
    conn->state = ATL_CONN_OPEN;
    conn->ep->stats.handshakes++;
    atl_log(conn->ep->env, ATLAS_LOG_DEBUG, "quic: %s connection %p is confirmed, %s",
            conn->is_server ? "inbound" : "outbound", (void *)conn,
            conn->paths[conn->active].real.circuit == NULL ? "direct" : "through a circuit");
    atl_qconn_set_keepalive(conn);
    if (conn->ops != NULL && conn->ops->on_confirmed != NULL) {
        conn->ops->on_confirmed(conn->user, conn);
    }
    atl_qconn_mark_dirty(conn);
}

static int cb_handshake_completed(ngtcp2_conn *quic, void *user) {
    atl_qconn *conn = user;
    const char *text = NULL;
    int32_t rv = atl_tls_check_complete(conn->tls.session);

    (void)quic;
    if (rv != ATLAS_OK) {
        (void)atl_tls_error(conn->tls.session, &text);
        ngtcp2_ccerr_set_tls_alert(&conn->ccerr, rv == ATLAS_ERR_ALPN ? 120 : 42, NULL, 0);
        atl_qconn_fail(conn, rv, 1, text == NULL ? atlas_error_text(rv) : text);
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    if (!conn->is_server) {
        return 0; /* the server has not judged our certificate yet: wait for its confirmation */
    }
    drop_initial(conn);
    atl_qconn_count_out(conn);
    rv = conn->ep->hooks.on_accept == NULL ? ATLAS_ERR_UNSUPPORTED
                                           : conn->ep->hooks.on_accept(conn->ep->hooks.user, conn);
    if (rv != ATLAS_OK) {
        atl_qconn_fail(conn, rv, 1, atlas_error_text(rv));
        ngtcp2_ccerr_set_transport_error(&conn->ccerr, NGTCP2_CONNECTION_REFUSED,
                                         (const uint8_t *)conn->text, strlen(conn->text));
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    if (conn->state == ATL_CONN_HANDSHAKE) {
        confirm(conn);
    }
    return 0;
}

static int cb_handshake_confirmed(ngtcp2_conn *quic, void *user) {
    atl_qconn *conn = user;

    (void)quic;
    if (!conn->is_server && conn->state == ATL_CONN_HANDSHAKE) {
        confirm(conn);
    }
    return 0;
}

/* ---- paths ---- */

/* ngtcp2 validates one path at a time, and may hold another to return to. */
static void hold(atl_qconn *conn, const ngtcp2_path *path, const ngtcp2_path *fallback) {
    atl_path_slot *slot = path == NULL ? NULL : atl_path_by_ngtcp2(conn, path);
    atl_path_slot *old = fallback == NULL ? NULL : atl_path_by_ngtcp2(conn, fallback);
    size_t i;

    for (i = 0; i < ATL_CONN_PATHS; i++) {
        conn->paths[i].validating = 0;
    }
    if (slot != NULL) {
        slot->validating = 1;
    }
    if (old != NULL) {
        old->validating = 1;
    }
}

static int cb_begin_path_validation(ngtcp2_conn *quic, uint32_t flags, const ngtcp2_path *path,
                                    const ngtcp2_path *fallback, void *user) {
    atl_qconn *conn = user;
    atl_path_slot *slot = atl_path_by_ngtcp2(conn, path);

    (void)quic;
    (void)flags;
    if (slot != NULL) {
        slot->failed = 0;
    }
    conn->validations++;
    hold(conn, path, fallback);
    return 0;
}

/* What follows from it is looked at when ngtcp2 has returned. */
static int cb_path_validation(ngtcp2_conn *quic, uint32_t flags, const ngtcp2_path *path,
                              const ngtcp2_path *fallback, ngtcp2_path_validation_result result,
                              void *user) {
    atl_qconn *conn = user;
    atl_path_slot *slot = atl_path_by_ngtcp2(conn, path);

    (void)quic;
    (void)flags;
    (void)fallback;
    hold(conn, NULL, NULL);
    if (slot == NULL) {
        return 0;
    }
    slot->failed = result != NGTCP2_PATH_VALIDATION_RESULT_SUCCESS;
    conn->starved &= result != NGTCP2_PATH_VALIDATION_RESULT_SUCCESS;
    if (result == NGTCP2_PATH_VALIDATION_RESULT_FAILURE) {
        conn->shared_until = 0;
    } else if (result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS && conn->shared_until != 0) {
        atl_qconn_share(conn, 1); /* the path before is validated once more */
    }
    if (result == NGTCP2_PATH_VALIDATION_RESULT_FAILURE && conn->migrating == slot->id) {
        conn->migrating = 0;
        conn->failed_id = slot->id;
    }
    atl_watch_sweep(conn);
    return 0;
}

/* ---- streams ---- */

static int cb_stream_open(ngtcp2_conn *quic, int64_t id, void *user) {
    atl_qconn *conn = user;
    atl_qstream *stream;

    if (!conn->is_server && conn->state == ATL_CONN_HANDSHAKE) {
        /* The server uses the connection, so it has accepted us: its HANDSHAKE_DONE was lost or
         * overtaken. Nobody takes streams before the confirmation, and a refused one is lost. */
        confirm(conn);
    }
    if (atl_qstream_new(conn, id, &stream) != ATLAS_OK) {
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    ngtcp2_conn_set_stream_user_data(quic, id, stream);
    if (conn->ops != NULL && conn->ops->on_stream != NULL) {
        conn->ops->on_stream(conn->user, conn, stream);
    }
    if (stream->ops == NULL) {
        atl_qstream_shutdown(stream, 0);
    }
    return 0;
}

static int cb_recv_stream_data(ngtcp2_conn *quic, uint32_t flags, int64_t id, uint64_t offset,
                               const uint8_t *data, size_t len, void *user, void *stream_user) {
    atl_qstream *stream = stream_user;
    int fin = (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0;

    (void)offset;
    (void)user;
    if (stream == NULL || stream->ops == NULL || stream->ops->on_data == NULL || stream->ended) {
        /* nobody wants it: the connection's credit must not leak */
        ngtcp2_conn_extend_max_offset(quic, len);
        (void)ngtcp2_conn_extend_max_stream_offset(quic, id, len);
        return 0;
    }
    stream->uncredited += len;
    stream->received_fin |= (uint8_t)fin;
    stream->ops->on_data(stream->user, stream, data, len, fin);
    return 0;
}

static int cb_acked_stream_data(ngtcp2_conn *quic, int64_t id, uint64_t offset, uint64_t len,
                                void *user, void *stream_user) {
    (void)quic;
    (void)id;
    (void)offset;
    (void)user;
    if (stream_user != NULL) {
        atl_qstream_on_acked(stream_user, len);
    }
    return 0;
}

static int cb_stream_close(ngtcp2_conn *quic, uint32_t flags, int64_t id, uint64_t app_code,
                           void *user, void *stream_user) {
    atl_qconn *conn = user;

    (void)flags;
    (void)app_code;
    if (stream_user != NULL) {
        atl_qstream_on_wire_closed(stream_user);
    } else if (!ngtcp2_conn_is_local_stream2(quic, id)) {
        if (ngtcp2_is_bidi_stream(id)) {
            ngtcp2_conn_extend_max_streams_bidi(quic, 1);
        } else {
            ngtcp2_conn_extend_max_streams_uni(quic, 1);
        }
    }
    atl_qconn_mark_dirty(conn);
    return 0;
}

static int cb_stream_reset(ngtcp2_conn *quic, int64_t id, uint64_t final_size, uint64_t app_code,
                           void *user, void *stream_user) {
    atl_qstream *stream = stream_user;

    (void)quic;
    (void)id;
    (void)final_size;
    (void)user;
    if (stream != NULL && !stream->ended && stream->ops != NULL && stream->ops->on_reset != NULL) {
        stream->ops->on_reset(stream->user, stream, app_code);
    }
    return 0;
}

static int cb_recv_stop_sending(ngtcp2_conn *quic, int64_t id, uint64_t app_code, void *user,
                                void *stream_user) {
    atl_qstream *stream = stream_user;

    (void)quic;
    (void)id;
    (void)user;
    if (stream == NULL || stream->ended) {
        return 0;
    }
    stream->stopped = 1;
    stream->write_shut = 1;
    atl_list_remove(&stream->send_node);
    if (stream->ops != NULL && stream->ops->on_stop != NULL) {
        stream->ops->on_stop(stream->user, stream, app_code);
    }
    return 0;
}

static int cb_extend_max_stream_data(ngtcp2_conn *quic, int64_t id, uint64_t max, void *user,
                                     void *stream_user) {
    atl_qstream *stream = stream_user;
    atl_qconn *conn = user;

    (void)quic;
    (void)id;
    (void)max;
    if (stream != NULL && atl_qstream_has_output(stream) && atl_list_empty(&stream->send_node)) {
        atl_list_append(&conn->sendable, &stream->send_node);
    }
    return 0;
}

static int extend_streams(atl_qconn *conn, int uni) {
    if (conn->state == ATL_CONN_OPEN && conn->ops != NULL &&
        conn->ops->on_streams_allowed != NULL) {
        conn->ops->on_streams_allowed(conn->user, conn, uni);
    }
    return 0;
}

static int cb_extend_bidi(ngtcp2_conn *quic, uint64_t max, void *user) {
    (void)quic;
    (void)max;
    return extend_streams(user, 0);
}

static int cb_extend_uni(ngtcp2_conn *quic, uint64_t max, void *user) {
    (void)quic;
    (void)max;
    return extend_streams(user, 1);
}

static int cb_recv_datagram(ngtcp2_conn *quic, uint32_t flags, const uint8_t *data, size_t len,
                            void *user) {
    atl_qconn *conn = user;

    (void)quic;
    (void)flags;
    if (conn->state == ATL_CONN_OPEN && conn->ops != NULL && conn->ops->on_datagram != NULL) {
        conn->ops->on_datagram(conn->user, conn, data, len);
    }
    return 0;
}

void atl_qconn_fill_callbacks(ngtcp2_callbacks *callbacks) {
    memset(callbacks, 0, sizeof(*callbacks));
    atl_tls_fill_callbacks(callbacks);
    callbacks->rand = cb_rand;
    callbacks->get_new_connection_id2 = cb_new_connection_id;
    callbacks->remove_connection_id = cb_remove_connection_id;
    callbacks->get_path_challenge_data2 = cb_path_challenge;
    callbacks->dcid_status2 = cb_dcid_status;
    callbacks->recv_stateless_reset2 = cb_stateless_reset;
    callbacks->handshake_completed = cb_handshake_completed;
    callbacks->handshake_confirmed = cb_handshake_confirmed;
    callbacks->begin_path_validation = cb_begin_path_validation;
    callbacks->path_validation = cb_path_validation;
    callbacks->stream_open = cb_stream_open;
    callbacks->recv_stream_data = cb_recv_stream_data;
    callbacks->acked_stream_data_offset = cb_acked_stream_data;
    callbacks->stream_close = cb_stream_close;
    callbacks->stream_reset = cb_stream_reset;
    callbacks->recv_stop_sending = cb_recv_stop_sending;
    callbacks->extend_max_stream_data = cb_extend_max_stream_data;
    callbacks->extend_max_local_streams_bidi = cb_extend_bidi;
    callbacks->extend_max_local_streams_uni = cb_extend_uni;
    callbacks->recv_datagram = cb_recv_datagram;
}
