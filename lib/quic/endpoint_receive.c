/* Receiving: trains from the sockets, told apart by their first two bits and by the one table of
 * ids. */
#include "quic/internal.h"

#define RX_BATCH 64
#define RX_ROUNDS 8 /* batches of one drive call */
/* RFC 9000 section 10.3: the shortest packet that can be a stateless reset */
#define RESET_MIN 21
#define RESET_TOKEN 16

static void send_stateless_reset(atl_endpoint *ep, const atl_qpath *path, const uint8_t *data,
                                 size_t len) {
    uint8_t packet[48];
    uint8_t key[8];
    ngtcp2_cid cid;
    size_t n;
    const atl_addr *source = path->circuit == NULL ? &path->remote : NULL;

    /* shorter than what provoked it, so that two endpoints without state cannot answer each other
     * for ever */
    if (len < RESET_MIN + 1 ||
        (source != NULL &&
         !atl_source_limit_take(ep->reset_limit, key, atl_addr_limit_key(source, key),
                                ep->loop->now))) {
        ep->stats.dropped_unknown++;
        return;
    }
    n = len - 1 < sizeof(packet) ? len - 1 : sizeof(packet);
    if (atl_random(ep->env, packet, n - RESET_TOKEN) != ATLAS_OK) {
        return;
    }
    packet[0] = (uint8_t)((packet[0] & 0x3f) | 0x40);
    ngtcp2_cid_init(&cid, data + 1, ATL_CID_LEN);
    atl_reset_token(ep->reset_secret, &cid, packet + n - RESET_TOKEN);
    atl_send_on_path(ep, path, packet, n);
    ep->stats.resets++;
}

/* A short header with an unknown id may be a reset of a connection that we hold and the peer has
 * lost. */
static atl_qconn *find_by_reset_token(atl_endpoint *ep, const uint8_t *data, size_t len) {
    const atl_idmap_slot *slot;
    uint64_t key;

    if (len < RESET_MIN) {
        return NULL;
    }
    memcpy(&key, data + len - RESET_TOKEN, sizeof(key));
    slot = atl_idmap_get(&ep->resets, key);
    return slot == NULL ? NULL : slot->ptr;
}

static void receive_short(atl_endpoint *ep, const atl_qpath *path, const atl_idmap_slot *slot,
                          const uint8_t *data, size_t len, uint8_t ecn) {
    atl_qconn *conn;

    if (slot != NULL && slot->kind == ATL_ID_CONN) {
        atl_qconn_read(slot->ptr, path, data, len, ecn);
        return;
    }
    if (slot != NULL) {
        /* a circuit packet where only QUIC may be: circuits are not nested */
        ep->stats.dropped_malformed++;
        return;
    }
    conn = find_by_reset_token(ep, data, len);
    if (conn != NULL) {
        atl_qconn_read(conn, path, data, len, ecn);
        return;
    }
    send_stateless_reset(ep, path, data, len);
}

static void send_version_negotiation(atl_endpoint *ep, const atl_qpath *path,
                                     const ngtcp2_version_cid *vc, size_t len) {
    static const uint32_t VERSIONS[] = {NGTCP2_PROTO_VER_V1};
    uint8_t packet[256];
    uint8_t key[8];
    uint8_t random;
    ngtcp2_ssize n;

    /* RFC 9000 section 6.1: only in answer to what could begin a connection */
    if (len < 1200 || vc->dcidlen > NGTCP2_MAX_CIDLEN || vc->scidlen > NGTCP2_MAX_CIDLEN ||
        (path->circuit == NULL &&
         !atl_source_limit_take(ep->reset_limit, key, atl_addr_limit_key(&path->remote, key),
                                ep->loop->now)) ||
        atl_random(ep->env, &random, 1) != ATLAS_OK) {
        ep->stats.dropped_malformed++;
        return;
    }
    n = ngtcp2_pkt_write_version_negotiation(packet, sizeof(packet), random, vc->scid, vc->scidlen,
                                             vc->dcid, vc->dcidlen, VERSIONS, ATL_COUNT(VERSIONS));
    if (n > 0) {
        atl_send_on_path(ep, path, packet, (size_t)n);
        ep->stats.version_negotiations++;
    }
}

