/* The relays of a context: those configured, in their order, those that were chosen by measurement
 * (discovery/autorelay.h), and those that only a dial to a circuit address uses, which go when
 * their last user has gone. */
#ifndef ATL_PEER_RELAYS_H
#define ATL_PEER_RELAYS_H

#include "base/list.h"
#include "relay/client.h"

#define ATL_MAX_RELAYS 64

struct atl_peers;

typedef struct atl_relay_entry {
    atl_list node;
    struct atl_peers *peers;
    atl_relay_client *client; /* NULL before the sockets are open */
    atl_task event;           /* delivers on_relay */
    atl_timer reap;           /* frees a temporary relay a moment after its last use */
    uint32_t users;           /* attempts and connections through it */
    uint8_t configured;
    uint8_t held;  /* chosen by measurement: connected and announced, whatever the presence is */
    uint8_t named; /* a peer has said where it is: it counts for that peer's connection only */
    atl_maddr addr;
    char text[ATLAS_MULTIADDR_MAX];
} atl_relay_entry;

typedef struct atl_relays {
    struct atl_peers *peers;
    atl_list entries; /* configured ones first, in order */
    size_t configured;
    uint8_t connect; /* presence: stay connected */
    uint8_t announce;
    uint8_t stopped;
    uint8_t idle;
    /* The state, the health, or an address of a relay has changed: ask its client. Work task; may
     * be NULL. */
    void (*on_observed)(struct atl_peers *peers, atl_relay_entry *entry);
} atl_relays;

void atl_relays_init(atl_relays *relays, struct atl_peers *peers);
void atl_relays_free(atl_relays *relays);
/* Makes clients of the entries that have none. */
int32_t atl_relays_open(atl_relays *relays);
/* Frees the clients, keeps the entries. */
void atl_relays_close(atl_relays *relays);
/* ATLAS_ERR_ADDRESS, ATLAS_ERR_PEER_ID, ATLAS_ERR_UNSUPPORTED, ATLAS_ERR_EXISTS, ATLAS_ERR_LIMIT,
 * ATLAS_ERR_SELF, ATLAS_ERR_NOMEM. */
int32_t atl_relays_add(atl_relays *relays, const char *text);
/* The entry of this relay, made when there is none. */
int32_t atl_relays_find(atl_relays *relays, const atl_maddr *addr, atl_relay_entry **out);
/* The same for an address that a peer has named: one that the application has named is used
 * instead, never the other way round. ATLAS_ERR_NOT_FOUND when one would have to be made and may
 * not. */
int32_t atl_relays_named(atl_relays *relays, const atl_maddr *addr, int may_make,
                         atl_relay_entry **out);
/* By configured order; NULL past the last. */
atl_relay_entry *atl_relays_at(const atl_relays *relays, size_t index);
/* The relays that this node counts as its own, one after the other, in order of preference: `entry`
 * NULL for the first; NULL past the last. */
atl_relay_entry *atl_relays_next_own(const atl_relays *relays, const atl_relay_entry *entry);
/* Holds a relay that was chosen by measurement: dialled and announced as configured ones are with
 * presence, until it is released. ATLAS_ERR_EXISTS: it is configured (nothing is changed) or held;
 * ATLAS_ERR_ADDRESS, ATLAS_ERR_SELF, ATLAS_ERR_SHUTDOWN, ATLAS_ERR_NOMEM. */
int32_t atl_relays_hold(atl_relays *relays, const atl_maddr *addr, atl_relay_entry **out);
/* No longer announced. What still uses it keeps it connected for as long; one that was configured
 * meanwhile is as that says. */
void atl_relays_release(atl_relay_entry *entry);
/* The configured relay with that id, or NULL. */
atl_relay_entry *atl_relays_configured(const atl_relays *relays, const atl_peer_id *peer);
/* Configured relays and others in use, by health and then by order: at most `cap`, none that only a
 * peer has named. */
size_t atl_relays_ranked(const atl_relays *relays, atl_relay_entry **out, size_t cap);
/* ATL_RELAY_HEALTH_*, also before it has a client. */
uint32_t atl_relay_entry_health(const atl_relay_entry *entry);
/* See atl_relay_client_network_changed() and atl_relay_client_set_idle(). */
void atl_relays_network_changed(atl_relays *relays);
void atl_relays_set_idle(atl_relays *relays, int idle);
void atl_relays_presence(atl_relays *relays, int connect, int announce);
/* The state of an entry, also before it has a client. */
void atl_relay_entry_event(const atl_relay_entry *entry, atlas_relay_event *out);
void atl_relay_entry_use(atl_relay_entry *entry);
void atl_relay_entry_unuse(atl_relay_entry *entry);
/* Shutdown: disconnects from all of them, once. */
void atl_relays_stop(atl_relays *relays);
/* 1 when every relay is idle. */
int atl_relays_idle(const atl_relays *relays);

#endif
