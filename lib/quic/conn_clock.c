/* The clock that ngtcp2 sees. It stands still while the process does, or the machine: what was
 * acknowledged meanwhile waits in the socket, and counted by the host's clock the round trip would
 * have taken as long as the stop. One such sample holds up a connection for a minute. */
#include "quic/internal.h"

#define LATE (1 * ATL_SECOND) /* no turn of a loop that runs takes so long */

static void stood_still(atl_qconn *conn, uint64_t gap) {
    atl_watch *watch = &conn->watch;

    conn->lag += gap;
    conn->shared_until += conn->shared_until == 0 ? 0 : gap;
    watch->silent += watch->silent == 0 ? 0 : gap;
}

uint64_t atl_qconn_clock(atl_qconn *conn) {
    uint64_t now = conn->ep->loop->now;

    if (conn->due != 0 && now > conn->due + LATE) {
        stood_still(conn, now - conn->due);
        conn->due = now;
    }
    return now - conn->lag;
}

void atl_qconn_arm(atl_qconn *conn) {
    uint64_t expiry = ngtcp2_conn_get_expiry2(conn->quic);
    uint64_t now = conn->ep->loop->now;

    expiry = expiry >= ATLAS_NO_DEADLINE - conn->lag ? ATLAS_NO_DEADLINE : expiry + conn->lag;
    conn->due = expiry == ATLAS_NO_DEADLINE ? 0 : expiry > now ? expiry : now;
    atl_timer_set(conn->ep->loop, &conn->timer, expiry);
}
