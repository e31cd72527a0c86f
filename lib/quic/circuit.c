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

void atl_circuit_end(atl_circuit *circuit, int32_t code) {
    atl_list *node;

    if (circuit->ended) {
        return;
    }
    circuit->ended = 1;
    circuit->on_idle = NULL;
    atl_endpoint_id_remove(circuit->ep, circuit->rx_id);
    while ((node = atl_list_pop(&circuit->conns)) != NULL) {
        atl_qconn *conn = ATL_CONTAINER(node, atl_qconn, circuit_node);
        size_t i;

        for (i = 0; i < ATL_CONN_PATHS; i++) {
            /* the circuit's memory goes with its owner: no path may keep pointing to it */
            if (conn->paths[i].real.circuit == circuit) {
                conn->paths[i].real.circuit = NULL;
                memset(&conn->paths[i].real.remote, 0, sizeof(conn->paths[i].real.remote));
            }
        }
        atl_qconn_fail(conn, code, 0, atlas_error_text(code));
    }
}
