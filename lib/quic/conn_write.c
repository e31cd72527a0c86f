/* The write loop: datagrams and streams in turn, packet after packet straight into the
 * endpoint's arena. */
#include "quic/internal.h"

#define PING_SIZE 1200 /* of a probe: what every path carries (RFC 9000 section 14) */
#define VECTORS 3
/* Most bytes that one connection writes before others get their turn. */
#define WRITE_BUDGET ((size_t)65000 * 2)
/* Packets of one turn while the active path leads nowhere. */
#define NOWHERE_MAX 8

static void pop_datagram(atl_qconn *conn) {
    atl_out_datagram *first = conn->datagrams;

    conn->datagrams = first->next;
    conn->datagram_count--;
    atl_free(conn->ep->env, first);
}

/* A packet with datagrams. >0: its length; 0: nothing may be sent; NGTCP2_ERR_WRITE_MORE: the
 * packet has room; -1 fatal (failed). */
static ngtcp2_ssize write_datagram(atl_qconn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
                                   uint8_t *out, size_t cap) {
    atl_out_datagram *first = conn->datagrams;
    ngtcp2_vec vec = {first->data, first->len};
    int accepted = 0;
    ngtcp2_ssize n = ngtcp2_conn_writev_datagram(conn->quic, path, info, out, cap, &accepted,
                                                 NGTCP2_WRITE_DATAGRAM_FLAG_MORE, 0, &vec, 1,
                                                 atl_qconn_clock(conn));

    if (n == NGTCP2_ERR_INVALID_ARGUMENT || n == NGTCP2_ERR_INVALID_STATE) {
        pop_datagram(conn);
        return NGTCP2_ERR_WRITE_MORE;
    }
    if (accepted) {
        pop_datagram(conn);
    }
    return n;
}

static atl_qstream *next_stream(atl_qconn *conn) {
    if (atl_list_empty(&conn->sendable) || conn->state == ATL_CONN_HANDSHAKE) {
        return NULL;
    }
    return ATL_CONTAINER(conn->sendable.next, atl_qstream, send_node);
}

/* To the end of the line, or out of it. */
static void rotate(atl_qconn *conn, atl_qstream *stream) {
    int more = stream->next_chunk != NULL || (stream->fin && !stream->fin_sent);

    if (more && conn->sendable.next == conn->sendable.prev) {
        return; /* alone */
    }
    atl_list_remove(&stream->send_node);
    if (more) {
        atl_list_append(&conn->sendable, &stream->send_node);
    }
}

/* One try with one stream. As write_datagram; NGTCP2_ERR_WRITE_MORE also when the stream turned out
 * to be blocked. */
static ngtcp2_ssize write_stream(atl_qconn *conn, atl_qstream *stream, ngtcp2_path *path,
                                 ngtcp2_pkt_info *info, uint8_t *out, size_t cap) {
    ngtcp2_vec vec[VECTORS];
    ngtcp2_ssize taken = -1;
    int fin;
    size_t n_vec = atl_qstream_vectors(stream, vec, VECTORS, &fin);
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE | (fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0);
    ngtcp2_ssize n = ngtcp2_conn_writev_stream(conn->quic, path, info, out, cap, &taken, flags,
                                               stream->id, vec, n_vec, atl_qconn_clock(conn));
    size_t offered = 0;
    size_t i;

    switch (n) {
    case NGTCP2_ERR_STREAM_DATA_BLOCKED:
    case NGTCP2_ERR_STREAM_SHUT_WR:
    case NGTCP2_ERR_STREAM_NOT_FOUND:
        /* on again with extend_max_stream_data, or never */
        atl_list_remove(&stream->send_node);
        return NGTCP2_ERR_WRITE_MORE;
    default:
        break;
    }
    if (taken >= 0) {
        for (i = 0; i < n_vec; i++) {
            offered += vec[i].len;
        }
        atl_qstream_on_sent(stream, (size_t)taken, fin && (size_t)taken == offered);
        rotate(conn, stream);
    }
    return n;
}

/* What fits of the queued datagrams. NGTCP2_ERR_WRITE_MORE when the packet still has room. */
static ngtcp2_ssize write_datagrams(atl_qconn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
                                    uint8_t *out, size_t cap) {
    ngtcp2_ssize n = NGTCP2_ERR_WRITE_MORE;

    while (conn->datagrams != NULL && n == NGTCP2_ERR_WRITE_MORE) {
        if (conn->datagrams->len > atl_qconn_max_datagram(conn)) {
            /* the path has become narrower since it was queued: lost, as datagrams may be, for it
             * would hold up all that comes behind it */
            pop_datagram(conn);
            continue;
        }
        n = write_datagram(conn, path, info, out, cap);
    }
    return n;
}

/* Likewise of the streams. */
static ngtcp2_ssize write_streams(atl_qconn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
                                  uint8_t *out, size_t cap) {
    ngtcp2_ssize n = NGTCP2_ERR_WRITE_MORE;
    atl_qstream *stream;

    while (n == NGTCP2_ERR_WRITE_MORE && (stream = next_stream(conn)) != NULL &&
           (stream->next_chunk == NULL || ngtcp2_conn_get_max_data_left2(conn->quic) > 0)) {
        n = write_stream(conn, stream, path, info, out, cap);
    }
    return n;
}