static void receive_long(atl_endpoint *ep, const atl_qpath *path, const uint8_t *data, size_t len,
                         uint8_t ecn) {
    const atl_idmap_slot *slot = NULL;
    ngtcp2_version_cid vc;
    int rv = ngtcp2_pkt_decode_version_cid(&vc, data, len, ATL_CID_LEN);

    /* ngtcp2 knows more versions than this library has keys for; 0 is a Version Negotiation itself
     */
    if (rv == NGTCP2_ERR_VERSION_NEGOTIATION ||
        (rv == 0 && vc.version != NGTCP2_PROTO_VER_V1 && vc.version != 0)) {
        send_version_negotiation(ep, path, &vc, len);
        return;
    }
    if (rv != 0) {
        ep->stats.dropped_malformed++;
        return;
    }
    if (vc.dcidlen == ATL_CID_LEN) {
        slot = atl_idmap_get(&ep->ids, atl_id_key(vc.dcid));
        if (slot != NULL && slot->kind != ATL_ID_CONN) {
            slot = NULL;
        }
    }
    if (slot == NULL) {
        slot = atl_idmap_get(&ep->initials, atl_initial_key(ep, vc.dcid, vc.dcidlen));
    }
    if (slot != NULL) {
        atl_qconn_read(slot->ptr, path, data, len, ecn);
        return;
    }
    atl_accept_packet(ep, path, data, len, ecn);
}

void atl_receive_quic(atl_endpoint *ep, const atl_qpath *path, uint8_t *data, size_t len,
                      uint8_t ecn) {
    if (len == 0) {
        ep->stats.dropped_malformed++;
        return;
    }
    switch (data[0] >> 6) {
    case 3:
        receive_long(ep, path, data, len, ecn);
        break;
    case 1:
        if (len > ATL_CID_LEN) {
            receive_short(ep, path, atl_idmap_get(&ep->ids, atl_id_key(data + 1)), data, len, ecn);
        } else {
            ep->stats.dropped_malformed++;
        }
        break;
    default:
        ep->stats.dropped_malformed++;
    }
}

/* A packet of a circuit that ends here: believed only from where the relay is. */
static void receive_circuit(atl_endpoint *ep, atl_circuit *circuit, const atl_rx *rx, uint8_t *data,
                            size_t len) {
    atl_qpath carrier;
    atl_qpath before;
    atl_qpath inner;

    atl_path_carrier(circuit->control, &carrier);
    atl_qconn_path(circuit->control, &before);
    if (!atl_addr_equal(&carrier.remote, &rx->remote) &&
        !atl_addr_equal(&before.remote, &rx->remote)) {
        ep->stats.dropped_unknown++;
        return;
    }
    circuit->rx_packets++;
    if (circuit->on_raw != NULL) {
        if ((data[ATL_CIRCUIT_HEADER] & 0xc0) != 0) {
            ep->stats.dropped_malformed++;
        } else {
            circuit->on_raw(circuit->user, circuit, data + ATL_CIRCUIT_HEADER,
                            len - ATL_CIRCUIT_HEADER);
        }
        return;
    }
    memset(&inner, 0, sizeof(inner));
    inner.circuit = circuit;
    atl_receive_quic(ep, &inner, data + ATL_CIRCUIT_HEADER, len - ATL_CIRCUIT_HEADER, rx->ecn);
}

/* The relay's packets are taken a run at a time. Returns the bytes consumed. */
static size_t forward_run(atl_endpoint *ep, const atl_rx *rx, size_t at, void *ptr, size_t one) {
    atl_rx rest = *rx;
    size_t used = 0;

    rest.data += at;
    rest.len -= at;
    if (ep->hooks.on_forward != NULL) {
        used = ep->hooks.on_forward(ep->hooks.user, ptr, &rest);
    }
    return used == 0 || used > rest.len ? one : used;
}

