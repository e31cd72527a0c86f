/* What the modules of a dial share: dial.c (direct addresses, the course of it), dial_relays.c, and
 * dial_found.c (what is found out about the peer meanwhile). */
#ifndef ATL_PEER_DIAL_STATE_H
#define ATL_PEER_DIAL_STATE_H

#include "peer/dial.h"
#include "peer/manager.h"

#define ATL_ATTEMPT_RESOLVING 0 /* a name is being looked up */
#define ATL_ATTEMPT_WAITING 1   /* a direct address whose turn has not come */
#define ATL_ATTEMPT_RUNNING 2   /* handshaking, or asking a relay for a circuit */

typedef struct atl_attempt {
    atl_list node; /* dial.attempts, in order of preference */
    struct atl_dial *dial;
    uint8_t state;
    atl_maddr addr; /* direct: where */
    atl_resolve *resolve;
    atl_qconn *q;
    atl_relay_entry *entry; /* through a relay */
    atl_relay_request *request;
} atl_attempt;

/* A relay that may lead to the peer. */
typedef struct atl_dial_way {
    atl_list node; /* dial.ways, in order of preference where health is equal */
    atl_relay_entry *entry;
    uint8_t asked;
    uint8_t named; /* the peer itself says that it is there */
} atl_dial_way;

struct atl_dial {
    atlas_conn *conn;
    atl_peers *peers;
    atl_list attempts;
    atl_list ways;
    size_t direct; /* attempts that are not through a relay, ended ones among them */
    size_t direct_left;
    size_t relays_left; /* running */
    uint8_t use_relays;
    uint8_t relay_failed; /* the next one comes at once */
    uint8_t finding;      /* more may be found out: nothing has failed before that is over */
    uint8_t started;
    uint8_t stepping; /* inside a loop that starts attempts: failures do not start more */
    uint64_t ends;
    atl_timer deadline;
    atl_timer direct_timer;
    atl_timer relay_timer;
    size_t text_len;
    char text[ATL_DIAL_TEXT];
};

/* ---- peer/dial.c ---- */

atl_attempt *atl_attempt_new(struct atl_dial *dial, uint8_t state);
/* Keeps the reason; what comes next comes now. */
void atl_attempt_fail(atl_attempt *at, int32_t code, const char *text);
/* Starts the QUIC handshake, directly or through a circuit. */
int32_t atl_attempt_handshake(atl_attempt *at, atl_circuit *circuit);
int atl_dial_knows(const struct atl_dial *dial, const atl_maddr *addr);
/* One more address, unless it is known or there are enough. ATLAS_ERR_NOMEM. */
int32_t atl_dial_add_direct(struct atl_dial *dial, const atl_maddr *addr);
/* Keeps a reason. */
void atl_dial_add_text(struct atl_dial *dial, const char *addr, const char *text);
/* Something was added, or has failed: what comes next comes now, or the dial has failed. */
void atl_dial_step(struct atl_dial *dial);

/* ---- peer/dial_relays.c ---- */

/* Asks the best relay that had no turn yet; those that fail on the spot make way at once. Sets the
 * timer of the next. */
void atl_dial_start_relay(struct atl_dial *dial);
int atl_dial_relays_remain(const struct atl_dial *dial);
/* A relay to be asked; known ones are not added twice. Uses the entry until the dial ends.
 * ATLAS_ERR_NOMEM. */
int32_t atl_dial_add_way(struct atl_dial *dial, atl_relay_entry *entry, int named);
void atl_dial_free_ways(struct atl_dial *dial);

#endif
