#include "quic/circuit.h"

#include "quic/internal.h"

int32_t atl_circuit_init(atl_circuit *circuit, atl_endpoint *ep, atl_qconn *control,
                         const atl_peer_id *relay, const atl_peer_id *peer) {
    memset(circuit, 0, sizeof(*circuit));
    circuit->ep = ep;
    circuit->control = control;
    circuit->relay = *relay;
    circuit->peer = *peer;
    atl_list_init(&circuit->conns);
    return atl_endpoint_id_new(ep, ATL_ID_CIRCUIT, circuit, circuit->rx_id);
}

void atl_circuit_set_ready(atl_circuit *circuit, const uint8_t tx_id[ATL_CID_LEN]) {
    memcpy(circuit->tx_id, tx_id, ATL_CID_LEN);
    circuit->ready = 1;
}

void atl_circuit_send_raw(atl_circuit *circuit, const uint8_t *data, size_t len) {
    atl_qpath path;

    if (len == 0 || len > ATL_UDP_MTU || (data[0] & 0xc0) != 0) {
        return;
    }
    memset(&path, 0, sizeof(path));
    path.circuit = circuit;
    atl_send_on_path(circuit->ep, &path, data, len);
}

static void lose(atl_path_slot *slot, int32_t code) {
    atl_qconn *conn = slot->conn;

    /* the circuit's memory goes with its owner: no path may keep pointing to it */
    memset(&slot->real, 0, sizeof(slot->real));
    slot->kept = 0;
    if (conn->state != ATL_CONN_OPEN || conn->ops == NULL || conn->ops->on_path_lost == NULL) {
        atl_qconn_fail(conn, code, 0, atlas_error_text(code));
        return;
    }
    slot->lost = ATL_LOST_UNTOLD;
    slot->lost_code = code;
    slot->left = 0;
    conn->tell_lost = 1;
    atl_qconn_mark_dirty(conn);
}

void atl_circuit_end(atl_circuit *circuit, int32_t code) {
    atl_list *node;

    if (circuit->ended) {
        return;
    }
    circuit->ended = 1;
    circuit->on_idle = NULL;
    atl_endpoint_id_remove(circuit->ep, circuit->rx_id);
    while ((node = atl_list_pop(&circuit->conns)) != NULL) {
        lose(ATL_CONTAINER(node, atl_path_slot, circuit_node), code);
    }
}
