/* Choosing relays: from candidates that bootstrap nodes name, by measured loss and round-trip time,
 * in different networks, each proven by a test through it; replaced when one fails, stalls,
 * refuses, or has become much worse; bad ones are remembered and left alone for longer each time.
 */
#ifndef ATL_DISCOVERY_AUTORELAY_H
#define ATL_DISCOVERY_AUTORELAY_H

#include "peer/relays.h"
#include "relay/selftest.h"
#include "stun/client.h"

#define ATL_AUTORELAY_SAMPLE 12 /* candidates measured at once */

typedef struct atl_autorelay atl_autorelay;

/* What happens to a relay that was chosen. Strings and pointers are valid during the call. */
typedef struct atl_autorelay_event {
    uint32_t what; /* ATLAS_AUTORELAY_* of atlas/discovery.h */
    const atl_maddr *addr;
    uint64_t rtt;  /* nanoseconds, as measured; 0: unknown */
    uint32_t loss; /* of 100 */
    int32_t code;
    const char *text; /* why */
} atl_autorelay_event;

typedef struct atl_autorelay_config {
    atl_loop *loop;
    const atl_io *io;
    atl_peer_id self;
    struct atl_peers *peers; /* for its relays */
    void *user;
    /* More candidates are wanted: atl_autorelay_offer() follows for each that is found (at any
     * time), atl_autorelay_offered() when no more will come of this call. */
    void (*want)(void *user, size_t n);
    /* Which relays serve has changed: ask with atl_autorelay_serving(). Work task. */
    void (*on_change)(void *user);
    /* Also from inside atl_autorelay_want(); must not call back. */
    void (*on_event)(void *user, const atl_autorelay_event *event);
} atl_autorelay_config;

int32_t atl_autorelay_new(const atl_autorelay_config *config, atl_autorelay **out);
void atl_autorelay_free(atl_autorelay *ar); /* NULL is allowed */
/* How many relays are to serve (1..8); 0: stop, those that serve are given up at once. */
void atl_autorelay_want(atl_autorelay *ar, size_t count);
/* A relay that somebody named (its own record says so): kept as a candidate, 256 at most. Names are
 * not looked up: host_kind must be ATL_HOST_IP. */
void atl_autorelay_offer(atl_autorelay *ar, const atl_maddr *addr);
void atl_autorelay_offered(atl_autorelay *ar);
/* Relays that serve: announced there, and passed the test; at most `cap`. */
size_t atl_autorelay_serving(const atl_autorelay *ar, atl_relay_entry **out, size_t cap);
/* 1 when this relay is one of them. */
int atl_autorelay_is_serving(const atl_autorelay *ar, const atl_relay_entry *entry);
/* News of an entry (peer/relays.h: on_observed). */
void atl_autorelay_on_relay(atl_autorelay *ar, atl_relay_entry *entry);
/* Idle mode has begun or ended (peers->idle says the same): what serves is left as it is, nothing
 * is sent and no timer runs; then everything is looked at again. */
void atl_autorelay_set_idle(atl_autorelay *ar, int on);
/* 1 while it measures, tries or tests, or waits for the first candidates to be many. */
int atl_autorelay_is_busy(const atl_autorelay *ar);
/* The host's network changed: what was measured no longer counts. */
void atl_autorelay_network_changed(atl_autorelay *ar);

#endif