/* The next packet of the connection into out[cap]. >0 its length, 0 nothing more now, <0 fatal. */
static ngtcp2_ssize write_packet(atl_qconn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
                                 uint8_t *out, size_t cap) {
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
    ngtcp2_ssize n;

    if (conn->state == ATL_CONN_OPEN) {
        /* in turns, so that neither kind starves the other */
        conn->streams_first ^= 1;
        n = conn->streams_first ? write_streams(conn, path, info, out, cap)
                                : write_datagrams(conn, path, info, out, cap);
        if (n == NGTCP2_ERR_WRITE_MORE) {
            n = conn->streams_first ? write_datagrams(conn, path, info, out, cap)
                                    : write_streams(conn, path, info, out, cap);
        }
        if (n != NGTCP2_ERR_WRITE_MORE) {
            return n;
        }
    }
    /* A client that asks whether a relay is still there may have another address: only a packet of
     * full size lets the relay validate it in one round trip. */
    if (conn->ping && !conn->is_server && atl_qconn_protocol(conn) == ATL_PROTO_H3) {
        flags = NGTCP2_WRITE_STREAM_FLAG_PADDING;
        cap = cap < PING_SIZE ? cap : PING_SIZE;
    }
    return ngtcp2_conn_writev_stream(conn->quic, path, info, out, cap, NULL, flags, -1, NULL, 0,
                                     atl_qconn_clock(conn));
}

/* Where a path's packets go: the 4-tuple, and how many bytes of circuit header come first. */
static atl_socket *resolve_carrier(atl_qconn *conn, const atl_path_slot *slot, atl_qpath *carrier,
                                   size_t *header) {
    const atl_circuit *circuit = slot->real.circuit;

    *carrier = slot->real;
    *header = 0;
    if (circuit != NULL) {
        if (!circuit->ready || circuit->ended) {
            return NULL;
        }
        atl_path_carrier(circuit->control, carrier);
        *header = ATL_CIRCUIT_HEADER;
    }
    return atl_endpoint_socket(conn->ep, carrier->remote.family);
}

static void put_header(atl_circuit *circuit, uint8_t *out) {
    out[0] = 0x40;
    memcpy(out + 1, circuit->tx_id, ATL_CID_LEN);
    circuit->tx_packets++;
}

/* The peer hears no more from where it is believed to be: it is told where it is heard. */
static void echo(atl_qconn *conn, const uint8_t *data, size_t len) {
    const atl_path_slot *slot = atl_path_by_id(conn, conn->echo_id);

    if (slot == NULL || slot->lost) {
        conn->echo_left = 0;
        return;
    }
    conn->echo_left--;
    atl_send_on_path(conn->ep, &slot->real, data, len);
}

/* Sends a packet, which is not in the arena, on the path that ngtcp2 chose for it. */
static void send_apart(atl_qconn *conn, atl_path_slot *slot, const uint8_t *data, size_t len) {
    if (!slot->lost) {
        slot->answered = 1;
        atl_send_on_path(conn->ep, &slot->real, data, len);
    }
    if (slot == &conn->paths[conn->active] && conn->echo_left > 0) {
        echo(conn, data, len);
    }
}

/* Sends a packet that was written behind `header` bytes at `room`. */
static void commit(atl_qconn *conn, atl_socket *sock, uint8_t *room, size_t header,
                   const ngtcp2_path *path, const atl_qpath *carrier, const atl_path_slot *expected,
                   uint8_t ecn, size_t len) {
    atl_path_slot *slot = atl_path_by_ngtcp2(conn, path);
    uint8_t copy[ATL_UDP_MTU];

    conn->tx_bytes += len;
    if (slot == NULL) {
        return;
    }
    if (slot == expected && conn->echo_left == 0) {
        if (header > 0) {
            put_header(slot->real.circuit, room);
        }
        atl_send_commit(sock, &carrier->local, &carrier->remote, ecn, header + len);
        return;
    }
    /* rare: a probe of another path, or everything twice */
    memcpy(copy, room + header, len);
    send_apart(conn, slot, copy, len);
}

/* Nothing leads to the peer from the active path, whose circuit has ended. Other paths are probed
 * and answered; new data waits for the next migration. */
static void write_to_nowhere(atl_qconn *conn) {
    uint8_t packet[ATL_UDP_MTU];
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info info;
    size_t i;

    ngtcp2_path_storage_zero(&ps);
    for (i = 0; i < NOWHERE_MAX; i++) {
        atl_path_slot *slot;
        ngtcp2_ssize n = ngtcp2_conn_writev_stream(
            conn->quic, &ps.path, &info, packet, sizeof(packet), NULL,
            NGTCP2_WRITE_STREAM_FLAG_NONE, -1, NULL, 0, atl_qconn_clock(conn));

        if (n < 0) {
            atl_qconn_fail_liberr(conn, (int)n);
        }
        if (n <= 0) {
            return;
        }
        conn->tx_bytes += (uint64_t)n;
        slot = atl_path_by_ngtcp2(conn, &ps.path);
        if (slot != NULL) {
            send_apart(conn, slot, packet, (size_t)n);
        }
    }
}

