/* What a connection tells its owner, and datagrams. */
#include "quic/internal.h"

void atl_qconn_set_ops(atl_qconn *conn, const atl_qconn_ops *ops, void *user) {
    conn->ops = ops;
    conn->user = user;
}

void *atl_qconn_user(const atl_qconn *conn) {
    return conn->user;
}

atl_endpoint *atl_qconn_endpoint(atl_qconn *conn) {
    return conn->ep;
}

uint32_t atl_qconn_protocol(const atl_qconn *conn) {
    return atl_tls_protocol(conn->tls.session);
}

int atl_qconn_is_server(const atl_qconn *conn) {
    return conn->is_server != 0;
}

int atl_qconn_is_confirmed(const atl_qconn *conn) {
    return conn->state == ATL_CONN_OPEN;
}

const atl_peer_id *atl_qconn_peer(const atl_qconn *conn) {
    return atl_tls_peer(conn->tls.session);
}

void atl_qconn_path(const atl_qconn *conn, atl_qpath *out) {
    const atl_qpath *real = &conn->paths[conn->validated].real;

    if (real->circuit != NULL) {
        atl_qconn_path(real->circuit->control, out);
        out->circuit = real->circuit;
        return;
    }
    *out = *real;
}

uint32_t atl_qconn_mtu(const atl_qconn *conn) {
    return (uint32_t)ngtcp2_conn_get_path_max_tx_udp_payload_size2(conn->quic);
}

void atl_qconn_get_info(const atl_qconn *conn, atl_qconn_info *out) {
    ngtcp2_conn_info info;

    ngtcp2_conn_get_conn_info2(conn->quic, &info);
    out->srtt = info.smoothed_rtt;
    out->latest_rtt = info.latest_rtt;
    out->min_rtt = info.min_rtt == UINT64_MAX ? 0 : info.min_rtt;
    out->pto = ngtcp2_conn_get_pto2(conn->quic);
    out->cwnd = info.cwnd;
    out->tx_bytes = conn->tx_bytes;
    out->rx_bytes = conn->rx_bytes;
    out->tx_packets = info.pkt_sent;
    out->rx_packets = info.pkt_recv;
    out->lost_packets = info.pkt_lost;
}

int32_t atl_qconn_export(atl_qconn *conn, const char *label, const uint8_t *context,
                         size_t context_len, uint8_t *out, size_t len) {
    if (conn->state != ATL_CONN_OPEN) {
        return ATLAS_ERR_STATE;
    }
    return atl_tls_export(conn->tls.session, label, context, context_len, out, len);
}

int32_t atl_qconn_update_key(atl_qconn *conn) {
    if (conn->state != ATL_CONN_OPEN ||
        ngtcp2_conn_initiate_key_update(conn->quic, atl_qconn_clock(conn)) != 0) {
        return ATLAS_ERR_STATE;
    }
    atl_qconn_mark_dirty(conn);
    return ATLAS_OK;
}

/* ---- datagrams ---- */

/* A packet around a DATAGRAM frame: short header without the id, packet number, frame type and
 * length, authentication tag. */
#define DATAGRAM_OVERHEAD (1 + 4 + 3 + 16)

size_t atl_qconn_max_datagram(const atl_qconn *conn) {
    const ngtcp2_transport_params *remote;
    size_t overhead;
    size_t mtu;
    size_t room;

    if (conn->state != ATL_CONN_OPEN) {
        return 0;
    }
    remote = ngtcp2_conn_get_remote_transport_params2(conn->quic);
    mtu = ngtcp2_conn_get_path_max_tx_udp_payload_size2(conn->quic);
    overhead = DATAGRAM_OVERHEAD + ngtcp2_conn_get_dcid2(conn->quic)->datalen;
    if (remote == NULL || remote->max_datagram_frame_size <= 3 || mtu <= overhead) {
        return 0;
    }
    room = mtu - overhead;
    return room < remote->max_datagram_frame_size - 3 ? room
                                                      : (size_t)remote->max_datagram_frame_size - 3;
}

int32_t atl_qconn_send_datagram(atl_qconn *conn, const uint8_t *data, size_t len) {
    atl_out_datagram *datagram;
    size_t max = atl_qconn_max_datagram(conn);

    if (conn->state >= ATL_CONN_CLOSING) {
        return ATLAS_ERR_CLOSED;
    }
    if (conn->state != ATL_CONN_OPEN) {
        return ATLAS_ERR_STATE;
    }
    if (max == 0) {
        return ATLAS_ERR_UNSUPPORTED;
    }
    if (len > max) {
        return ATLAS_ERR_DATAGRAM_TOO_LARGE;
    }
    if (conn->datagram_count >= ATL_DATAGRAM_QUEUE) {
        return ATLAS_ERR_AGAIN;
    }
    datagram = atl_malloc(conn->ep->env, sizeof(*datagram) + len);
    if (datagram == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    datagram->next = NULL;
    datagram->len = len;
    if (len > 0) {
        memcpy(datagram->data, data, len);
    }
    if (conn->datagrams == NULL) {
        conn->datagrams = datagram;
    } else {
        conn->datagrams_tail->next = datagram;
    }
    conn->datagrams_tail = datagram;
    conn->datagram_count++;
    atl_qconn_mark_dirty(conn);
    return ATLAS_OK;
}
