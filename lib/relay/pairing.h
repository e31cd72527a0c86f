/* Circuits at the relay server: a request of one node, the other's answer, and the two halves that
 * the forwarder then uses. */
#ifndef ATL_RELAY_PAIRING_H
#define ATL_RELAY_PAIRING_H

#include "relay/session.h"

typedef struct atl_pairing atl_pairing;

#define ATL_PAIRING_SOURCE 0
#define ATL_PAIRING_TARGET 1

/* One end, in its session's list. */
typedef struct atl_pairing_end {
    atl_list node;
    atl_pairing *pairing;
    atl_relay_session *session;
    atl_forward_half half;
} atl_pairing_end;

struct atl_pairing {
    uint64_t number;
    uint64_t request; /* the source's number */
    atl_pairing_end ends[2];
    atl_timer timer;
    uint8_t ready;
};

/* Asks the target. ATLAS_OK, or what to tell the source: ATLAS_ERR_RELAY_*, ATLAS_ERR_NOMEM. */
int32_t atl_pairing_start(atl_relay_server *server, atl_relay_session *source,
                          atl_relay_session *target, const atl_relay_connect *msg);
/* The target's answer and either side's close; unknown circuits are ignored, since both sides may
 * close at once. */
void atl_pairing_answer(atl_relay_session *session, const atl_relay_accept *msg);
void atl_pairing_closed(atl_relay_session *session, const atl_relay_close *msg);
/* Ends every circuit of a session; the other sides are told `code`, this one is not. */
void atl_pairing_end_all(atl_relay_session *session, int32_t code);

#endif