static int write_packets(atl_qconn *conn, atl_socket *sock, const atl_path_slot *slot,
                         const atl_qpath *carrier, size_t header) {
    size_t quantum = ngtcp2_conn_get_send_quantum2(conn->quic);
    size_t budget = quantum < WRITE_BUDGET ? quantum : WRITE_BUDGET;
    size_t written = 0;
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info info;

    ngtcp2_path_storage_zero(&ps);
    do {
        uint8_t *room = atl_send_room(sock, ATL_UDP_MTU + ATL_CIRCUIT_HEADER);
        ngtcp2_ssize n;

        if (room == NULL) {
            return -1;
        }
        n = write_packet(conn, &ps.path, &info, room + header, ATL_UDP_MTU);
        if (n < 0) {
            atl_qconn_fail_liberr(conn, (int)n);
            return 0;
        }
        if (n == 0) {
            return 0;
        }
        commit(conn, sock, room, header, &ps.path, carrier, slot, info.ecn, (size_t)n);
        written += (size_t)n;
    } while (written < budget);
    return 1;
}

static void free_dead_streams(atl_qconn *conn) {
    atl_list *node;

    while ((node = atl_list_pop(&conn->dead)) != NULL) {
        atl_qstream_free(ATL_CONTAINER(node, atl_qstream, node));
    }
}

/* A PING is written where nothing else is that asks for an answer. It cannot be in the instant in
 * which something was sent or heard, nor while the window is full: then it stays due. Likewise
 * ngtcp2 gives up a validation only when it may send. */
static void after_sending(atl_qconn *conn, uint64_t in_flight) {
    ngtcp2_conn_info info;

    ngtcp2_conn_get_conn_info2(conn->quic, &info);
    if (info.bytes_in_flight <= in_flight) {
        return;
    }
    if (conn->ep->loop->now > conn->shared_until) {
        conn->shared_until = 0;
    }
    if (conn->ping) {
        conn->ping = 0;
        atl_qconn_set_keepalive(conn);
    }
}

static int write_some(atl_qconn *conn) {
    const atl_path_slot *slot = &conn->paths[conn->active];
    ngtcp2_conn_info info;
    atl_qpath carrier;
    size_t header;
    atl_socket *sock = resolve_carrier(conn, slot, &carrier, &header);
    int looking = conn->ping || conn->shared_until != 0;
    int rv = 0;

    if (looking) {
        ngtcp2_conn_get_conn_info2(conn->quic, &info);
    }
    if (sock != NULL) {
        rv = write_packets(conn, sock, slot, &carrier, header);
    } else if (conn->state == ATL_CONN_OPEN) {
        write_to_nowhere(conn);
    }
    if (looking && conn->state == ATL_CONN_OPEN) {
        after_sending(conn, info.bytes_in_flight);
    }
    return rv;
}

int atl_qconn_write(atl_qconn *conn) {
    int rv;

    free_dead_streams(conn);
    if (conn->tell_lost) {
        atl_qconn_tell_lost(conn);
    }
    if (conn->tell_path || conn->failed_id != 0) {
        atl_qconn_settle(conn);
    }
    if (conn->watch.poisoned && !conn->is_server) {
        atl_qconn_anew_again(conn);
    }
    if (conn->state >= ATL_CONN_CLOSING) {
        return 0;
    }
    conn->inside = 1;
    rv = write_some(conn);
    conn->inside = 0;
    if (conn->state >= ATL_CONN_CLOSING) {
        return 0;
    }
    ngtcp2_conn_update_pkt_tx_time(conn->quic, atl_qconn_clock(conn));
    if (conn->unfollowed) {
        atl_qconn_check_starved(conn);
    }
    atl_watch_written(conn);
    atl_qconn_settle(conn);
    if (conn->state >= ATL_CONN_CLOSING) {
        return 0;
    }
    atl_qconn_arm(conn);
    /* after a full quantum the pacer says when to go on: at once, or with the timer */
    return rv > 0 ? ngtcp2_conn_get_expiry2(conn->quic) <= atl_qconn_clock(conn) : rv;
}

void atl_qconn_write_close(atl_qconn *conn) {
    const atl_path_slot *slot = &conn->paths[conn->active];
    atl_qpath carrier;
    size_t header;
    atl_socket *sock = resolve_carrier(conn, slot, &carrier, &header);
    uint8_t *room = sock == NULL ? NULL : atl_send_room(sock, ATL_UDP_MTU + ATL_CIRCUIT_HEADER);
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info info;
    ngtcp2_ssize n;

    if (room == NULL || conn->quic == NULL) {
        return;
    }
    ngtcp2_path_storage_zero(&ps);
    n = ngtcp2_conn_write_connection_close(conn->quic, &ps.path, &info, room + header, ATL_UDP_MTU,
                                           &conn->ccerr, atl_qconn_clock(conn));
    if (n > 0) {
        commit(conn, sock, room, header, &ps.path, &carrier, slot, info.ecn, (size_t)n);
    }
}