/* A short header: a connection, a circuit that ends here, or one that is forwarded; the table
 * tells. */
static size_t receive_with_id(atl_endpoint *ep, const atl_rx *rx, const atl_qpath *path, size_t at,
                              size_t len) {
    uint8_t *data = rx->data + at;
    const atl_idmap_slot *slot;

    if (len <= ATL_CIRCUIT_HEADER) {
        ep->stats.dropped_malformed++;
        return len;
    }
    slot = atl_idmap_get(&ep->ids, atl_id_key(data + 1));
    if (slot != NULL && slot->kind == ATL_ID_FORWARD) {
        return forward_run(ep, rx, at, slot->ptr, len);
    }
    if (slot != NULL && slot->kind == ATL_ID_CIRCUIT) {
        receive_circuit(ep, slot->ptr, rx, data, len);
    } else {
        receive_short(ep, path, slot, data, len, rx->ecn);
    }
    return len;
}

static void receive_stun(atl_endpoint *ep, const atl_rx *rx, uint8_t *data, size_t len) {
    atl_rx one = *rx;

    one.data = data;
    one.len = len;
    one.segment = len;
    if (ep->hooks.on_stun != NULL) {
        ep->hooks.on_stun(ep->hooks.user, &one);
    }
}

static void receive_train(atl_endpoint *ep, const atl_rx *rx) {
    atl_qpath path;
    size_t at = 0;

    memset(&path, 0, sizeof(path));
    path.remote = rx->remote;
    path.local = rx->local;
    ep->stats.rx_bytes += rx->len;
    ep->stats.rx_datagrams += (rx->len + rx->segment - 1) / rx->segment;
    while (at < rx->len) {
        size_t len = rx->len - at < rx->segment ? rx->len - at : rx->segment;
        uint8_t *data = rx->data + at;

        if (data[0] >> 6 == 1) {
            len = receive_with_id(ep, rx, &path, at, len);
        } else if (data[0] >> 6 == 0) {
            receive_stun(ep, rx, data, len);
        } else {
            atl_receive_quic(ep, &path, data, len, rx->ecn);
        }
        at += len;
    }
}

static void receive_batches(atl_socket *sock) {
    atl_endpoint *ep = sock->ep;
    atl_rx batch[RX_BATCH];
    size_t round;
    size_t n;
    size_t i;

    for (round = 0; round < RX_ROUNDS; round++) {
        if (ep->io->udp_recv(ep->io->impl, sock->udp, batch, RX_BATCH, &n) != ATLAS_OK || n == 0) {
            return;
        }
        for (i = 0; i < n; i++) {
            if (batch[i].error != 0) {
                if (batch[i].error == ATLAS_ERR_REFUSED ||
                    batch[i].error == ATLAS_ERR_UNREACHABLE) {
                    atl_qconn_refused(ep, &batch[i].remote, batch[i].error);
                }
                if (ep->hooks.on_stun != NULL) {
                    ep->hooks.on_stun(ep->hooks.user, &batch[i]);
                }
            } else if (batch[i].len > 0 && batch[i].segment > 0) {
                receive_train(ep, &batch[i]);
            } else {
                ep->stats.dropped_malformed++;
            }
        }
        if (ep->hooks.on_batch_end != NULL) {
            ep->hooks.on_batch_end(ep->hooks.user);
        }
    }
}

void atl_receive_ready(void *user, atl_udp *udp, uint32_t events) {
    atl_socket *sock = user;

    (void)udp;
    if ((events & ATLAS_FD_WRITE) != 0 && sock->blocked) {
        sock->blocked = 0;
        atl_send_flush(sock);
        atl_endpoint_wake(sock->ep);
    }
    if ((events & (ATLAS_FD_READ | ATLAS_FD_ERROR)) != 0) {
        receive_batches(sock);
    }
}
